//! `lore eval` on a tiny model: files, comparisons, verification, and what it refuses.

#![allow(clippy::unwrap_used)]

mod workbench;

use std::path::Path;
use std::process::Stdio;
use std::thread::sleep;
use std::time::Duration;

use serde_json::Value;
use workbench::rivers_task::{TASK, learnt, rivers_bench};
use workbench::{Workbench, edit_json};

const RUN: [&str; 9] = ["eval", "--base", "base", "--task", "rivers.toml", "--data", "data", "--out", "out"];

fn json(bench: &Workbench, path: &str) -> Value {
    serde_json::from_slice(&bench.read(path)).unwrap()
}

#[test]
fn results_are_written_and_verified() {
    let bench = rivers_bench(24);
    let answer = bench.succeeds(&RUN);
    for part in ["rivers", "24", "acc", "acc_norm", "margin", "longest", "acc_answer_only", "  odd"] {
        assert!(answer.stdout.contains(part), "{part}: {}", answer.stdout);
    }
    assert_eq!(bench.listing("out"), ["lm-eval", "rivers.json", "rivers.samples.jsonl"]);
    let result = json(&bench, "out/rivers.json");
    assert_eq!(result["items"]["count"], 24);
    assert_eq!(result["subsets"]["odd"]["items"], 12);
    assert!(result["metrics"]["acc"]["standard_error"].is_f64() && result["controls"]["majority"].is_f64());
    assert!(!String::from_utf8(bench.read("out/rivers.json")).unwrap().contains(bench.path("").to_str().unwrap()));
    let verify = ["eval", "verify", "out", "--base", "base", "--task", "rivers.toml", "--data", "data"];
    let answer = bench.succeeds(&verify);
    assert!(answer.stdout.contains("verified; 20 of 24 items asked anew"), "{}", answer.stdout);
    // With a module it is another model.
    bench.fails(1, &[&verify[..], &["--module", "module"]].concat(), &["other modules or weights: none, not module=1"]);
    // A figure that is nicer.
    edit_json(&bench.path("out/rivers.json"), |result| result["metrics"]["acc"]["value"] = 0.99.into());
    bench.fails(1, &verify, &["out/rivers.json: not verified", "the metrics do not follow from the samples"]);
}

#[test]
fn raw_scores_that_were_made_up_are_found() {
    let bench = rivers_bench(24);
    bench.succeeds(&RUN);
    // Samples and hash are changed together; what follows from them is the same.
    let text = String::from_utf8(bench.read("out/rivers.samples.jsonl")).unwrap();
    let first = text.split_once("\"log_likelihood\":").unwrap().1.split_once(',').unwrap().0.to_owned();
    let raised = format!("{}", first.parse::<f64>().unwrap() - 0.0625);
    let changed = text.replacen(&first, &raised, 1);
    bench.write("out/rivers.samples.jsonl", &changed);
    let parts = ["out/rivers.samples.jsonl: altered"];
    let all = ["eval", "verify", "out", "--base", "base", "--task", "rivers.toml", "--data", "data", "--items", "0"];
    bench.fails(1, &all, &parts);
    let hash = lore_datasets::fetch::sha256_of_file(&bench.path("out/rivers.samples.jsonl")).unwrap();
    edit_json(&bench.path("out/rivers.json"), |result| result["samples"]["sha256"] = hash.into());
    let answer = bench.run(&all);
    assert_eq!(answer.code, 1);
    // The margin or a score gives it away, whichever it touches first.
    assert!(answer.stderr.contains("not verified"), "{}", answer.stderr);
}

#[test]
fn the_same_bytes_again_whatever_was_cached() {
    let bench = rivers_bench(24);
    let run = |out: &str, more: &[&str]| {
        let arguments = [&RUN[..8], &[out], more].concat();
        bench.succeeds(&arguments);
        (bench.read(&format!("{out}/rivers.json")), bench.read(&format!("{out}/rivers.samples.jsonl")))
    };
    let part = run("part", &["--limit", "3"]);
    let whole = run("whole", &["--module", "module=0.5"]);
    assert_ne!(part.1, whole.1);
    assert_eq!(run("again", &["--module", "module=0.5"]), whole);
    assert_eq!(run("fresh", &["--module", "module=0.5", "--fresh", "--threads", "1"]), whole);
    let all = run("all", &[]);
    assert!(all.1.starts_with(&part.1[..part.1.iter().position(|&b| b == b'\n').unwrap()]));
    assert_eq!(run("one", &["--fresh"]), all);
}

/// `fixtures/elsewhere` is what this bench's base with half of its module answered on a processor of 2008 without AVX and
/// FMA, whose sums are made in another order (imitated by QEMU: `qemu-x86_64 -cpu Nehalem lore eval ...`).
#[test]
fn a_result_of_another_processor_is_verified() {
    let bench = rivers_bench(24);
    for name in ["rivers.json", "rivers.samples.jsonl"] {
        let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/elsewhere").join(name);
        bench.write(&format!("elsewhere/{name}"), std::fs::read(fixture).unwrap());
    }
    let model = ["--base", "base", "--module", "module=0.5", "--task", "rivers.toml", "--data", "data"];
    let answer = bench.succeeds(&[&["eval", "verify", "elsewhere", "--items", "0"], &model[..]].concat());
    assert!(answer.stdout.contains("verified; 24 of 24 items asked anew"), "{}", answer.stdout);
    // And is no other than that of this processor, item by item.
    bench.succeeds(&[&["eval", "--out", "out"], &model[..]].concat());
    let compared = bench.succeeds(&["eval", "compare", "out", "elsewhere", "--json"]);
    let rows: Value = serde_json::from_str(&compared.stdout).unwrap();
    assert_eq!(rows[0]["paired"]["difference"].as_f64(), Some(0.0), "{rows}");
}

#[test]
fn models_are_compared_item_by_item() {
    let bench = rivers_bench(24);
    bench.succeeds(&RUN);
    bench.succeeds(&[&RUN[..8], &["other", "--module", "module"]].concat());
    let same = bench.succeeds(&["eval", "compare", "out", "out/rivers.json"]);
    assert_eq!(same.stdout.matches("tie").count(), 2, "{}", same.stdout);
    let answer = bench.succeeds(&["eval", "compare", "out", "other", "--json"]);
    let rows: Value = serde_json::from_str(&answer.stdout).unwrap();
    assert_eq!(rows[0]["metric"], "acc");
    assert!(rows[1]["paired"]["difference"].as_f64().unwrap() != 0.0 && rows[1]["adjusted_p_value"].is_f64());
    bench.succeeds(&[&RUN[..8], &["less", "--limit", "2"]].concat());
    bench.fails(
        1,
        &["eval", "compare", "out", "less"],
        &["rivers: the two results are not of the same items", "--limit"],
    );
    bench.fails(2, &["eval", "compare", "out", "data"], &["data: holds no result"]);
}

#[test]
fn a_matrix_has_the_results_of_its_rows() {
    let bench = rivers_bench(24);
    let base = bench.model("tiny-llama", "run/base");
    for (name, alpha) in [("brooks", 6), ("hills", 3), ("lakes", 9)] {
        bench.module(&format!("run/modules/{name}"), &base);
        let config = bench.path(&format!("run/modules/{name}/adapter_config.json"));
        edit_json(&config, |config| config["lora_alpha"] = alpha.into());
    }
    bench.model("tiny-qwen3", "teacher");
    bench.module("ferns", &base);
    learnt(&bench, "corpus/rivers/documents.parquet", &[4, 9]);
    let matrix = ["eval", "matrix", "run", "--task", "rivers.toml", "--data", "data", "--out", "matrix"];
    let more = ["--combine", "2", "--combinations", "2", "--seed", "1", "--off-topic", "ferns", "--teacher", "teacher"];
    let answer = bench.succeeds(&[&matrix[..], &more, &["--documents", "corpus"]].concat());
    assert!(answer.stdout.starts_with("rivers, acc (24 items)"), "{}", answer.stdout);
    for part in ["clean (22)", "labels shuffled", "(the longest answer)", "tokens/s", "on the frontier"] {
        assert!(answer.stdout.contains(part), "{part}: {}", answer.stdout);
    }
    let found = json(&bench, "matrix/matrix.json");
    let rows: Vec<&str> = found["rows"].as_array().unwrap().iter().map(|row| row.as_str().unwrap()).collect();
    let (single, pairs, rest) = (&rows[..4], &rows[4..6], &rows[6..]);
    assert_eq!(single, ["base", "brooks", "hills", "lakes"]);
    assert!(pairs.iter().all(|pair| ["brooks+hills", "brooks+lakes", "hills+lakes"].contains(pair)), "{pairs:?}");
    let last = ["all-summed", "all-averaged", "off-topic-ferns", "control-null", "control-shuffled", "teacher"];
    assert_eq!(rest, last);
    // What changes nothing answers what the base answers, to the last bit, and is as large as a module.
    let at = |row: &str| rows.iter().position(|name| *name == row).unwrap();
    let samples = |row: &str| String::from_utf8(bench.read(&format!("matrix/{row}/rivers.samples.jsonl"))).unwrap();
    assert!(samples("base") == samples("control-null") && samples("base") != samples("control-shuffled"));
    let cost = |row: &str, what: &str| found["costs"][at(row)][what].as_f64().unwrap();
    assert_eq!(cost("control-null", "module_bytes"), cost("hills", "module_bytes"));
    assert_eq!(cost("base", "module_bytes"), 0.0);
    assert_eq!(
        cost("all-summed", "resident_bytes"),
        cost("base", "resident_bytes") + 3.0 * cost("hills", "module_bytes")
    );
    assert!(cost("brooks", "load_ms") > 0.0 && cost("teacher", "tokens_per_second") > 0.0);
    let gain = |row: &str| (&found["gains"][at(row)]["value"], &found["gains"][at(row)]["frontier"]);
    assert_eq!(*gain("base").0, 0.0);
    // The null module costs more than the base and gains nothing. Of base and teacher neither beats the other, unless one
    // is both as small and as good.
    assert_eq!(gain("control-null"), (&0.0.into(), &false.into()));
    let [base, teacher] = ["base", "teacher"].map(|row| (cost(row, "resident_bytes"), gain(row).0.as_f64().unwrap()));
    if teacher.0 <= base.0 && teacher.1 > base.1 {
        assert_eq!(gain("base").1, &false);
    }
    let marked: Vec<&&str> = rows.iter().filter(|row| *gain(row).1 == true).collect();
    for row in &rows {
        let (bytes, value) = (cost(row, "resident_bytes"), gain(row).0.as_f64().unwrap());
        let as_good =
            |other: &&&str| cost(other, "resident_bytes") <= bytes && gain(other).0.as_f64().unwrap() >= value;
        assert!(marked.iter().any(as_good), "{row} is equalled by something on the frontier");
    }
    assert_eq!(found["clean"][0][0]["items"], 22);
    // Listed in another order, and computed anew; whose texts were searched is part of a result.
    let modules = ["lakes", "brooks", "hills"].map(|name| format!("run/modules/{name}"));
    let mut run = vec!["eval", "--base", "run/base", "--task", "rivers.toml", "--data", "data", "--out", "all"];
    run.extend(modules.iter().flat_map(|module| ["--module", module.as_str()]));
    run.extend(["--fresh", "--documents", "corpus"]);
    bench.succeeds(&run);
    for file in ["rivers.json", "rivers.samples.jsonl"] {
        assert!(bench.read(&format!("matrix/all-summed/{file}")) == bench.read(&format!("all/{file}")), "{file}");
    }
    bench.fails(2, &[&matrix[..], &["--task", "rivers.toml"]].concat(), &["`rivers` is named twice"]);
}

#[test]
fn items_that_were_learnt_from_are_told_apart() {
    let bench = rivers_bench(24);
    learnt(&bench, "learnt.parquet", &[4, 9]);
    learnt(&bench, "corpus/other/documents.parquet", &[4]);
    let shots = ["--shots", "1", "--documents", "learnt.parquet"];
    let answer = bench.succeeds(&[&RUN[..], &shots].concat());
    assert!(answer.stdout.contains("  clean") && answer.stdout.contains("  dirty"), "{}", answer.stdout);
    let result = json(&bench, "out/rivers.json");
    let found = &result["contamination"];
    assert_eq!(found["items"], Value::from(vec!["even/4", "odd/9"]));
    assert_eq!((&found["clean"]["items"], &found["dirty"]["items"]), (&22.into(), &2.into()));
    // 24 items are those of both parts together.
    let acc = |part: &Value| part["metrics"]["acc"]["value"].as_f64().unwrap();
    let whole = (22.0 * acc(&found["clean"]) + 2.0 * acc(&found["dirty"])) / 24.0;
    assert!((whole - result["metrics"]["acc"]["value"].as_f64().unwrap()).abs() < 1e-12);
    let verify = ["eval", "verify", "out", "--base", "base", "--task", "rivers.toml", "--data", "data"];
    bench.succeeds(&[&verify[..], &["--documents", "learnt.parquet"]].concat());
    let other = [&verify[..], &["--documents", "corpus"]].concat();
    bench.fails(1, &other, &["the tables of --documents hold other items"]);
    edit_json(&bench.path("out/rivers.json"), |result| result["contamination"]["items"] = vec!["even/4"].into());
    bench.fails(1, &verify, &["the metrics of clean and dirty items do not follow from the samples"]);
    let nothing = [&RUN[..], &["--documents", "data"]].concat();
    bench.fails(2, &nothing, &["--documents data: holds no documents.parquet"]);
}

#[test]
fn what_cannot_be_asked_is_refused_before_the_model_is_loaded() {
    let bench = rivers_bench(24);
    bench.write("base/model.safetensors.index.json", "not JSON");
    let run = |task: &str, data: &str| {
        ["eval", "--base", "base", "--task", task, "--data", data, "--out", "out"].map(str::to_owned)
    };
    let fails = |code, arguments: [String; 9], parts: &[&str]| {
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        bench.fails(code, &arguments, parts);
    };
    fails(2, run("arc_esay", "data"), &["no task is called `arc_esay`", "did you mean `arc_easy`?"]);
    fails(2, run("rivers.toml", "nowhere"), &["--data", "nowhere: no such folder"]);
    fails(1, run("rivers.toml/evn", "data"), &["no subset `evn`", "did you mean `even`?"]);
    fails(1, run("blimp", "data"), &["task blimp", "BLiMP.zip", "--data"]);
    bench.write("bad.toml", TASK.replace("version", "verison"));
    fails(2, run("bad.toml", "data"), &["bad.toml:3:1: `verison` is not a known key; did you mean `version`?"]);
    bench.fails(2, &["eval", "--base", "base", "--task", "blimp", "--out", "out"], &["LORE_DATA"]);
    bench.fails(2, &[&RUN[..], &["--task", "rivers.toml"]].concat(), &["`rivers` is named twice"]);
    assert_eq!(bench.listing("out"), Vec::<String>::new());
}

#[test]
fn tasks_are_listed() {
    let bench = Workbench::new();
    let answer = bench.succeeds(&["eval", "tasks"]);
    for part in ["blimp", "minimal_pairs", "mmlu", "wikitext", "CC-BY-4.0"] {
        assert!(answer.stdout.contains(part), "{part}: {}", answer.stdout);
    }
}

#[test]
fn a_killed_evaluation_goes_on_to_the_same_bytes() {
    let bench = rivers_bench(24);
    let line = |i: usize| {
        format!(
            "{{\"id\": \"{i}\", \"kind\": \"a\", \"question\": \"Where does the long river {i} run?\", \
             \"choices\": [\"down the hill {i}\", \"up {i}\", \"to the sea\"], \"answer\": {}}}\n",
            i % 3
        )
    };
    bench.write("data/rivers.jsonl", (0..1500).map(line).collect::<String>());
    let scores = || {
        let files = bench.listing("cache/scores");
        files.iter().map(|file| bench.path(&format!("cache/scores/{file}")).metadata().unwrap().len()).sum::<u64>()
    };
    let mut killed = 0;
    for _ in 0..50 {
        let before = scores();
        let mut child = bench.command(&RUN).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        // Something new was kept, or it is through.
        while scores() == before && child.try_wait().unwrap().is_none() {
            sleep(Duration::from_millis(2));
        }
        child.kill().unwrap();
        child.wait().unwrap();
        if bench.path("out/rivers.json").exists() {
            break;
        }
        killed += usize::from(scores() > before);
        if killed == 3 {
            break;
        }
    }
    assert!(killed >= 1, "it was killed after some scores were kept and before the result was there");
    bench.succeeds(&RUN);
    bench.succeeds(&[&RUN[..8], &["whole", "--fresh"]].concat());
    for file in ["rivers.json", "rivers.samples.jsonl"] {
        assert!(bench.read(&format!("out/{file}")) == bench.read(&format!("whole/{file}")), "{file}");
    }
}

#[test]
fn results_are_signed_and_examples_asked() {
    let bench = rivers_bench(24);
    bench.succeeds(&["pack", "keygen", "--keys", "keys"]);
    bench
        .succeeds(&[&RUN[..], &["--shots", "2", "--seed", "5", "--limit", "4", "--sign", "keys/signing.key"]].concat());
    assert_eq!(
        bench.listing("out"),
        ["lm-eval", "rivers.json", "rivers.json.minisig", "rivers.samples.jsonl", "signer.pub"]
    );
    let result = json(&bench, "out/rivers.json");
    assert_eq!((&result["items"]["shots"], &result["items"]["seed"]), (&2.into(), &5.into()));
    assert_eq!(result["items"]["count"], 8);
    let verify = ["eval", "verify", "out", "--base", "base", "--task", "rivers.toml", "--data", "data"];
    let known = bench.succeeds(&[&verify[..], &["--keys", "keys"]].concat());
    assert!(known.stdout.contains("signed by the trusted key `own`"), "{}", known.stdout);
    let unknown = bench.succeeds(&[&verify[..], &["--keys", "nobody"]].concat());
    assert!(unknown.stdout.contains("signed by an unknown key (RW"), "{}", unknown.stdout);
    let text = String::from_utf8(bench.read("out/rivers.json")).unwrap();
    bench.write("out/rivers.json", text.replacen("\"version\": 1", "\"version\": 2", 1));
    bench.fails(1, &verify, &["rivers.json is altered", "its signature does not belong to it"]);
}
