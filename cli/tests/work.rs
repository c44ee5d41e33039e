//! `lore work`: jobs made in one folder, computed in another, checked and taken over; altered results refused.

#![allow(clippy::unwrap_used)]

mod workbench;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::thread::sleep;
use std::time::{Duration, Instant};

use lore_datasets::fetch::sha256_of_file;
use serde_json::{Value, json};
use workbench::tiny_recipe::tiny_run;
use workbench::{Answer, Safetensors, Workbench, edit_json, text};

/// Everything that modules are made from.
fn prepared() -> Workbench {
    let bench = tiny_run();
    for stage in ["base", "topic:rivers", "topic:hills"] {
        bench.succeeds(&["run", "recipe.toml", "--until", stage]);
    }
    bench
}

fn job(bench: &Workbench, stage: &str, out: &str) -> PathBuf {
    let answer = bench.succeeds(&["work", "stage", "recipe.toml", stage, "--out", out]);
    assert_eq!(answer.stdout.trim(), out);
    bench.path(out)
}

/// Computes a job on a bench that has nothing else, and no way to any server.
fn computed(job: &Path, out: &str) -> (Workbench, PathBuf) {
    let elsewhere = Workbench::new();
    let mut command = elsewhere.command(&["work", "run", text(job), "--out", out]);
    command.env("HF_ENDPOINT", "http://127.0.0.1:9").env("PIP_INDEX_URL", "http://127.0.0.1:9");
    let answer = Answer::of(command.output().unwrap());
    assert!(answer.code == 0 && answer.stdout.ends_with(&format!("{out}\n")), "{}{}", answer.stdout, answer.stderr);
    let path = elsewhere.path(out);
    (elsewhere, path)
}

/// Every file below a folder.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() { folders.push(path) } else { found.push(path) }
        }
    }
    found.sort();
    found
}

fn copy_all(from: &Path, to: &Path) {
    for file in files(from) {
        workbench::copy(&file, &to.join(file.strip_prefix(from).unwrap()));
    }
}

#[test]
fn a_module_is_trained_elsewhere_and_the_run_goes_on_with_it() {
    let bench = prepared();
    bench.fails(
        1,
        &["work", "stage", "recipe.toml", "base", "--out", "a"],
        &["`base` is finished", "nothing is left to do"],
    );
    bench.fails(2, &["work", "stage", "recipe.toml", "general", "--out", "a"], &["`general` trains nothing"]);
    bench.fails(2, &["work", "stage", "recipe.toml", "module:river", "--out", "a"], &["no stage has this name"]);
    let made = job(&bench, "module:rivers", "rivers.tar");
    assert_eq!(fs::read(&made).unwrap(), fs::read(job(&bench, "module:rivers", "again.tar")).unwrap());
    bench.fails(
        2,
        &["work", "stage", "recipe.toml", "module:rivers", "--out", "again.tar"],
        &["again.tar: exists already"],
    );

    let (_elsewhere, result) = computed(&made, "result.tar");
    let verify = ["work", "verify", "rivers.tar", text(&result)];
    let accepted = bench.succeeds(&verify).stdout;
    // The same machine: the same bits.
    assert!(accepted.contains("accepted: 2 steps after") && accepted.contains("differ by 0.0e0"), "{accepted}");
    assert!(accepted.contains("the last 3 of 60 steps"), "{accepted}");
    let all = bench.succeeds(&[&verify[..], &["--steps", "0"]].concat()).stdout;
    assert!(all.contains("accepted: the whole training computed again"), "{all}");

    let apply = ["work", "apply", "rivers.tar", text(&result), "--recipe", "recipe.toml"];
    assert!(bench.succeeds(&apply).stdout.contains("`module:rivers` is finished there"));
    assert!(bench.succeeds(&apply).stdout.contains("was finished there already"));
    let rest = bench.succeeds(&["run", "recipe.toml"]);
    assert_eq!(rest.stages(), ["module:hills", "evaluate", "report"]);
    let straight = tiny_run();
    straight.succeeds(&["run", "recipe.toml"]);
    for file in ["adapter_model.safetensors", "adapter_config.json", "lore.json"] {
        let file = format!("runs/tiny/modules/rivers/{file}");
        assert_eq!(bench.read(&file), straight.read(&file), "{file}");
    }

    // What the recipe has become since is another module.
    let changed =
        String::from_utf8(bench.read("recipe.toml")).unwrap().replace("learning_rate = 1e-3", "learning_rate = 2e-3");
    bench.write("recipe.toml", changed);
    bench.fails(1, &apply, &["`module:rivers` has another key there"]);
}

#[test]
fn a_job_holds_all_it_needs_and_nothing_of_this_machine() {
    let bench = prepared();
    let made = job(&bench, "module:rivers", "job");
    let here = bench.path("").canonicalize().unwrap();
    for file in files(&made) {
        let bytes = fs::read(&file).unwrap();
        let found = bytes.windows(here.as_os_str().len()).any(|part| part == here.as_os_str().as_encoded_bytes());
        assert!(!found, "{} names a path of this machine", file.display());
    }
    // It rehearses with the base: the teacher's weights stay here, and so does the other topic.
    let listed: Vec<String> = files(&made).iter().map(|file| text(file).to_owned()).collect();
    assert!(!listed.iter().any(|file| file.contains("external") || file.contains("hills")), "{listed:?}");
    let recipe = fs::read_to_string(made.join("recipe.toml")).unwrap();
    assert!(recipe.contains("source = \"file:rivers\"") && !recipe.contains("hills"), "{recipe}");

    // One that rehearses with the teacher takes it along.
    let changed =
        String::from_utf8(bench.read("recipe.toml")).unwrap().replace("[modules]", "[modules]\nrehearse = \"teacher\"");
    bench.write("recipe.toml", changed);
    let made = job(&bench, "module:rivers", "with-teacher");
    assert!(files(&made).iter().any(|file| text(file).contains("external/0/teacher/config.json")));
    let (_elsewhere, result) = computed(&made, "result");
    bench.succeeds(&["work", "verify", "with-teacher", text(&result)]);

    // Nor is one computed that names files of whoever computes it, however right its hashes are.
    copy_all(&made, &bench.path("curious"));
    let curious = ["work", "run", "curious", "--out", "out"];
    let mut manifest = String::new();
    edit_json(&bench.path("curious/work.json"), |work| {
        let teacher = &work["unit"]["training"]["inputs"]["teacher"];
        manifest = format!("inputs/{}/stage.json", teacher.as_str().unwrap());
    });
    edit_json(&bench.path("curious").join(&manifest), |manifest| manifest["external"][0]["path"] = "/etc".into());
    edit_json(&bench.path("curious/work.json"), |work| {
        let files = work["files"].as_array_mut().unwrap();
        let file = files.iter_mut().find(|file| file["path"] == manifest.as_str()).unwrap();
        let path = bench.path("curious").join(&manifest);
        file["bytes"] = fs::metadata(&path).unwrap().len().into();
        file["sha256"] = sha256_of_file(&path).unwrap().into();
    });
    bench.fails(1, &curious, &["stage.json: `/etc` is not inside the job"]);
    edit_json(&bench.path("curious/work.json"), |work| {
        work["unit"]["training"]["inputs"]["teacher"] = "../../runs/tiny/stages/teacher".into();
    });
    bench.fails(1, &curious, &["curious: `../../runs/tiny/stages/teacher` is not inside the job"]);

    // An altered job is computed by nobody.
    bench.write("with-teacher/recipe.toml", fs::read_to_string(made.join("recipe.toml")).unwrap() + "# changed\n");
    let altered = ["work", "run", "with-teacher", "--out", "out"];
    bench.fails(1, &altered, &["with-teacher: not as it was made: `recipe.toml`"]);
    bench.write("with-teacher/more", "");
    bench.fails(1, &altered, &["`more` does not belong there"]);
    edit_json(&bench.path("with-teacher/work.json"), |work| work["program"] = "0.0.1".into());
    bench.fails(1, &altered, &["lore 0.0.1 made it", "the same version"]);
    bench.fails(1, &["work", "run", "job/inputs", "--out", "out"], &["not a job of `lore work`"]);
}

#[test]
fn a_base_is_trained_elsewhere() {
    let bench = tiny_run();
    bench.fails(
        1,
        &["work", "stage", "recipe.toml", "base", "--out", "a"],
        &["`base` needs what is not finished", "teacher, general"],
    );
    bench.succeeds(&["run", "recipe.toml", "--until", "general"]);
    let made = job(&bench, "base", "base.tar");
    let (_elsewhere, result) = computed(&made, "result.tar");
    bench.succeeds(&["work", "apply", "base.tar", text(&result), "--recipe", "recipe.toml"]);
    let straight = tiny_run();
    let rest = ["run", "recipe.toml", "--until", "base"];
    straight.succeeds(&rest);
    assert!(bench.succeeds(&rest).stages().is_empty());
    assert_eq!(bench.read("runs/tiny/base/model.safetensors"), straight.read("runs/tiny/base/model.safetensors"));
}

/// A result whose hashes are right again after it was changed.
fn forged(bench: &Workbench, result: &Path, name: &str, change: impl FnOnce(&Path)) -> String {
    let copy = bench.path(name);
    copy_all(result, &copy);
    change(&copy);
    let stage = copy.join("stage");
    if stage.is_dir() {
        edit_json(&stage.join("stage.json"), |manifest| {
            for output in manifest["outputs"].as_array_mut().unwrap() {
                let path = stage.join(output["path"].as_str().unwrap());
                output["bytes"] = fs::metadata(&path).unwrap().len().into();
                output["sha256"] = sha256_of_file(&path).unwrap().into();
            }
        });
    }
    edit_json(&copy.join("result.json"), |record| {
        for file in record["files"].as_array_mut().unwrap() {
            let path = copy.join(file["path"].as_str().unwrap());
            file["bytes"] = fs::metadata(&path).unwrap().len().into();
            file["sha256"] = sha256_of_file(&path).unwrap().into();
        }
    });
    name.to_owned()
}

/// Changes each step's figures, and the curve with them.
fn change_figures(result: &Path, change: impl Fn(&mut Value)) {
    let path = result.join("stage/metrics.jsonl");
    let lines = fs::read_to_string(&path).unwrap();
    let mut curve: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    curve.iter_mut().for_each(change);
    fs::write(path, curve.iter().map(|line| format!("{line}\n")).collect::<String>()).unwrap();
    edit_json(&result.join("stage/stage.json"), |manifest| manifest["facts"]["curve"] = json!(curve));
}

/// Adds to some values of each tensor whose name holds `part`.
fn move_tensors(path: &Path, part: &str, by: f32) {
    let mut file = Safetensors::read(path);
    let names: Vec<String> =
        file.header.as_object().unwrap().keys().filter(|name| name.contains(part)).cloned().collect();
    assert!(!names.is_empty());
    for name in names {
        let range = file.range(&name);
        for value in file.data[range].chunks_exact_mut(4) {
            let moved = f32::from_le_bytes(value.try_into().unwrap()) + by;
            value.copy_from_slice(&moved.to_le_bytes());
        }
    }
    file.write(path);
}

#[test]
fn altered_results_are_refused_with_the_reason() {
    let bench = prepared();
    let made = job(&bench, "module:rivers", "job");
    let (_elsewhere, result) = computed(&made, "result");
    let refused = |name: &str, parts: &[&str]| {
        let parts = [&[name, "not accepted"], parts].concat();
        bench.fails(1, &["work", "verify", "job", name, "--seed", "1"], &parts);
    };
    // As they are, with hashes computed again: the forger's tools change nothing.
    let same = forged(&bench, &result, "same", |_| {});
    bench.succeeds(&["work", "verify", "job", &same]);

    let weights = "stage/module/adapter_model.safetensors";
    copy_all(&result, &bench.path("touched"));
    move_tensors(&bench.path("touched").join(weights), "lora_B", 1e-6);
    refused("touched", &[&format!("`{weights}`")]);
    bench.write(&format!("touched/{weights}"), "short");
    refused("touched", &["has 5 bytes instead of"]);
    copy_all(&result, &bench.path("more"));
    bench.write("more/evil.py", "");
    refused("more", &["`evil.py` does not belong there"]);
    fs::remove_file(bench.path("more/evil.py")).unwrap();
    #[cfg(unix)]
    {
        std::os::unix::fs::symlink("/etc/passwd", bench.path("more/link")).unwrap();
        bench.fails(1, &["work", "verify", "job", "more"], &["link: not a plain file"]);
    }

    let moved = forged(&bench, &result, "moved", |copy| move_tensors(&copy.join(weights), "lora_B", 0.01));
    refused(&moved, &["lora_B", "% away from what was computed again"]);
    let nicer = forged(&bench, &result, "nicer", |copy| {
        change_figures(copy, |line| line["loss"] = (line["loss"].as_f64().unwrap() * 0.99).into());
    });
    refused(&nicer, &["computed again has loss"]);
    let curve = forged(&bench, &result, "curve", |copy| {
        edit_json(&copy.join("stage/stage.json"), |manifest| manifest["facts"]["curve"][3]["loss"] = 0.1.into());
    });
    refused(&curve, &["the curve is not that of its figures"]);
    let fact = forged(&bench, &result, "fact", |copy| {
        edit_json(&copy.join("stage/stage.json"), |manifest| manifest["facts"]["parameters"] = 1.into());
    });
    refused(&fact, &["`facts.parameters`"]);
    let card = forged(&bench, &result, "card", |copy| {
        edit_json(&copy.join("stage/module/lore.json"), |facts| facts["metadata"]["license"] = "MIT".into());
    });
    refused(&card, &["`module/lore.json` is not what the stage writes"]);
    let config = forged(&bench, &result, "config", |copy| {
        edit_json(&copy.join("stage/stage.json"), |manifest| manifest["config"]["seed"] = 4.into());
    });
    refused(&config, &["made with another part of the recipe"]);
    let elsewhere = forged(&bench, &result, "elsewhere", |copy| {
        edit_json(&copy.join("stage/stage.json"), |manifest| {
            manifest["external"] = json!([{ "path": "/etc/passwd", "bytes": null, "sha256": null }]);
        });
    });
    refused(&elsewhere, &["names files outside itself"]);
    // Checkpoints of another training: what follows them is not what is claimed.
    let state = "checkpoints/checkpoint-00000057/state.safetensors";
    let other = forged(&bench, &result, "other", |copy| move_tensors(&copy.join(state), "weights.", 0.5));
    refused(&other, &["step 58 computed again has loss"]);
    let broken = forged(&bench, &result, "broken", |copy| fs::write(copy.join(state), "no tensors").unwrap());
    refused(&broken, &["after step 57", "state.safetensors"]);

    job(&bench, "module:hills", "hills-job");
    bench.fails(1, &["work", "verify", "hills-job", text(&result)], &["belongs to another job"]);
    bench.fails(1, &["work", "verify", "job", "job"], &["it has no result.json"]);
    bench.fails(
        1,
        &["work", "verify", "nowhere", text(&result)],
        &["nowhere: no such file or folder", "expected a job", "`lore work stage`"],
    );
    bench.fails(
        1,
        &["work", "verify", "job", "nowhere.tar"],
        &["nowhere.tar: no such file or folder", "expected a result", "`lore work run JOB`"],
    );
    bench.fails(2, &["work", "apply", "job", text(&result), "--out", "results"], &["give --recipe"]);
    assert!(bench.listing("runs/tiny/modules").is_empty(), "nothing was taken over");
}

#[test]
fn a_killed_job_goes_on_to_the_same_bytes() {
    let bench = prepared();
    let made = job(&bench, "module:rivers", "rivers.tar");
    let (_elsewhere, straight) = computed(&made, "result");

    let elsewhere = Workbench::new();
    let arguments = ["work", "run", text(&made), "--out", "result", "--working", "slot"];
    let start = Instant::now();
    for wanted in ["checkpoint-0000000", "checkpoint-0000002"] {
        let mut child = elsewhere.command(&arguments).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        while !elsewhere.listing("slot/stage").iter().any(|name| name.starts_with(wanted)) {
            assert!(child.try_wait().unwrap().is_none(), "the job ended before it could be killed");
            assert!(start.elapsed() < Duration::from_secs(120), "the moment to kill never came");
            sleep(Duration::from_millis(1));
        }
        child.kill().unwrap();
        child.wait().unwrap();
    }
    let fraction: f64 = String::from_utf8(elsewhere.read("slot/fraction_done")).unwrap().trim().parse().unwrap();
    assert!(fraction > 0.0 && fraction < 1.0, "{fraction}");
    assert!(String::from_utf8(elsewhere.read("slot/checkpoint")).unwrap().starts_with("step "));
    let answer = elsewhere.succeeds(&arguments);
    assert!(answer.stderr.contains("going on after step"), "{}", answer.stderr);
    assert_eq!(elsewhere.read("slot/fraction_done"), b"1.000000\n");
    for file in ["adapter_model.safetensors", "adapter_config.json", "lore.json"] {
        let file = format!("stage/module/{file}");
        assert_eq!(elsewhere.read(&format!("result/{file}")), fs::read(straight.join(&file)).unwrap(), "{file}");
    }
    bench.succeeds(&["work", "verify", "rivers.tar", text(&elsewhere.path("result"))]);
    assert!(elsewhere.succeeds(&arguments).stderr.contains("result: is the result already"));
    let other = job(&bench, "module:hills", "hills-job");
    let wrong = ["work", "run", text(&other), "--out", "hills", "--working", "slot"];
    elsewhere.fails(2, &wrong, &["slot holds the work on another job"]);
    elsewhere.fails(2, &["work", "run", text(&other), "--out", "result"], &["result: exists already"]);
}

const TASK: &str = r#"
name = "rivers"
version = 1
data = { path = "questions/rivers.jsonl" }
id = "{{ id }}"

[multiple_choice]
context = "Question: {{ question }}\nAnswer:"
choices = "choices"
gold = "answer"
"#;

#[test]
fn a_task_is_answered_elsewhere() {
    let bench = Workbench::new();
    let base = bench.model("tiny-llama", "base");
    bench.module("module", &base);
    bench.write("rivers.toml", TASK);
    let line = |i: usize| {
        let choices = format!("[\"down the hill {i}\", \"up\", \"to the sea\"]");
        format!(
            "{{\"id\": \"{i}\", \"question\": \"Where does river {i} run?\", \"choices\": {choices}, \"answer\": {}}}\n",
            i % 3
        )
    };
    bench.write("data/questions/rivers.jsonl", (0..24).map(line).collect::<String>());
    bench.write("data/other.jsonl", "");
    let make = ["work", "task", "--base", "base", "--module", "module=0.5", "--task", "rivers.toml", "--data", "data"];
    bench.succeeds(&[&make[..], &["--out", "job.tar"]].concat());
    let (_elsewhere, result) = computed(&bench.path("job.tar"), "answers");
    assert_eq!(files(&result).len(), 3);
    bench.succeeds(&["work", "verify", "job.tar", text(&result)]);
    let apply = ["work", "apply", "job.tar", text(&result), "--out", "results", "--items", "0"];
    assert!(bench.succeeds(&apply).stdout.ends_with("results/rivers.json\n"));
    // As it would have been here.
    let here = [
        "eval",
        "--base",
        "base",
        "--module",
        "module=0.5",
        "--task",
        "rivers.toml",
        "--data",
        "data",
        "--out",
        "here",
    ];
    bench.succeeds(&here);
    for file in ["rivers.json", "rivers.samples.jsonl"] {
        assert_eq!(bench.read(&format!("results/{file}")), bench.read(&format!("here/{file}")), "{file}");
    }

    let refused = |name: &str, parts: &[&str]| {
        let parts = [&[name, "not accepted"], parts].concat();
        bench.fails(1, &["work", "verify", "job.tar", name, "--items", "0"], &parts);
    };
    let nicer = forged(&bench, &result, "nicer", |copy| {
        edit_json(&copy.join("answers/rivers.json"), |result| result["metrics"]["acc"]["value"] = 0.99.into());
    });
    refused(&nicer, &["the metrics do not follow from the samples"]);
    // Answers to fewer questions, or of another model, are answers to another job.
    let fewer = [&make[..], &["--limit", "3", "--out", "fewer"]].concat();
    bench.succeeds(&fewer);
    let (_other, fewer) = computed(&bench.path("fewer"), "answers");
    bench.fails(1, &["work", "verify", "job.tar", text(&fewer)], &["belongs to another job"]);
    let swapped = forged(&bench, &result, "swapped", |copy| copy_all(&fewer.join("answers"), &copy.join("answers")));
    refused(&swapped, &["it answers another number of items than the job asks"]);
    // Other prompts with the same items: examples before each, which the job does not ask for.
    let shots = ["eval", "--base", "base", "--module", "module=0.5", "--task", "rivers.toml", "--data", "data"];
    bench.succeeds(&[&shots[..], &["--shots", "1", "--out", "shots"]].concat());
    let helped = forged(&bench, &result, "helped", |copy| {
        for file in ["rivers.json", "rivers.samples.jsonl"] {
            fs::copy(bench.path("shots").join(file), copy.join("answers").join(file)).unwrap();
        }
    });
    refused(&helped, &["it answers another set of questions than the job asks"]);
    // Under the name of another task it would be put in that one's place.
    let renamed = forged(&bench, &result, "renamed", |copy| {
        fs::rename(copy.join("answers/rivers.json"), copy.join("answers/hills.json")).unwrap();
        edit_json(&copy.join("result.json"), |record| {
            let files = record["files"].as_array_mut().unwrap();
            let file = files.iter_mut().find(|file| file["path"] == "answers/rivers.json").unwrap();
            file["path"] = "answers/hills.json".into();
        });
    });
    refused(&renamed, &["its files are not called `rivers.json` and `rivers.samples.jsonl`"]);
    let plain = ["eval", "--base", "base", "--task", "rivers.toml", "--data", "data", "--out", "plain"];
    bench.succeeds(&plain);
    let without = forged(&bench, &result, "without", |copy| {
        for file in ["rivers.json", "rivers.samples.jsonl"] {
            fs::copy(bench.path("plain").join(file), copy.join("answers").join(file)).unwrap();
        }
    });
    refused(&without, &["other modules or weights"]);
}

/// What scripts/boinc gives to BOINC's `script_validator` and `script_assimilator`.
#[cfg(unix)]
#[test]
fn scripts_for_boinc_accept_and_take_over() {
    use std::process::Command;
    let bench = prepared();
    let made = job(&bench, "module:rivers", "rivers.tar");
    let scripts = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("scripts/boinc");
    let script = |name: &str, arguments: &[&str]| {
        let mut command = Command::new("bash");
        bench.prepare(&mut command);
        command.arg(scripts.join(name)).args(arguments);
        command.env("LORE", env!("CARGO_BIN_EXE_lore")).env("LORE_JOBS", bench.path("jobs"));
        Answer::of(command.output().unwrap())
    };
    let recipe = bench.path("recipe.toml");
    let runs = bench.path("runs");
    // Kept under its hash, with what is to be done with its result.
    let kept = script("keep", &["rivers.tar", "--recipe", text(&recipe), "--runs-dir", text(&runs)]);
    assert_eq!(kept.code, 0, "{}", kept.stderr);
    let id = kept.stdout.trim().to_owned();
    assert_eq!(bench.listing("jobs"), [format!("{id}.apply"), format!("{id}.tar")]);

    let (elsewhere, result) = computed(&made, "result.tar");
    assert_eq!(script("lore_validate", &[text(&result)]).code, 0);
    let cut = bench.write("cut.tar", &fs::read(&result).unwrap()[..2000]);
    assert_ne!(script("lore_validate", &[text(&cut)]).code, 0);
    let (_other, stranger) = computed(&job(&bench, "module:hills", "hills.tar"), "result.tar");
    let refused = script("lore_validate", &[text(&stranger)]);
    assert!(refused.code != 0 && refused.stderr.contains("no job"), "{}", refused.stderr);
    let taken = script("lore_assimilate", &["17", text(&result)]);
    assert_eq!(taken.code, 0, "{}", taken.stderr);
    assert!(taken.stdout.contains("`module:rivers` is finished there"), "{}", taken.stdout);
    // A unit that failed everywhere is told of, and is no reason to stop.
    let failed = script("lore_assimilate", &["--error", "8", "18"]);
    assert!(failed.code == 0 && failed.stderr.contains("18"), "{}", failed.stderr);
    drop(elsewhere);
}
