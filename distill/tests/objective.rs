//! What distillation learns, and what it leaves alone.
#![allow(missing_docs, clippy::unwrap_used)]

#[path = "../../train/tests/toy/mod.rs"]
mod toy;

use std::collections::BTreeSet;

use lore_datasets::progress::Silent;
use lore_distill::{Depth, DistilConfig, Distillation, NextToken, Width, importance, narrowed, student_from_teacher};
use lore_model::Decoder;
use lore_model::ops::host::values;
use lore_train::{Micro, Objective, Run, TrainConfig, gradients, train};
use toy::{batch_logits, decoder, decoder_bits, ragged_batch};

#[test]
fn a_student_that_is_its_teacher_has_nothing_to_learn() {
    let teacher = decoder(4, 2);
    for temperature in [1.0, 2.0] {
        let student = student_from_teacher(&teacher, &Depth { first: 2, last: 2 }).unwrap();
        let objective = Distillation::new(student, teacher.clone(), temperature);
        let batch = ragged_batch(&[17, 4, 30], 6);
        for parts in [1, 3] {
            let (found, figures) = gradients(&objective.parameters(), 0, &batch, parts, &objective).unwrap();
            assert_eq!(figures.loss, 0.0);
            assert!((figures.agreement - 1.0).abs() < 1e-6);
            assert!(figures.target_entropy > 0.5, "a teacher of random weights is unsure");
            for (name, gradient) in &found {
                assert!(values(gradient).iter().all(|&x| x == 0.0), "{name}");
            }
        }
    }
}

#[test]
fn the_loss_is_the_mean_divergence_over_all_positions() {
    let teacher = decoder(4, 2);
    let student = student_from_teacher(&teacher, &Depth { first: 1, last: 1 }).unwrap();
    let batch = ragged_batch(&[13, 6], 7);
    let (p, q) = (batch_logits(&teacher, &batch), batch_logits(&student, &batch));
    for temperature in [1.0f64, 2.5] {
        let log_softmax = |row: &[f32]| -> Vec<f64> {
            let scaled: Vec<f64> = row.iter().map(|&x| f64::from(x) / temperature).collect();
            let sum: f64 = scaled.iter().map(|x| x.exp()).sum();
            scaled.iter().map(|x| x - sum.ln()).collect()
        };
        let rows = p.chunks_exact(64).zip(q.chunks_exact(64));
        let total: f64 = rows
            .map(|(p, q)| log_softmax(p).iter().zip(log_softmax(q)).map(|(p, q)| p.exp() * (p - q)).sum::<f64>())
            .sum();
        let expected = total / 19.0 * temperature * temperature;
        let objective = Distillation::new(student.clone(), teacher.clone(), temperature as f32);
        assert_eq!(objective.mask(&batch), [1.0; 19], "also where there is no next token");
        let (_, figures) = gradients(&objective.parameters(), 0, &batch, 2, &objective).unwrap();
        println!("T {temperature}: {} against {expected}", figures.loss);
        assert!((figures.loss - expected).abs() <= 2e-6 * expected, "{} against {expected}", figures.loss);
    }
}

#[test]
fn the_direction_is_from_teacher_to_student() {
    // Swapping the two must change the figure, else the direction could be wrong unnoticed.
    let (one, other) = (decoder(2, 3), decoder(2, 4));
    let batch = ragged_batch(&[20], 8);
    let loss = |student, teacher| {
        let objective = Distillation::new(student, teacher, 1.0);
        gradients(&objective.parameters(), 0, &batch, 1, &objective).unwrap().1.loss
    };
    let (forward, backward) = (loss(one.clone(), other.clone()), loss(other, one));
    assert!((forward - backward).abs() > 1e-3 * forward, "{forward} and {backward}");
}

#[test]
fn training_lowers_the_loss_and_leaves_the_teacher_alone() {
    let folder = tempfile::tempdir().unwrap();
    let mixture = toy::mixture(&folder.path().join("tokens"), 16, 6);
    let teacher = decoder(6, 5);
    let before = decoder_bits(&teacher);
    // The student starts with the teacher's own memory.
    let student = student_from_teacher(&teacher, &Depth { first: 2, last: 1 }).unwrap();
    let start = decoder_bits(&student);
    let objective = Distillation::new(student.clone(), teacher.clone(), 1.0);

    let parameters = objective.parameters();
    let (found, _) = gradients(&parameters, 0, &mixture.batch(0), 2, &objective).unwrap();
    let trained: BTreeSet<&str> = found.keys().map(String::as_str).collect();
    let expected: BTreeSet<&str> = parameters.iter().map(|(name, _)| name).collect();
    assert_eq!(trained, expected, "all of the student is trained");
    assert!(found.values().all(|gradient| values(gradient).iter().any(|&x| x != 0.0)));
    assert!(teacher.parameters().iter().all(|(_, tensor)| !tensor.is_require_grad()));
    let hidden = teacher.hidden(
        std::sync::Arc::new(vec![1, 2, 3]),
        std::sync::Arc::new(lore_model::ops::sequences::Sequences::whole(&[3])),
    );
    assert!(!hidden.is_require_grad());

    let config = TrainConfig {
        steps: 60,
        batch_sequences: 6,
        sequence_length: 16,
        learning_rate: 3e-3,
        warmup_steps: 5,
        checkpoint_every: 1000,
        ..TrainConfig::default()
    };
    let run = Run { config: &config, identity: "distil", directory: &folder.path().join("run"), label: "distil" };
    let outcome = train(&run, parameters, &mixture, &objective, &Silent).unwrap();
    let loss = |range: std::ops::Range<usize>| {
        outcome.metrics[range.clone()].iter().map(|metrics| metrics.loss).sum::<f64>() / range.len() as f64
    };
    let (first, last) = (loss(0..5), loss(55..60));
    println!("divergence {first:.4} to {last:.4} nats");
    assert!(last < 0.5 * first, "{first} to {last}");
    assert!(last > 0.0, "a smaller student cannot be the teacher");

    assert_eq!(decoder_bits(&teacher), before, "the teacher's weights");
    assert_eq!(decoder_bits(&student), start, "what was handed in");
    let result = objective.student(&outcome.parameters);
    assert_ne!(decoder_bits(&result), start);
    for (name, tensor) in result.parameters() {
        assert_eq!(values(&tensor), values(outcome.parameters.get(&name).unwrap()), "{name}");
    }
    // Held-out text: the student is nearer to the teacher than it was.
    let batch = ragged_batch(&[16, 16], 9);
    let distance = |student| {
        let objective = Distillation::new(student, teacher.clone(), 1.0);
        gradients(&objective.parameters(), 0, &batch, 1, &objective).unwrap().1.loss
    };
    assert!(distance(result) < distance(student));
}

#[test]
#[should_panic(expected = "one vocabulary")]
fn another_vocabulary_is_a_broken_contract() {
    let teacher = decoder(1, 1);
    let mut student = teacher.clone();
    student.config.vocab_size = 63;
    let _refused = Distillation::new(student, teacher, 1.0);
}

#[test]
fn a_share_of_labels_is_mixed_in() {
    let teacher = decoder(4, 2);
    let student = student_from_teacher(&teacher, &Depth { first: 1, last: 1 }).unwrap();
    let batch = ragged_batch(&[13, 6], 7);
    let with = |labels: f64| {
        let config = DistilConfig { labels, ..DistilConfig::default() };
        let objective = Distillation::live(student.clone(), teacher.clone(), &config, 0);
        gradients(&objective.parameters(), 0, &batch, 1, &objective).unwrap()
    };
    let of_labels = NextToken(student.clone());
    let (_, plain) = gradients(&with_parameters(&student), 0, &batch, 1, &of_labels).unwrap();
    let (_, all_labels) = with(1.0);
    assert!((all_labels.loss - plain.loss).abs() < 1e-6 * plain.loss);
    // Only positions with a target count once labels are mixed in.
    let (_, quarter) = with(0.25);
    let (_, half) = with(0.5);
    let slope = (half.loss - quarter.loss) / 0.25;
    let divergence = quarter.loss - 0.25 * slope;
    assert!((divergence + slope - plain.loss).abs() < 1e-5 * plain.loss, "the loss is linear in the share");
    assert!(divergence > 0.0);
}

fn with_parameters(decoder: &Decoder) -> lore_train::Parameters {
    lore_train::Parameters::new(decoder.parameters())
}

#[test]
fn a_student_that_writes_its_own_texts_learns_from_those() {
    let teacher = decoder(4, 2);
    let student = student_from_teacher(&teacher, &Depth { first: 1, last: 1 }).unwrap();
    let batch = ragged_batch(&[13, 1, 6], 7);
    let with = |on_policy: f64, seed: u64, step: u64| {
        let config = DistilConfig { on_policy, ..DistilConfig::default() };
        let objective = Distillation::live(student.clone(), teacher.clone(), &config, seed);
        gradients(&objective.parameters(), step, &batch, 1, &objective).unwrap().1.loss
    };
    let given = with(0.0, 1, 0);
    assert_ne!(with(1.0, 1, 0), given, "other texts");
    assert_eq!(with(1.0, 1, 0), with(1.0, 1, 0), "the same for the same seed and step");
    assert_ne!(with(1.0, 1, 0), with(1.0, 2, 0));
    let own = (0..400).filter(|&step| with(0.3, 1, step) != given).count();
    assert!((80..160).contains(&own), "{own} of 400 steps, three in ten expected");
}

#[test]
fn hidden_states_are_drawn_to_the_teachers() {
    let teacher = decoder(5, 2);
    let student = student_from_teacher(&teacher, &Depth { first: 1, last: 2 }).unwrap();
    let batch = ragged_batch(&[13, 6], 7);
    let last = |decoder: &Decoder, back: usize| {
        let sequences = std::sync::Arc::new(lore_model::ops::sequences::Sequences::whole(&batch.lengths));
        let (mut found, blocks) = (Vec::new(), decoder.blocks.len());
        decoder.hidden_after(std::sync::Arc::new(batch.tokens.clone()), sequences, &mut |layer, state| {
            if layer + back == blocks {
                found = values(state);
            }
        });
        found
    };
    // The mean over rows and the last two blocks, in f64.
    let mut expected = 0.0;
    for back in [1, 2] {
        let (ours, theirs) = (last(&student, back), last(&teacher, back));
        for (a, b) in ours.chunks_exact(32).zip(theirs.chunks_exact(32)) {
            let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>();
            expected += (1.0 - dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()) / 19.0 / 2.0;
        }
    }
    let objective = |hidden: f64| {
        let config = DistilConfig { hidden, ..DistilConfig::default() };
        Distillation::live(student.clone(), teacher.clone(), &config, 3)
    };
    // What the loss has more than without.
    let loss = |weight: f64| {
        let objective = objective(weight);
        let part = Micro {
            step: 0,
            tokens: std::sync::Arc::new(batch.tokens.clone()),
            sequences: std::sync::Arc::new(lore_model::ops::sequences::Sequences::whole(&batch.lengths)),
            targets: std::sync::Arc::new(batch.targets.clone()),
            weights: std::sync::Arc::new(vec![1.0 / 19.0; 19]),
            rows_of_part: vec![19],
            batch_rows: std::sync::Arc::new((0..19).collect()),
        };
        let (loss, _) = objective.loss(&objective.parameters().track(), &part);
        f64::from(loss.into_scalar::<f32>())
    };
    let found = (loss(3.0) - loss(0.0)) / 3.0;
    assert!((found - expected).abs() < 1e-5, "{found} against {expected}");

    // Same states: nothing to learn. A narrower student has matrices of its own, which are trained and not exported.
    let same = Distillation::live(
        teacher.clone(),
        teacher.clone(),
        &DistilConfig { hidden: 1.0, ..DistilConfig::default() },
        3,
    );
    let (found, _) = gradients(&same.parameters(), 0, &batch, 2, &same).unwrap();
    assert!(found.values().all(|gradient| values(gradient).iter().all(|x| x.abs() < 1e-5)));
    let width = Width { hidden_size: Some(24), ..Width::default() };
    let narrow = narrowed(&student, &width, &importance(&student, std::slice::from_ref(&batch))).unwrap();
    let config = DistilConfig { hidden: 1.0, hidden_blocks: 1, ..DistilConfig::default() };
    let objective = Distillation::live(narrow.clone(), teacher.clone(), &config, 3);
    let parameters = objective.parameters();
    assert_eq!(parameters.len(), narrow.parameters().len() + 1);
    for parts in [1, 2] {
        let (found, _) = gradients(&parameters, 0, &batch, parts, &objective).unwrap();
        let beside = &found["hidden_states.2.projection"];
        assert_eq!(beside.dims(), [24, 32]);
        assert!(values(beside).iter().any(|&x| x != 0.0));
    }
    assert_eq!(objective.student(&parameters).parameters().len(), narrow.parameters().len());
}
