//! Logits of the quickstart's teacher against transformers' on the same GGUF file.
//!
//! Runs when `LORE_TEACHER_GGUF` is the path of SmolLM2-135M-Instruct.Q4_1.gguf. The fixture is made by
//! `scripts/parity/teacher_fixture.py`.
#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::sync::Arc;

use burn::tensor::Device;
use lore_model::Decoder;
use lore_model::files::ModelFiles;
use lore_model::ops::host::values;
use lore_model::ops::sequences::Sequences;
use safetensors::SafeTensors;

/// Largest difference allowed.
const TOLERANCE: f32 = 2e-3;

/// Little-endian numbers of a tensor, and its shape.
fn read<const N: usize, T>(
    fixture: &SafeTensors<'_>,
    name: &str,
    from_bytes: fn([u8; N]) -> T,
) -> (Vec<usize>, Vec<T>) {
    let tensor = fixture.tensor(name).unwrap();
    let numbers = tensor.data().chunks_exact(N).map(|bytes| from_bytes(bytes.try_into().unwrap())).collect();
    (tensor.shape().to_vec(), numbers)
}

fn log_sum_exp(logits: &[f32]) -> f32 {
    let highest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sum: f64 = logits.iter().map(|&logit| f64::from(logit - highest).exp()).sum();
    highest + sum.ln() as f32
}

#[test]
fn the_teachers_logits_are_those_of_transformers() {
    let Some(teacher) = std::env::var_os("LORE_TEACHER_GGUF") else {
        println!("SKIPPED: set LORE_TEACHER_GGUF to the path of SmolLM2-135M-Instruct.Q4_1.gguf");
        return;
    };
    let bytes =
        std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/teacher-logits.safetensors")).unwrap();
    let fixture = SafeTensors::deserialize(&bytes).unwrap();
    let (shape, ids) = read(&fixture, "ids", u32::from_le_bytes);
    let (_, selected) = read(&fixture, "selected", u16::from_le_bytes);
    let (_, expected) = read(&fixture, "logits", f32::from_le_bytes);
    let (_, sums) = read(&fixture, "log_sum_exp", f32::from_le_bytes);
    let [texts, length] = shape[..] else { panic!("ids are [text, position]") };
    assert!(texts >= 3 && length >= 200, "the fixture is complete");
    assert_eq!((ids.len(), sums.len()), (texts * length, texts * length));
    let kept = selected.len() / ids.len();
    assert!(kept >= 64 && selected.len() == expected.len());

    let files = ModelFiles::open(Path::new(&teacher)).unwrap();
    let decoder = Decoder::load(&files.config, &*files.weights, &Device::flex()).unwrap();
    let vocabulary = files.config.vocab_size;
    let hidden = decoder.hidden(Arc::new(ids), Arc::new(Sequences::whole(&vec![length; texts])));
    let head = decoder.head().transpose();
    let (mut largest, mut same) = (0.0_f32, 0);
    for text in 0..texts {
        let rows = text * length..(text + 1) * length;
        let logits = values(&hidden.clone().slice([rows.clone()]).matmul(head.clone()));
        for (row, logits) in rows.zip(logits.chunks_exact(vocabulary)) {
            let highest = logits.iter().enumerate().max_by(|(_, a), (_, b)| a.total_cmp(b)).unwrap().0;
            same += usize::from(highest == usize::from(selected[row * kept]));
            for (&entry, &expected) in selected[row * kept..][..kept].iter().zip(&expected[row * kept..]) {
                largest = largest.max((logits[usize::from(entry)] - expected).abs());
            }
            largest = largest.max((log_sum_exp(logits) - sums[row]).abs());
        }
    }
    println!("{texts} texts of {length} tokens, {kept} logits each: largest difference {largest:e}, top-1 {same}");
    assert_eq!(same, texts * length, "the most probable token is the same everywhere");
    assert!(largest <= TOLERANCE, "{largest}");
}
