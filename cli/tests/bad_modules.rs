//! Modules that are damaged or belong to another base.

#![allow(clippy::unwrap_used)]

mod workbench;

use std::fs;

use serde_json::json;
use workbench::{Safetensors, Workbench, edit_json};

const FACTOR: &str = "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight";

fn bench() -> Workbench {
    let bench = Workbench::new();
    let base = bench.model("tiny-llama", "base");
    bench.module("module", &base);
    bench
}

fn refuses(bench: &Workbench, base: &str, parts: &[&str]) {
    let module = ["--base", base, "--module", "module=0.5"];
    let generate = [&["generate"], &module[..], &["--prompt", "the rain", "--max-tokens", "2"]].concat();
    assert_eq!(bench.fails(1, &generate, parts).stdout, "");
    bench.write("in.jsonl", "{\"context\": \"the\", \"continuation\": \" rain\"}\n");
    let score = [&["score"], &module[..], &["--input", "in.jsonl", "--output", "out.jsonl"]].concat();
    bench.fails(1, &score, parts);
    assert!(!bench.path("out.jsonl").exists());
}

#[test]
fn a_module_works_on_its_own_base_at_any_weight() {
    let bench = bench();
    let generate = |module: &str| {
        let arguments =
            ["generate", "--base", "base", "--module", module, "--prompt", "the rain", "--max-tokens", "12"];
        bench.succeeds(&arguments).stdout
    };
    assert_ne!(generate("module"), generate("module=0"));
    let alone = bench.succeeds(&["generate", "--base", "base", "--prompt", "the rain", "--max-tokens", "12"]);
    assert_eq!(generate("module=0"), alone.stdout);
}

#[test]
fn a_module_for_another_base() {
    let bench = bench();
    bench.model("tiny-qwen3", "other");
    refuses(
        &bench,
        "other",
        &["module module", "was trained on lore-base-v1:", "this base is lore-base-v1:", "use the base"],
    );
    // The same weights with another tokenizer are another base.
    bench.model("tiny-llama", "renamed");
    edit_json(&bench.path("renamed/tokenizer.json"), |keys| keys["added_tokens"][0]["content"] = json!("<|start|>"));
    refuses(&bench, "renamed", &["module module", "was trained on lore-base-v1:"]);
}

#[test]
fn a_module_that_does_not_name_its_base() {
    let bench = bench();
    fs::remove_file(bench.path("module/lore.json")).unwrap();
    refuses(&bench, "base", &["module module", "a base it does not name"]);
}

#[test]
fn a_module_with_other_shapes() {
    let bench = bench();
    // Its fingerprint says that it belongs to this base, its tensors do not.
    let base = bench.model("tiny-qwen3", "other");
    bench.module("module", &base);
    let parts =
        ["module module", "does not fit this base", "`model.layers.0.self_attn.q_proj` maps 32 to 32", "maps 32 to 48"];
    refuses(&bench, "other", &parts);
}

#[test]
fn factors_that_contradict_the_configuration_are_named_together() {
    let bench = bench();
    let weights = bench.path("module/adapter_model.safetensors");
    let mut file = Safetensors::read(&weights);
    let header = file.header.as_object_mut().unwrap();
    header[FACTOR]["shape"] = json!([32, 4]);
    let half = header.remove("base_model.model.model.layers.1.mlp.up_proj.lora_B.weight").unwrap();
    header.insert("base_model.model.model.layers.1.mlp.up_proj.weight".into(), half);
    let start = file.range("base_model.model.model.layers.1.self_attn.v_proj.lora_A.weight").start;
    file.data[start..start + 4].copy_from_slice(&f32::NAN.to_le_bytes());
    file.write(&weights);
    refuses(
        &bench,
        "base",
        &[
            "adapter_model.safetensors",
            "`model.layers.0.self_attn.q_proj`: A [32, 4]",
            "`model.layers.1.mlp.up_proj` has no lora_B",
            "`base_model.model.model.layers.1.mlp.up_proj.weight`: it is not a low-rank factor",
            "`model.layers.1.self_attn.v_proj`: 1 of 128 values of A are NaN or infinite",
        ],
    );
}

#[test]
fn a_configuration_this_program_does_not_implement() {
    let bench = bench();
    edit_json(&bench.path("module/adapter_config.json"), |keys| {
        keys["bias"] = json!("all");
        keys["r"] = json!(0);
    });
    refuses(&bench, "base", &["adapter_config.json", "`bias` \"all\"", "`r` is 0"]);
    bench.write("module/adapter_config.json", "{");
    refuses(&bench, "base", &["adapter_config.json", "not a valid configuration"]);
}

#[test]
fn a_module_that_is_cut_or_absent() {
    let bench = bench();
    let whole = bench.read("module/adapter_model.safetensors");
    for cut in [0, 5, 200, whole.len() - 1] {
        bench.write("module/adapter_model.safetensors", &whole[..cut]);
        refuses(&bench, "base", &["adapter_model.safetensors is not a valid safetensors file"]);
    }
    fs::remove_file(bench.path("module/adapter_model.safetensors")).unwrap();
    bench.write("module/adapter_model.bin", "pickle");
    refuses(&bench, "base", &["module is not a module", "it lacks adapter_model.safetensors", "never read"]);
    bench.write("module/adapter_model.safetensors", whole);
    bench.write("module/lore.json", "{\"lore\": \"module\", \"base\": \"lore-base-v1:12\"");
    refuses(&bench, "base", &["lore.json"]);
}

#[test]
fn a_module_that_is_a_model() {
    let bench = bench();
    let arguments = ["generate", "--base", "base", "--module", "base", "--prompt", "a"];
    bench.fails(1, &arguments, &["base is not a module", "adapter_config.json"]);
    let arguments = ["generate", "--base", "module", "--prompt", "a"];
    bench.fails(1, &arguments, &["module is not a model", "config.json"]);
}
