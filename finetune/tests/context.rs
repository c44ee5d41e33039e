//! Context distillation: what is read, what is learnt, and that it gets across.
#![allow(missing_docs, clippy::unwrap_used)]

#[path = "../../train/tests/toy/mod.rs"]
mod toy;

use std::sync::Arc;

use lore_datasets::batches::Batch;
use lore_datasets::progress::Silent;
use lore_finetune::{ContextConfig, LoraConfig, LoraTraining};
use lore_model::Decoder;
use lore_model::ops::head::logits;
use lore_model::ops::host::values;
use lore_model::ops::sequences::Sequences;
use lore_train::{Objective, Run, TrainConfig, gradients, train};
use toy::{decoder, ragged_batch};

fn training(base: Decoder, context: ContextConfig) -> LoraTraining {
    let config = LoraConfig { rank: 4, alpha: 8.0, ..LoraConfig::default() };
    LoraTraining::new(base, &config, 5).unwrap().with_context(context)
}

/// Log-probabilities of every token at each of these tokens, `[rows][vocabulary]`.
fn log_probabilities(decoder: &Decoder, tokens: &[u32]) -> Vec<Vec<f64>> {
    let hidden = decoder.hidden(Arc::new(tokens.to_vec()), Arc::new(Sequences::whole(&[tokens.len()])));
    let all = values(&logits(hidden, decoder.head()));
    let rows = all.chunks_exact(64).map(|row| {
        let sum: f64 = row.iter().map(|&x| f64::from(x).exp()).sum();
        row.iter().map(|&x| f64::from(x) - sum.ln()).collect()
    });
    rows.collect()
}

/// Two sequences of a topic and one of general text.
fn batch() -> Batch {
    Batch { parts: vec![0, 0, 1], ..ragged_batch(&[10, 7, 8], 3) }
}

#[test]
fn the_loss_is_the_divergence_from_the_base_in_context() {
    let base = decoder(2, 1);
    for labels in [0.0, 0.3] {
        let training = training(base.clone(), ContextConfig { passage: 0.5, labels });
        let batch = batch();
        let mask = training.mask(&batch);
        // Passages of five and three tokens; general text has none.
        let expected: Vec<f32> = batch
            .mask
            .iter()
            .enumerate()
            .map(|(row, &m)| if row < 5 || (10..13).contains(&row) { 0.0 } else { m })
            .collect();
        assert_eq!(mask, expected);
        let counted: f64 = mask.iter().map(|&m| f64::from(m)).sum();
        let mut nats = 0.0;
        for (start, end, passage) in [(0, 10, 5), (10, 17, 3), (17, 25, 0)] {
            let tokens = &batch.tokens[start..end];
            let (whole, alone) = (log_probabilities(&base, tokens), log_probabilities(&base, &tokens[passage..]));
            for row in passage..tokens.len() {
                let (told, said) = (&whole[row], &alone[row - passage]);
                let divergence: f64 = told.iter().zip(said).map(|(p, q)| p.exp() * (p - q)).sum();
                let label = -said[batch.targets[start + row] as usize];
                let of_topic = (1.0 - labels) * divergence + labels * label;
                nats += f64::from(mask[start + row]) * if start < 17 { of_topic } else { label };
            }
        }
        let (_, figures) = gradients(&training.parameters(), 0, &batch, 1, &training).unwrap();
        let expected = nats / counted;
        assert!((figures.loss - expected).abs() <= 1e-5 * expected, "{} for {expected}", figures.loss);
        let (_, cut) = gradients(&training.parameters(), 0, &batch, 3, &training).unwrap();
        assert!((cut.loss - expected).abs() <= 1e-5 * expected);
    }
}

#[test]
fn what_the_passage_says_is_known_without_it_afterwards() {
    let folder = tempfile::tempdir().unwrap();
    let mixture = toy::mixture(&folder.path().join("tokens"), 16, 6);
    let base = decoder(2, 6);
    let training = training(base.clone(), ContextConfig::default());
    let settings = TrainConfig {
        steps: 120,
        batch_sequences: 6,
        sequence_length: 16,
        learning_rate: 1e-2,
        warmup_steps: 5,
        checkpoint_every: 1000,
        ..TrainConfig::default()
    };
    let run = Run { config: &settings, identity: "one", directory: &folder.path().join("run"), label: "test" };
    let trained = train(&run, training.parameters(), &mixture, &training, &Silent).unwrap();
    let mean = |metrics: &[lore_train::StepMetrics]| metrics.iter().map(|m| m.loss).sum::<f64>() / metrics.len() as f64;
    let (first, last) = (mean(&trained.metrics[..10]), mean(&trained.metrics[110..]));
    println!("divergence {first:.4} to {last:.4} nats");
    assert!(last < 0.8 * first, "{first} to {last}");
}
