//! Modules composed, inspected, folded, extracted and exported from the command line.

#![allow(clippy::unwrap_used)]

mod workbench;

use std::fs;

use serde_json::Value;
use workbench::{Workbench, edit_json};

/// A base, and two modules for it: the second is the first at another alpha.
fn bench() -> Workbench {
    let bench = Workbench::new();
    let base = bench.model("tiny-llama", "base");
    bench.module("one", &base);
    bench.module("two", &base);
    edit_json(&bench.path("two/adapter_config.json"), |keys| keys["lora_alpha"] = 3.into());
    bench
}

fn generate(bench: &Workbench, base: &str, modules: &[&str]) -> String {
    let mut arguments = vec!["generate", "--base", base, "--prompt", "the rain", "--max-tokens", "12"];
    modules.iter().for_each(|module| arguments.extend(["--module", module]));
    bench.succeeds(&arguments).stdout
}

#[test]
fn a_composition_is_used_like_its_parts() {
    let bench = bench();
    let expected = generate(&bench, "base", &["one=0.75", "two=-0.5"]);
    assert_ne!(expected, generate(&bench, "base", &[]));
    for method in ["cat", "linear", "svd"] {
        let arguments =
            ["compose", "--module", "one=0.75", "--module", "two=-0.5", "--method", method, "--out", method];
        let answer = bench.succeeds(&arguments);
        assert_eq!(answer.stdout, format!("{method}\n"));
        assert!(answer.stderr.contains("14 projections at rank"), "{}", answer.stderr);
        assert_eq!(generate(&bench, "base", &[method]), expected, "{method}");
    }
    // Twice the rank side by side, the rank of one where the two are the same directions.
    let rank = |folder: &str| {
        let config: Value = serde_json::from_slice(&bench.read(&format!("{folder}/adapter_config.json"))).unwrap();
        config["r"].as_u64().unwrap()
    };
    assert_eq!((rank("cat"), rank("linear")), (8, 4));
    for method in ["ties", "dare-linear", "dare-ties", "knots", "magnitude-prune"] {
        let arguments = ["compose", "--module", "one", "--module", "two", "--method", method, "--density", "0.5"];
        bench.succeeds(&[&arguments[..], &["--rank", "3", "--out", method]].concat());
        assert_eq!(rank(method), 3);
        generate(&bench, "base", &[method]);
    }
    let facts: Value = serde_json::from_slice(&bench.read("ties/lore.json")).unwrap();
    let text = facts["metadata"]["composition"].as_str().unwrap();
    assert_eq!(text, "ties, density 0.5, rank 3: one=1, two=1");
}

#[test]
fn weights_are_learnt_from_a_few_texts() {
    let bench = bench();
    bench.write("few.txt", "the rain runs down the hill and over the stone\n".repeat(60));
    let learnt = |out: &str| {
        let arguments = ["compose", "--module", "one", "--module", "two", "--base", "base", "--learn", "few.txt"];
        let answer = bench.succeeds(&[&arguments[..], &["--evaluations", "12", "--out", out]].concat());
        // … nats per token, … before
        let figure = |before: &str| -> f64 {
            let words: Vec<&str> = answer.stderr.split(before).next().unwrap().split_whitespace().collect();
            words.last().unwrap().parse().unwrap()
        };
        let (after, before) = (figure(" nats per token"), figure(" before"));
        assert!(after <= before, "{}", answer.stderr);
        let facts: Value = serde_json::from_slice(&bench.read(&format!("{out}/lore.json"))).unwrap();
        facts["metadata"]["composition"].as_str().unwrap().to_owned()
    };
    let composition = learnt("first");
    assert!(composition.starts_with("cat: one=") && composition.contains(", two="), "{composition}");
    assert_eq!(composition, learnt("second"));
    generate(&bench, "base", &["first"]);
    let arguments = ["compose", "--module", "one", "--module", "two", "--out", "x", "--learn", "few.txt"];
    assert_eq!(bench.run(&arguments).code, 2, "no --base");
    bench.write("few.txt", "");
    bench.fails(2, &[&arguments[..], &["--base", "base"]].concat(), &["--learn few.txt: there is no text in it"]);
    assert!(!bench.path("x").exists());
}

#[test]
fn what_cannot_be_composed_is_told_before_anything_is_written() {
    let bench = bench();
    fn compose<'a>(more: &[&'a str]) -> Vec<&'a str> {
        [&["compose", "--module", "one", "--module", "two"], more].concat()
    }
    for (more, parts) in [
        (&["--rank", "4", "--out", "x"][..], &["--rank: --method cat does not use it", "--method svd"][..]),
        (&["--method", "svd", "--density", "0.5", "--out", "x"], &["--density: --method svd does not use it"]),
        (&["--method", "ties", "--seed", "1", "--out", "x"], &["--seed: --method ties does not use it"]),
        (&["--method", "ties", "--density", "0", "--out", "x"], &["more than 0 and at most 1"]),
        (&["--out", "two"], &["--out two: is also read"]),
        (&["--method", "mean", "--out", "x"], &["mean", "dare-linear"]),
    ] {
        bench.fails(2, &compose(more), parts);
    }
    assert_eq!(bench.run(&["compose", "--out", "x"]).code, 2);
    edit_json(&bench.path("two/lore.json"), |facts| facts["base"] = format!("lore-base-v1:{}", "3".repeat(64)).into());
    bench.fails(1, &compose(&["--out", "x"]), &["trained on different bases", "lore-base-v1:3333"]);
    assert!(!bench.path("x").exists());
    bench.succeeds(&compose(&["--allow-base-mismatch", "--out", "x"]));
    let facts: Value = serde_json::from_slice(&bench.read("x/lore.json")).unwrap();
    assert_eq!(facts["base"], Value::Null);
}

#[test]
fn a_module_is_described_and_several_are_compared() {
    let bench = bench();
    let text = bench.succeeds(&["module", "inspect", "one", "--base", "base"]).stdout;
    insta::assert_snapshot!("inspect_one", text);
    let text = bench.succeeds(&["module", "inspect", "one", "two"]).stdout;
    insta::assert_snapshot!("inspect_two", text);
    let json = bench.succeeds(&["module", "inspect", "one", "two", "--base", "base", "--json"]).stdout;
    let report: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(report["modules"].as_array().unwrap().len(), 2);
    let pair = &report["pairs"][0];
    assert!((pair["cosine"].as_f64().unwrap() - 1.0).abs() < 1e-9, "{pair}");
    // The second is half the first.
    assert!((pair["interference"][0].as_f64().unwrap() - 0.5).abs() < 1e-6, "{pair}");
    assert!((pair["interference"][1].as_f64().unwrap() - 2.0).abs() < 1e-6, "{pair}");
    assert_eq!(pair["projections"].as_array().unwrap().len(), 14);
    assert_eq!(bench.run(&["module", "inspect"]).code, 2);
    bench.fails(1, &["module", "inspect", "base"], &["base is not a module"]);
}

#[test]
fn two_modules_differ_by() {
    let bench = bench();
    insta::assert_snapshot!("diff", bench.succeeds(&["module", "diff", "one", "two"]).stdout);
    assert_eq!(bench.succeeds(&["module", "diff", "one", "one"]).stdout, "the updates are identical\n");
    let json = bench.succeeds(&["module", "diff", "one", "two", "--json"]).stdout;
    let difference: Value = serde_json::from_str(&json).unwrap();
    assert!((difference["distance"].as_f64().unwrap() - 0.5).abs() < 1e-6, "{difference}");
}

#[test]
fn folding_extracting_and_taking_out() {
    let bench = bench();
    let expected = generate(&bench, "base", &["one=0.8"]);
    let answer = bench.succeeds(&["module", "fold", "--base", "base", "--module", "one=0.8", "--out", "folded"]);
    assert_eq!(answer.stdout, "folded\n");
    assert_eq!(generate(&bench, "folded", &[]), expected);
    assert!(String::from_utf8(bench.read("folded/README.md")).unwrap().contains("- one (weight 0.8)"));
    // The folded model is another base.
    let back = ["module", "fold", "--base", "folded", "--module", "one=-0.8", "--out", "back"];
    bench.fails(1, &back, &["module one", "was trained on lore-base-v1:"]);
    bench.succeeds(&[&back[..], &["--allow-base-mismatch"]].concat());
    assert_eq!(generate(&bench, "back", &[]), generate(&bench, "base", &[]));

    let extract = ["module", "extract", "--base", "base", "--tuned", "folded", "--rank", "4", "--out", "again"];
    let answer = bench.succeeds(&extract);
    assert!(answer.stderr.contains("14 projections, 100.00 % of the squared norm kept"), "{}", answer.stderr);
    assert_eq!(generate(&bench, "base", &["again"]), expected);
    let neither = bench.run(&["module", "extract", "--base", "base", "--tuned", "folded", "--out", "x"]);
    assert!(neither.code == 2 && neither.stderr.contains("--rank"), "{}", neither.stderr);
    let same = ["module", "extract", "--base", "base", "--tuned", "base", "--rank", "4", "--out", "x"];
    bench.fails(1, &same, &["no projection of the two models differs"]);
    bench.fails(2, &["module", "fold", "--base", "base", "--module", "one", "--out", "base"], &["is also read"]);
    assert!(!bench.path("x").exists());
}

#[test]
fn a_module_goes_out_as_gguf_and_comes_back() {
    let bench = bench();
    let expected = generate(&bench, "base", &["one"]);
    let export = ["module", "export", "one", "--format", "gguf", "--base", "base", "--out", "one.gguf"];
    assert_eq!(bench.succeeds(&export).stdout, "one.gguf\n");
    assert_eq!(&bench.read("one.gguf")[..4], b"GGUF");
    bench.succeeds(&["module", "import", "one.gguf", "--base", "base", "--out", "back"]);
    assert_eq!(generate(&bench, "base", &["back"]), expected);
    // The fixture names its base `tiny-llama`, which is no path here until it is.
    bench.fails(2, &["module", "export", "one", "--out", "x.gguf"], &["--base is needed"]);
    workbench::copy(&bench.path("base"), &bench.path("tiny-llama"));
    bench.succeeds(&["module", "export", "one", "--out", "x.gguf", "--dtype", "f16"]);
    assert!(bench.read("x.gguf").len() < bench.read("one.gguf").len());
    bench.fails(2, &["module", "export", "one", "--out", "two", "--base", "base"], &["is a directory"]);
    bench.model("tiny-qwen3", "other");
    bench.fails(
        1,
        &["module", "export", "one", "--base", "other", "--out", "y.gguf"],
        &["module one", "was trained on"],
    );
    bench.fails(1, &["module", "import", "one.gguf", "--base", "other", "--out", "y"], &["expected `qwen3`"]);
    fs::write(bench.path("cut.gguf"), &bench.read("one.gguf")[..300]).unwrap();
    bench.fails(1, &["module", "import", "cut.gguf", "--base", "base", "--out", "y"], &["cut.gguf", "GGUF"]);
    assert!(!bench.path("y").exists() && !bench.path("y.gguf").exists());
}
