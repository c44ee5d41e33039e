//! `lore finetune`: the modules of a recipe, their settings, sweeps that are interrupted.

#![allow(clippy::unwrap_used)]

mod workbench;

use std::fs;
use std::process::Stdio;
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::Value;
use workbench::Workbench;
use workbench::tiny_recipe::{RECIPE, tiny_run};

/// What a module needs before it is trained.
const BEFORE: [&str; 6] = ["fetch:teacher", "fetch:rivers", "teacher", "topic:rivers", "general", "base"];

/// A facts value of a finished stage.
fn facts(bench: &Workbench, stage: &str) -> Value {
    let folders = bench.listing("runs/tiny/stages");
    let folder = folders.iter().find(|name| name.rsplit_once('-').unwrap().0 == stage).unwrap();
    let manifest: Value =
        serde_json::from_slice(&bench.read(&format!("runs/tiny/stages/{folder}/stage.json"))).unwrap();
    manifest["facts"].clone()
}

fn config(bench: &Workbench, module: &str) -> Value {
    serde_json::from_slice(&bench.read(&format!("runs/tiny/modules/{module}/adapter_config.json"))).unwrap()
}

#[test]
fn it_trains_what_is_asked_for_and_a_run_goes_on_from_there() {
    let bench = tiny_run();
    let plan = bench.succeeds(&["finetune", "recipe.toml", "--module", "rivers", "--plan"]);
    assert!(plan.stdout.contains("to run: 7 of 7 stages"), "{}", plan.stdout);
    let first = bench.succeeds(&["finetune", "recipe.toml", "--module", "rivers"]);
    assert_eq!(first.stages(), [&BEFORE[..], &["module:rivers"]].concat());
    assert!(first.stdout.contains("runs/tiny/modules/rivers"), "{}", first.stdout);
    assert_eq!(config(&bench, "rivers")["r"], 2);

    let second = bench.succeeds(&["finetune", "recipe.toml", "--module", "rivers"]);
    assert!(second.stages().is_empty() && second.stdout == first.stdout, "{}{}", second.stderr, second.stdout);
    let again = bench.succeeds(&["finetune", "recipe.toml", "--module", "rivers", "--again"]);
    assert_eq!(again.stages(), ["module:rivers"]);

    let all = bench.succeeds(&["finetune", "recipe.toml"]);
    assert_eq!(all.stages(), ["fetch:hills", "topic:hills", "module:hills"]);
    assert_eq!(bench.succeeds(&["run", "recipe.toml"]).stages(), ["evaluate", "report"]);
    bench.fails(2, &["finetune", "recipe.toml", "--module", "river"], &["--module river", "rivers, hills"]);
}

/// Everything that can be asked of a module at once.
fn ambitious() -> Workbench {
    let bench = tiny_run();
    let modules = r#"[modules]
lora = { rank = 2, alpha = 2, targets = ["self_attn.*", "down_proj"], rank_pattern = { "v_proj" = 3 }, rslora = true, dora = true, dropout = 0.05, b_rate_ratio = 4.0 }
quantise = "q8_0"
stopping = { every = 4, patience = 2 }
sweep = { lr = [1e-3, 5e-3] }
context = { passage = 0.4, labels = 0.5 }
validation_tokens = 600
"#;
    let recipe = RECIPE.replace("[modules]\nlora = { rank = 2, alpha = 2 }\n", modules);
    let recipe = recipe.replace("validation = 0.05, test = 0.2 }\nprompts", "validation = 0.2, test = 0.2 }\nprompts");
    let joint = r#"
[[joint]]
name = "both"
module = { lora = { init = "pissa", dora = false, dropout = 0.0 }, sweep = { lr = [2e-3] } }
"#;
    let recipe = recipe.replace("steps = 60", "steps = 16") + joint;
    bench.write("recipe.toml", recipe);
    bench
}

#[test]
fn every_setting_reaches_the_module_and_the_report() {
    let bench = ambitious();
    let run = bench.succeeds(&["run", "recipe.toml"]);
    assert!(run.stages().contains(&"module:both".to_owned()), "{:?}", run.stages());
    let rivers = config(&bench, "rivers");
    assert_eq!((&rivers["use_dora"], &rivers["use_rslora"]), (&Value::Bool(true), &Value::Bool(true)));
    assert_eq!(rivers["rank_pattern"], serde_json::json!({ "v_proj": 3 }));
    let targets = ["down_proj", "k_proj", "o_proj", "q_proj", "v_proj"];
    assert_eq!(rivers["target_modules"], serde_json::json!(targets));

    let found = facts(&bench, "module-rivers");
    let sweep = found["sweep"].as_array().unwrap();
    assert_eq!(sweep.len(), 2);
    let bits = |rate: &Value| rate["bits_per_byte"].as_f64().unwrap();
    let best = sweep.iter().map(bits).fold(f64::INFINITY, f64::min);
    assert_eq!(found["validation"]["value"].as_f64().unwrap(), best);
    assert_ne!(bits(&sweep[0]), bits(&sweep[1]));
    let measured = found["curve"].as_array().unwrap().iter().filter(|step| step["held_out"].is_number()).count();
    assert!((1..=4).contains(&measured), "{measured} measurements");

    // The module of both topics: PiSSA comes out plain, at twice its rank, and is a row of the matrix.
    let both = config(&bench, "both");
    assert_eq!((&both["r"], &both["use_dora"]), (&Value::from(4), &Value::Bool(false)));
    assert_eq!(facts(&bench, "module-both")["topics"], serde_json::json!(["rivers", "hills"]));
    let report: Value = serde_json::from_slice(&bench.read("runs/tiny/report.json")).unwrap();
    let rows = report["matrix"]["rows"].as_array().unwrap();
    let row = rows.iter().find(|row| row["name"] == "both").unwrap();
    assert_eq!((&row["kind"], row["cells"].as_object().unwrap().len()), (&Value::from("control"), 3));
    assert_eq!(row["description"], "One module trained on rivers, hills together.");
    assert_eq!(report["modules"][0]["sweep"].as_array().unwrap().len(), 2);
    let page = String::from_utf8(bench.read("runs/tiny/report.html")).unwrap();
    assert!(page.contains("Learning rates of rivers"), "the sweep is in the report");

    let table = bench.succeeds(&["finetune", "recipe.toml"]);
    assert!(table.stages().is_empty());
    assert!(
        table.stdout.contains("rivers, bits per byte of validation text by learning rate: 1e-3: "),
        "{}",
        table.stdout
    );
    // A module with magnitudes is used as it was trained, and told apart where the base is needed.
    let generate =
        ["generate", "--base", "runs/tiny/base", "--module", "runs/tiny/modules/rivers", "--prompt", "the river"];
    bench.succeeds(&[&generate[..], &["--max-tokens", "3"]].concat());
    let modules = ["--module", "runs/tiny/modules/rivers", "--module", "runs/tiny/modules/hills"];
    let compose = [&["compose"], &modules[..], &["--out", "sum"]].concat();
    bench.fails(1, &compose, &["module 1: it has magnitudes (DoRA)", "lore module fold"]);
}

/// A router reads the base's own values, whatever they were kept in while the module was trained.
#[test]
fn router_entries_are_of_the_base_as_it_is_used() {
    let bench = tiny_run();
    let entry = |quantise: &str| {
        let recipe =
            RECIPE.replace("[modules]\n", &format!("[modules]\n{quantise}")).replace("steps = 60", "steps = 8");
        bench.write("recipe.toml", recipe);
        bench.succeeds(&["finetune", "recipe.toml", "--module", "rivers"]);
        lore_route::Entry::read(&bench.path("runs/tiny/modules/rivers/router.safetensors")).unwrap()
    };
    let (own, kept_in_blocks) = (entry(""), entry("quantise = \"q4_0\"\n"));
    assert_ne!(own.arrow, kept_in_blocks.arrow, "the modules are others");
    let states = |entry: lore_route::Entry| (entry.centroid, entry.spread, entry.general, entry.noise, entry.threshold);
    assert_eq!(states(own), states(kept_in_blocks));
}

#[test]
fn an_interrupted_sweep_goes_on_to_the_same_bytes() {
    let weights = |bench: &Workbench| bench.read("runs/tiny/modules/rivers/adapter_model.safetensors");
    let command = ["finetune", "recipe.toml", "--module", "rivers"];
    let straight = ambitious();
    straight.succeeds(&command);

    let killed = ambitious();
    // In the first rate's run, and when the second one's has begun.
    for moment in ["lr-1e-3/checkpoint", "lr-5e-3/"] {
        let mut child = killed.command(&command).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let (stages, start) = (killed.path("runs/tiny/stages"), Instant::now());
        let (folder, file) = moment.split_once('/').unwrap();
        let is_there = || {
            let entries = |path: &std::path::Path| fs::read_dir(path).into_iter().flatten().flatten();
            entries(&stages).any(|stage| {
                entries(&stage.path().join(folder)).any(|entry| entry.file_name().to_string_lossy().starts_with(file))
            })
        };
        while !is_there() {
            if child.try_wait().unwrap().is_some() {
                break;
            }
            assert!(start.elapsed() < Duration::from_secs(120), "the moment to kill never came");
            sleep(Duration::from_millis(1));
        }
        let _ = child.kill();
        child.wait().unwrap();
    }
    killed.succeeds(&command);
    assert_eq!(weights(&killed), weights(&straight));
    let [one, two] = [&killed, &straight].map(|bench| facts(bench, "module-rivers"));
    assert_eq!(one["sweep"], two["sweep"]);
    assert_eq!(one["validation"], two["validation"]);
}

#[test]
fn a_learning_rate_that_diverges_is_left_out_of_a_sweep() {
    let bench = tiny_run();
    let recipe = RECIPE.replace("[modules]\n", "[modules]\nsweep = { lr = [1e30, 1e-3] }\n");
    let recipe = recipe.replace("validation = 0.05, test = 0.2 }\nprompts", "validation = 0.2, test = 0.2 }\nprompts");
    let recipe = recipe.replace("steps = 60", "steps = 8");
    bench.write("recipe.toml", &recipe);
    let command = ["finetune", "recipe.toml", "--module", "rivers"];
    let run = bench.succeeds(&command);
    assert!(run.stderr.contains("learning rate 1e30 left out: training diverged"), "{}", run.stderr);
    let sweep = facts(&bench, "module-rivers")["sweep"].clone();
    assert_eq!(sweep.as_array().unwrap().iter().map(|rate| &rate["learning_rate"]).collect::<Vec<_>>(), [1e-3]);
    // Where none is left, that is told.
    bench.write("recipe.toml", recipe.replace("[1e30, 1e-3]", "[1e30]"));
    bench.fails(1, &command, &["training diverged", "lower the learning rate"]);
}

#[test]
fn impossible_settings_are_named_with_their_places() {
    let bench = tiny_run();
    let settings = r#"[modules]
lora = { rank = 2, alpha = 2, targets = ["q_prj", "layers.*.mlp.*"], rank_pattern = { "v_proj" = 3, "up_proj" = 3 }, dropout = 1.0, b_rate_ratio = 0, dora = true, init = "pissa" }
stopping = { every = 0, patience = 2 }
sweep = { lr = [1e-3, 1e-3] }
context = { passage = 1.0 }
quantise = "q3_0"
"#;
    let recipe = RECIPE.replace("[modules]\nlora = { rank = 2, alpha = 2 }\n", settings);
    let recipe = recipe.replace(
        "split = { validation = 0.05, test = 0.2 }\nprompts = [\"the hill\"]",
        "split = { validation = 0.0, test = 0.2 }",
    );
    bench.write("recipe.toml", recipe + "\n[[joint]]\nname = \"rivers\"\ntopics = [\"river\"]\n");
    bench.fails(
        2,
        &["finetune", "recipe.toml"],
        &[
            "`q_prj`, which is not a projection",
            "did you mean `q_proj`?",
            "module.lora.rank_pattern",
            "names `v_proj`, which is no projection among `targets`",
            "modules.lora.dropout",
            "modules.lora.b_rate_ratio",
            "modules.lora.init",
            "modules.stopping.every",
            "modules.sweep.lr",
            "modules.context.passage",
            "modules.quantise",
            "joint[1].name",
            "joint[1].topics[1]",
            "did you mean `rivers`?",
        ],
    );
}

#[test]
fn all_modules_at_weights_and_as_one_are_rows_of_the_matrix() {
    let bench = tiny_run();
    let rows = "[evaluate]\nweights = [0.5]\ncomposed = [{ method = \"ties\" }, { method = \"svd\", rank = 5 }]\n";
    let recipe = RECIPE.replace("[evaluate]\n", rows).replace("steps = 60", "steps = 16");
    bench.write("recipe.toml", &recipe);
    bench.succeeds(&["run", "recipe.toml"]);
    let report: Value = serde_json::from_slice(&bench.read("runs/tiny/report.json")).unwrap();
    let row = |name: &str| {
        let rows = report["matrix"]["rows"].as_array().unwrap();
        rows.iter().find(|row| row["name"] == name).unwrap_or_else(|| panic!("no row `{name}`")).clone()
    };
    let bits = |name: &str| row(name)["cells"]["rivers"]["bits_per_byte"].as_f64().unwrap();
    // The modules have ranks 2 and 3, so that nothing of their sum is cut off at 5.
    assert!((bits("svd, rank 5") - bits("sum")).abs() < 1e-4, "{} {}", bits("svd, rank 5"), bits("sum"));
    assert!(bits("ties") != bits("sum") && bits("all at 0.5") != bits("sum"));
    assert_eq!(row("ties")["description"], "All modules made one: ties, density 0.2.");
    assert_eq!(row("ties")["kind"], "combination");

    let wrong = "composed = [{ method = \"svd\", density = 0.5 }, { method = \"ties\", density = 0.0, rank = 0 }, { method = \"knots\" }, { method = \"knots\" }, { method = \"cat\", density = 0.5 }]\n";
    let recipe = RECIPE.replace("[evaluate]\n", &format!("[evaluate]\n{wrong}"));
    bench.write("wrong.toml", &recipe);
    let parts = [
        "evaluate.composed[1].density",
        "evaluate.composed[2].density",
        "evaluate.composed[2].rank",
        "evaluate.composed[4]",
        "the same as an earlier one",
        "evaluate.composed[5].method",
        "the exact sum, which `sum` in `combine` compares",
    ];
    bench.fails(2, &["run", "wrong.toml"], &parts);
    bench.write("dora.toml", RECIPE.replace("alpha = 2 }", "alpha = 2, dora = true }").replace("[evaluate]\n", rows));
    bench.fails(2, &["run", "dora.toml"], &["evaluate.composed", "dora = true"]);
}
