//! The key-value cache against whole forward passes.
#![allow(missing_docs, clippy::unwrap_used)]

use std::path::Path;
use std::sync::{Arc, OnceLock};

use burn::tensor::Device;
use lore_model::files::ModelFiles;
use lore_model::ops::host::values;
use lore_model::ops::sequences::Sequences;
use lore_model::sampling::Random;
use lore_model::{Decoder, Error};
use proptest::prelude::*;

const WIDTH: usize = 32;

fn decoders() -> &'static [Decoder] {
    static ALL: OnceLock<Vec<Decoder>> = OnceLock::new();
    ALL.get_or_init(|| {
        let load = |name: &str| {
            let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name);
            let files = ModelFiles::open(&path).unwrap();
            Decoder::load(&files.config, &*files.weights, &Device::flex()).unwrap()
        };
        ["tiny-llama", "tiny-qwen2", "tiny-qwen3"].map(load).into()
    })
}

fn some_tokens(count: usize, seed: u64) -> Vec<u32> {
    let mut random = Random::new(seed, 0);
    (0..count).map(|_| (random.bits() % 320) as u32).collect()
}

/// Final hidden states of one sequence, computed at once.
fn whole(decoder: &Decoder, tokens: &[u32]) -> Vec<f32> {
    values(&decoder.hidden(Arc::new(tokens.to_vec()), Arc::new(Sequences::whole(&[tokens.len()]))))
}

fn relative_difference(found: &[f32], expected: &[f32]) -> f32 {
    assert_eq!(found.len(), expected.len());
    let scale = expected.iter().map(|x| x.abs()).fold(0.0, f32::max);
    found.iter().zip(expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max) / scale
}

#[test]
fn token_by_token_is_the_whole_pass() {
    for decoder in decoders() {
        let tokens = some_tokens(40, 1);
        let expected = whole(decoder, &tokens);
        let mut cache = decoder.cache(1, 40);
        let mut found = Vec::new();
        for (index, &token) in tokens.iter().enumerate() {
            assert_eq!(cache.lengths(), [index]);
            found.extend(values(&decoder.advance(Arc::new(vec![token]), &[0], &[1], &mut cache).unwrap()));
        }
        let difference = relative_difference(&found, &expected);
        println!("{}: token by token, largest relative difference {difference:e}", decoder.config.architecture);
        assert!(difference <= 1e-5, "{difference}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    /// Rounds of advances: each takes some slots in some order, several tokens for each.
    #[test]
    fn slots_grow_by_any_steps(
        which in 0usize..3,
        rounds in prop::collection::vec(
            prop::collection::vec((0usize..4, 1usize..9), 1..5), 1..8),
    ) {
        let decoder = &decoders()[which];
        let texts: Vec<Vec<u32>> = (0..4).map(|slot| some_tokens(80, 10 + slot)).collect();
        let expected: Vec<Vec<f32>> = texts.iter().map(|text| whole(decoder, text)).collect();
        let mut cache = decoder.cache(4, 80);
        let mut lengths = [0usize; 4];
        for round in rounds {
            let (mut slots, mut new, mut tokens) = (Vec::new(), Vec::new(), Vec::new());
            for (slot, count) in round {
                if !slots.contains(&slot) {
                    slots.push(slot);
                    new.push(count);
                    tokens.extend_from_slice(&texts[slot][lengths[slot]..lengths[slot] + count]);
                }
            }
            let hidden = values(&decoder.advance(Arc::new(tokens), &slots, &new, &mut cache).unwrap());
            let mut rows = hidden.as_slice();
            for (&slot, &count) in slots.iter().zip(&new) {
                let (found, rest) = rows.split_at(count * WIDTH);
                rows = rest;
                let expected = &expected[slot][lengths[slot] * WIDTH..(lengths[slot] + count) * WIDTH];
                let difference = relative_difference(found, expected);
                prop_assert!(difference <= 1e-5, "slot {}: {}", slot, difference);
                lengths[slot] += count;
            }
            prop_assert_eq!(cache.lengths(), lengths);
        }
    }
}

#[test]
fn after_truncation_another_text_goes_on() {
    for decoder in decoders() {
        let (first, second, other) = (some_tokens(20, 5), some_tokens(9, 6), some_tokens(15, 7));
        let mut cache = decoder.cache(2, 32);
        let both = [first.as_slice(), &other].concat();
        decoder.advance(Arc::new(both), &[0, 1], &[20, 15], &mut cache).unwrap();
        cache.truncate(0, 11);
        assert_eq!(cache.lengths(), [11, 15]);
        // More than there is changes nothing.
        cache.truncate(1, 30);
        assert_eq!(cache.lengths(), [11, 15]);
        let found = values(&decoder.advance(Arc::new(second.clone()), &[0], &[9], &mut cache).unwrap());
        let expected = whole(decoder, &[&first[..11], &second].concat());
        assert!(relative_difference(&found, &expected[11 * WIDTH..]) <= 1e-5);
        // The other slot still holds its own text.
        let next = values(&decoder.advance(Arc::new(vec![3]), &[1], &[1], &mut cache).unwrap());
        let expected = whole(decoder, &[other.as_slice(), &[3]].concat());
        assert!(relative_difference(&next, &expected[15 * WIDTH..]) <= 1e-5);
    }
}

#[test]
fn a_full_cache_is_an_error_and_stays_usable() {
    let decoder = &decoders()[0];
    let tokens = some_tokens(12, 8);
    let mut cache = decoder.cache(2, 10);
    decoder.advance(Arc::new(tokens[..9].to_vec()), &[1], &[9], &mut cache).unwrap();
    match decoder.advance(Arc::new(tokens[8..12].to_vec()), &[0, 1], &[2, 2], &mut cache) {
        Err(Error::CacheFull { capacity: 10, wanted: 11 }) => {}
        other => panic!("{other:?}"),
    }
    assert_eq!(cache.lengths(), [0, 9], "a refused advance counts nothing");
    let last = values(&decoder.advance(Arc::new(vec![tokens[9]]), &[1], &[1], &mut cache).unwrap());
    assert!(relative_difference(&last, &whole(decoder, &tokens[..10])[9 * WIDTH..]) <= 1e-5);
}

#[test]
fn a_copied_cache_goes_its_own_way() {
    let decoder = &decoders()[0];
    let tokens = some_tokens(8, 9);
    let mut cache = decoder.cache(1, 16);
    decoder.advance(Arc::new(tokens.clone()), &[0], &[8], &mut cache).unwrap();
    let mut copy = cache.clone();
    decoder.advance(Arc::new(vec![100, 101]), &[0], &[2], &mut copy).unwrap();
    let found = values(&decoder.advance(Arc::new(vec![7, 9]), &[0], &[2], &mut cache).unwrap());
    let expected = whole(decoder, &[tokens.as_slice(), &[7, 9]].concat());
    assert!(relative_difference(&found, &expected[8 * WIDTH..]) <= 1e-5);
}
