//! GGUF files written here, read back by the reader.
#![allow(clippy::unwrap_used)]

use lore_model::Error;
use lore_model::weights::WeightFile;
use lore_model::weights::dequantise::BlockFormat;
use lore_model::weights::gguf::GgufFile;
use lore_model::weights::gguf_metadata::Value;
use lore_model::weights::gguf_names::{gguf_name, hugging_face_name};
use lore_model::weights::gguf_writer::{GgufTensor, GgufWriter};
use proptest::prelude::*;

const KEY: &str = "test.key";

/// Values that survive being stored as `f32`.
fn metadata_value() -> impl Strategy<Value = Value> {
    let number = || any::<f32>().prop_filter("finite", |x| x.is_finite()).prop_map(|x| x.to_string().parse().unwrap());
    prop_oneof![
        any::<i64>().prop_map(|number| Value::Integer(number.into())),
        any::<u64>().prop_map(|number| Value::Integer(number.into())),
        any::<u16>().prop_map(|number| Value::Integer(number.into())),
        any::<bool>().prop_map(Value::Bool),
        ".{0,12}".prop_map(Value::String),
        number().prop_map(Value::Float),
        proptest::collection::vec(any::<i64>(), 0..5).prop_map(Value::Integers),
        proptest::collection::vec(any::<i32>().prop_map(i64::from), 0..5).prop_map(Value::Integers),
        proptest::collection::vec(number(), 0..5).prop_map(Value::Floats),
        proptest::collection::vec(any::<bool>(), 0..5).prop_map(Value::Bools),
        proptest::collection::vec(".{0,5}", 0..5).prop_map(Value::Strings),
    ]
}

fn tensor() -> impl Strategy<Value = (Vec<usize>, BlockFormat)> {
    let formats = [BlockFormat::F32, BlockFormat::F16, BlockFormat::BF16];
    (proptest::collection::vec(1_usize..9, 1..5), (0_usize..3).prop_map(move |index| formats[index]))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_written_is_read_back(
        values in proptest::collection::vec(metadata_value(), 0..6),
        shapes in proptest::collection::vec(tensor(), 0..6),
        start in -1000_i32..1000,
    ) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.gguf");
        let keys: Vec<String> = (0..values.len()).map(|index| format!("{KEY}.{index}")).collect();
        let metadata: Vec<(&str, Value)> = keys.iter().map(String::as_str).zip(values).collect();
        let tensors: Vec<GgufTensor> = shapes
            .into_iter()
            .enumerate()
            .map(|(index, (shape, format))| GgufTensor { name: format!("t{index}.lora_a"), shape, format })
            .collect();
        let mut writer = GgufWriter::create(&path, &metadata, &tensors).unwrap();
        // Small whole numbers are exact in 16 bits too; bfloat16 has 8 bits of them.
        let content = |index: usize, tensor: &GgufTensor| -> Vec<f32> {
            let count: usize = tensor.shape.iter().product();
            (0..count).map(|i| ((start + (index * 31 + i) as i32) % 128) as f32 / 4.0).collect()
        };
        for (index, tensor) in tensors.iter().enumerate() {
            writer.write(&tensor.name, &content(index, tensor)).unwrap();
            prop_assert!(!path.exists(), "half a file is visible");
        }
        writer.finish().unwrap();
        let file = GgufFile::open(&path).unwrap();
        for (key, value) in &metadata {
            prop_assert_eq!(file.metadata().get(key), Some(value));
        }
        prop_assert_eq!(file.tensors().len(), tensors.len());
        for (index, tensor) in tensors.iter().enumerate() {
            let found = &file.tensors()[&tensor.name];
            prop_assert_eq!((&found.shape, found.dtype.as_str()), (&tensor.shape, tensor.format.name()));
            prop_assert_eq!(file.read_f32(&tensor.name).unwrap(), content(index, tensor));
        }
    }
}

#[test]
fn what_cannot_be_written_is_named_and_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.gguf");
    let tensor = |name: &str, shape: &[usize], format| GgufTensor { name: name.into(), shape: shape.to_vec(), format };
    let tensors = [
        tensor("a", &[2], BlockFormat::F32),
        tensor("a", &[2], BlockFormat::F32),
        tensor("b", &[0], BlockFormat::F32),
        tensor("c", &[32], BlockFormat::Q4_0),
        tensor("d", &[2, 33], BlockFormat::Q8_0),
    ];
    let metadata = [
        ("k", Value::Bool(true)),
        ("k", Value::Bool(true)),
        ("n", Value::Arrays(vec![])),
        ("i", Value::Integer(i128::from(u64::MAX) + 1)),
    ];
    let Err(Error::Tensors { problems, .. }) = GgufWriter::create(&path, &metadata, &tensors) else {
        panic!("must be refused")
    };
    assert_eq!(problems.len(), 7, "{problems:#?}");

    let create = || GgufWriter::create(&path, &[], &tensors[1..2]).unwrap();
    assert!(create().write("b", &[1.0, 2.0]).unwrap_err().to_string().contains("`b`"));
    assert!(create().write("a", &[1.0]).unwrap_err().to_string().contains("1 values"));
    assert!(create().finish().unwrap_err().to_string().contains("`a` was not written"));
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "something was left behind");
}

#[test]
fn names_go_both_ways() {
    for name in ["blk.0.attn_q.weight", "blk.12.ffn_down.weight", "blk.3.attn_k.bias", "blk.7.attn_norm.weight"] {
        assert_eq!(gguf_name(&hugging_face_name(name)).as_deref(), Some(name));
    }
    for name in [
        "lm_head.weight",
        "model.layers.x.self_attn.q_proj.weight",
        "model.layers.01.mlp.up_proj.weight",
        "model.layers.0.mlp.other.weight",
    ] {
        assert_eq!(gguf_name(name), None);
    }
}
