//! Modules against texts: hand-worked figures, choices and means.
#![allow(missing_docs, clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use burn::tensor::{Device, Tensor};
use lore_datasets::evaluation::EvalPassage;
use lore_datasets::progress::Silent;
use lore_eval::composition::{Row, Text, all_at, choose, chosen, score_texts};
use lore_eval::score::{TokenRequest, TokenScores, score};
use lore_eval::statistics::{bits_per_byte, paired_difference};
use lore_model::Decoder;
use lore_model::files::ModelFiles;
use lore_model::ops::head::logits;
use lore_model::ops::host::{matrix, values};
use lore_model::ops::sequences::Sequences;
use lore_model::sampling::Random;
use lore_modules::{Adapter, AdapterConfig, LoadedModule, LowRank};

fn base() -> Decoder {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../model/tests/fixtures/tiny-llama");
    let files = ModelFiles::open(&path).unwrap();
    Decoder::load(&files.config, &*files.weights, &Device::flex()).unwrap()
}

fn passage(tokens: &[u32], bytes: u64) -> EvalPassage {
    EvalPassage { document: "d".into(), tokens: tokens.to_vec(), bytes }
}

fn texts() -> Vec<Text> {
    let random = |count: usize, seed| -> Vec<u32> {
        let mut random = Random::new(seed, 1);
        (0..count).map(|_| (random.bits() % 320) as u32).collect()
    };
    vec![
        Text { name: "rivers".into(), passages: vec![passage(&random(40, 1), 100), passage(&random(7, 2), 21)] },
        Text { name: "empty".into(), passages: vec![] },
        Text { name: "games".into(), passages: (0..5).map(|i| passage(&random(10 + i, i as u64), 30)).collect() },
    ]
}

#[test]
fn a_model_that_knows_nothing_needs_the_logarithm_of_its_vocabulary() {
    let base = base();
    let uniform = base.with_parameters(|name, tensor| {
        if name == "lm_head.weight" { Tensor::zeros(tensor.dims(), &tensor.device()) } else { tensor }
    });
    let texts = texts();
    let row = score_texts(&uniform, &texts, 0, "row", &Silent).unwrap();
    // 47 tokens of log2 320 bits over 121 bytes.
    let found = bits_per_byte(&row.measured(&texts, 0));
    assert!((found.value - 47.0 * 320f64.log2() / 121.0).abs() < 1e-5, "{found:?}");
    let found = bits_per_byte(&row.measured(&texts, 2));
    assert!((found.value - 60.0 * 320f64.log2() / 150.0).abs() < 1e-5, "{found:?}");
    // Each passage needs the same bits per byte as another with as many tokens and bytes, so the error is by hand:
    // residuals (n − 12)·log2 320 for n = 10 … 14, whose squares add up to 10.
    let expected = (10.0f64 * 5.0 / 4.0).sqrt() * 320f64.log2() / 150.0;
    assert!((found.standard_error.unwrap() - expected).abs() < 1e-5, "{found:?} against {expected}");
    // Against the base: the difference of the two figures.
    let other = score_texts(&base, &texts, 0, "row", &Silent).unwrap();
    let (a, b) = (row.measured(&texts, 2), other.measured(&texts, 2));
    let difference = paired_difference(&b, &a).value;
    assert!((difference - (bits_per_byte(&b).value - found.value)).abs() < 1e-9);
}

#[test]
fn every_token_of_a_passage_is_scored_after_the_start() {
    let (base, texts) = (base(), texts());
    let row = score_texts(&base, &texts, 2, "row", &Silent).unwrap();
    assert_eq!(row.scores.iter().map(Vec::len).collect::<Vec<_>>(), [2, 0, 5]);
    assert!(row.tokens_per_second > 0.0);
    for (text, scores) in texts.iter().zip(&row.scores) {
        for (passage, found) in text.passages.iter().zip(scores) {
            let request = TokenRequest { context: vec![2], continuation: passage.tokens.clone() };
            let expected = score(&base, &[request], |_| {}).unwrap().remove(0);
            assert_eq!(found.log_likelihoods.len(), passage.tokens.len());
            assert!((found.total() - expected.total()).abs() <= 1e-5 * expected.total().abs());
        }
    }
    let elsewhere = score_texts(&base, &texts, 3, "row", &Silent).unwrap();
    assert_ne!(elsewhere.scores[0], row.scores[0], "the start token matters");
    let long = vec![Text { name: "long".into(), passages: vec![passage(&[1; 128], 128)] }];
    assert!(score_texts(&base, &long, 0, "row", &Silent).is_err());
}

fn row(scores: &[&[&[f32]]], tokens_per_second: f64) -> Row {
    let passage = |x: &&[f32]| TokenScores { log_likelihoods: x.to_vec(), greedy: vec![false; x.len()] };
    let scores = scores.iter().map(|text| text.iter().map(passage).collect()).collect();
    Row { scores, tokens_per_second }
}

#[test]
fn a_module_is_chosen_by_the_beginning_of_a_passage() {
    let texts = vec![
        Text { name: "one".into(), passages: vec![passage(&[1, 2, 3], 9), passage(&[1], 3)] },
        Text { name: "two".into(), passages: vec![passage(&[1, 2, 3, 4], 8)] },
    ];
    // The first is better at the beginning of the first passage, the second over all of it.
    let first = row(&[&[&[-1.0, -2.0, -9.0], &[-4.0]], &[&[-5.0, -5.0, -1.0, -1.0]]], 70.0);
    let second = row(&[&[&[-2.0, -2.0, -1.0], &[-3.0]], &[&[-5.0, -5.0, -2.0, -2.0]]], 50.0);
    let candidates = [&first, &second];
    assert_eq!(choose(&candidates, 0, 0, 1), 0);
    assert_eq!(choose(&candidates, 0, 0, 2), 0);
    assert_eq!(choose(&candidates, 0, 0, 3), 1);
    assert_eq!(choose(&candidates, 0, 1, 2), 1, "a passage shorter than the probe is judged by all of it");
    assert_eq!(choose(&candidates, 1, 0, 2), 0, "the first of equals");
    assert_eq!(choose(&[&second, &first], 1, 0, 2), 0);
    assert_eq!(choose(&candidates, 1, 0, 4), 0);

    let (made, choices) = chosen(&candidates, &texts, 2);
    assert_eq!(choices, [vec![0, 1], vec![0]]);
    assert_eq!(made.scores[0], [first.scores[0][0].clone(), second.scores[0][1].clone()]);
    assert_eq!(made.scores[1], [first.scores[1][0].clone()]);
    assert_eq!(made.tokens_per_second, 50.0);
    // 12 nats and 3 nats over 12 bytes.
    let found = bits_per_byte(&made.measured(&texts, 0)).value;
    assert!((found - 15.0 / 12.0 / std::f64::consts::LN_2).abs() < 1e-12);
    let measured = made.measured(&texts, 0);
    assert_eq!((measured[0].nats, measured[0].bytes, measured[1].nats, measured[1].bytes), (12.0, 9.0, 3.0, 3.0));
}

/// A random module on these projections.
fn module(rank: usize, paths: &[(&str, usize, usize)], seed: u64) -> Adapter {
    let mut random = Random::new(seed, 9);
    let config = AdapterConfig::uniform(rank, 8.0);
    let updates = paths.iter().map(|&(path, out_features, in_features)| {
        let mut draw = |count: usize| -> Vec<f32> { (0..count).map(|_| random.normal() as f32 * 0.3).collect() };
        let (a, b) = (draw(rank * in_features), draw(out_features * rank));
        (
            path.to_owned(),
            LowRank { a, b, rank, in_features, out_features, scale: config.scale_of(path), magnitude: None },
        )
    });
    Adapter { updates: updates.collect(), config, base: None, metadata: BTreeMap::new() }
}

#[test]
fn all_modules_at_one_over_n_are_the_mean_of_their_updates() {
    const Q: (&str, usize, usize) = ("model.layers.0.self_attn.q_proj", 32, 32);
    const UP: (&str, usize, usize) = ("model.layers.1.mlp.up_proj", 48, 32);
    const DOWN: (&str, usize, usize) = ("model.layers.1.mlp.down_proj", 32, 48);
    let base = base();
    let adapters = [module(2, &[Q, DOWN], 1), module(5, &[Q, UP, DOWN], 2), module(1, &[UP], 3)];
    let modules: Vec<LoadedModule> =
        adapters.iter().map(|adapter| LoadedModule::new(adapter, &Device::flex())).collect();
    let text: Vec<u32> = (0..60).map(|i| i * 5).collect();
    let forward = |decoder: &Decoder| {
        let hidden = decoder.hidden(Arc::new(text.clone()), Arc::new(Sequences::whole(&[text.len()])));
        values(&logits(hidden, decoder.head()))
    };
    for weight in [1.0 / 3.0, 1.0] {
        let merged = base.with_parameters(|name, tensor| {
            let path = name.strip_suffix(".weight").unwrap_or(name);
            let [rows, columns] = tensor.dims();
            let mut sum: Vec<f64> = values(&tensor).into_iter().map(f64::from).collect();
            for update in adapters.iter().filter_map(|adapter| adapter.updates.get(path)) {
                for (i, sum) in sum.iter_mut().enumerate() {
                    let (row, column) = (i / columns, i % columns);
                    let dot: f64 = (0..update.rank)
                        .map(|k| f64::from(update.b[row * update.rank + k]) * f64::from(update.a[k * columns + column]))
                        .sum();
                    *sum += f64::from(weight) * f64::from(update.scale) * dot;
                }
            }
            matrix(sum.into_iter().map(|x| x as f32).collect(), rows, columns, &Device::flex())
        });
        let (found, expected) = (forward(&all_at(&base, &modules, weight)), forward(&merged));
        let scale = expected.iter().map(|x| x.abs()).fold(0.0, f32::max);
        let difference = found.iter().zip(&expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max) / scale;
        println!("weight {weight}: {difference:e}");
        assert!(difference <= 1e-5, "{difference}");
        assert_ne!(found, forward(&base));
    }
    assert_eq!(forward(&all_at(&base, &modules, 0.0)), forward(&base));
    assert_eq!(forward(&all_at(&base, &[], 1.0)), forward(&base));
}
