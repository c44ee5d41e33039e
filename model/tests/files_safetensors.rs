//! Safetensors: stored types, shards, and headers that lie.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::path::Path;

use lore_model::Error;
use lore_model::weights::safetensors::SafetensorsFiles;
use lore_model::weights::safetensors_writer::{SafetensorsWriter, StoredType};
use lore_model::weights::{WeightFile, open};
use proptest::prelude::*;
use safetensors::tensor::{Dtype, SafeTensors, TensorView, serialize};

fn file_of(header: &str, data: usize) -> Vec<u8> {
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend(header.as_bytes());
    bytes.resize(bytes.len() + data, 0);
    bytes
}

fn read_all(bytes: &[u8]) -> Result<Vec<Vec<f32>>, Error> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.safetensors");
    std::fs::write(&path, bytes).unwrap();
    let file = open(&path)?;
    file.tensors().keys().map(|name| file.read_f32(name)).collect()
}

#[test]
fn the_reference_writers_files_are_read_in_every_type() {
    let values = [1.0_f32, -2.5, 0.0, 65504.0];
    let f32s: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
    let f64s: Vec<u8> = values.iter().flat_map(|&value| f64::from(value).to_le_bytes()).collect();
    let f16s: Vec<u8> = values.iter().flat_map(|&value| half::f16::from_f32(value).to_le_bytes()).collect();
    let bf16s: Vec<u8> = values.iter().flat_map(|&value| half::bf16::from_f32(value).to_le_bytes()).collect();
    let view = |dtype, bytes| TensorView::new(dtype, vec![2, 2], bytes).unwrap();
    let tensors = [
        ("a.f32", view(Dtype::F32, &f32s)),
        ("b.f64", view(Dtype::F64, &f64s)),
        ("c.f16", view(Dtype::F16, &f16s)),
        ("d.bf16", view(Dtype::BF16, &bf16s)),
    ];
    let read = read_all(&serialize(tensors, None).unwrap()).unwrap();
    assert_eq!(read[0], values);
    assert_eq!(read[1], values);
    assert_eq!(read[2], values);
    assert_eq!(read[3], [1.0, -2.5, 0.0, 65536.0]);
}

#[test]
fn the_reference_reader_reads_what_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("w.safetensors");
    let tensors = [("z".to_owned(), vec![3]), ("a \"q\"".to_owned(), vec![1, 2])];
    let metadata = BTreeMap::from([("format".to_owned(), "pt".to_owned())]);
    let mut writer = SafetensorsWriter::create(&path, StoredType::Bf16, &tensors, &metadata).unwrap();
    writer.write("z", &[1.0 + 1.0 / 256.0, 1.004, -3.0]).unwrap();
    writer.write("a \"q\"", &[0.5, 4.0]).unwrap();
    writer.finish().unwrap();
    let bytes = std::fs::read(&path).unwrap();
    let (_, header) = SafeTensors::read_metadata(&bytes).unwrap();
    assert_eq!(header.metadata().as_ref().unwrap()["format"], "pt");
    let read = SafeTensors::deserialize(&bytes).unwrap();
    assert_eq!(read.tensor("a \"q\"").unwrap().shape(), [1, 2]);
    let ours = SafetensorsFiles::open(&path).unwrap();
    // 1 + 1/256 lies halfway between two bf16 numbers and goes to the even one, 1.004 to the other.
    assert_eq!(ours.read_f32("z").unwrap(), [1.0, 1.007_812_5, -3.0]);
    assert_eq!(ours.metadata()["format"], "pt");
}

#[test]
fn tensors_not_as_announced_are_not_written() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("w.safetensors");
    let create =
        || SafetensorsWriter::create(&path, StoredType::F32, &[("a".to_owned(), vec![2])], &BTreeMap::new()).unwrap();
    assert!(create().write("a", &[1.0]).is_err());
    assert!(create().write("b", &[1.0, 2.0]).is_err());
    assert!(create().finish().unwrap_err().to_string().contains("`a` was not written"));
}

#[test]
fn lying_headers_are_named() {
    let one = r#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}"#;
    assert_eq!(read_all(&file_of(one, 8)).unwrap(), [[0.0, 0.0]]);
    let mut huge = u64::MAX.to_le_bytes().to_vec();
    huge.extend(b"{}");
    for (bytes, expected) in [
        (vec![1, 2, 3], "only 3 bytes"),
        (huge, "header lies: it announces"),
        (file_of(one, 7), "lies at 0..8 of 7"),
        (file_of(one, 9), "end at byte"),
        (file_of(r#"{"a":{"dtype":"F32","shape":[3],"data_offsets":[0,8]}}"#, 8), "has 8 bytes"),
        (file_of(r#"{"a":{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,8]}}"#, 8), "has 8 bytes"),
        (
            file_of(r#"{"a":{"dtype":"F32","shape":[0,9223372036854775807,9],"data_offsets":[0,0]}}"#, 0),
            "impossible shape",
        ),
        (file_of(r#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[8,0]}}"#, 8), "lies at 8..0"),
        (
            file_of(
                r#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"b":{"dtype":"F32","shape":[2],"data_offsets":[4,12]}}"#,
                12,
            ),
            "overlaps",
        ),
        (file_of(r#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}}"#, 8), "gap"),
        (
            file_of(
                r#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"a":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}}"#,
                8,
            ),
            "occurs twice",
        ),
        (file_of(r#"{"a":{"dtype":"Q9","shape":[1],"data_offsets":[0,4]}}"#, 4), "unknown type"),
        (file_of(r#"{"a":{"dtype":"F32","shape":[-1],"data_offsets":[0,4]}}"#, 4), "not valid"),
        (file_of("[]", 0), "not valid"),
        (file_of(r#"{"a":{"dtype":"I64","shape":[1],"data_offsets":[0,8]}}"#, 8), "stored as I64"),
    ] {
        let error = read_all(&bytes).unwrap_err().to_string();
        assert!(error.contains(expected), "expected `{expected}` in: {error}");
    }
}

#[test]
fn a_long_header_is_refused_where_a_limit_is_set() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.safetensors");
    std::fs::write(&path, file_of(&format!("{{}}{}", " ".repeat(100)), 0)).unwrap();
    assert!(SafetensorsFiles::open(&path).is_ok());
    assert!(
        SafetensorsFiles::open_with_limit(&path, 64).unwrap_err().to_string().contains("longer than the 64 allowed")
    );
}

#[test]
fn an_index_and_its_shards_must_agree() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, bytes: &[u8]| std::fs::write(folder.path().join(name), bytes).unwrap();
    let shard =
        |tensor: &str| file_of(&format!(r#"{{"{tensor}":{{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}}}"#), 4);
    let index = folder.path().join("model.safetensors.index.json");
    let try_index = |map: &str| {
        std::fs::write(&index, format!(r#"{{"metadata":{{"total_size":8}},"weight_map":{map}}}"#)).unwrap();
        open(&index).map(|file| file.tensors().len())
    };
    write("one.safetensors", &shard("a"));
    write("two.safetensors", &shard("b"));
    assert_eq!(try_index(r#"{"a":"one.safetensors","b":"two.safetensors"}"#).unwrap(), 2);
    let error = try_index(r#"{"a":"two.safetensors","c":"one.safetensors"}"#).unwrap_err();
    assert!(matches!(error, Error::Tensors { problems, .. } if problems.len() == 3));
    for outside in ["../one.safetensors", "/one.safetensors", "sub/one.safetensors", "..", ""] {
        let error = try_index(&format!(r#"{{"a":"{outside}"}}"#)).unwrap_err().to_string();
        assert!(error.contains("not the name of a file beside it"), "{error}");
    }
    write("two.safetensors", &shard("a"));
    assert!(
        try_index(r#"{"a":"one.safetensors","b":"two.safetensors"}"#)
            .unwrap_err()
            .to_string()
            .contains("also in another file")
    );
}

#[test]
fn a_file_cut_anywhere_is_refused() {
    let whole =
        std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/tiny-qwen2/model.safetensors"))
            .unwrap();
    assert!(!read_all(&whole).unwrap().is_empty());
    for length in (0..1500).chain((1500..whole.len()).step_by(997)) {
        assert!(matches!(read_all(&whole[..length]), Err(Error::Malformed { .. })), "cut at {length}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn no_header_panics(header in r#"\{("[ab]":\{"dtype":"(F32|BF16|F4|I8)","shape":\[[0-9]{0,20}(,[0-9]{1,19})?\],"data_offsets":\[[0-9]{1,20},[0-9]{1,20}\]\},?){0,3}\}"#, data in 0_usize..40) {
        let _ = read_all(&file_of(&header, data));
    }

    #[test]
    fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = read_all(&bytes);
    }
}
