//! Low-rank updates of some rows against the same updates for whole batches.
#![allow(missing_docs, clippy::unwrap_used)]

use std::path::Path;
use std::sync::Arc;

use burn::tensor::Device;
use lore_model::Decoder;
use lore_model::files::ModelFiles;
use lore_model::ops::host::{matrix, values};
use lore_model::ops::row_updates::{RowUpdate, with_row_updates};
use lore_model::ops::sequences::Sequences;
use lore_model::projection::LowRank;
use lore_model::sampling::Random;

fn random(count: usize, seed: u64) -> Vec<f32> {
    let mut random = Random::new(seed, 0);
    (0..count).map(|_| random.normal() as f32 * 0.3).collect()
}

#[test]
fn rows_get_their_own_updates_and_no_others() {
    let (rows, width, out_width) = (7, 5, 4);
    let device = Device::flex();
    let (x, out) = (random(rows * width, 1), random(rows * out_width, 2));
    // Rank, scale and rows of each; the last two overlap.
    let parts = [(3, 0.5, Some(0..2)), (1, -2.0, Some(4..7)), (2, 1.5, None)];
    let factors: Vec<(Vec<f32>, Vec<f32>)> = (10..)
        .zip(&parts)
        .map(|(seed, (rank, ..))| (random(rank * width, seed), random(out_width * rank, seed + 100)))
        .collect();
    // The last one multiplies what the frozen matrix gave, not what others have made of it.
    let extra = random(out_width, 50);
    let mut expected: Vec<f64> = out.iter().map(|&value| f64::from(value)).collect();
    for ((rank, scale, range), (a, b)) in parts.iter().zip(&factors) {
        for row in range.clone().unwrap_or(0..rows) {
            for column in 0..out_width {
                for k in 0..*rank {
                    let inner: f64 =
                        (0..width).map(|i| f64::from(x[row * width + i]) * f64::from(a[k * width + i])).sum();
                    expected[row * out_width + column] += f64::from(*scale) * inner * f64::from(b[column * rank + k]);
                }
                if range.is_none() {
                    let index = row * out_width + column;
                    expected[index] += f64::from(out[index]) * f64::from(extra[column]);
                }
            }
        }
    }
    let updates: Vec<RowUpdate> = parts
        .iter()
        .zip(factors)
        .map(|((rank, scale, rows), (a, b))| RowUpdate {
            a: matrix(a, *rank, width, &device),
            b: matrix(b, out_width, *rank, &device),
            scale: *scale,
            extra: rows.is_none().then(|| matrix(extra.clone(), 1, out_width, &device)),
            rows: rows.clone(),
        })
        .collect();
    let x = matrix(x, rows, width, &device);
    let found = values(&with_row_updates(matrix(out, rows, out_width, &device), &x, &updates));
    for (found, expected) in found.iter().zip(&expected) {
        assert!((f64::from(*found) - expected).abs() < 1e-5, "{found} {expected}");
    }
}

/// Three sequences in one batch, each with other updates, are what each is alone.
#[test]
fn sequences_with_other_updates_share_a_batch() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/tiny-llama");
    let files = ModelFiles::open(&path).unwrap();
    let device = Device::flex();
    let base = Decoder::load(&files.config, &*files.weights, &device).unwrap();
    let update = |path: &str, seed: u64| -> Option<LowRank> {
        let shape = base.parameters().into_iter().find(|(name, _)| *name == format!("{path}.weight"))?.1.dims();
        let rank = 2 + seed as usize;
        let seed = seed * 1000 + path.bytes().map(u64::from).sum::<u64>();
        // The first is only on some projections.
        (seed >= 2000 || path.ends_with("q_proj")).then(|| {
            let a = matrix(random(rank * shape[1], seed), rank, shape[1], &device);
            let b = matrix(random(shape[0] * rank, seed + 1), shape[0], rank, &device);
            LowRank::new(a, b, 0.5)
        })
    };
    let tokens: Vec<Vec<u32>> =
        [9, 1, 14].iter().map(|&length| (0..length).map(|i| (i * 17 + length) % 320).collect()).collect();
    let mut start = 0;
    let ranges: Vec<_> = tokens
        .iter()
        .map(|tokens| {
            start += tokens.len();
            start - tokens.len()..start
        })
        .collect();
    // The last sequence has none.
    let mixed = base.with_beside(|path| {
        (1..3)
            .zip(&ranges)
            .filter_map(|(seed, rows)| {
                let LowRank { a, b, scale, .. } = update(path, seed)?;
                Some(RowUpdate { a, b, scale, extra: None, rows: Some(rows.clone()) })
            })
            .collect()
    });
    let lengths: Vec<usize> = tokens.iter().map(Vec::len).collect();
    let found = values(&mixed.hidden(Arc::new(tokens.concat()), Arc::new(Sequences::whole(&lengths))));
    let plain = values(&base.hidden(Arc::new(tokens.concat()), Arc::new(Sequences::whole(&lengths))));
    let width = base.config.hidden_size;
    for (index, tokens) in tokens.into_iter().enumerate() {
        let alone = if index < 2 { base.with_updates(|path| update(path, index as u64 + 1)) } else { base.clone() };
        let length = tokens.len();
        let expected = values(&alone.hidden(Arc::new(tokens), Arc::new(Sequences::whole(&[length]))));
        let own = ranges[index].start * width..ranges[index].end * width;
        let largest = expected.iter().map(|x| x.abs()).fold(0.0, f32::max);
        let worst =
            |found: &[f32]| found.iter().zip(&expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max) / largest;
        assert!(worst(&found[own.clone()]) < 1e-5, "sequence {index}: {}", worst(&found[own]));
        assert!((worst(&plain[own.clone()]) > 1e-2) == (index < 2), "sequence {index} is not told from the base");
    }
}
