//! The other ways to tell: by the matrices of modules, and by trying them.

use std::collections::BTreeMap;
use std::sync::Arc;

use burn::tensor::Device;
use lore_model::Decoder;
use lore_model::ops::head::logits;
use lore_model::ops::host::values;
use lore_model::ops::sequences::Sequences;
use lore_model::sampling::Random;
use lore_modules::{Adapter, AdapterConfig, LoadedModule, LowRank, activate};
use lore_route::arrow::{Input, Prototypes};
use lore_route::{arrow, probe};

use crate::topics::{START, base, passages};

fn update(a: Vec<f32>, b: Vec<f32>, rank: usize) -> LowRank {
    let (in_features, out_features) = (a.len() / rank, b.len() / rank);
    LowRank { a, b, rank, in_features, out_features, scale: 1.0, magnitude: None }
}

fn adapter(updates: Vec<(&str, LowRank)>) -> Adapter {
    let rank = updates[0].1.rank;
    Adapter {
        config: AdapterConfig::uniform(rank, rank as f64),
        updates: updates.into_iter().map(|(name, update)| (format!("model.layers.{name}"), update)).collect(),
        base: None,
        metadata: BTreeMap::new(),
    }
}

#[test]
fn prototypes_are_first_right_singular_directions() {
    let mut random = Random::new(4, 4);
    let mut draw = |count: usize| -> Vec<f32> { (0..count).map(|_| random.normal() as f32).collect() };
    let (width, rank) = (6, 2);
    let parts = [update(draw(rank * width), draw(5 * rank), rank), update(draw(rank * width), draw(3 * rank), rank)];
    let module = adapter(vec![
        ("0.self_attn.q_proj", parts[0].clone()),
        ("0.self_attn.v_proj", parts[1].clone()),
        ("1.mlp.up_proj", update(vec![0.0, 3.0, 0.0, -4.0, 0.0, 0.0], vec![1.0, 2.0], 1)),
        ("1.mlp.down_proj", parts[0].clone()),
        ("1.self_attn.o_proj", parts[1].clone()),
        ("2.mlp.gate_proj", update(vec![1.0; width], vec![0.0; 4], 1)),
    ]);
    let found = arrow::prototypes(&module).unwrap();
    assert_eq!(found.keys().copied().collect::<Vec<_>>(), [(0, Input::Attention), (1, Input::FeedForward)]);
    // Rank one: the row itself.
    let row = &found[&(1, Input::FeedForward)];
    let expected = [0.0, 0.6, 0.0, -0.8, 0.0, 0.0];
    let sign = row[1].signum();
    assert!(row.iter().zip(expected).all(|(x, e)| (sign * x - e).abs() < 1e-5), "{row:?}");
    // Two projections one above the other: power iteration on the dense ΔWᵀΔW.
    let mut gram = vec![vec![0.0_f64; width]; width];
    for part in &parts {
        for out in 0..part.out_features {
            let dense: Vec<f64> = (0..width)
                .map(|i| (0..rank).map(|k| f64::from(part.b[out * rank + k]) * f64::from(part.a[k * width + i])).sum())
                .collect();
            for (row, a) in gram.iter_mut().zip(&dense) {
                row.iter_mut().zip(&dense).for_each(|(sum, b)| *sum += a * b);
            }
        }
    }
    let mut v = vec![1.0_f64; width];
    for _ in 0..3000 {
        let next: Vec<f64> = gram.iter().map(|row| row.iter().zip(&v).map(|(g, x)| g * x).sum()).collect();
        let length = next.iter().map(|x| x * x).sum::<f64>().sqrt();
        v = next.into_iter().map(|x| x / length).collect();
    }
    let cosine: f64 = v.iter().zip(&found[&(0, Input::Attention)]).map(|(a, &b)| a * f64::from(b)).sum();
    assert!((cosine.abs() - 1.0).abs() < 1e-6, "{cosine}");
}

#[test]
fn arrow_scores_are_mean_cosines_with_what_projections_read() {
    let base = base();
    let width = base.config.hidden_size;
    let text = passages(1, 1, 300, 3).remove(0);
    let mut inputs = Vec::new();
    let sequences = Arc::new(Sequences::whole(&[text.len()]));
    base.watched(Arc::new(text.clone()), sequences, &mut |layer, place, states| {
        if layer == 0 && place == lore_model::block::Place::AttentionInput {
            inputs = values(states);
        }
    });
    let along = |channel: usize| {
        let mut unit = vec![0.0; width];
        unit[channel] = 1.0;
        Prototypes::from([((0, Input::Attention), unit)])
    };
    let (first, second, none) = (along(0), along(3), Prototypes::new());
    let found = arrow::scores(&base, &[text], &[&first, &second, &none]).remove(0);
    for (channel, score) in [(0, found[0]), (3, found[1])] {
        let rows: Vec<f64> = inputs
            .chunks(width)
            .skip(1)
            .map(|row| f64::from(row[channel]).abs() / row.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>().sqrt())
            .collect();
        let expected = rows.iter().sum::<f64>() / rows.len() as f64;
        assert!((score - expected).abs() < 1e-6, "{score} against {expected}");
    }
    assert_eq!(found[2], 0.0);
}

#[test]
fn savings_are_differences_of_losses() {
    let base = base();
    let width = base.config.hidden_size;
    let mut random = Random::new(8, 8);
    let mut draw = |count: usize| -> Vec<f32> { (0..count).map(|_| random.normal() as f32 * 0.2).collect() };
    let changing = adapter(vec![("0.self_attn.o_proj", update(draw(2 * width), draw(width * 2), 2))]);
    let null = adapter(vec![("0.self_attn.o_proj", update(draw(width), vec![0.0; width], 1))]);
    let modules = [changing, null].map(|module| LoadedModule::new(&module, &Device::flex()));
    let texts = [passages(1, 1, 300, 3).remove(0), vec![START]];
    let found = probe::savings(&base, &[&modules[0], &modules[1]], &texts, 10);
    assert!(found[0][1].abs() < 1e-5 && found[1] == [0.0, 0.0], "{found:?}");
    let loss = |decoder: &Decoder| {
        let read = texts[0][..10].to_vec();
        let hidden = decoder.hidden(Arc::new(read), Arc::new(Sequences::whole(&[10])));
        let logits = values(&logits(hidden, decoder.head()));
        let rows = logits.chunks(logits.len() / 10).zip(&texts[0][1..11]);
        let nats = rows.map(|(row, &label)| {
            let sum: f64 = row.iter().map(|&x| f64::from(x).exp()).sum();
            sum.ln() - f64::from(row[label as usize])
        });
        nats.sum::<f64>() / 10.0
    };
    let expected = loss(&base) - loss(&activate(&base, &[(&modules[0], 1.0)]));
    assert!((found[0][0] - expected).abs() < 1e-4 && expected.abs() > 1e-3, "{} against {expected}", found[0][0]);
}
