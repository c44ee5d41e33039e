//! A whole `lore run` on a tiny recipe: what it makes, what it repeats, what an interruption changes.

#![allow(clippy::unwrap_used)]

mod workbench;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::Value;
use sha2::{Digest, Sha256};
use workbench::rivers_task::{TASK, items};
use workbench::tiny_recipe::{RECIPE, STAGES, tiny_run};
use workbench::{Answer, Workbench, edit_json};

const RUN: [&str; 2] = ["run", "recipe.toml"];

#[test]
fn a_base_is_made_where_the_texts_of_the_topics_are_not() {
    let bench = tiny_run();
    fs::remove_dir_all(bench.path("rivers")).unwrap();
    bench.fails(2, &RUN, &["topic[1].source", "rivers, which does not exist"]);
    let made = bench.succeeds(&["run", "recipe.toml", "--until", "base"]);
    assert_eq!(made.stages(), ["fetch:teacher", "teacher", "general", "base"]);
    // Another recipe with the same base beside it makes none of it again.
    bench.write("recipe.toml", RECIPE.replace("name = \"tiny\"", "name = \"other\""));
    assert!(bench.succeeds(&["run", "recipe.toml", "--until", "base"]).stages().is_empty());
    let base = "base/model.safetensors";
    assert_eq!(bench.read(&format!("runs/tiny/{base}")), bench.read(&format!("runs/other/{base}")));
}

#[test]
fn without_topics_a_base_and_a_report() {
    let bench = tiny_run();
    let (head, _) = RECIPE.split_once("[[topic]]").unwrap();
    let recipe = head.replace("[evaluate]", "[evaluate]\nprompts = [\"the rain in\", \"a ring\"]\nweights = [0.5]");
    bench.write("recipe.toml", recipe.replace("last = 0 }", "last = 0 }\ndistil = { control = true }"));
    let made = bench.succeeds(&RUN);
    assert_eq!(made.stages(), ["fetch:teacher", "teacher", "general", "base", "evaluate", "report"]);
    let report: Value = serde_json::from_slice(&bench.read("runs/tiny/report.json")).unwrap();
    let rows = report["matrix"]["rows"].as_array().unwrap();
    assert_eq!(rows.iter().map(|row| row["name"].as_str().unwrap()).collect::<Vec<_>>(), ["base", "teacher"]);
    let control = &report["distillation"]["control"];
    let [less, error] = ["student_less_control", "standard_error"].map(|name| control[name].as_f64().unwrap());
    let claims = report["claims"].as_array().unwrap();
    let claim = claims.iter().find(|claim| claim["name"].as_str().unwrap().contains("control")).unwrap();
    assert_eq!(claim["met"].as_bool().unwrap(), less < -1.96 * error, "{claim} {control}");
    // The teacher's sample is what the teacher writes, and not what the base does.
    let sample = &report["teacher_samples"][1];
    assert_eq!((report["teacher_samples"].as_array().unwrap().len(), sample["prompt"].as_str()), (2, Some("a ring")));
    assert_ne!(sample["base_text"], sample["teacher_text"]);
    let page = String::from_utf8(bench.read("runs/tiny/report.html")).unwrap();
    assert!(page.contains("continued by the base and by the teacher.") && page.contains("<h4>teacher</h4>"), "{page}");
    assert!(!page.contains("What is kept") && !page.contains("id=\"modules\""), "{page}");

    for command in [&["finetune", "recipe.toml"][..], &["data", "build", "recipe.toml", "--out", "data"]] {
        bench.fails(2, command, &["recipe.toml: it has no `[[topic]]`"]);
    }
    bench.fails(2, &["pack", "build", "runs/tiny"], &["runs/tiny has a base and no module to pack"]);
}

#[test]
fn burns_own_operations_learn_the_same() {
    let bench = tiny_run();
    let run = |folder: &str, until: &str, device: &str| {
        bench.succeeds(&["run", "recipe.toml", "--runs-dir", folder, "--until", until, "--device", device])
    };
    let losses = |folder: &str| -> Vec<f64> {
        let stages = format!("{folder}/tiny/stages");
        let base = bench.listing(&stages).into_iter().find(|name| name.starts_with("base-")).unwrap();
        let lines = String::from_utf8(bench.read(&format!("{stages}/{base}/metrics.jsonl"))).unwrap();
        lines.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()["loss"].as_f64().unwrap()).collect()
    };
    run("own", "general", "cpu");
    workbench::copy(&bench.path("own"), &bench.path("composed"));
    run("own", "base", "cpu");
    run("composed", "base", "cpu-composed");
    let (own, composed) = (losses("own"), losses("composed"));
    assert_eq!((own.len(), composed.len()), (60, 60));
    assert_ne!(own, composed, "both were computed by the same operations");
    for (own, composed) in own.iter().zip(&composed) {
        assert!((own - composed).abs() < 1e-4 * own, "{own} and {composed}");
    }
}

#[test]
fn what_a_recipe_asks_is_in_its_report() {
    let bench = tiny_run();
    let tasks = "[evaluate.tasks]\nask = [\"rivers.toml\", \"rivers.toml/odd\"]\nsource = \"file:data\"\nitems = 4\n\n";
    let recipe = RECIPE.replacen("[[topic]]", &format!("{tasks}[[topic]]"), 1);
    bench.write("recipe.toml", &recipe);
    bench.write("rivers.toml", TASK);
    bench.fails(2, &RUN, &["evaluate.tasks.source", "data, which is no folder"]);
    bench.write("data/rivers.jsonl", items(0..12));
    // One item stands in a text of a topic that is trained on.
    for number in 0..40 {
        let question = "Question: Where does river 4 run? Answer: up.";
        bench.write(&format!("hills/{number}.txt"), format!("Hill {number} stands above the town. {question}"));
    }
    let first = bench.succeeds(&RUN);
    for part in
        ["Tasks, and change against the base", "rivers/odd", "acc, 8", "(the longest answer)", "1 of 8 items of rivers"]
    {
        assert!(first.stdout.contains(part), "{part}: {}", first.stdout);
    }
    let report: Value = serde_json::from_slice(&bench.read("runs/tiny/report.json")).unwrap();
    let task = &report["tasks"][0];
    let rows: Vec<&str> = task["rows"].as_array().unwrap().iter().map(|row| row["row"].as_str().unwrap()).collect();
    assert_eq!(rows, ["base", "rivers", "hills", "sum", "mean", "teacher"]);
    assert_eq!((&task["items"], &task["dirty"], &report["tasks"][1]["items"]), (&8.into(), &1.into(), &4.into()));
    assert!(task["rows"][0]["change"].is_null() && task["rows"][5]["change"]["adjusted_p_value"].is_f64());
    assert!(task["rows"][1]["clean"].is_f64() && task["controls"]["majority"].is_f64());
    let page = String::from_utf8(bench.read("runs/tiny/report.html")).unwrap();
    assert!(page.contains("What each of them answers") && page.contains("1 of them seen in training"));
    // The figures are those of `lore eval`.
    let modules = ["--module", "runs/tiny/modules/hills"];
    let eval = ["eval", "--base", "runs/tiny/base", "--task", "rivers.toml", "--data", "data", "--limit", "4"];
    bench.succeeds(&[&eval[..], &modules, &["--out", "out", "--fresh"]].concat());
    let result: Value = serde_json::from_slice(&bench.read("out/rivers.json")).unwrap();
    assert_eq!(result["metrics"]["acc"]["value"], task["rows"][2]["value"]);
    // Nothing again, until the data is another.
    assert!(bench.succeeds(&RUN).stages().is_empty());
    bench.write("data/rivers.jsonl", items(0..14));
    assert_eq!(bench.succeeds(&RUN).stages(), ["evaluate", "report"]);
    bench.write("recipe.toml", recipe.replace("rivers.toml/odd", "mmul").replace("source = \"file:data\"\n", ""));
    bench.fails(2, &RUN, &["evaluate.tasks.ask[2]", "did you mean `mmlu`?", "needs `source`, the folder"]);
}

#[test]
fn a_run_ends_with_a_report_and_only_changed_stages_run_again() {
    let bench = tiny_run();
    let plan = bench.succeeds(&["run", "recipe.toml", "--plan"]);
    assert!(plan.stdout.contains("to run: 12 of 12 stages"), "{}", plan.stdout);
    assert!(!bench.path("runs").exists());

    let first = bench.succeeds(&RUN);
    assert_eq!(first.stages(), STAGES);
    assert!(!first.stderr.contains("NaN") && !first.stdout.contains("NaN"), "{}{}", first.stderr, first.stdout);
    let report: Value = serde_json::from_slice(&bench.read("runs/tiny/report.json")).unwrap();
    assert_eq!(report["name"], "tiny");
    assert_eq!(report["modules"].as_array().unwrap().len(), 2);
    let page = String::from_utf8(bench.read("runs/tiny/report.html")).unwrap();
    assert!(page.contains("</html>") && page.contains("rivers") && page.contains("hills"));
    assert!(first.stdout.contains("Report: runs/tiny/report.html"), "{}", first.stdout);
    let partial = bench.listing("runs/tiny/stages").into_iter().find(|name| name.ends_with(".partial"));
    assert_eq!((partial, bench.listing("runs/tiny/stages").len()), (None, STAGES.len()));

    let second = bench.succeeds(&RUN);
    assert!(second.stages().is_empty(), "{}", second.stderr);
    assert!(second.stdout.contains("Nothing to do: all 12 stages of `tiny` are finished"), "{}", second.stdout);
    let plan = bench.succeeds(&["run", "recipe.toml", "--plan"]);
    assert!(plan.stdout.contains("nothing to do"), "{}", plan.stdout);

    what_was_made_can_be_used(&bench);

    let made = made(&bench);
    bench.write("recipe.toml", RECIPE.replace("rank = 3", "rank = 4"));
    let changed = bench.succeeds(&RUN);
    assert_eq!(changed.stages(), ["module:hills", "evaluate", "report"]);
    let now = self::made(&bench);
    let differing: Vec<&String> = now.keys().filter(|name| now[*name] != made[*name]).collect();
    assert_eq!(differing, ["modules/hills/adapter_model.safetensors"]);
    assert_eq!(bench.listing("runs/tiny/stages").len(), STAGES.len());

    // A changed text: what is learnt from it is learnt again.
    bench.write("rivers/0.txt", "The river of valley zero is dry and the mill stands still in the heat of noon.");
    let changed = bench.succeeds(&RUN);
    assert_eq!(changed.stages(), ["fetch:rivers", "topic:rivers", "module:rivers", "evaluate", "report"]);

    // A manifest that was cut means unfinished; the same result comes out, so nothing else runs.
    let manifest = stage_file(&bench, "base", "stage.json");
    let whole = fs::read(&manifest).unwrap();
    fs::write(&manifest, &whole[..whole.len() / 2]).unwrap();
    assert_eq!(bench.succeeds(&RUN).stages(), ["base"]);

    // So does a file that was cut.
    let weights = stage_file(&bench, "module-rivers", "module/adapter_model.safetensors");
    let kept = fs::read(&weights).unwrap();
    fs::write(&weights, &kept[..kept.len() / 2]).unwrap();
    assert_eq!(bench.succeeds(&RUN).stages()[0], "module:rivers");
    assert_eq!(fs::read(&weights).unwrap(), kept);

    assert_eq!(bench.succeeds(&["run", "recipe.toml", "--force", "report"]).stages(), ["report"]);
    let unknown =
        bench.fails(2, &["run", "recipe.toml", "--force", "modul:hills"], &["--force modul:hills", "module:hills"]);
    assert_eq!(unknown.stages(), Vec::<String>::new());
}

fn what_was_made_can_be_used(bench: &Workbench) {
    let base = ["--base", "runs/tiny/base"];
    let module = ["--module", "runs/tiny/modules/rivers=1.0", "--module", "runs/tiny/modules/hills=0.5"];
    let generate = [&["generate"], &base[..], &module, &["--prompt", "the river", "--max-tokens", "4"]].concat();
    let written = bench.succeeds(&generate).stdout;
    assert!(written.starts_with("the river"), "{written:?}");
    assert_eq!(bench.succeeds(&generate).stdout, written);

    bench
        .write("in.jsonl", "{\"context\": \"The river of valley 4, seen for the\", \"continuation\": \" 5th time\"}\n");
    let likelihood = |modules: &[&str]| {
        let files = ["--input", "in.jsonl", "--output", "out.jsonl"];
        bench.succeeds(&[&["score"], &base[..], modules, &files].concat());
        let line: Value = serde_json::from_slice(&bench.read("out.jsonl")).unwrap();
        line["loglikelihood"].as_f64().unwrap()
    };
    assert!(likelihood(&module[..2]) > likelihood(&[]), "the module has learnt its topic's phrases");

    // A module belongs to its base: the teacher's whole depth is another one.
    let other = ["generate", "--base", "teacher", "--module", "runs/tiny/modules/rivers", "--prompt", "a"];
    bench.fails(1, &other, &["module runs/tiny/modules/rivers", "was trained on lore-base-v1:"]);
}

/// sha256 of the weights of base and modules, by name in the run's folder.
fn made(bench: &Workbench) -> BTreeMap<String, String> {
    ["base/model.safetensors", "modules/rivers/adapter_model.safetensors", "modules/hills/adapter_model.safetensors"]
        .into_iter()
        .map(|name| {
            let digest = Sha256::digest(bench.read(&format!("runs/tiny/{name}")));
            (name.to_owned(), digest.iter().map(|byte| format!("{byte:02x}")).collect())
        })
        .collect()
}

/// A file in the folder of a finished stage.
fn stage_file(bench: &Workbench, stage: &str, file: &str) -> PathBuf {
    let folders = bench.listing("runs/tiny/stages");
    let folder = folders.iter().find(|name| name.rsplit_once('-').unwrap().0 == stage).unwrap();
    bench.path(&format!("runs/tiny/stages/{folder}/{file}"))
}

/// Starts the run and kills it as soon as `moment` is there.
fn kill_at(bench: &Workbench, moment: impl Fn(&Path) -> bool) {
    let mut child = bench.command(&RUN).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let stages = bench.path("runs/tiny/stages");
    let start = Instant::now();
    while !moment(&stages) {
        assert!(child.try_wait().unwrap().is_none(), "the run ended before it could be killed");
        assert!(start.elapsed() < Duration::from_secs(120), "the moment to kill never came");
        sleep(Duration::from_millis(1));
    }
    child.kill().unwrap();
    child.wait().unwrap();
}

/// Whether the unfinished folder of `stage` holds something whose name starts with `file`.
fn has(stages: &Path, stage: &str, file: &str) -> bool {
    let entries = |path: &Path| fs::read_dir(path).into_iter().flatten().flatten().collect::<Vec<_>>();
    let name_starts = |entry: &fs::DirEntry, start: &str| entry.file_name().to_string_lossy().starts_with(start);
    let unfinished =
        |entry: &fs::DirEntry| name_starts(entry, stage) && entry.file_name().to_string_lossy().ends_with(".partial");
    entries(stages)
        .iter()
        .filter(|entry| unfinished(entry))
        .any(|folder| entries(&folder.path()).iter().any(|entry| name_starts(entry, file)))
}

#[test]
fn a_killed_run_goes_on_to_the_same_bytes() {
    let straight = tiny_run();
    straight.succeeds(&RUN);

    let killed = tiny_run();
    kill_at(&killed, |stages| has(stages, "general", "written.jsonl"));
    kill_at(&killed, |stages| has(stages, "base", "checkpoint-0000"));
    kill_at(&killed, |stages| has(stages, "module-rivers", "checkpoint-0000"));
    kill_at(&killed, |stages| {
        has(stages, "module-hills", "checkpoint.partial") || has(stages, "module-hills", "checkpoint-0000")
    });
    let last = killed.succeeds(&RUN);
    assert_eq!(last.stages(), ["module:hills", "evaluate", "report"]);
    assert!(last.stderr.contains("module:hills, going on"), "{}", last.stderr);
    assert_eq!(made(&killed), made(&straight));
    assert_eq!(killed.listing("runs/tiny/stages").len(), STAGES.len());
}

#[test]
fn a_checkpoint_that_cannot_be_resumed_from_is_named() {
    let bench = tiny_run();
    kill_at(&bench, |stages| has(stages, "base", "checkpoint-0000"));
    let stages = bench.path("runs/tiny/stages");
    let folder = bench.listing("runs/tiny/stages").into_iter().find(|name| name.starts_with("base-")).unwrap();
    let folder = stages.join(folder);
    let checkpoints = || -> Vec<PathBuf> {
        let entries = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path());
        entries.filter(|path| path.file_name().unwrap().to_str().unwrap().starts_with("checkpoint-")).collect()
    };
    // A kill between two checkpoints may leave both; the newest counts.
    let checkpoint = checkpoints().into_iter().max().unwrap();
    let name = checkpoint.file_name().unwrap().to_str().unwrap().to_owned();

    let manifest = checkpoint.join("checkpoint.json");
    let kept = fs::read(&manifest).unwrap();
    edit_json(&manifest, |keys| keys["identity"] = "0".repeat(64).into());
    bench.fails(
        1,
        &RUN,
        &["stage `base` failed", &name, "belongs to a run with another recipe", "remove it to start again"],
    );
    fs::write(&manifest, &kept[..kept.len() / 2]).unwrap();
    bench.fails(1, &RUN, &["stage `base` failed", &name, "cannot be resumed from", "remove it to start again"]);
    fs::write(&manifest, kept).unwrap();

    let state = checkpoint.join("state.safetensors");
    let kept = fs::read(&state).unwrap();
    fs::write(&state, &kept[..kept.len() / 2]).unwrap();
    bench.fails(1, &RUN, &["stage `base` failed", &name, "state.safetensors"]);
    assert!(checkpoint.exists(), "what cannot be used is left for the user to judge");

    for path in checkpoints() {
        fs::remove_dir_all(path).unwrap();
    }
    assert_eq!(bench.succeeds(&RUN).stages()[0], "base");
    let straight = tiny_run();
    straight.succeeds(&RUN);
    assert_eq!(made(&bench), made(&straight));
}

#[test]
fn two_runs_do_not_share_a_folder() {
    let bench = tiny_run();
    let mut child = bench.command(&RUN).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let lock = bench.path("runs/tiny/lock");
    let start = Instant::now();
    let id = child.id().to_string();
    while !fs::read_to_string(&lock).is_ok_and(|holder| holder.trim() == id) {
        assert!(start.elapsed() < Duration::from_secs(60), "the run never took its lock");
        sleep(Duration::from_millis(1));
    }
    let second = bench.run(&RUN);
    assert!(child.try_wait().unwrap().is_none(), "the first run ended too early to be in the way");
    second
        .is_clear_failure(1, &["runs/tiny is in use by another `lore run`", &format!("(process {id})"), "--runs-dir"]);
    assert!(second.stages().is_empty());

    // Another folder is free.
    let elsewhere = ["run", "recipe.toml", "--runs-dir", "elsewhere"];
    let other = bench.succeeds(&elsewhere);
    assert_eq!(other.stages(), STAGES);
    assert_eq!(Answer::of(child.wait_with_output().unwrap()).code, 0);
    let same = |name: &str| {
        fs::read(bench.path("elsewhere/tiny").join(name)).unwrap() == bench.read(&format!("runs/tiny/{name}"))
    };
    assert!(same("base/model.safetensors") && same("modules/hills/adapter_model.safetensors"));
}

#[test]
fn lengths_beyond_the_teachers_positions() {
    // tiny-llama has 128 positions.
    let parts = |key: &'static str| [key, "128"];
    let bench = tiny_run();
    let change = |from: &str, to: &str| bench.write("recipe.toml", RECIPE.replacen(from, to, 1));
    change("tokens = 6000\nsequence_length = 40", "tokens = 6000\nsequence_length = 128");
    bench.fails(1, &RUN, &parts("`general.sequence_length`"));
    change("batch_sequences = 4\nsequence_length = 40\nwarmup", "batch_sequences = 4\nsequence_length = 200\nwarmup");
    bench.fails(1, &RUN, &parts("`base.train.sequence_length`"));
    change("sequence_length = 40\nlearning_rate", "sequence_length = 200\nlearning_rate");
    bench.fails(1, &RUN, &parts("`train.sequence_length`"));
    change("passage_tokens = 40", "passage_tokens = 128");
    bench.fails(1, &RUN, &parts("`evaluate.passage_tokens`"));
    change("sample_tokens = 6", "sample_tokens = 600");
    bench.fails(1, &RUN, &parts("`evaluate.sample_tokens`"));
}

#[test]
fn general_text_may_be_fetched() {
    let bench = tiny_run();
    for number in 0..40 {
        let text = format!("On day {number} the train came late and everyone in the hall read the news again.");
        bench.write(&format!("general/{number}.txt"), text);
    }
    let start = RECIPE.find("[general.sample]").unwrap();
    let end = RECIPE.find("[base]").unwrap();
    let corpus = "[general.corpus]\nsource = \"file:general\"\nextract = { format = \"text\" }\n\n";
    bench.write("recipe.toml", format!("{}{corpus}{}", &RECIPE[..start], &RECIPE[end..]));
    let answer = bench.succeeds(&RUN);
    assert_eq!(answer.stages().len(), STAGES.len() + 1);
    assert_eq!(answer.stages()[1], "fetch:general");
    assert!(bench.succeeds(&RUN).stages().is_empty());
}

#[test]
fn the_same_teacher_in_another_format_makes_the_same_base() {
    let bench = tiny_run();
    bench.succeeds(&RUN);
    let from_folder = made(&bench);
    bench.model("tiny-llama.gguf", "teacher.gguf");
    bench.write("recipe.toml", RECIPE.replace("file:teacher", "file:teacher.gguf"));
    bench.succeeds(&RUN);
    assert_eq!(made(&bench), from_folder);
}

#[test]
fn a_base_with_all_of_the_teachers_blocks() {
    let bench = tiny_run();
    bench.write("recipe.toml", RECIPE.replace("first = 1, last = 0", "first = 1, last = 1"));
    let answer = bench.succeeds(&RUN);
    assert!(!answer.stderr.contains("NaN") && !answer.stdout.contains("NaN"), "{}{}", answer.stderr, answer.stdout);
}

#[test]
fn a_depth_the_teacher_does_not_have() {
    let bench = tiny_run();
    bench.write("recipe.toml", RECIPE.replace("first = 1, last = 0", "first = 2, last = 3"));
    bench.fails(1, &RUN, &["stage `base` failed", "`base.depth`"]);
}

#[test]
fn a_captured_teacher_a_control_and_measured_blocks() {
    let bench = tiny_run();
    let distil = "keep = 1 }\ndistil = { teacher = \"cached\", samples = 20, labels = 0.1, control = true }";
    bench.write("recipe.toml", RECIPE.replace("first = 1, last = 0 }", distil));
    let until = ["run", "recipe.toml", "--until", "base"];
    assert_eq!(bench.succeeds(&until).stages(), ["fetch:teacher", "teacher", "general", "targets", "base"]);
    let facts = |field: &str| -> Value {
        let manifest: Value =
            serde_json::from_slice(&fs::read(stage_file(&bench, "base", "stage.json")).unwrap()).unwrap();
        manifest["facts"][field].clone()
    };
    assert!(facts("control")["bits_per_byte"].as_f64().unwrap() > 0.0, "{}", facts("control"));
    assert!(facts("control")["standard_error"].as_f64().unwrap() > 0.0);
    let depth = facts("depth");
    assert_eq!(depth["first"].as_u64().unwrap() + depth["last"].as_u64().unwrap(), 1);
    let base = bench.read("runs/tiny/base/model.safetensors");

    // Read block by block, the teacher says the same; what is not asked for is left alone.
    bench.write(
        "recipe.toml",
        RECIPE.replace("first = 1, last = 0 }", distil).replace("samples", "stream_tokens = 500, samples"),
    );
    bench.succeeds(&["run", "recipe.toml", "--until", "base", "--force", "targets"]);
    assert_eq!(bench.read("runs/tiny/base/model.safetensors"), base);
    bench.fails(
        2,
        &["run", "recipe.toml", "--until", "bas"],
        &["`bas`: no stage has this name", "fetch:teacher", "base"],
    );

    bench.write(
        "recipe.toml",
        RECIPE.replace("first = 1, last = 0 }", &distil.replace("samples = 20", "loss = \"reverse-kl\"")),
    );
    bench.fails(2, &until, &["`base.distil.loss` is not possible with `teacher = \"cached\"`"]);
}
