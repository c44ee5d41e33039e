//! Attention of one position, as in writing a text token by token: a product for each key, where products of whole
//! matrices take longer to pack their factors than to multiply them.

use crate::cpu::matmul::Matrix;
use crate::cpu::vectorised;

/// `scores[i · columns + j] = scale · queries[i] · keys[j]`, where `queries: [heads, dim]` stand one after another and
/// `keys: [rows, dim]` are a head's columns of a wider matrix.
pub(super) fn scores(scores: &mut [f32], columns: usize, queries: &[f32], keys: Matrix<'_>, scale: f32) {
    dot_products(scores, columns, queries, keys.values(), keys.row_stride(), keys.rows(), keys.columns(), scale);
}

/// `out[i] += Σ_j probabilities[i · columns + j] · values[j]` with `out: [heads, dim]` and `values: [rows, dim]`.
pub(super) fn add_values(out: &mut [f32], probabilities: &[f32], columns: usize, values: Matrix<'_>) {
    weighted_rows(out, probabilities, columns, values.values(), values.row_stride(), values.rows(), values.columns());
}

vectorised! {
    fn dot_products(out: &mut [f32], columns: usize, queries: &[f32], keys: &[f32], stride: usize, rows: usize, dim: usize, scale: f32) {
        for row in 0..rows {
            let (key, key_rest) = keys[row * stride..][..dim].as_chunks::<16>();
            for (head, query) in queries.chunks_exact(dim).enumerate() {
                let (query, query_rest) = query.as_chunks::<16>();
                let mut lanes = [0.0f32; 16];
                for (query, key) in query.iter().zip(key) {
                    for i in 0..16 {
                        lanes[i] += query[i] * key[i];
                    }
                }
                let rest: f32 = query_rest.iter().zip(key_rest).map(|(query, key)| query * key).sum();
                // In halves, which are added side by side.
                for i in 0..8 {
                    lanes[i] += lanes[i + 8];
                }
                for i in 0..4 {
                    lanes[i] += lanes[i + 4];
                }
                out[head * columns + row] = scale * ((lanes[0] + lanes[2]) + (lanes[1] + lanes[3]) + rest);
            }
        }
    }
}

vectorised! {
    fn weighted_rows(out: &mut [f32], weights: &[f32], columns: usize, values: &[f32], stride: usize, rows: usize, dim: usize) {
        for row in 0..rows {
            let value = &values[row * stride..][..dim];
            for (head, out) in out.chunks_exact_mut(dim).enumerate() {
                let weight = weights[head * columns + row];
                for (out, value) in out.iter_mut().zip(value) {
                    *out += weight * value;
                }
            }
        }
    }
}
