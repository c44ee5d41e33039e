//! Whole forward passes: against transformers, ragged batches against single sequences, replaced weights.
#![allow(missing_docs, clippy::unwrap_used)]

use std::path::{Path, PathBuf};
use std::sync::Arc;

use burn::tensor::{Device, Tensor};
use lore_model::config::ModelConfig;
use lore_model::files::ModelFiles;
use lore_model::generate::{Generation, generate};
use lore_model::ops::head::logits;
use lore_model::ops::host::{matrix, values};
use lore_model::ops::sequences::Sequences;
use lore_model::projection::LowRank;
use lore_model::sampling::{Random, Sampling, arg_max};
use lore_model::weights::memory::MemoryWeights;
use lore_model::{Decoder, Error};
use proptest::prelude::*;
use serde_json::Value;

const MODELS: [&str; 3] = ["tiny-llama", "tiny-qwen2", "tiny-qwen3"];

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

fn decoder(name: &str) -> Decoder {
    let files = ModelFiles::open(&fixture(name)).unwrap();
    Decoder::load(&files.config, &*files.weights, &Device::flex()).unwrap()
}

/// Logits of every row, sequence by sequence.
fn forward(decoder: &Decoder, sequences: &[Vec<u32>]) -> Vec<Vec<Vec<f32>>> {
    let lengths: Vec<usize> = sequences.iter().map(Vec::len).collect();
    let hidden = decoder.hidden(Arc::new(sequences.concat()), Arc::new(Sequences::whole(&lengths)));
    let all = values(&logits(hidden, decoder.head()));
    let mut rows = all.chunks_exact(decoder.config.vocab_size).map(<[f32]>::to_vec);
    lengths.iter().map(|&length| rows.by_ref().take(length).collect()).collect()
}

fn largest_difference<'a>(a: impl IntoIterator<Item = &'a f32>, b: impl IntoIterator<Item = &'a f32>) -> f32 {
    a.into_iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

fn largest<'a>(values: impl IntoIterator<Item = &'a f32>) -> f32 {
    values.into_iter().map(|x| x.abs()).fold(0.0, f32::max)
}

#[test]
fn logits_are_those_of_transformers() {
    for name in MODELS {
        let text = std::fs::read_to_string(fixture(name).join("reference.json")).unwrap();
        let reference: Value = serde_json::from_str(&text).unwrap();
        let ids: Vec<u32> = serde_json::from_value(reference["ids"].clone()).unwrap();
        let expected: Vec<Vec<f32>> = serde_json::from_value(reference["logits"].clone()).unwrap();
        let found = forward(&decoder(name), &[ids]).remove(0);
        assert_eq!(found.len(), expected.len());
        for (position, (found, expected)) in found.iter().zip(&expected).enumerate() {
            assert_eq!(found.len(), expected.len());
            let difference = largest_difference(found, expected);
            assert!(difference <= 1e-4, "{name}, position {position}: {difference}");
            assert_eq!(arg_max(found), arg_max(expected), "{name}, position {position}");
        }
        let worst = largest_difference(found.iter().flatten(), expected.iter().flatten());
        println!("{name}: largest difference to transformers {worst:e}");
    }
}

/// The same weights under other angles of rotation must give other logits, else the test above shows nothing
/// about positions.
#[test]
fn positions_count() {
    for name in MODELS {
        let decoder = decoder(name);
        let rows = forward(&decoder, &[vec![7, 7, 9]]).remove(0);
        let swapped = forward(&decoder, &[vec![7, 9, 7]]).remove(0);
        assert!(largest_difference(&rows[0], &swapped[0]) <= 1e-5, "the first row sees itself only");
        let other = ModelConfig { rope_theta: 3.0, ..decoder.config.clone() };
        let parameters: Vec<(String, Tensor<2>)> = decoder.parameters();
        let turned =
            Decoder::build(&other, |name, _| Ok(parameters.iter().find(|(found, _)| found == name).unwrap().1.clone()));
        let turned = forward(&turned.unwrap(), &[vec![7, 7, 9]]).remove(0);
        assert!(largest_difference(&rows[2], &turned[2]) > 1e-3, "{name}");
    }
}

fn decoders() -> &'static [Decoder] {
    static ALL: std::sync::OnceLock<Vec<Decoder>> = std::sync::OnceLock::new();
    ALL.get_or_init(|| MODELS.map(decoder).into())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_sequence_does_not_see_its_neighbours(
        sequences in prop::collection::vec(prop::collection::vec(0u32..320, 1..70), 1..6),
        which in 0usize..3,
    ) {
        let decoder = &decoders()[which];
        let together = forward(decoder, &sequences);
        let reversed: Vec<Vec<u32>> = sequences.iter().rev().cloned().collect();
        let mut turned = forward(decoder, &reversed);
        turned.reverse();
        for (index, sequence) in sequences.iter().enumerate() {
            let alone = forward(decoder, std::slice::from_ref(sequence)).remove(0);
            let scale = largest(alone.iter().flatten());
            for batch in [&together, &turned] {
                let difference = largest_difference(alone.iter().flatten(), batch[index].iter().flatten());
                prop_assert!(difference <= 1e-5 * scale, "sequence {}: {}", index, difference / scale);
            }
        }
    }
}

fn some_update(path: &str, decoder: &Decoder, scale: f32) -> Option<LowRank> {
    let name = format!("{path}.weight");
    let (_, weight) = decoder.parameters().into_iter().find(|(found, _)| *found == name)?;
    let [outputs, inputs] = weight.dims();
    let mut random = Random::new(path.len() as u64, 3);
    let mut draw = |rows, columns| {
        matrix((0..rows * columns).map(|_| random.normal() as f32 * 0.3).collect(), rows, columns, &Device::flex())
    };
    Some(LowRank::new(draw(2, inputs), draw(outputs, 2), scale))
}

#[test]
fn parameters_go_out_and_in_unchanged() {
    for name in MODELS {
        let files = ModelFiles::open(&fixture(name)).unwrap();
        let decoder = decoder(name);
        let parameters = decoder.parameters();
        let names: Vec<(String, Vec<usize>)> = files.config.expected_tensors();
        assert_eq!(parameters.len(), names.len());
        let mut count = 0;
        for ((found, tensor), (expected, shape)) in parameters.iter().zip(&names) {
            assert_eq!(found, expected);
            assert_eq!(values(tensor), files.weights.read_f32(expected).unwrap(), "{expected}");
            let [rows, columns] = tensor.dims();
            assert_eq!(vec![rows, columns], if shape.len() == 1 { vec![1, shape[0]] } else { shape.clone() });
            count += rows * columns;
        }
        assert_eq!(decoder.parameter_count(), count);

        // Updates stay, and each tensor comes back in its own place.
        let adapted = decoder.with_updates(|path| some_update(path, &decoder, 0.5));
        let text = vec![vec![3, 14, 15, 92, 65]];
        let before = forward(&adapted, &text);
        assert_ne!(before, forward(&decoder, &text), "the updates do something");
        let mut seen = Vec::new();
        let same = adapted.with_parameters(|name, tensor| {
            seen.push(name.to_owned());
            tensor
        });
        assert_eq!(forward(&same, &text), before, "{name}");
        assert_eq!(seen, names.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>());
        let bare = same.with_updates(|_| None);
        assert_eq!(forward(&bare, &text), forward(&decoder, &text));
        // The original was not touched by what was made from it.
        assert!(decoder.blocks.iter().all(|block| block.projections().iter().all(|(_, p)| p.update.is_none())));
    }
}

#[test]
fn replacing_any_tensor_changes_the_result() {
    let decoder = decoder("tiny-qwen3");
    let text = vec![vec![3, 14, 15, 92, 65]];
    let before = forward(&decoder, &text);
    for (changed, _) in decoder.parameters() {
        let other = decoder.with_parameters(|name, tensor| if name == changed { tensor * 1.5 + 0.01 } else { tensor });
        assert_ne!(forward(&other, &text), before, "{changed}");
    }
}

#[test]
fn weights_that_are_not_finite_are_refused_by_name() {
    let files = ModelFiles::open(&fixture("tiny-llama")).unwrap();
    let spoilt = [("model.layers.1.mlp.up_proj.weight", f32::NAN), ("model.norm.weight", f32::NEG_INFINITY)];
    let tensors = files.config.expected_tensors().into_iter().map(|(name, shape)| {
        let mut values = files.weights.read_f32(&name).unwrap();
        if let Some((_, value)) = spoilt.iter().find(|(spoilt, _)| *spoilt == name) {
            values[5] = *value;
        }
        (name, shape, values)
    });
    let weights = MemoryWeights::new("spoilt", tensors).unwrap();
    match Decoder::load(&files.config, &weights, &Device::flex()) {
        Err(Error::NotFinite { path, problems }) => {
            assert_eq!(path, Path::new("spoilt"));
            assert_eq!(problems.len(), 2, "{problems:?}");
            for (name, _) in spoilt {
                assert!(problems.iter().any(|problem| problem.contains(&format!("`{name}`: 1 of "))), "{problems:?}");
            }
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_longest_sequence_works_and_a_longer_one_is_an_error() {
    let decoder = decoder("tiny-llama");
    assert_eq!(decoder.max_positions(), 128);
    let whole: Vec<u32> = (0..128).collect();
    assert!(forward(&decoder, std::slice::from_ref(&whole))[0].iter().flatten().all(|x| x.is_finite()));
    let how = |max_tokens| Generation { max_tokens, sampling: Sampling::greedy(), seed: 0, stop: vec![] };
    let prompt = whole[..120].to_vec();
    let texts = generate(&decoder, std::slice::from_ref(&prompt), &how(8), |_, _| std::ops::ControlFlow::Continue(()));
    assert_eq!(texts.unwrap()[0].len(), 8);
    match generate(&decoder, &[prompt], &how(9), |_, _| std::ops::ControlFlow::Continue(())) {
        Err(Error::CacheFull { capacity: 128, wanted: 129 }) => {}
        other => panic!("{other:?}"),
    }
    // A cache does not promise room for positions the model does not have.
    let mut cache = decoder.cache(1, 1000);
    assert_eq!(cache.capacity(), 128);
    decoder.advance(Arc::new(whole), &[0], &[128], &mut cache).unwrap();
    let over = decoder.advance(Arc::new(vec![1]), &[0], &[1], &mut cache);
    assert!(matches!(over, Err(Error::CacheFull { capacity: 128, wanted: 129 })), "{over:?}");
}

#[test]
#[should_panic(expected = "longer than the model's positions")]
fn a_whole_sequence_that_is_too_long_is_a_broken_contract() {
    forward(&decoder("tiny-llama"), &[vec![1; 129]]);
}
