//! Dropout as training sees it.
#![allow(missing_docs, clippy::unwrap_used)]

#[path = "../../train/tests/toy/mod.rs"]
mod toy;

use lore_finetune::{LoraConfig, LoraTraining};
use lore_train::{Parameters, gradients};
use toy::{decoder, ragged_batch};

#[test]
fn other_inputs_are_left_out_at_every_step_and_the_same_ones_again() {
    let with = |dropout| {
        let config = LoraConfig { rank: 4, alpha: 8.0, dropout, ..LoraConfig::default() };
        LoraTraining::new(decoder(2, 6), &config, 7).unwrap()
    };
    let (without, dropped) = (with(0.0), with(0.4));
    // No value is zero, so that every update does something.
    let start = without.parameters();
    let parameters = Parameters::new(start.iter().map(|(name, tensor)| (name.to_owned(), tensor.clone() + 0.05)));
    let batch = ragged_batch(&[11, 1, 25, 4], 2);
    let loss = |training: &LoraTraining, step| gradients(&parameters, step, &batch, 1, training).unwrap().1.loss;
    assert_eq!(loss(&without, 0), loss(&without, 1));
    assert_ne!(loss(&dropped, 0), loss(&without, 0));
    assert_ne!(loss(&dropped, 0), loss(&dropped, 1));
    assert_eq!(loss(&dropped, 1), loss(&dropped, 1));
}
