//! Norms, the feed-forward product, embeddings, rotary positions.

use lore_model::cpu::rotary::RotaryTable;
use lore_model::ops::embedding::embedding;
use lore_model::ops::rms_norm::rms_norm;
use lore_model::ops::rotary::rotary;
use lore_model::ops::swiglu::swiglu;
use std::sync::Arc;

use crate::oracle::{M, check};

#[test]
fn rms_norm_matches() {
    for (rows, width) in [(1, 3), (5, 16), (3, 37)] {
        check(
            &[M::random(rows, width, 1), M::random(1, width, 2)],
            |x| rms_norm(x[0].clone(), x[1].clone(), 1e-5),
            |x| {
                let mut out = Vec::new();
                for r in 0..rows {
                    let mean = (0..width).map(|c| x[0].at(r, c).powi(2)).sum::<f64>() / width as f64;
                    out.extend((0..width).map(|c| x[0].at(r, c) / (mean + 1e-5).sqrt() * x[1].at(0, c)));
                }
                out
            },
        );
    }
}

#[test]
fn swiglu_matches() {
    check(
        &[M::random(3, 21, 3), M::random(3, 21, 4)],
        |x| swiglu(x[0].clone(), x[1].clone()),
        |x| x[0].v.iter().zip(&x[1].v).map(|(g, u)| g / (1.0 + (-g).exp()) * u).collect(),
    );
}

#[test]
fn embedding_matches_with_repeated_tokens() {
    check(
        &[M::random(6, 3, 9)],
        |x| embedding(x[0].clone(), Arc::new(vec![2, 5, 2, 0]), None),
        |x| [2, 5, 2, 0].iter().flat_map(|&t| (0..3).map(move |c| (t, c))).map(|(t, c)| x[0].at(t, c)).collect(),
    );
}

#[test]
fn rotary_matches_rotate_half() {
    let (heads, dim) = (2, 6);
    let frequencies = [1.0, 0.3, 0.05];
    let table = Arc::new(RotaryTable::new(&frequencies, 16));
    let positions = vec![0, 3, 11];
    check(
        &[M::random(3, heads * dim, 10)],
        |x| rotary(x[0].clone(), Arc::new(positions.clone()), heads, table.clone()),
        |x| {
            let mut out = vec![0.0; 3 * heads * dim];
            for r in 0..3 {
                for h in 0..heads {
                    for i in 0..dim / 2 {
                        let angle = f64::from(positions[r]) * frequencies[i];
                        let (low, high) = (x[0].at(r, h * dim + i), x[0].at(r, h * dim + i + dim / 2));
                        out[r * heads * dim + h * dim + i] = low * angle.cos() - high * angle.sin();
                        out[r * heads * dim + h * dim + i + dim / 2] = high * angle.cos() + low * angle.sin();
                    }
                }
            }
            out
        },
    );
}
