//! `lore run` writes router entries; `lore route` asks, tests and makes them.

#![allow(clippy::unwrap_used)]

mod workbench;

use std::fs;

use serde_json::Value;
use workbench::{Workbench, edit_json, tiny_recipe::tiny_run};

fn json(bench: &Workbench, arguments: &[&str]) -> Value {
    serde_json::from_str(&bench.succeeds(arguments).stdout).unwrap()
}

#[test]
fn a_run_routes_and_its_modules_can_be_asked() {
    let bench = tiny_run();
    bench.succeeds(&["run", "recipe.toml"]);
    let entry = "runs/tiny/modules/rivers/router.safetensors";
    // In the run general English was read with the module before; alone the module reads it itself.
    let second = bench.read("runs/tiny/modules/hills/router.safetensors");
    bench.succeeds(&["run", "recipe.toml", "--force", "module:hills"]);
    assert_eq!(bench.read("runs/tiny/modules/hills/router.safetensors"), second);
    let report: Value = serde_json::from_slice(&bench.read("runs/tiny/report.json")).unwrap();
    let rows = report["matrix"]["rows"].as_array().unwrap();
    let routed = rows.iter().find(|row| row["name"] == "routed").unwrap();
    assert!(routed["cells"]["rivers"]["bits_per_byte"].as_f64().unwrap() > 0.0);
    let claims = report["claims"].as_array().unwrap();
    assert_eq!(claims.iter().filter(|claim| claim["name"].as_str().unwrap().starts_with("Router:")).count(), 3);

    let modules = ["--module", "runs/tiny/modules/rivers", "--module", "runs/tiny/modules/hills"];
    let ask = |prompt: &'static str, more: &[&'static str]| {
        let start = ["route", "ask", "--base", "runs/tiny/base", "--prompt", prompt, "--json"];
        json(&bench, &[&start[..], &modules[..], more].concat())
    };
    let river = "The river of valley 7, seen for the 5th time, runs to the sea past the mill.";
    let answer = ask(river, &["--top", "2", "--compare"]);
    assert_eq!(answer["scores"][0]["module"], "rivers");
    assert!(answer["scores"][0]["score"].as_f64() > answer["scores"][1]["score"].as_f64());
    assert!(answer["scores"][1]["arrow"].is_f64() && answer["scores"][1]["saved_nats_per_token"].is_f64());
    let hill_of = "The hill of valley 7, seen for the 5th time, stands above the town and the fields.";
    let hill = ask(hill_of, &[]);
    assert_eq!(hill["scores"][0]["module"], "hills");
    // A folder of modules is a library, as it is for `lore serve`.
    let library = ["route", "ask", "--base", "runs/tiny/base", "--library", "runs/tiny/modules", "--prompt", river];
    assert_eq!(json(&bench, &[&library[..], &["--json"]].concat()), ask(river, &[]));
    // The same from one file.
    let collect = ["route", "build", "--base", "runs/tiny/base", "--out", "all.safetensors"];
    bench.succeeds(&[&collect[..], &modules[..]].concat());
    let from_file = ["route", "ask", "--base", "runs/tiny/base", "--router", "all.safetensors", "--json"];
    let again = json(&bench, &[&from_file[..], &["--prompt", river][..]].concat());
    assert_eq!(again["scores"][0]["score"], answer["scores"][0]["score"]);

    let elsewhere = ["route", "test", "--run", "elsewhere"];
    bench.fails(2, &elsewhere, &["elsewhere is not the folder of a run", "lore run RECIPE"]);
    let test = ["route", "test", "--run", "runs/tiny", "--off-topic", "recipe.toml", "--json"];
    let figures = json(&bench, &test);
    let names: Vec<&str> = figures.as_array().unwrap().iter().map(|row| row["text"].as_str().unwrap()).collect();
    assert_eq!(names, ["hills", "rivers", "general", "recipe.toml", "all, router", "all, arrow", "all, probe"]);
    let figure = |row: usize, name: &str| figures[row]["figures"][name].as_f64().unwrap();
    assert!(figure(1, "passages") > 0.0 && figure(1, "best") == figure(1, "passages"), "{figures}");
    assert!((4..7).all(|row| figure(row, "regret") >= 0.0), "{figures}");
    // New entries of all modules, from the run's own texts, are those that it wrote.
    let anew = ["route", "build", "--run", "runs/tiny", "--out", "anew.safetensors"];
    assert!(bench.succeeds(&anew).stdout.starts_with("anew.safetensors: 2 modules"));
    assert_eq!(bench.read("anew.safetensors"), bench.read("all.safetensors"));
    assert_eq!(json(&bench, &[&test[..], &["--router", "anew.safetensors"][..]].concat()), figures);
    bench.succeeds(
        &[&["route", "build", "--base", "runs/tiny/base", "--out", "one.safetensors"], &modules[..2]].concat(),
    );
    bench.fails(1, &[&test[..4], &["--router", "one.safetensors"][..]].concat(), &["hills", "rivers"]);

    // What is chosen needs no module to read the text.
    let chosen = json(&bench, &[&test[..], &["--choices-only"][..]].concat());
    assert_eq!(chosen.as_array().unwrap().len(), 5, "no other ways to choose: {chosen}");
    for (row, figures) in chosen.as_array().unwrap().iter().zip(figures.as_array().unwrap()) {
        let mut expected = figures.clone();
        expected["figures"]["regret"] = Value::Null;
        assert_eq!(*row, expected);
    }
    // What a changed recipe left in the folder of the run is not what its modules were made from.
    let folders = bench.listing("runs/tiny/stages");
    let own = folders.iter().find(|name| name.starts_with("topic-rivers-")).unwrap();
    let manifest = bench.read(&format!("runs/tiny/stages/{own}/stage.json"));
    for other in ["0", "4", "8", "z"] {
        let path = bench.write(&format!("runs/tiny/stages/topic-rivers-{other}/stage.json"), &manifest);
        edit_json(&path, |manifest| {
            manifest["identity"] = "of other texts".into();
            manifest["outputs"] = Value::Array(Vec::new());
        });
    }
    assert_eq!(json(&bench, &test), figures);
    bench.write("empty.txt", "\n");
    bench.fails(2, &["route", "test", "--run", "runs/tiny", "--off-topic", "empty.txt"], &["empty.txt", "no text"]);

    in_a_matrix_of_tasks(&bench, [river, hill_of], |prompt| ask(prompt, &[]));

    // An entry of one's own, made of other text; the module's own files stay as they are.
    let weights = bench.read("runs/tiny/modules/rivers/adapter_model.safetensors");
    let before = bench.read("runs/tiny/modules/hills/router.safetensors");
    let many = |line: &str| (0..200).map(|n| format!("{n} {line}\n")).collect::<String>();
    bench.write("topic.txt", many("boats go down the river with the rain"));
    bench.write("general.txt", many("it is a thing that one may say of all"));
    let build = ["route", "build", "--base", "runs/tiny/base", "--module", "runs/tiny/modules/rivers"];
    let texts = ["--corpus", "topic.txt", "--general", "general.txt"];
    let elsewhere = [&build[..], &texts[..], &["--out", "made.safetensors"][..]].concat();
    let said = bench.succeeds(&elsewhere).stdout;
    assert!(said.contains("made.safetensors") && said.contains("threshold"), "{said}");
    let made = bench.read("made.safetensors");
    bench.succeeds(&elsewhere);
    assert_eq!(made, bench.read("made.safetensors"), "the same text makes the same bytes");
    assert_ne!(made, bench.read(entry));
    assert_eq!(weights, bench.read("runs/tiny/modules/rivers/adapter_model.safetensors"));
    assert_eq!(before, bench.read("runs/tiny/modules/hills/router.safetensors"));

    bench.fails(2, &build, &["--corpus and --general", "--out"]);
    bench.write("short.txt", "too short");
    let short = [&build[..], &["--corpus", "short.txt", "--general", "general.txt"][..]].concat();
    bench.fails(1, &short, &["at least"]);
    let ask = ["route", "ask", "--base", "runs/tiny/base", "--prompt", "a"];
    fs::write(bench.path(entry), b"nonsense").unwrap();
    bench.fails(1, &[&ask[..], &modules[..]].concat(), &["router.safetensors", "not a usable router file"]);
    fs::remove_file(bench.path(entry)).unwrap();
    bench.fails(1, &[&ask[..], &modules[..2]].concat(), &["no module has a router entry"]);
    bench.fails(1, &["route", "test", "--run", "runs/tiny"], &["no router entry", "rivers"]);
    bench.fails(2, &[&ask[..], &modules[..2], &modules[..2]].concat(), &["two modules are called `rivers`"]);
    bench.model("tiny-qwen3", "other");
    bench.fails(
        1,
        &["route", "ask", "--base", "other", "--router", "all.safetensors", "--prompt", "a"],
        &["was made with the base"],
    );
}

/// Every item gets the answer of the module that the router chooses by what stands before the answer; teachers in blocks are
/// smaller.
fn in_a_matrix_of_tasks(bench: &Workbench, sentences: [&'static str; 2], ask: impl Fn(&'static str) -> Value) {
    bench.write(
        "seen.toml",
        "name = \"seen\"\nversion = 1\nabout = \"What is seen\"\nlicense = \"CC0-1.0\"\ndata = { path = \"seen.jsonl\" }\n\
         subset = \"{{ topic }}\"\n[cloze]\ncontext = \"{{ context }}\"\ntarget = \" {{ target }}\"\n",
    );
    let cut = sentences.map(|sentence| sentence.rsplit_once(' ').unwrap());
    let lines = ["rivers", "hills"].iter().zip(cut).map(|(topic, (context, target))| {
        format!("{}\n", serde_json::json!({ "topic": topic, "context": context, "target": target }))
    });
    bench.write("data/seen.jsonl", lines.collect::<String>());
    let tasks = ["--task", "seen.toml/rivers", "--task", "seen.toml/hills", "--data", "data", "--no-controls"];
    let teachers = ["--teacher", "teacher", "--teacher-blocks", "q8_0", "--teacher-blocks", "q4_0", "--out", "matrix"];
    bench.succeeds(&[&["eval", "matrix", "runs/tiny"][..], &tasks, &teachers].concat());
    let found: Value = serde_json::from_slice(&bench.read("matrix/matrix.json")).unwrap();
    let rows: Vec<&str> = found["rows"].as_array().unwrap().iter().map(|row| row.as_str().unwrap()).collect();
    let teachers = ["teacher", "teacher-q8_0", "teacher-q4_0"];
    assert_eq!(rows, [&["base", "hills", "rivers", "all-summed", "all-averaged", "routed"][..], &teachers].concat());
    let at = |row: &str| rows.iter().position(|name| *name == row).unwrap();
    for (task, (context, _)) in cut.into_iter().enumerate() {
        let chosen = ask(context)["modules"][0]["module"].as_str().unwrap_or("base").to_owned();
        assert_eq!(found["metrics"][at("routed")][task], found["metrics"][at(&chosen)][task], "{context}: {chosen}");
        let others = ["rivers", "hills"].iter().filter(|name| **name != chosen);
        others.for_each(|name| assert_ne!(found["metrics"][at(name)][task], found["metrics"][at(&chosen)][task]));
    }
    let cost = |row: &str, what: &str| found["costs"][at(row)][what].as_u64().unwrap();
    let largest = cost("hills", "module_bytes").max(cost("rivers", "module_bytes"));
    assert_eq!(cost("routed", "resident_bytes"), cost("base", "resident_bytes") + largest);
    let resident = teachers.map(|row| cost(row, "resident_bytes"));
    assert!(resident.is_sorted_by(|a, b| a > b), "{resident:?}");
    // What was measured in blocks can be had again, and by its own values is something else.
    let verify =
        ["eval", "verify", "matrix/teacher-q4_0", "--base", "teacher", "--task", "seen.toml", "--data", "data"];
    bench.succeeds(&[&verify[..], &["--blocks", "q4_0"]].concat());
    bench.fails(1, &verify, &["the base was kept in other blocks: q4_0, not f32"]);
    bench.fails(2, &[&verify[..], &["--blocks", "q9"]].concat(), &["blocks are q8_0, q4_1, q4_0"]);
}
