//! Losses of rows of logits, with the gradient written over the logits.

mod general;
pub mod scores;
mod sparse;

pub use general::{Divergence, divergence};
pub use sparse::{SparseTargets, sparse_cross_entropy};

use super::{exp::exp, vectorised};
use rayon::prelude::*;

/// Sums over the rows of a chunk, in `f64` because there are many.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Sums {
    /// Weighted loss.
    pub loss: f64,
    /// Weighted entropy of the target distribution (zero for labels).
    pub target_entropy: f64,
    /// Rows whose most likely token is the target's, weighted.
    pub agreement: f64,
    /// Σ min(p, q) of each row, weighted (zero for labels).
    pub overlap: f64,
}

impl Sums {
    /// Adds the sums of another chunk.
    pub fn add(&mut self, other: Self) {
        self.loss += other.loss;
        self.target_entropy += other.target_entropy;
        self.agreement += other.agreement;
        self.overlap += other.overlap;
    }

    fn of(parts: Vec<Self>) -> Self {
        let mut total = Self::default();
        for part in parts {
            total.add(part);
        }
        total
    }
}

vectorised! {
    /// Index of the largest value (the first of equals), that value, and the sum of exponentials of what each is less than
    /// it, times `inverse_temperature`.
    fn arg_max_and_sum(x: &[f32], inverse_temperature: f32) -> (usize, f32, f64) {
        let (chunks, rest) = x.as_chunks::<16>();
        let mut lanes = [f32::NEG_INFINITY; 16];
        for chunk in chunks {
            for i in 0..16 {
                lanes[i] = if chunk[i] > lanes[i] { chunk[i] } else { lanes[i] };
            }
        }
        let max = lanes.iter().chain(rest).fold(f32::NEG_INFINITY, |m, &x| m.max(x));
        let arg_max = x.iter().position(|&x| x == max).unwrap_or(0);
        let mut sums = [0.0f32; 16];
        for chunk in chunks {
            for i in 0..16 {
                sums[i] += exp((chunk[i] - max) * inverse_temperature);
            }
        }
        let mut sum = sums.iter().map(|&x| f64::from(x)).sum::<f64>();
        for &value in rest {
            sum += f64::from(exp((value - max) * inverse_temperature));
        }
        (arg_max, max, sum)
    }
}

/// Index of the largest value (the first of equals) and the log of the sum of exponentials of `x · inverse_temperature`.
fn arg_max_and_lse(x: &[f32], inverse_temperature: f32) -> (usize, f32) {
    let (arg_max, max, sum) = arg_max_and_sum(x, inverse_temperature);
    (arg_max, max * inverse_temperature + sum.ln() as f32)
}

vectorised! {
    /// `x ← softmax(x) · scale`.
    fn softmax_scaled(x: &mut [f32], lse: f32, scale: f32) {
        for value in x {
            *value = exp(*value - lse) * scale;
        }
    }
}

vectorised! {
    /// Returns `Σ p·(log p − log q)`, `−Σ p·log p` and `Σ min(p, q)`; `q_logits ← (q − p) · scale`.
    fn forward_kl_row(p_logits: &[f32], q_logits: &mut [f32], p_lse: f32, q_lse: f32, inverse_temperature: f32, scale: f32) -> (f64, f64, f64) {
        // Partial sums in f32 over 16 lanes × 64 chunks, then in f64.
        let mut totals = (0.0f64, 0.0f64, 0.0f64);
        for (ps, qs) in p_logits.chunks(1024).zip(q_logits.chunks_mut(1024)) {
            let mut divergence = [0.0f32; 16];
            let mut entropy = [0.0f32; 16];
            let mut overlap = [0.0f32; 16];
            let (p16, p_rest) = ps.as_chunks::<16>();
            let (q16, q_rest) = qs.as_chunks_mut::<16>();
            for (ps, qs) in p16.iter().zip(q16) {
                for i in 0..16 {
                    let log_p = ps[i] * inverse_temperature - p_lse;
                    let log_q = qs[i] * inverse_temperature - q_lse;
                    let (p, q) = (exp(log_p), exp(log_q));
                    divergence[i] += p * (log_p - log_q);
                    entropy[i] -= p * log_p;
                    overlap[i] += if p < q { p } else { q };
                    qs[i] = (q - p) * scale;
                }
            }
            for (i, (p, q)) in p_rest.iter().zip(q_rest).enumerate() {
                let log_p = *p * inverse_temperature - p_lse;
                let log_q = *q * inverse_temperature - q_lse;
                let (p, qv) = (exp(log_p), exp(log_q));
                divergence[i] += p * (log_p - log_q);
                entropy[i] -= p * log_p;
                overlap[i] += if p < qv { p } else { qv };
                *q = (qv - p) * scale;
            }
            totals.0 += divergence.iter().map(|&x| f64::from(x)).sum::<f64>();
            totals.1 += entropy.iter().map(|&x| f64::from(x)).sum::<f64>();
            totals.2 += overlap.iter().map(|&x| f64::from(x)).sum::<f64>();
        }
        totals
    }
}

/// Cross-entropy of each row against its label; `logits: [rows, vocabulary]` become `d loss / d logits`
/// of the weighted sum.
pub fn cross_entropy(logits: &mut [f32], labels: &[u32], weights: &[f32]) -> Sums {
    let vocabulary = logits.len() / labels.len().max(1);
    let parts: Vec<Sums> = logits
        .par_chunks_mut(vocabulary.max(1))
        .zip(labels)
        .zip(weights)
        .map(|((logits, &label), &weight)| {
            if weight == 0.0 {
                logits.fill(0.0);
                return Sums::default();
            }
            let (arg_max, lse) = arg_max_and_lse(logits, 1.0);
            let label = label as usize;
            let loss = f64::from(lse - logits[label]);
            softmax_scaled(logits, lse, weight);
            logits[label] -= weight;
            let weight = f64::from(weight);
            Sums { loss: loss * weight, agreement: if arg_max == label { weight } else { 0.0 }, ..Sums::default() }
        })
        .collect();
    Sums::of(parts)
}

/// Forward Kullback–Leibler divergence from the teacher `p` to the student `q` of each row, at
/// temperature T and multiplied by T² (Hinton et al. 2015), so that gradients keep their size;
/// the student's logits become `d loss / d logits` of the weighted sum.
pub fn forward_kl(teacher: &[f32], student: &mut [f32], weights: &[f32], temperature: f32) -> Sums {
    let vocabulary = student.len() / weights.len().max(1);
    let inverse = 1.0 / temperature;
    let parts: Vec<Sums> = student
        .par_chunks_mut(vocabulary.max(1))
        .zip(teacher.par_chunks(vocabulary.max(1)))
        .zip(weights)
        .map(|((student, teacher), &weight)| {
            if weight == 0.0 {
                student.fill(0.0);
                return Sums::default();
            }
            let (p_max, p_lse) = arg_max_and_lse(teacher, inverse);
            let (q_max, q_lse) = arg_max_and_lse(student, inverse);
            let scale = weight * temperature;
            let (divergence, entropy, overlap) = forward_kl_row(teacher, student, p_lse, q_lse, inverse, scale);
            let weight = f64::from(weight);
            Sums {
                loss: divergence * weight * f64::from(temperature).powi(2),
                target_entropy: entropy * weight,
                agreement: if p_max == q_max { weight } else { 0.0 },
                overlap: overlap * weight,
            }
        })
        .collect();
    Sums::of(parts)
}
