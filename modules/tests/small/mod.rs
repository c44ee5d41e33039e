//! A small Llama, random modules for it, and dense `f64` arithmetic to compare with.
#![allow(dead_code, clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use burn::tensor::Device;
use lore_model::Decoder;
use lore_model::files::ModelFiles;
use lore_model::ops::head::logits;
use lore_model::ops::host::values;
use lore_model::ops::sequences::Sequences;
use lore_model::sampling::Random;
use lore_modules::{Adapter, AdapterConfig, LowRank};

pub fn base_files() -> ModelFiles {
    ModelFiles::open(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../model/tests/fixtures/tiny-llama")).unwrap()
}

pub fn base() -> Decoder {
    let files = base_files();
    Decoder::load(&files.config, &*files.weights, &Device::flex()).unwrap()
}

pub fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

/// Logits after every token of some text.
pub fn forward(decoder: &Decoder, ids: &[u32]) -> Vec<f32> {
    let hidden = decoder.hidden(Arc::new(ids.to_vec()), Arc::new(Sequences::whole(&[ids.len()])));
    values(&logits(hidden, decoder.head()))
}

pub fn text() -> Vec<u32> {
    let mut random = Random::new(1, 1);
    (0..30).map(|_| (random.bits() % 320) as u32).collect()
}

pub fn relative_difference(found: &[f32], expected: &[f32]) -> f32 {
    assert_eq!(found.len(), expected.len());
    let scale = expected.iter().map(|x| x.abs()).fold(0.0, f32::max);
    found.iter().zip(expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max) / scale
}

/// A module of random values on the projections whose names end in one of `targets`.
pub fn module(rank: usize, alpha: f64, targets: &[&str], seed: u64) -> Adapter {
    let mut random = Random::new(seed, 4);
    let config = AdapterConfig::uniform(rank, alpha);
    let mut updates = BTreeMap::new();
    for (name, shape) in base_files().config.expected_tensors() {
        let Some(path) =
            name.strip_suffix(".weight").filter(|path| targets.iter().any(|target| path.ends_with(target)))
        else {
            continue;
        };
        let (out_features, in_features) = (shape[0], shape[1]);
        let mut draw = |count: usize| -> Vec<f32> { (0..count).map(|_| random.normal() as f32 * 0.2).collect() };
        let (a, b) = (draw(rank * in_features), draw(out_features * rank));
        let scale = config.scale_of(path);
        updates.insert(path.to_owned(), LowRank { a, b, rank, in_features, out_features, scale, magnitude: None });
    }
    assert!(!updates.is_empty());
    Adapter { config, updates, base: None, metadata: BTreeMap::new() }
}

/// `scale · B · A` in `f64`, `[out, in]`.
pub fn dense(update: &LowRank) -> Vec<f64> {
    let mut out = Vec::with_capacity(update.out_features * update.in_features);
    for row in 0..update.out_features {
        for column in 0..update.in_features {
            let dot: f64 = (0..update.rank)
                .map(|k| {
                    f64::from(update.b[row * update.rank + k]) * f64::from(update.a[k * update.in_features + column])
                })
                .sum();
            out.push(dot * f64::from(update.scale));
        }
    }
    out
}

/// `Σ weight · ΔW` of every projection that some module touches, in `f64`.
pub fn dense_sum(modules: &[(&Adapter, f32)]) -> BTreeMap<String, Vec<f64>> {
    let mut sums = BTreeMap::<String, Vec<f64>>::new();
    for (module, weight) in modules {
        for (path, update) in &module.updates {
            let delta = dense(update);
            let sum = sums.entry(path.clone()).or_insert_with(|| vec![0.0; delta.len()]);
            sum.iter_mut().zip(delta).for_each(|(sum, delta)| *sum += f64::from(*weight) * delta);
        }
    }
    sums
}

pub const ALL: [&str; 7] = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"];

/// `R` and its inverse, by Gauss and Jordan.
pub fn invertible(size: usize, seed: u64) -> (Vec<f64>, Vec<f64>) {
    let mut random = Random::new(seed, 6);
    let r: Vec<f64> =
        (0..size * size).map(|i| random.normal() * 0.5 + if i / size == i % size { 2.0 } else { 0.0 }).collect();
    let (mut left, mut inverse) = (r.clone(), vec![0.0; size * size]);
    (0..size).for_each(|i| inverse[i * size + i] = 1.0);
    for pivot in 0..size {
        let row = (pivot..size)
            .max_by(|&a, &b| left[a * size + pivot].abs().total_cmp(&left[b * size + pivot].abs()))
            .unwrap();
        for column in 0..size {
            left.swap(row * size + column, pivot * size + column);
            inverse.swap(row * size + column, pivot * size + column);
        }
        let by = left[pivot * size + pivot];
        for column in 0..size {
            left[pivot * size + column] /= by;
            inverse[pivot * size + column] /= by;
        }
        for other in (0..size).filter(|&other| other != pivot) {
            let by = left[other * size + pivot];
            for column in 0..size {
                left[other * size + column] -= by * left[pivot * size + column];
                inverse[other * size + column] -= by * inverse[pivot * size + column];
            }
        }
    }
    (r, inverse)
}

/// Row-major `[rows, inner] · [inner, columns]`.
pub fn product(left: &[f64], right: &[f64], inner: usize) -> Vec<f64> {
    let (rows, columns) = (left.len() / inner, right.len() / inner);
    let entry = |i: usize| (0..inner).map(|k| left[i / columns * inner + k] * right[k * columns + i % columns]).sum();
    (0..rows * columns).map(entry).collect()
}

/// The same module with every `(A, B)` replaced by `(R⁻¹A, BR)`.
pub fn refactored(adapter: &Adapter) -> Adapter {
    let mut other = adapter.clone();
    for (index, update) in other.updates.values_mut().enumerate() {
        let (r, inverse) = invertible(update.rank, index as u64);
        let wide = |values: &[f32]| values.iter().map(|&x| f64::from(x)).collect::<Vec<f64>>();
        let narrow = |values: Vec<f64>| values.into_iter().map(|x| x as f32).collect::<Vec<f32>>();
        update.a = narrow(product(&inverse, &wide(&update.a), update.rank));
        update.b = narrow(product(&wide(&update.b), &r, update.rank));
    }
    other
}

/// `ΔW` of every projection.
pub fn changes(adapter: &Adapter) -> BTreeMap<String, Vec<f64>> {
    adapter.updates.iter().map(|(path, update)| (path.clone(), dense(update))).collect()
}

pub fn norm(values: &[f64]) -> f64 {
    values.iter().map(|value| value * value).sum::<f64>().sqrt()
}

/// `‖a − b‖ / ‖b‖` over all projections together, where one without an entry is zero.
pub fn distance(a: &BTreeMap<String, Vec<f64>>, b: &BTreeMap<String, Vec<f64>>) -> f64 {
    let (mut difference, mut size) = (0.0, 0.0);
    for path in a.keys().chain(b.keys().filter(|path| !a.contains_key(*path))) {
        let count = a.get(path).or(b.get(path)).unwrap().len();
        let zeros = vec![0.0; count];
        let (left, right) = (a.get(path).unwrap_or(&zeros), b.get(path).unwrap_or(&zeros));
        difference += left.iter().zip(right).map(|(a, b)| (a - b).powi(2)).sum::<f64>();
        size += right.iter().map(|b| b * b).sum::<f64>();
    }
    (difference / size).sqrt()
}

/// Eigenvalues, largest first, and the eigenvectors in columns of a symmetric matrix, by Jacobi's rotations.
pub fn jacobi(mut matrix: Vec<f64>, size: usize) -> (Vec<f64>, Vec<f64>) {
    let mut vectors = vec![0.0; size * size];
    (0..size).for_each(|i| vectors[i * size + i] = 1.0);
    for _ in 0..60 {
        for p in 0..size {
            for q in p + 1..size {
                let off = matrix[p * size + q];
                if off == 0.0 {
                    continue;
                }
                let theta = (matrix[q * size + q] - matrix[p * size + p]) / (2.0 * off);
                let t = if theta >= 0.0 { 1.0 } else { -1.0 } / (theta.abs() + (theta * theta + 1.0).sqrt());
                let c = 1.0 / (t * t + 1.0).sqrt();
                let s = t * c;
                for k in 0..size {
                    let (x, y) = (matrix[k * size + p], matrix[k * size + q]);
                    (matrix[k * size + p], matrix[k * size + q]) = (c * x - s * y, s * x + c * y);
                }
                for k in 0..size {
                    let (x, y) = (matrix[p * size + k], matrix[q * size + k]);
                    (matrix[p * size + k], matrix[q * size + k]) = (c * x - s * y, s * x + c * y);
                    let (x, y) = (vectors[k * size + p], vectors[k * size + q]);
                    (vectors[k * size + p], vectors[k * size + q]) = (c * x - s * y, s * x + c * y);
                }
            }
        }
    }
    let mut order: Vec<usize> = (0..size).collect();
    order.sort_by(|&a, &b| matrix[b * size + b].total_cmp(&matrix[a * size + a]));
    let values = order.iter().map(|&i| matrix[i * size + i]).collect();
    let sorted = (0..size * size).map(|i| vectors[i / size * size + order[i % size]]).collect();
    (values, sorted)
}

/// Left singular vectors `[rows, rows]` in columns and singular values of a row-major `[rows, columns]` matrix.
pub fn left_singular(matrix: &[f64], rows: usize) -> (Vec<f64>, Vec<f64>) {
    let columns = matrix.len() / rows;
    let row = |i: usize| &matrix[i * columns..][..columns];
    let gram: Vec<f64> =
        (0..rows * rows).map(|i| row(i / rows).iter().zip(row(i % rows)).map(|(a, b)| a * b).sum()).collect();
    let (values, vectors) = jacobi(gram, rows);
    (values.into_iter().map(|value| value.max(0.0).sqrt()).collect(), vectors)
}
