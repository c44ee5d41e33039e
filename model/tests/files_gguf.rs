//! GGUF: every block format against the `gguf` package's numbers, row order, and damaged files.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use lore_model::Error;
use lore_model::files::ModelFiles;
use lore_model::weights::dequantise::BlockFormat;
use lore_model::weights::gguf::GgufFile;
use lore_model::weights::gguf_metadata::Value;
use lore_model::weights::gguf_names::{hugging_face_name, interleaved_row};
use lore_model::weights::{WeightFile, check};
use proptest::prelude::*;

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

/// Opens these bytes as a GGUF file and reads everything in it.
fn read_all(bytes: &[u8]) -> Result<(), Error> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.gguf");
    std::fs::write(&path, bytes).unwrap();
    let file = GgufFile::open(&path)?;
    for name in file.tensors().keys() {
        file.read_f32(name)?;
    }
    Ok(())
}

#[test]
fn every_block_format_matches_the_gguf_package() {
    let file = GgufFile::open(&fixture("blocks.gguf")).unwrap();
    let expected: BTreeMap<String, Vec<u32>> =
        serde_json::from_str(&std::fs::read_to_string(fixture("blocks.json")).unwrap()).unwrap();
    assert_eq!(expected.len(), BlockFormat::ALL.len());
    for (format, bits) in expected {
        let name = format!("test.{format}");
        assert_eq!(file.tensors()[&name].shape, [2, 256]);
        assert_eq!(file.tensors()[&name].dtype, format);
        for (index, (value, bits)) in file.read_f32(&name).unwrap().into_iter().zip(bits).enumerate() {
            let expected = f32::from_bits(bits);
            assert!(value == expected, "{format} value {index}: {value} instead of {expected}");
        }
    }
}

#[test]
fn metadata_of_every_kind_is_read() {
    let file = GgufFile::open(&fixture("blocks.gguf")).unwrap();
    let metadata = file.metadata();
    assert_eq!(metadata.float("test.single"), Some(1e-5));
    assert_eq!(metadata.integer("test.negative"), Some(-3));
    assert_eq!(metadata.integer("test.large"), Some(1 << 63));
    assert_eq!(metadata.bool("test.flag"), Some(true));
    assert_eq!(metadata.string("test.text"), Some("na\u{ef}ve"));
    assert_eq!(metadata.strings("test.strings").unwrap(), ["a", "", "\u{e9}"]);
    assert_eq!(metadata.get("test.numbers"), Some(&Value::Integers(vec![1, -2, 3])));
    assert_eq!(metadata.string("test.flag"), None);
}

#[test]
fn a_gguf_model_equals_the_same_model_in_safetensors() {
    for name in ["tiny-llama", "tiny-qwen2", "tiny-qwen3"] {
        let gguf = ModelFiles::open(&fixture(&format!("{name}.gguf"))).unwrap();
        let folder = ModelFiles::open(&fixture(name)).unwrap();
        assert_eq!(gguf.config, folder.config);
        assert_eq!(gguf.tokenizer_settings.bos_token.as_deref(), Some("<|im_start|>"));
        assert_eq!(gguf.tokenizer_settings.chat_template.as_deref(), Some("{{ messages }}"));
        for (name, _) in gguf.config.expected_tensors() {
            let values = folder.weights.read_f32(&name).unwrap();
            assert_eq!(gguf.weights.read_f32(&name).unwrap(), values, "{name}");
            // Two rows from the middle, by either format alone.
            let shape = &folder.weights.tensors()[&name].shape;
            let (width, rows) = (shape[1..].iter().product::<usize>(), shape[0] / 2 - 1..shape[0] / 2 + 1);
            for file in [&gguf.weights, &folder.weights] {
                let part = file.read_rows_f32(&name, rows.clone()).unwrap();
                assert_eq!(part, values[rows.start * width..rows.end * width], "{name}");
            }
        }
        check::check_finite(&gguf.config, &*gguf.weights).unwrap();
    }
}

#[test]
fn rows_of_a_head_are_taken_from_neighbouring_pairs() {
    // Two heads of width 4: halves (0 1 | 2 3) are stored as pairs (0 2)(1 3).
    let stored: Vec<usize> = (0..8).map(|row| interleaved_row(row, 4)).collect();
    assert_eq!(stored, [0, 2, 1, 3, 4, 6, 5, 7]);
}

#[test]
fn names_are_translated_or_kept() {
    assert_eq!(hugging_face_name("blk.12.attn_q_norm.weight"), "model.layers.12.self_attn.q_norm.weight");
    assert_eq!(hugging_face_name("blk.0.attn_k.bias"), "model.layers.0.self_attn.k_proj.bias");
    for kept in
        ["blk.01.attn_q.weight", "blk.0.ffn_gate_exps.weight", "blk.0.attn_q.scale", "rope_freqs.weight", "blk.x"]
    {
        assert_eq!(hugging_face_name(kept), kept);
    }
}

#[test]
fn a_file_cut_anywhere_is_refused() {
    for (name, densely) in [("blocks.gguf", 1500), ("tiny-llama.gguf", 40)] {
        let bytes = std::fs::read(fixture(name)).unwrap();
        read_all(&bytes).unwrap();
        // The last tensor may be followed by up to 31 bytes that belong to nothing.
        for length in (0..densely).chain((densely..bytes.len() - 31).step_by(bytes.len() / 150)) {
            let error = read_all(&bytes[..length]).unwrap_err();
            assert!(matches!(error, Error::Malformed { .. }), "cut at {length}: {error}");
        }
    }
}

/// The start of a GGUF file announcing these counts.
fn start(version: u32, tensors: u64, pairs: u64) -> Vec<u8> {
    let mut bytes = b"GGUF".to_vec();
    bytes.extend(version.to_le_bytes());
    bytes.extend(tensors.to_le_bytes());
    bytes.extend(pairs.to_le_bytes());
    bytes
}

fn text(bytes: &mut Vec<u8>, text: &str) {
    bytes.extend((text.len() as u64).to_le_bytes());
    bytes.extend(text.as_bytes());
}

/// A file with the given rows of its tensor table and `data` zero bytes.
fn with_tensors(rows: &[(&str, &[u64], u32, u64)], data: usize) -> Vec<u8> {
    let mut bytes = start(3, rows.len() as u64, 0);
    for (name, dimensions, kind, offset) in rows {
        text(&mut bytes, name);
        bytes.extend((dimensions.len() as u32).to_le_bytes());
        bytes.extend(dimensions.iter().flat_map(|size| size.to_le_bytes()));
        bytes.extend(kind.to_le_bytes());
        bytes.extend(offset.to_le_bytes());
    }
    bytes.resize(bytes.len().next_multiple_of(32) + data, 0);
    bytes
}

#[test]
fn lies_are_named() {
    let mut long_text = start(3, 0, 1);
    long_text.extend(u64::MAX.to_le_bytes());
    long_text.extend([0; 64]);
    let mut long_array = start(3, 0, 1);
    text(&mut long_array, "k");
    long_array.extend(9_u32.to_le_bytes());
    long_array.extend(8_u32.to_le_bytes());
    long_array.extend((1_u64 << 60).to_le_bytes());
    long_array.extend([0; 64]);
    let mut nested = start(3, 0, 1);
    text(&mut nested, "k");
    for _ in 0..10_000 {
        nested.extend(9_u32.to_le_bytes());
        nested.extend(1_u64.to_le_bytes());
    }
    nested.extend([0; 64]);
    for (bytes, expected) in [
        (start(1, 0, 0), "version 1"),
        (start(3_u32.swap_bytes(), 0, 0), "big-endian"),
        (start(3, u64::MAX, 0), "tensors are announced"),
        (start(3, 0, 1 << 40), "metadata pairs are announced"),
        (long_text, "bytes of text"),
        (long_array, "array elements"),
        (nested, "metadata `k`"),
        (with_tensors(&[("a", &[32], 0, 0)], 127), "ends at byte"),
        (with_tensors(&[("a", &[u64::MAX, 2], 0, 0)], 8), "impossible dimensions"),
        (with_tensors(&[("a", &[32], 0, u64::MAX - 31)], 128), "impossible dimensions"),
        (with_tensors(&[("a", &[0, 1 << 60], 0, 0)], 8), "is empty"),
        (with_tensors(&[("a", &[33], 2, 0)], 128), "not whole Q4_0 blocks"),
        (with_tensors(&[("a", &[8], 0, 4)], 128), "not a multiple of 32"),
        (with_tensors(&[("a", &[8], 0, 0), ("a", &[8], 0, 32)], 128), "occurs twice"),
        (with_tensors(&[("a", &[16], 0, 0), ("b", &[8], 0, 32)], 128), "overlap"),
        (with_tensors(&[("a", &[1, 1, 1, 1, 1], 0, 0)], 128), "5 dimensions"),
        (with_tensors(&[("a", &[256], 10, 0), ("b", &[256], 99, 0)], 128), "Q2_K"),
    ] {
        let error = read_all(&bytes).unwrap_err().to_string();
        assert!(error.contains(expected), "expected `{expected}` in: {error}");
    }
    let both = read_all(&with_tensors(&[("a", &[256], 10, 0), ("b", &[256], 99, 0)], 128)).unwrap_err();
    assert!(matches!(both, Error::Tensors { problems, .. } if problems.len() == 2));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn changed_bytes_never_panic(changes in proptest::collection::vec((0_usize..7968, any::<u8>()), 1..6)) {
        let mut bytes = std::fs::read(fixture("blocks.gguf")).unwrap();
        for (at, byte) in changes {
            let at = at % bytes.len();
            bytes[at] = byte;
        }
        let _ = read_all(&bytes);
    }

    #[test]
    fn bytes_behind_a_valid_start_never_panic(tensors in 0_u64..4, pairs in 0_u64..4, tail in proptest::collection::vec(any::<u8>(), 0..300)) {
        let mut bytes = start(3, tensors, pairs);
        bytes.extend(tail);
        let _ = read_all(&bytes);
    }
}
