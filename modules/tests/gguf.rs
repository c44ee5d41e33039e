//! Modules as GGUF files.
#![allow(missing_docs, clippy::unwrap_used)]

mod small;

use std::path::Path;

use lore_model::files::ModelFiles;
use lore_model::weights::WeightFile;
use lore_model::weights::dequantise::BlockFormat;
use lore_model::weights::gguf::GgufFile;
use lore_model::weights::gguf_metadata::Value;
use lore_model::weights::gguf_writer::{GgufTensor, GgufWriter};
use lore_modules::{Adapter, Error, gguf, peft};
use small::*;

fn qwen() -> ModelFiles {
    ModelFiles::open(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../model/tests/fixtures/tiny-qwen2")).unwrap()
}

/// What llama.cpp adds to a weight of the base's GGUF: alpha over rank times B·A, rows as stored.
fn as_llama_cpp(file: &GgufFile, stem: &str) -> Vec<f64> {
    let factor = |letter: &str| {
        let name = format!("{stem}.lora_{letter}");
        (file.tensors()[&name].shape.clone(), file.read_f32(&name).unwrap())
    };
    let ((a_shape, a), (b_shape, b)) = (factor("a"), factor("b"));
    let (rank, columns) = (a_shape[0], a_shape[1]);
    assert_eq!(b_shape[1], rank);
    let scale = file.metadata().float("adapter.lora.alpha").unwrap() / rank as f64;
    let entry = |i: usize| {
        let (row, column) = (i / columns, i % columns);
        (0..rank).map(|k| f64::from(b[row * rank + k]) * f64::from(a[k * columns + column])).sum::<f64>() * scale
    };
    (0..b_shape[0] * columns).map(entry).collect()
}

#[test]
fn llama_cpp_would_add_what_the_module_adds() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("module.gguf");
    let (files, base) = (base_files(), ["plain", "patterns", "rslora"].map(|name| peft::read(&fixture(name)).unwrap()));
    let (heads, dim) = (files.config.num_attention_heads, files.config.head_dim);
    for adapter in base {
        gguf::write(&path, &adapter, &files.config, BlockFormat::F32).unwrap();
        let file = GgufFile::open(&path).unwrap();
        assert_eq!(file.metadata().string("general.type"), Some("adapter"));
        assert_eq!(file.metadata().string("adapter.type"), Some("lora"));
        assert_eq!(file.metadata().string("general.architecture"), Some("llama"));
        assert_eq!(file.tensors().len(), 2 * adapter.updates.len());
        for (module, stem, heads) in [
            ("model.layers.1.self_attn.o_proj", "blk.1.attn_output.weight", None),
            ("model.layers.0.self_attn.q_proj", "blk.0.attn_q.weight", Some(heads)),
            ("model.layers.0.self_attn.k_proj", "blk.0.attn_k.weight", Some(files.config.num_key_value_heads)),
            ("model.layers.1.mlp.down_proj", "blk.1.ffn_down.weight", None),
        ] {
            let Some(update) = adapter.updates.get(module) else { continue };
            let (expected, found) = (dense(update), as_llama_cpp(&file, stem));
            let size = norm(&expected);
            for row in 0..update.out_features {
                // llama.cpp's converter: reshape(heads, 2, dim / 2, ·).swapaxes(1, 2).
                let stored = heads.map_or(row, |heads| {
                    assert_eq!(update.out_features, heads * dim);
                    let (head, half, pair) = (row / dim, row % dim / (dim / 2), row % (dim / 2));
                    head * dim + 2 * pair + half
                });
                for column in 0..update.in_features {
                    let (found, expected) =
                        (found[stored * update.in_features + column], expected[row * update.in_features + column]);
                    assert!((found - expected).abs() < 1e-6 * size, "{module} {row} {column}: {found} for {expected}");
                }
            }
        }
    }
}

#[test]
fn an_exported_module_is_imported_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("module.gguf");
    let uniform = peft::read(&fixture("plain")).unwrap();
    let mut patterned = peft::read(&fixture("patterns")).unwrap();
    patterned.base = Some(format!("lore-base-v1:{}", "5".repeat(64)).parse().unwrap());
    patterned.metadata.insert("topic".to_owned(), "rivers".to_owned());
    let config = base_files().config;
    gguf::write(&path, &uniform, &config, BlockFormat::F32).unwrap();
    assert_eq!(gguf::read(&path, &config).unwrap().updates, uniform.updates, "one alpha for all: to the bit");
    gguf::write(&path, &patterned, &config, BlockFormat::F32).unwrap();
    let found = gguf::read(&path, &config).unwrap();
    assert!(distance(&changes(&found), &changes(&patterned)) < 1e-6);
    assert_eq!((found.base, found.metadata), (patterned.base, patterned.metadata));
    for format in [BlockFormat::F16, BlockFormat::BF16] {
        gguf::write(&path, &uniform, &config, format).unwrap();
        let difference = distance(&changes(&gguf::read(&path, &config).unwrap()), &changes(&uniform));
        assert!(difference > 0.0 && difference < 5e-3, "{format:?}: {difference}");
    }
    // Qwen's queries and keys are stored in Hugging Face's order.
    let qwen = qwen();
    gguf::write(&path, &uniform, &qwen.config, BlockFormat::F32).unwrap();
    let file = GgufFile::open(&path).unwrap();
    let update = &uniform.updates["model.layers.0.self_attn.q_proj"];
    assert_eq!(file.read_f32("blk.0.attn_q.weight.lora_b").unwrap(), update.b);
    assert_eq!(gguf::read(&path, &qwen.config).unwrap().updates, uniform.updates);
    let error = gguf::read(&path, &config).unwrap_err().to_string();
    assert!(error.contains("`general.architecture` is qwen2; expected `llama`"), "{error}");
}

#[test]
fn what_is_not_a_module_is_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("module.gguf");
    let config = base_files().config;
    let text = |text: &str| Value::String(text.to_owned());
    let metadata =
        [("general.architecture", text("llama")), ("general.type", text("model")), ("adapter.type", text("lora"))];
    let names =
        ["blk.0.attn_q.weight.lora_a", "blk.0.ffn_up.weight", "token_embd.weight.lora_b", "blk.0.x.weight.lora_a"];
    let tensors = names.map(|name| GgufTensor { name: name.into(), shape: vec![2, 32], format: BlockFormat::F32 });
    let mut writer = GgufWriter::create(&path, &metadata, &tensors).unwrap();
    names.iter().for_each(|name| writer.write(name, &[0.5; 64]).unwrap());
    writer.finish().unwrap();
    let Err(Error::Import { problems, .. }) = gguf::read(&path, &config) else { panic!("must be refused") };
    for part in [
        "`general.type` is model",
        "`blk.0.attn_q.weight`: lora_a [2, 32] and lora_b is absent",
        "`blk.0.x.weight.lora_a`",
        "there are no updates",
    ] {
        assert!(problems.iter().any(|problem| problem.contains(part)), "no `{part}` in {problems:#?}");
    }
    // The reader gives whole tensors their Hugging Face name.
    assert!(problems.iter().any(|problem| problem.contains("up_proj.weight")), "{problems:#?}");

    let mut other: Adapter = module(2, 2.0, &["q_proj"], 1);
    let update = other.updates.remove("model.layers.0.self_attn.q_proj").unwrap();
    other.updates.insert("model.layers.9.self_attn.q_proj".to_owned(), update);
    let Err(Error::Shapes { problems }) = gguf::write(&path, &other, &config, BlockFormat::F32) else {
        panic!("must be refused")
    };
    assert_eq!(problems.len(), 1);
}
