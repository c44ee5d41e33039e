//! Models that are damaged, incomplete or of another kind.

#![allow(clippy::unwrap_used)]

mod workbench;

use std::fs;
use std::path::Path;

use serde_json::json;
use workbench::{Safetensors, Workbench, edit_json, text};

/// Loads the model in `base`, which must fail, and writes nothing.
fn refuses(bench: &Workbench, base: &Path, parts: &[&str]) {
    let base = text(base);
    let generate = bench.fails(1, &["generate", "--base", base, "--prompt", "the rain", "--max-tokens", "2"], parts);
    assert_eq!(generate.stdout, "");
    bench.fails(1, &["convert", base, "--out", "converted/model"], parts);
    assert!(bench.listing("converted").is_empty(), "{:?}", bench.listing("converted"));
}

#[test]
fn a_gguf_cut_anywhere() {
    let bench = Workbench::new();
    let whole = fs::read(bench.model("tiny-llama.gguf", "whole.gguf")).unwrap();
    let length = whole.len();
    for cut in [0, 3, 4, 7, 20, 24, 100, 1000, 5000, length / 2, length - 4097, length - 1] {
        let path = bench.write("cut.gguf", &whole[..cut]);
        refuses(&bench, &path, &["cut.gguf is not a valid GGUF file", "damaged or incomplete, fetch it again"]);
    }
}

#[test]
fn a_gguf_with_absurd_counts() {
    let bench = Workbench::new();
    let whole = fs::read(bench.model("tiny-llama.gguf", "whole.gguf")).unwrap();
    // Tensor count, metadata count, length of the first key.
    for (at, what) in [(8, "tensors"), (16, "metadata pairs"), (24, "bytes of text")] {
        for count in [u64::MAX, 1 << 40, i64::MAX as u64] {
            let mut bytes = whole.clone();
            bytes[at..at + 8].copy_from_slice(&count.to_le_bytes());
            let path = bench.write("absurd.gguf", bytes);
            refuses(&bench, &path, &["absurd.gguf", &format!("{count} {what} are announced"), "fetch it again"]);
        }
    }
}

#[test]
fn a_gguf_that_is_not_one() {
    let bench = Workbench::new();
    refuses(
        &bench,
        &bench.write("page.gguf", "<!doctype html><title>404</title>"),
        &["page.gguf", "does not begin with `GGUF`"],
    );
    refuses(&bench, &bench.write("model.bin", "GGUF"), &["model.bin is not a model", "a .gguf file"]);
    let mut other = fs::read(bench.model("tiny-llama.gguf", "whole.gguf")).unwrap();
    let at = other.windows(5).position(|bytes| bytes == b"llama").unwrap();
    other[at..at + 5].copy_from_slice(b"gpt42");
    refuses(
        &bench,
        &bench.write("other.gguf", other),
        &["other.gguf", "`general.architecture` is `gpt42`; supported are llama"],
    );
}

#[test]
fn a_folder_without_a_model() {
    let bench = Workbench::new();
    bench.write("empty/README.md", "nothing");
    refuses(
        &bench,
        &bench.path("empty"),
        &["empty is not a model", "config.json", "model.safetensors", "tokenizer.json"],
    );
}

#[test]
fn a_safetensors_header_that_lies() {
    let bench = Workbench::new();
    let model = bench.model("tiny-qwen3", "model");
    let weights = model.join("model.safetensors");
    let whole = Safetensors::read(&weights);
    let name = "model.layers.1.mlp.down_proj.weight";
    type Lie<'a> = (&'a str, &'a dyn Fn(&mut Safetensors));
    let lies: [Lie<'_>; 5] = [
        ("lies at", &|file| file.header[name]["data_offsets"][1] = json!(1_u64 << 50)),
        ("has", &|file| file.header[name]["shape"] = json!([u64::MAX, u64::MAX])),
        ("unknown type `F7`", &|file| file.header[name]["dtype"] = json!("F7")),
        ("tensors end at byte", &|file| file.data.extend([0; 16])),
        ("the header lies", &|file| file.data.truncate(file.data.len() / 2)),
    ];
    for (what, lie) in lies {
        let mut file = Safetensors { header: whole.header.clone(), data: whole.data.clone() };
        lie(&mut file);
        file.write(&weights);
        refuses(&bench, &model, &["model.safetensors is not a valid safetensors file", "the header lies", what]);
    }
    fs::write(&weights, [&u64::MAX.to_le_bytes()[..], b"{}"].concat()).unwrap();
    refuses(&bench, &model, &["model.safetensors", &format!("the header lies: it announces {} bytes", u64::MAX)]);
    for start in [b"".as_slice(), b"\x02\0\0", b"\x02\0\0\0\0\0\0\0no"] {
        fs::write(&weights, start).unwrap();
        refuses(&bench, &model, &["model.safetensors is not a valid safetensors file", "fetch it again"]);
    }
}

#[test]
fn a_shard_that_is_missing() {
    let bench = Workbench::new();
    let model = bench.model("tiny-llama", "model");
    fs::remove_file(model.join("model-00002-of-00002.safetensors")).unwrap();
    refuses(&bench, &model, &["model-00002-of-00002.safetensors", "No such file"]);
}

#[test]
fn weights_that_are_not_numbers() {
    let bench = Workbench::new();
    let model = bench.model("tiny-qwen3", "model");
    let weights = model.join("model.safetensors");
    let mut file = Safetensors::read(&weights);
    for (name, value) in [("model.norm.weight", f32::NAN), ("model.layers.1.mlp.down_proj.weight", f32::INFINITY)] {
        let start = file.range(name).start;
        file.data[start..start + 4].copy_from_slice(&value.to_le_bytes());
    }
    file.write(&weights);
    let said = [
        "model.safetensors",
        "NaN or infinite",
        "`model.norm.weight`: 1 of 32",
        "`model.layers.1.mlp.down_proj.weight`: 1 of 1536",
    ];
    refuses(&bench, &model, &said);
    bench.write("in.jsonl", "{\"context\": \"the\", \"continuation\": \" rain\"}\n");
    bench.fails(1, &["score", "--base", "model", "--input", "in.jsonl", "--output", "out.jsonl"], &said);
    assert!(!bench.path("out.jsonl").exists());
}

#[test]
fn missing_extra_and_misshapen_tensors_are_named_together() {
    let bench = Workbench::new();
    let model = bench.model("tiny-qwen3", "model");
    let weights = model.join("model.safetensors");
    let mut file = Safetensors::read(&weights);
    let header = file.header.as_object_mut().unwrap();
    let moved = header.remove("model.layers.0.mlp.up_proj.weight").unwrap();
    header.insert("model.layers.0.mlp.extra_proj.weight".into(), moved);
    header["model.layers.1.mlp.down_proj.weight"]["shape"] = json!([48, 32]);
    file.write(&weights);
    refuses(
        &bench,
        &model,
        &[
            "model.safetensors",
            "`model.layers.0.mlp.up_proj.weight` [48, 32] is missing",
            "`model.layers.0.mlp.extra_proj.weight` [48, 32] is not part of a Qwen3ForCausalLM",
            "`model.layers.1.mlp.down_proj.weight` has shape [48, 32]; expected [32, 48]",
        ],
    );
}

#[test]
fn a_configuration_of_another_kind() {
    let bench = Workbench::new();
    let model = bench.model("tiny-qwen3", "model");
    let config = model.join("config.json");
    edit_json(&config, |keys| {
        keys["architectures"] = json!(["GPT2LMHeadModel"]);
        keys["hidden_act"] = json!("gelu");
        keys["hidden_size"] = json!("wide");
    });
    refuses(
        &bench,
        &model,
        &[
            "config.json",
            "`GPT2LMHeadModel` is not supported",
            "LlamaForCausalLM",
            "`hidden_act`",
            "`hidden_size` is \"wide\"",
        ],
    );
    fs::write(&config, "{\"hidden_size\": ").unwrap();
    refuses(&bench, &model, &["config.json", "not JSON"]);
    fs::write(&config, [0xff, 0xfe, 0x00]).unwrap();
    refuses(&bench, &model, &["config.json", "not UTF-8 text at byte 0"]);
}

#[test]
fn sizes_that_no_machine_has() {
    let bench = Workbench::new();
    let model = bench.model("tiny-qwen3", "model");
    for key in
        ["hidden_size", "vocab_size", "num_hidden_layers", "num_attention_heads", "intermediate_size", "head_dim"]
    {
        let kept = fs::read(model.join("config.json")).unwrap();
        for value in [json!(0), json!(u64::MAX), json!(1_u64 << 40), json!(-3), json!(1.5)] {
            edit_json(&model.join("config.json"), |keys| keys[key] = value);
            refuses(&bench, &model, &["model"]);
        }
        fs::write(model.join("config.json"), kept).unwrap();
    }
}

#[test]
fn a_tokenizer_that_does_not_fit() {
    let bench = Workbench::new();
    let model = bench.model("tiny-qwen3", "model");
    let tokenizer = model.join("tokenizer.json");
    let kept = fs::read(&tokenizer).unwrap();
    edit_json(&tokenizer, |keys| {
        keys["added_tokens"].as_array_mut().unwrap().push(json!({
            "id": 500, "content": "<|five hundred|>", "single_word": false, "lstrip": false, "rstrip": false,
            "normalized": false, "special": true
        }));
        keys["model"]["vocab"]["<|five hundred|>"] = json!(500);
    });
    refuses(&bench, &model, &["model", "tokenizer", "token 500", "320 embeddings"]);
    fs::write(&tokenizer, &kept[..kept.len() / 2]).unwrap();
    refuses(&bench, &model, &["tokenizer.json: tokenizer: it is not a valid tokenizer.json", "fetch it again"]);
    fs::write(&tokenizer, "{}").unwrap();
    refuses(&bench, &model, &["tokenizer.json: tokenizer: it is not a valid tokenizer.json", "fetch it again"]);
}
