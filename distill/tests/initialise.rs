//! Students made of a teacher's blocks.
#![allow(missing_docs, clippy::unwrap_used)]

#[path = "../../train/tests/toy/mod.rs"]
mod toy;

use lore_distill::{Depth, measured_depth, student_from_teacher};
use lore_model::Decoder;
use lore_model::ops::host::values;
use toy::{batch_logits, decoder, decoder_bits, ragged_batch};

fn logit_bits(decoder: &Decoder) -> Vec<u32> {
    let batch = ragged_batch(&[9, 1, 20], 3);
    batch_logits(decoder, &batch).into_iter().map(f32::to_bits).collect()
}

#[test]
fn keeping_every_block_is_the_teacher_to_the_bit() {
    let teacher = decoder(6, 1);
    for first in 0..=6 {
        let student = student_from_teacher(&teacher, &Depth { first, last: 6 - first }).unwrap();
        assert_eq!(student.config, teacher.config);
        assert_eq!(logit_bits(&student), logit_bits(&teacher));
        assert_eq!(decoder_bits(&student), decoder_bits(&teacher));
    }
}

#[test]
fn the_middle_is_dropped() {
    let teacher = decoder(6, 1);
    for (first, last, kept) in
        [(2, 1, vec![0, 1, 5]), (0, 2, vec![4, 5]), (3, 0, vec![0, 1, 2]), (1, 4, vec![0, 2, 3, 4, 5])]
    {
        let student = student_from_teacher(&teacher, &Depth { first, last }).unwrap();
        assert_eq!(student.config.num_hidden_layers, kept.len());
        assert_eq!(student.blocks.len(), kept.len());
        let teachers: std::collections::BTreeMap<_, _> = teacher.parameters().into_iter().collect();
        let parameters = student.parameters();
        assert_eq!(parameters.len(), student.config.expected_tensors().len());
        for (name, tensor) in &parameters {
            let original = match name.strip_prefix("model.layers.") {
                Some(rest) => {
                    let (layer, rest) = rest.split_once('.').unwrap();
                    format!("model.layers.{}.{rest}", kept[layer.parse::<usize>().unwrap()])
                }
                None => name.clone(),
            };
            assert_eq!(values(tensor), values(&teachers[&original]), "{name}");
        }
        // The same blocks put together by name compute the same.
        let by_name = Decoder::build(&toy::config(kept.len()), |name, _| {
            Ok(parameters.iter().find(|(found, _)| found == name).unwrap().1.clone())
        });
        assert_eq!(logit_bits(&student), logit_bits(&by_name.unwrap()));
        assert_ne!(logit_bits(&student), logit_bits(&teacher));
    }
}

#[test]
fn depths_that_do_not_fit_are_refused() {
    let teacher = decoder(6, 1);
    for (first, last) in [(0, 0), (4, 3), (7, 0), (0, 100)] {
        let error = student_from_teacher(&teacher, &Depth { first, last }).unwrap_err().to_string();
        let asked = format!("first {first} and the last {last} blocks of a teacher with 6");
        assert!(error.contains(&asked), "{error}");
    }
}

#[test]
fn the_measured_depth_is_the_best_of_all() {
    let teacher = decoder(6, 1);
    let batches = [ragged_batch(&[9, 1, 20], 3), ragged_batch(&[30], 4)];
    let mut tried = Vec::new();
    let (depth, loss) = measured_depth(&teacher, 3, &batches, |depth, loss| tried.push((depth.clone(), loss))).unwrap();
    let all: Vec<_> = tried.iter().map(|(depth, _)| (depth.first, depth.last)).collect();
    assert_eq!(all, [(3, 0), (2, 1), (1, 2), (0, 3)]);
    let least = tried.iter().map(|(_, loss)| *loss).fold(f64::INFINITY, f64::min);
    assert_eq!(loss, least);
    assert!(tried.contains(&(depth.clone(), loss)));
    // The loss is the mean over positions with a next token, straight from the logits.
    let student = student_from_teacher(&teacher, &depth).unwrap();
    let (mut sum, mut count) = (0.0, 0.0);
    for batch in &batches {
        for (row, logits) in batch_logits(&student, batch).chunks_exact(64).enumerate() {
            if batch.mask[row] > 0.0 {
                let total: f64 = logits.iter().map(|&x| f64::from(x).exp()).sum();
                sum += total.ln() - f64::from(logits[batch.targets[row] as usize]);
                count += 1.0;
            }
        }
    }
    assert!((loss - sum / count).abs() < 1e-5, "{loss} against {}", sum / count);
    assert!(measured_depth(&teacher, 7, &batches, |_, _| ()).is_err());
}
