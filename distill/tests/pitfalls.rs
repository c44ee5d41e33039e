//! Ways in which a distillation goes wrong without failing, each with the test that would show it, by hand where that is
//! possible. Others stand beside what they are about: chunks against the whole and a teacher that is its own student in
//! `model/tests/ops/head.rs`, masks and micro-batches in `train/tests/gradients.rs`, interrupted and divided captures in
//! `cache.rs`, an untouched teacher in `objective.rs`, keeping everything in `initialise.rs` and `width.rs`.
#![allow(missing_docs, clippy::unwrap_used)]

#[path = "../../train/tests/toy/mod.rs"]
mod toy;

use std::sync::Arc;

use burn::tensor::{Device, Tensor};
use lore_datasets::progress::Silent;
use lore_distill::cache::{Binding, TargetCache, Teacher, capture};
use lore_model::ops::head::{Divergence, SparseTargets, Target, head_loss};
use lore_model::ops::host::{matrix, values};
use toy::{batch_logits, decoder, mixture};

fn tensor(values: &[f32], columns: usize) -> Tensor<2> {
    matrix(values.to_vec(), values.len() / columns, columns, &Device::flex())
}

/// A head that passes hidden states on as logits.
fn identity(vocabulary: usize) -> Tensor<2> {
    let one = |at| f32::from(u8::from(at / vocabulary == at % vocabulary));
    tensor(&(0..vocabulary * vocabulary).map(one).collect::<Vec<_>>(), vocabulary)
}

/// The mean loss of rows of logits and its gradient.
fn loss(logits: &[f32], vocabulary: usize, target: Target) -> (f64, Vec<f32>) {
    let rows = logits.len() / vocabulary;
    let tracked = Tensor::from_inner(tensor(logits, vocabulary)).require_grad();
    let head = Tensor::from_inner(identity(vocabulary));
    let (loss, sums) = head_loss(tracked.clone(), head, target, Arc::new(vec![1.0 / rows as f32; rows]));
    (sums.loss, values(&tracked.grad(&loss.backward()).unwrap()))
}

fn teacher(logits: &[f32], vocabulary: usize, divergence: Divergence, temperature: f32) -> Target {
    Target::Teacher { hidden: tensor(logits, vocabulary), head: identity(vocabulary), temperature, divergence }
}

/// Of the tokens of a row, those of the largest probabilities with these renormalised: what a cache of top-k keeps.
fn largest(probabilities: &[f64], vocabulary: usize, k: usize) -> SparseTargets {
    let mut targets = SparseTargets { offsets: vec![0], ..SparseTargets::default() };
    for row in probabilities.chunks_exact(vocabulary) {
        let mut order: Vec<usize> = (0..vocabulary).collect();
        order.sort_by(|&a, &b| row[b].total_cmp(&row[a]));
        let kept: f64 = order[..k].iter().map(|&id| row[id]).sum();
        targets.ids.extend(order[..k].iter().map(|&id| id as u32));
        targets.probabilities.extend(order[..k].iter().map(|&id| (row[id] / kept) as f32));
        targets.entropies.push(0.0);
        targets.offsets.push(targets.ids.len());
    }
    targets
}

/// Both sides renormalised over the drawn tokens would leave all others free.
#[test]
fn a_token_that_was_not_drawn_is_held_down_too() {
    let targets =
        SparseTargets { offsets: vec![0, 2], ids: vec![0, 1], probabilities: vec![0.75, 0.25], entropies: vec![0.0] };
    let of = |logits: &[f32]| loss(logits, 4, Target::Drawn(Arc::new(targets.clone())));
    let (even, _) = of(&[0.0; 4]);
    let (more, gradient) = of(&[0.0, 0.0, 0.0, 10.0]);
    assert!((even - 4f64.ln()).abs() < 1e-6, "{even}");
    assert!((more - (3.0 + 10f64.exp()).ln()).abs() < 1e-5, "{more}");
    assert!(gradient[3] > 0.99, "{gradient:?}");
}

#[test]
fn gradients_of_draws_average_to_the_whole_and_those_of_the_largest_do_not() {
    const TOKENS: usize = 64;
    let (folder, steps, seeds) = (tempfile::tempdir().unwrap(), 2, 200);
    let mixture = mixture(folder.path(), 16, 2);
    let batch = mixture.batch(1);
    let (taught, learns) = (decoder(4, 2), decoder(2, 5));
    let (teacher_logits, logits) = (batch_logits(&taught, &batch), batch_logits(&learns, &batch));
    let rows: Vec<usize> = (0..batch.tokens.len()).collect();
    let (_, expected) = loss(&logits, TOKENS, teacher(&teacher_logits, TOKENS, Divergence::ForwardKl, 1.0));

    let mut mean = vec![0.0f64; logits.len()];
    for seed in 0..seeds {
        let place = folder.path().join(seed.to_string());
        let binding = Binding::new("teacher 2 and the counting mixture".into(), TOKENS, 8, seed);
        capture(&Teacher::Resident(&taught), &mixture, steps, &binding, &place, &Silent).unwrap();
        let targets = TargetCache::open(&place, &binding, &mixture, steps).unwrap().targets(1, &rows);
        let (_, gradient) = loss(&logits, TOKENS, Target::Drawn(Arc::new(targets)));
        mean.iter_mut().zip(gradient).for_each(|(mean, value)| *mean += f64::from(value) / seeds as f64);
    }
    let worst = |found: &mut dyn Iterator<Item = f64>| {
        found.zip(&expected).map(|(found, &expected)| (found - f64::from(expected)).abs()).fold(0.0, f64::max)
    };
    // A count that is at most one from its share: 0.5 / 8 / √200 a value, divided by the rows; five of those.
    let bound = 5.0 * 0.5 / 8.0 / (seeds as f64).sqrt() / rows.len() as f64;
    let of_draws = worst(&mut mean.into_iter());
    assert!(of_draws < bound, "{of_draws:e} against {bound:e}");

    let probabilities: Vec<f64> = teacher_logits.chunks_exact(TOKENS).flat_map(softmax).collect();
    let (_, cut) = loss(&logits, TOKENS, Target::Drawn(Arc::new(largest(&probabilities, TOKENS, 8))));
    let of_largest = worst(&mut cut.into_iter().map(f64::from));
    assert!(of_largest > 2.0 * bound, "this test would not see a biased cache: {of_largest:e} against {bound:e}");
}

fn softmax(row: &[f32]) -> Vec<f64> {
    let sum: f64 = row.iter().map(|&x| f64::from(x).exp()).sum();
    row.iter().map(|&x| f64::from(x).exp() / sum).collect()
}

/// `p` = 1/2, 1/4, 1/4 and `q` = 1/8, 1/8, 3/4, whose mean is 5/16, 3/16, 1/2.
#[test]
fn three_tokens_by_hand() {
    let (p, q) = ([0.5f32, 0.25, 0.25], [0.125f32, 0.125, 0.75]);
    let (ln2, ln3, ln5) = (2f64.ln(), 3f64.ln(), 5f64.ln());
    let forward = 1.25 * ln2 - 0.25 * ln3;
    let reverse = 0.75 * ln3 - 0.375 * ln2;
    // Halves of 1/2·ln(8/5) + 1/4·ln(4/3) − 1/4·ln 2 and 1/8·ln(2/5) + 1/8·ln(2/3) + 3/4·ln(3/2).
    let between = 0.5 * (1.75 * ln2 - 0.25 * ln3 - 0.5 * ln5) + 0.5 * (0.625 * ln3 - 0.125 * ln5 - 0.5 * ln2);
    let logs = |x: [f32; 3]| x.map(f32::ln);
    let of = |divergence| loss(&logs(q), 3, teacher(&logs(p), 3, divergence, 1.0)).0;
    let close = |found: f64, expected: f64| assert!((found - expected).abs() < 1e-6, "{found} against {expected}");
    close(of(Divergence::ForwardKl), forward);
    close(of(Divergence::JensenShannon { beta: 0.5 }), between);
    close(of(Divergence::ReverseKl), reverse);
    // The ends of the generalised divergence, each as large as its share is small.
    let beta = 1e-3f32;
    let ends = [(beta, forward), (1.0 - beta, reverse)];
    for (at, expected) in ends {
        let found = of(Divergence::JensenShannon { beta: at }) / f64::from(beta);
        assert!((found - expected).abs() < 0.01 * expected, "β = {at}: {found} against {expected}");
    }
}

/// The loss is multiplied by T², so that a higher temperature does not make a smaller step.
#[test]
fn the_gradient_keeps_its_size_at_high_temperatures() {
    let (taught, logits) = ([3.0f32, -1.0, 0.5, 0.0, -2.0], [-1.0f32, 2.0, 0.0, 1.0, 0.25]);
    let norm = |temperature: f32| {
        let (_, gradient) = loss(&logits, 5, teacher(&taught, 5, Divergence::ForwardKl, temperature));
        gradient.iter().map(|&value| f64::from(value).powi(2)).sum::<f64>().sqrt()
    };
    // Far up, softmax is linear: a fifth of the difference of the centred logits.
    let centred = |x: [f32; 5]| x.map(|value| f64::from(value) - x.iter().map(|&x| f64::from(x)).sum::<f64>() / 5.0);
    let difference = centred(taught).iter().zip(centred(logits)).map(|(a, b)| (a - b).powi(2)).sum::<f64>().sqrt();
    for temperature in [20.0, 50.0, 100.0] {
        let (found, expected) = (norm(temperature), difference / 5.0);
        assert!((found / expected - 1.0).abs() < 0.05, "T = {temperature}: {found} against {expected}");
    }
}
