//! The gradient of a batch: the same however it is computed, and only where something is learnt.
#![allow(missing_docs, clippy::unwrap_used)]

mod toy;

use std::collections::BTreeMap;

use burn::tensor::{Device, Tensor};
use lore_datasets::batches::Batch;
use lore_model::Decoder;
use lore_model::config::ModelConfig;
use lore_model::ops::head::{Target, head_loss};
use lore_model::ops::host::{matrix, values};
use lore_model::sampling::Random;
use lore_train::{Figures, Micro, Objective, Parameters, Tracked, gradients};
use toy::{NextToken, batch_logits, config, decoder, decoder_of, ragged_batch};

type Gradients = BTreeMap<String, Vec<f64>>;

fn gradient(objective: &NextToken, batch: &Batch, parts: usize) -> (Gradients, Figures) {
    gradient_of(&objective.parameters(), objective, batch, parts)
}

fn gradient_of(
    parameters: &Parameters,
    objective: &dyn Objective,
    batch: &Batch,
    parts: usize,
) -> (Gradients, Figures) {
    let (found, figures) = gradients(parameters, 0, batch, parts, objective).unwrap();
    let wide = |tensor: &Tensor<2>| values(tensor).into_iter().map(f64::from).collect();
    (found.iter().map(|(name, tensor)| (name.clone(), wide(tensor))).collect(), figures)
}

fn norm<'a>(values: impl Iterator<Item = &'a f64>) -> f64 {
    values.map(|x| x * x).sum::<f64>().sqrt()
}

/// ‖a − b‖ / ‖b‖ over all tensors.
fn relative_difference(a: &Gradients, b: &Gradients) -> f64 {
    assert_eq!(a.keys().collect::<Vec<_>>(), b.keys().collect::<Vec<_>>());
    let differences: Vec<f64> = a.values().flatten().zip(b.values().flatten()).map(|(a, b)| a - b).collect();
    norm(differences.iter()) / norm(b.values().flatten())
}

/// One sequence of a batch on its own.
fn sequence(batch: &Batch, index: usize) -> Batch {
    let start: usize = batch.lengths[..index].iter().sum();
    let rows = start..start + batch.lengths[index];
    Batch {
        tokens: batch.tokens[rows.clone()].to_vec(),
        lengths: vec![batch.lengths[index]],
        targets: batch.targets[rows.clone()].to_vec(),
        mask: batch.mask[rows].to_vec(),
        ..Batch::default()
    }
}

#[test]
fn accumulation_does_not_change_the_gradient() {
    let objective = NextToken(decoder(2, 1));
    let mut worst = 0.0f64;
    for (seed, lengths) in [vec![5, 31, 2, 17, 1, 8, 24, 9], vec![40, 1, 1, 1], vec![16; 8]].iter().enumerate() {
        let batch = ragged_batch(lengths, seed as u64);
        let (whole, figures) = gradient(&objective, &batch, 1);
        for parts in [2, 3, 4, 5, 8, 1000] {
            let (found, part_figures) = gradient(&objective, &batch, parts);
            let difference = relative_difference(&found, &whole);
            worst = worst.max(difference);
            assert!(difference <= 1e-6, "{parts} parts: {difference}");
            assert!((part_figures.loss - figures.loss).abs() <= 1e-6 * figures.loss);
            assert!((part_figures.agreement - figures.agreement).abs() <= 1e-6);
        }
    }
    println!("largest relative difference between splits: {worst:e}");
}

/// [`NextToken`] with the gradient of its embeddings in the graph.
struct InGraph(Decoder);

impl Objective for InGraph {
    fn loss(&self, parameters: &Tracked, micro: &Micro) -> (Tensor<2>, Figures) {
        let model = self.0.with_parameters(|name, tensor| parameters.get(name).unwrap_or(tensor));
        let hidden = model.hidden(micro.tokens.clone(), micro.sequences.clone());
        head_loss(hidden, model.head(), Target::Labels(micro.targets.clone()), micro.weights.clone())
    }
}

#[test]
fn the_gradient_of_embeddings_is_the_same_beside_the_graph() {
    for tie_word_embeddings in [true, false] {
        let decoder = decoder_of(&ModelConfig { tie_word_embeddings, ..config(2) }, 5);
        let batch = ragged_batch(&[5, 31, 2], 3);
        for parts in [1, 2] {
            let (beside, _) = gradient(&NextToken(decoder.clone()), &batch, parts);
            let parameters = Parameters::new(decoder.parameters());
            let (inside, _) = gradient_of(&parameters, &InGraph(decoder.clone()), &batch, parts);
            let difference = relative_difference(&beside, &inside);
            assert!(difference <= 1e-6, "tied: {tie_word_embeddings}, {parts} parts: {difference}");
        }
    }
}

#[test]
fn every_position_of_a_batch_counts_the_same() {
    let objective = NextToken(decoder(2, 2));
    // Sequences with very different numbers of targets: a mean of means would be far off.
    let batch = ragged_batch(&[3, 40, 11, 26], 4);
    let (whole, figures) = gradient(&objective, &batch, 2);
    let total = batch.target_count() as f64;
    let (mut sum, mut loss) = (Gradients::new(), 0.0);
    for index in 0..batch.lengths.len() {
        let part = sequence(&batch, index);
        let share = part.target_count() as f64 / total;
        let (found, figures) = gradient(&objective, &part, 1);
        loss += share * figures.loss;
        for (name, values) in found {
            let sum = sum.entry(name).or_insert_with(|| vec![0.0; values.len()]);
            sum.iter_mut().zip(values).for_each(|(sum, value)| *sum += share * value);
        }
    }
    let difference = relative_difference(&whole, &sum);
    assert!(difference <= 1e-6, "{difference}");
    assert!((figures.loss - loss).abs() <= 1e-6 * loss);
}

#[test]
fn the_loss_is_the_mean_negative_log_likelihood_of_the_targets() {
    let objective = NextToken(decoder(3, 3));
    let batch = ragged_batch(&[12, 7, 30], 5);
    let (_, figures) = gradient(&objective, &batch, 3);
    let logits = batch_logits(&objective.0, &batch);
    let mut nats = 0.0;
    for (row, logits) in logits.chunks_exact(64).enumerate() {
        if batch.mask[row] > 0.0 {
            let sum: f64 = logits.iter().map(|&x| f64::from(x).exp()).sum();
            nats += sum.ln() - f64::from(logits[batch.targets[row] as usize]);
        }
    }
    let expected = nats / batch.target_count() as f64;
    assert!((figures.loss - expected).abs() <= 1e-6 * expected, "{} against {expected}", figures.loss);
}

/// Learns the final hidden states themselves, so that each row's gradient can be seen.
struct Rows {
    head: Tensor<2>,
}

impl Objective for Rows {
    fn loss(&self, parameters: &Tracked, micro: &Micro) -> (Tensor<2>, Figures) {
        let hidden = parameters.get("hidden").unwrap();
        head_loss(hidden, self.head.clone(), Target::Labels(micro.targets.clone()), micro.weights.clone())
    }
}

#[test]
fn only_positions_with_a_target_have_a_gradient() {
    const WIDTH: usize = 6;
    const VOCABULARY: usize = 11;
    let mut random = Random::new(8, 0);
    let mut draw = |rows: usize| -> Vec<f32> { (0..rows * WIDTH).map(|_| random.normal() as f32).collect() };
    let (hidden, head) = (draw(9), draw(VOCABULARY));
    // Two dialogues: a prompt of three tokens and a response of two; a prompt of one and a response of three.
    // The last token of a prompt predicts the first of its response; the last token of all predicts nothing.
    let mask = vec![0.0, 0.0, 1.0, 1.0, 0.0, 1.0, 1.0, 1.0, 0.0];
    let targets = vec![0, 0, 4, 9, 0, 2, 2, 10, 0];
    let batch = Batch { tokens: vec![1; 9], lengths: vec![5, 4], targets, mask, ..Batch::default() };
    let objective = Rows { head: matrix(head.clone(), VOCABULARY, WIDTH, &Device::flex()) };
    let start = Parameters::new([("hidden".to_owned(), matrix(hidden.clone(), 9, WIDTH, &Device::flex()))]);
    let (found, _) = gradients(&start, 0, &batch, 1, &objective).unwrap();
    let found = values(&found["hidden"]);
    for row in 0..9 {
        let found = &found[row * WIDTH..][..WIDTH];
        if batch.mask[row] == 0.0 {
            assert!(found.iter().all(|&x| x == 0.0), "row {row}: {found:?}");
            continue;
        }
        let logit = |word: usize| -> f64 {
            (0..WIDTH).map(|i| f64::from(hidden[row * WIDTH + i]) * f64::from(head[word * WIDTH + i])).sum()
        };
        let total: f64 = (0..VOCABULARY).map(|word| logit(word).exp()).sum();
        for (i, &found) in found.iter().enumerate() {
            let expected: f64 = (0..VOCABULARY)
                .map(|word| {
                    let target = f64::from(u8::from(word == batch.targets[row] as usize));
                    (logit(word).exp() / total - target) * f64::from(head[word * WIDTH + i]) / 5.0
                })
                .sum();
            assert!((f64::from(found) - expected).abs() <= 1e-6, "row {row}: {found} against {expected}");
            assert!(found != 0.0);
        }
    }
}

#[test]
fn a_batch_without_targets_has_no_gradient() {
    let objective = NextToken(decoder(1, 1));
    let mut batch = ragged_batch(&[4, 3], 1);
    batch.mask.fill(0.0);
    assert!(gradients(&objective.parameters(), 0, &batch, 2, &objective).is_none());
}
