//! Rehearsal: general rows are learnt from a teacher's distribution, topic rows from their next tokens.
#![allow(missing_docs, clippy::unwrap_used)]

#[path = "../../train/tests/toy/mod.rs"]
mod toy;

use lore_finetune::{LoraConfig, LoraTraining};
use lore_model::ops::head::{Divergence, Target, head_loss};
use lore_model::ops::sequences::Sequences;
use lore_train::{Micro, Objective, gradients};
use std::sync::Arc;
use toy::{decoder, ragged_batch};

/// Two topic sequences and one general one, with the weights of a mean over all rows.
fn micro(topic_rows: usize) -> Micro {
    let lengths = [7, 4, 9];
    let batch = ragged_batch(&lengths, 3);
    let rows = batch.tokens.len();
    let mut rows_of_part = vec![topic_rows];
    if topic_rows < rows {
        rows_of_part.push(rows - topic_rows);
    }
    Micro {
        step: 0,
        tokens: Arc::new(batch.tokens),
        sequences: Arc::new(Sequences::whole(&lengths)),
        targets: Arc::new(batch.targets),
        weights: Arc::new(vec![1.0 / rows as f32; rows]),
        rows_of_part,
        batch_rows: Arc::new((0..rows).collect()),
    }
}

fn training() -> LoraTraining {
    LoraTraining::new(decoder(2, 1), &LoraConfig { rank: 2, alpha: 2.0, ..LoraConfig::default() }, 5).unwrap()
}

#[test]
fn a_fresh_module_that_rehearses_with_its_base_pays_for_topic_rows_only() {
    let base = decoder(2, 1);
    let training = training().with_rehearsal(base.clone(), 1.0);
    let part = micro(11);
    let (_, found) = training.loss(&training.parameters().track(), &part);
    let hidden = base.hidden(part.tokens.clone(), part.sequences.clone()).narrow(0, 0, 11);
    let labels = Target::Labels(Arc::new(part.targets[..11].to_vec()));
    let (_, expected) = head_loss(hidden, base.head(), labels, Arc::new(part.weights[..11].to_vec()));
    // Divergences of equal distributions are sums of single-precision terms: they round to about 1e-8, not to zero.
    assert!((found.loss - expected.loss).abs() < 1e-7, "{} against {}", found.loss, expected.loss);
    assert!(found.target_entropy > 0.0);
    // Without rehearsal the general rows are paid for too.
    let (_, plain) = self::training().loss(&training.parameters().track(), &part);
    assert!(plain.loss > found.loss + 0.1);
}

#[test]
fn another_teacher_is_learnt_from_on_general_rows_only() {
    let other = decoder(2, 9);
    let training = training().with_rehearsal(other.clone(), 3.0);
    let part = micro(11);
    let (_, found) = training.loss(&training.parameters().track(), &part);
    let base = decoder(2, 1);
    let hidden = base.hidden(part.tokens.clone(), part.sequences.clone());
    let labels = Target::Labels(Arc::new(part.targets[..11].to_vec()));
    let (_, topic) =
        head_loss(hidden.clone().narrow(0, 0, 11), base.head(), labels, Arc::new(part.weights[..11].to_vec()));
    let known = other.hidden(part.tokens.clone(), part.sequences.clone()).narrow(0, 11, 9);
    let teacher =
        Target::Teacher { hidden: known, head: other.head(), temperature: 1.0, divergence: Divergence::ForwardKl };
    let (_, general) = head_loss(hidden.narrow(0, 11, 9), base.head(), teacher, Arc::new(part.weights[11..].to_vec()));
    assert!((found.loss - topic.loss - 3.0 * general.loss).abs() < 1e-6);
    // With topic rows only, the teacher is not asked.
    let (_, only_topic) = training.loss(&training.parameters().track(), &micro(20));
    let (_, plain) = self::training().loss(&training.parameters().track(), &micro(20));
    assert_eq!(only_topic.loss, plain.loss);
}

#[test]
fn mixed_parts_stand_in_order_and_accumulation_changes_nothing() {
    let mut batch = ragged_batch(&[5, 6, 3, 8, 4, 6], 8);
    batch.parts = vec![1, 0, 1, 0, 0, 1];
    let training = training().with_rehearsal(decoder(2, 9), 2.0);
    let parameters = training.parameters();
    let (one, a) = gradients(&parameters, 0, &batch, 1, &training).unwrap();
    let (three, b) = gradients(&parameters, 0, &batch, 3, &training).unwrap();
    assert!((a.loss - b.loss).abs() < 1e-6 * a.loss, "{} against {}", a.loss, b.loss);
    for (name, gradient) in &one {
        let (x, y) = (lore_model::ops::host::values(gradient), lore_model::ops::host::values(&three[name]));
        let scale = x.iter().fold(1e-6f32, |m, v| m.max(v.abs()));
        assert!(x.iter().zip(&y).all(|(x, y)| (x - y).abs() <= 2e-5 * scale), "{name}");
    }
}
