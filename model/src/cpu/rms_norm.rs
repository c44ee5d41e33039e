//! Root-mean-square normalisation (Zhang and Sennrich 2019).

use super::{rows_per_task, vectorised};
use rayon::prelude::*;

const LANES: usize = 16;

/// Sum of products of two slices, in a fixed order that vectorises.
#[inline(always)]
fn dot(x: &[f32], y: &[f32]) -> f32 {
    let mut lanes = [0.0f32; LANES];
    let (xs, x_rest) = x.as_chunks::<LANES>();
    let (ys, y_rest) = y.as_chunks::<LANES>();
    for (x, y) in xs.iter().zip(ys) {
        for i in 0..LANES {
            lanes[i] += x[i] * y[i];
        }
    }
    let rest: f32 = x_rest.iter().zip(y_rest).map(|(x, y)| x * y).sum();
    lanes.iter().sum::<f32>() + rest
}

vectorised! {
    fn forward_rows(out: &mut [f32], x: &[f32], weight: &[f32], eps: f32) {
        let width = weight.len();
        for (out, x) in out.chunks_exact_mut(width).zip(x.chunks_exact(width)) {
            let inverse = (dot(x, x) / width as f32 + eps).sqrt().recip();
            for i in 0..width {
                out[i] = x[i] * inverse * weight[i];
            }
        }
    }
}

vectorised! {
    fn backward_rows(dx: &mut [f32], dw: &mut [f32], x: &[f32], weight: &[f32], dy: &[f32], eps: f32) {
        let width = weight.len();
        let mut scaled = vec![0.0f32; width];
        for ((dx, x), dy) in dx.chunks_exact_mut(width).zip(x.chunks_exact(width)).zip(dy.chunks_exact(width)) {
            let inverse = (dot(x, x) / width as f32 + eps).sqrt().recip();
            for i in 0..width {
                scaled[i] = dy[i] * weight[i];
            }
            let mean = dot(&scaled, x) * inverse * inverse / width as f32;
            for i in 0..width {
                dx[i] = inverse * (scaled[i] - x[i] * mean);
            }
            for i in 0..dw.len() {
                dw[i] += dy[i] * x[i] * inverse;
            }
        }
    }
}

/// `y = x / rms(x) · weight` for each row of `x: [rows, width]`, with `rms = sqrt(mean(x²) + eps)`.
pub fn forward(x: &[f32], weight: &[f32], eps: f32) -> Vec<f32> {
    let mut out = vec![0.0; x.len()];
    let chunk = rows_per_task(weight.len()) * weight.len();
    out.par_chunks_mut(chunk).zip(x.par_chunks(chunk)).for_each(|(out, x)| forward_rows(out, x, weight, eps));
    out
}

/// Gradients of `x` and, when `want_weight`, of `weight` (an empty vector otherwise).
pub fn backward(x: &[f32], weight: &[f32], dy: &[f32], eps: f32, want_weight: bool) -> (Vec<f32>, Vec<f32>) {
    let width = weight.len();
    let chunk = rows_per_task(width) * width;
    let mut dx = vec![0.0; x.len()];
    // Partial sums are kept per task and added in task order: the result does not depend on threads.
    let partial: Vec<Vec<f32>> = dx
        .par_chunks_mut(chunk)
        .zip(x.par_chunks(chunk))
        .zip(dy.par_chunks(chunk))
        .map(|((dx, x), dy)| {
            let mut dw = vec![0.0; if want_weight { width } else { 0 }];
            backward_rows(dx, &mut dw, x, weight, dy, eps);
            dw
        })
        .collect();
    let mut dw = vec![0.0; if want_weight { width } else { 0 }];
    for part in partial {
        for (sum, value) in dw.iter_mut().zip(part) {
            *sum += value;
        }
    }
    (dx, dw)
}
