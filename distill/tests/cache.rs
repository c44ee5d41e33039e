//! Captured distributions: unbiased, bound to what they were captured from, and the same after an interruption.
#![allow(missing_docs, clippy::unwrap_used)]

#[path = "../../train/tests/toy/mod.rs"]
mod toy;

use std::fs;
use std::ops::Range;
use std::path::Path;

use burn::tensor::Device;
use lore_datasets::mixture::Mixture;
use lore_datasets::progress::Silent;
use lore_distill::cache::{Binding, Captured, TargetCache, Teacher, capture, capture_share};
use lore_distill::{Depth, Distillation, student_from_teacher};
use lore_model::streamed::StreamedDecoder;
use lore_model::weights::memory::MemoryWeights;
use lore_train::gradients;
use toy::{batch_logits, decoder, mixture};

const STEPS: u64 = 4;

fn binding(samples: usize, seed: u64) -> Binding {
    Binding::new("teacher 2 and the counting mixture".into(), 64, samples, seed)
}

fn captured(folder: &Path, mixture: &Mixture, binding: &Binding) -> Captured {
    capture(&Teacher::Resident(&decoder(4, 2)), mixture, STEPS, binding, folder, &Silent).unwrap()
}

fn log_softmax(row: &[f32]) -> Vec<f64> {
    let sum: f64 = row.iter().map(|&x| f64::from(x).exp()).sum();
    row.iter().map(|&x| f64::from(x) - sum.ln()).collect()
}

#[test]
fn draws_are_unbiased_and_entropies_right() {
    let folder = tempfile::tempdir().unwrap();
    let mixture = mixture(folder.path(), 16, 2);
    let batch = mixture.batch(1);
    let logits = batch_logits(&decoder(4, 2), &batch);
    let rows: Vec<usize> = (0..batch.tokens.len()).collect();
    let seeds = 400;
    let mut mean = vec![0.0f64; logits.len()];
    for seed in 0..seeds {
        let (place, binding) = (folder.path().join(seed.to_string()), binding(8, seed));
        captured(&place, &mixture, &binding);
        let targets = TargetCache::open(&place, &binding, &mixture, STEPS).unwrap().targets(1, &rows);
        for (row, row_logits) in logits.chunks_exact(64).enumerate() {
            let log_p = log_softmax(row_logits);
            let mut total = 0.0;
            for (id, probability) in targets.row(row) {
                // Systematic draws are never more than one count away from their share.
                let expected = log_p[id as usize].exp() * 8.0;
                assert!((f64::from(probability) * 8.0 - expected).abs() < 1.001);
                mean[row * 64 + id as usize] += f64::from(probability) / seeds as f64;
                total += probability;
            }
            assert!((total - 1.0).abs() < 1e-6);
            let entropy: f64 = log_p.iter().map(|log_p| -log_p.exp() * log_p).sum();
            assert!((f64::from(targets.entropies[row]) - entropy).abs() < 2e-3 * (1.0 + entropy));
        }
        fs::remove_dir_all(place).unwrap();
    }
    // A count of at most one from its share has at most a variance of 1/4: standard error 0.5 / 8 / √400 = 0.003.
    for (row, row_logits) in logits.chunks_exact(64).enumerate() {
        for (id, log_p) in log_softmax(row_logits).into_iter().enumerate() {
            assert!((mean[row * 64 + id] - log_p.exp()).abs() < 5.0 * 0.0032, "row {row}, token {id}");
        }
    }
}

#[test]
fn many_draws_teach_what_the_live_teacher_does() {
    let folder = tempfile::tempdir().unwrap();
    let mixture = mixture(folder.path(), 16, 2);
    let binding = binding(255, 3);
    captured(folder.path(), &mixture, &binding);
    let teacher = decoder(4, 2);
    let student = student_from_teacher(&teacher, &Depth { first: 1, last: 1 }).unwrap();
    let cache = TargetCache::open(folder.path(), &binding, &mixture, STEPS).unwrap();
    let cached = Distillation::cached(student.clone(), cache, 0.0);
    let live = Distillation::new(student, teacher, 1.0);
    for step in 0..STEPS {
        let batch = mixture.batch(step);
        let (expected, a) = gradients(&live.parameters(), step, &batch, 1, &live).unwrap();
        // The rows of a part are found whatever the number of parts.
        for parts in [1, 2] {
            let (found, b) = gradients(&cached.parameters(), step, &batch, parts, &cached).unwrap();
            // Of 64 tokens each is off by about 0.4 of a draw in 255, times a log-probability that varies by about 1:
            // 0.0125 a row, 0.0022 in the mean of 32 rows. Four and a half of those.
            assert!((a.loss - b.loss).abs() < 0.01, "{} against {}", b.loss, a.loss);
            assert!((a.target_entropy - b.target_entropy).abs() < 2e-3 * a.target_entropy);
            for (name, gradient) in &expected {
                let (x, y) = (lore_model::ops::host::values(gradient), lore_model::ops::host::values(&found[name]));
                let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| f64::from(a * b)).sum::<f64>();
                let cosine = dot(&x, &y) / (dot(&x, &x) * dot(&y, &y)).sqrt();
                assert!(cosine > 0.99, "{name}: {cosine}");
            }
        }
    }
}

#[test]
fn an_interrupted_capture_goes_on_to_the_same_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let mixture = mixture(folder.path(), 16, 2);
    let binding = binding(12, 9);
    let whole = folder.path().join("whole");
    captured(&whole, &mixture, &binding);
    let files = ["targets.bin", "targets.jsonl"];
    let expected = files.map(|file| fs::read(whole.join(file)).unwrap());
    for (segments, index) in [(0, 0), (5, 10), (expected[0].len() / 2, expected[1].len() / 2), (expected[0].len(), 300)]
    {
        let place = folder.path().join(format!("{segments}-{index}"));
        fs::create_dir(&place).unwrap();
        fs::write(place.join(files[0]), &expected[0][..segments]).unwrap();
        fs::write(place.join(files[1]), &expected[1][..index]).unwrap();
        let again = captured(&place, &mixture, &binding);
        assert_eq!(files.map(|file| fs::read(place.join(file)).unwrap()), expected);
        assert_eq!(again.bytes, expected[0].len() as u64);
        assert_eq!(again.positions, (0..STEPS).map(|step| mixture.batch(step).tokens.len() as u64).sum::<u64>());
    }
}

#[test]
fn shares_captured_side_by_side_make_the_same_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let mixture = mixture(folder.path(), 16, 2);
    let binding = binding(8, 3);
    let (whole, shared) = (folder.path().join("whole"), folder.path().join("shared"));
    let expected = captured(&whole, &mixture, &binding);
    let share = |name: &str, steps: Range<u64>| {
        let teacher = decoder(4, 2);
        capture_share(&Teacher::Resident(&teacher), &mixture, (name, steps), &binding, &shared, &Silent).unwrap()
    };
    // Whoever gathers them would draw something else.
    let gather = |binding: &Binding| {
        let teacher = decoder(4, 9);
        let captured = capture(&Teacher::Resident(&teacher), &mixture, STEPS, binding, &shared, &Silent).unwrap();
        let bytes = fs::read(shared.join("targets.bin")).unwrap();
        let same = ["targets.bin", "targets.jsonl"]
            .map(|file| fs::read(shared.join(file)).unwrap() == fs::read(whole.join(file)).unwrap());
        assert!(!shared.join("shares").exists());
        fs::remove_dir_all(&shared).unwrap();
        (captured, same, bytes)
    };
    let (_, _, other) = gather(&binding);
    let divide = || {
        let parts = [share("3-of-3", 2..4), share("1-of-3", 0..1), share("2-of-3", 1..2)];
        assert_eq!(parts.iter().map(|part| part.positions).sum::<u64>(), expected.positions);
    };
    divide();
    // Again, as after an interruption: nothing is drawn twice.
    divide();
    let (captured, same, bytes) = gather(&binding);
    assert_eq!((captured, same), (expected, [true, true]));
    assert_ne!(bytes, other);

    // A share that is missing, or was altered on the way, is captured by who gathers.
    divide();
    fs::remove_dir_all(shared.join("shares/2-of-3")).unwrap();
    let path = shared.join("shares/3-of-3/targets.bin");
    let mut altered = fs::read(&path).unwrap();
    *altered.last_mut().unwrap() ^= 1;
    fs::write(&path, altered).unwrap();
    let (_, same, mixed) = gather(&binding);
    assert!(!same[0] && mixed != other);
    // Those of another capture are left out.
    divide();
    let another = Binding::new("another".into(), 64, 8, 3);
    assert_eq!(gather(&another).2, other);
}

#[test]
fn another_capture_or_a_damaged_one_is_refused_with_the_reason() {
    let folder = tempfile::tempdir().unwrap();
    let right = mixture(&folder.path().join("a"), 16, 2);
    let place = folder.path().join("capture");
    let bound = binding(12, 9);
    captured(&place, &right, &bound);
    TargetCache::open(&place, &bound, &right, STEPS).unwrap();
    let refused = |binding: &Binding, mixture: &Mixture, steps: u64| {
        TargetCache::open(&place, binding, mixture, steps).unwrap_err().to_string()
    };
    let other_teacher = Binding::new("another".into(), 64, 12, 9);
    assert!(refused(&other_teacher, &right, STEPS).contains("another teacher"));
    assert!(refused(&binding(13, 9), &right, STEPS).contains("another number of samples"));
    assert!(refused(&binding(12, 8), &right, STEPS).contains("another seed"));
    assert!(refused(&bound, &right, STEPS + 1).contains("for 4 steps, but 5 are needed"));
    let other_order = mixture(&folder.path().join("b"), 8, 4);
    assert!(refused(&bound, &other_order, STEPS).contains("other tokens in step 0"));
    let path = place.join("targets.bin");
    let bytes = fs::read(&path).unwrap();
    for at in [0, bytes.len() / 2, bytes.len() - 1] {
        let mut damaged = bytes.clone();
        damaged[at] ^= 1;
        fs::write(&path, damaged).unwrap();
        assert!(refused(&bound, &right, STEPS).contains("is damaged"));
    }
    fs::write(&path, &bytes[..bytes.len() - 1]).unwrap();
    assert!(refused(&bound, &right, STEPS).contains("cannot read"));
}

#[test]
fn a_teacher_read_block_by_block_says_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let mixture = mixture(folder.path(), 16, 2);
    let binding = binding(12, 9);
    let (resident, streamed) = (folder.path().join("resident"), folder.path().join("streamed"));
    captured(&resident, &mixture, &binding);
    let decoder = decoder(4, 2);
    let tensors = decoder.parameters().into_iter().map(|(name, tensor)| {
        // Norms are vectors in a file.
        let shape = if name.ends_with("norm.weight") { vec![32] } else { tensor.dims().to_vec() };
        (name, shape, lore_model::ops::host::values(&tensor))
    });
    let weights = MemoryWeights::new("in memory", tensors).unwrap();
    // 64 tokens of 32 channels: the head in one part, or in four.
    for (at_once, part) in [(1, 2048), (70, 2048), (1000, 640)] {
        let model = StreamedDecoder::new(&decoder.config, &weights, &Device::flex()).unwrap().in_parts_of(part);
        capture(&Teacher::Streamed(model, at_once), &mixture, STEPS, &binding, &streamed, &Silent).unwrap();
        for file in ["targets.bin", "targets.jsonl"] {
            assert_eq!(fs::read(streamed.join(file)).unwrap(), fs::read(resident.join(file)).unwrap());
        }
        fs::remove_dir_all(&streamed).unwrap();
    }
}
