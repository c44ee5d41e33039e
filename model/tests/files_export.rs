//! Models written as GGUF come back as they were, and their tokenizers too.
#![allow(missing_docs, clippy::unwrap_used)]

use std::path::Path;

use lore_model::export::{GgufModel, save_gguf};
use lore_model::files::ModelFiles;
use lore_model::weights::dequantise::BlockFormat;

fn fixture(name: &str) -> ModelFiles {
    ModelFiles::open(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)).unwrap()
}

fn written(files: &ModelFiles, format: BlockFormat, path: &Path) -> ModelFiles {
    let model = GgufModel {
        config: &files.config,
        tokenizer: &files.tokenizer,
        settings: &files.tokenizer_settings,
        format,
        name: "fixture",
    };
    save_gguf(path, &model, &mut |name| files.weights.read_f32(name)).unwrap();
    ModelFiles::open(path).unwrap()
}

#[test]
fn what_llama_cpp_converted_comes_back_to_the_bit() {
    let folder = tempfile::tempdir().unwrap();
    // Llama with interleaved queries and keys, Qwen2 with biases, Qwen3 with norms of heads.
    for name in ["tiny-llama.gguf", "tiny-qwen2.gguf", "tiny-qwen3.gguf"] {
        let files = fixture(name);
        let again = written(&files, BlockFormat::F32, &folder.path().join(name));
        assert_eq!(again.config, files.config, "{name}");
        assert_eq!(again.tokenizer_settings, files.tokenizer_settings, "{name}");
        for (tensor, _) in files.config.expected_tensors() {
            assert_eq!(again.weights.read_f32(&tensor).unwrap(), files.weights.read_f32(&tensor).unwrap(), "{tensor}");
        }
        for text in ["The river's 42 bends.", "  Ünïcode 漢字 \n\n\ttabs", "<|endoftext|>x<|im_start|>"] {
            let ids = |files: &ModelFiles| files.tokenizer.encode(text, true).unwrap().get_ids().to_vec();
            assert_eq!(ids(&again), ids(&files), "{name}: {text}");
        }
    }
}

#[test]
fn smaller_types_round_by_no_more_than_they_must() {
    let folder = tempfile::tempdir().unwrap();
    let files = fixture("tiny-llama.gguf");
    // Q8_0: half a unit of a 127th, and the unit itself is an f16.
    let eight_bits = 0.5 / 127.0 + 1.0 / 2048.0;
    for (format, error) in
        [(BlockFormat::F16, 1.0 / 2048.0), (BlockFormat::BF16, 1.0 / 256.0), (BlockFormat::Q8_0, eight_bits)]
    {
        let again = written(&files, format, &folder.path().join(format!("{}.gguf", format.name())));
        for (tensor, _) in files.config.expected_tensors() {
            let (before, after) = (files.weights.read_f32(&tensor).unwrap(), again.weights.read_f32(&tensor).unwrap());
            let largest = before.iter().fold(0.0f32, |largest, value| largest.max(value.abs()));
            for (a, b) in before.iter().zip(after) {
                assert!((a - b).abs() <= error * largest, "{tensor} as {}: {a} and {b}", format.name());
            }
        }
    }
}
