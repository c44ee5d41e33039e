//! Learning from a few tokens of a distribution instead of all of them.

use super::{Sums, arg_max_and_lse, softmax_scaled};
use rayon::prelude::*;

/// For each row a few tokens and how probable each of them is; the rest of the vocabulary counts nothing.
///
/// Drawn with replacement from a teacher and counted, the shares are an unbiased estimate of its distribution
/// (Anshumann et al. 2025, "Sparse Logit Sampling"), which its largest probabilities alone are not.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SparseTargets {
    /// Where each row's tokens begin, and where the last row's end: `rows + 1` entries.
    pub offsets: Vec<usize>,
    /// Token ids of all rows.
    pub ids: Vec<u32>,
    /// Their probabilities.
    pub probabilities: Vec<f32>,
    /// Entropy in nats of each row's whole distribution, where it is known, else 0.
    pub entropies: Vec<f32>,
}

impl SparseTargets {
    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.offsets.len().saturating_sub(1)
    }

    /// Tokens and probabilities of a row.
    pub fn row(&self, row: usize) -> impl Iterator<Item = (u32, f32)> {
        let range = self.offsets[row]..self.offsets[row + 1];
        self.ids[range.clone()].iter().copied().zip(self.probabilities[range].iter().copied())
    }
}

/// Cross-entropy of each row of `logits: [rows, vocabulary]` against rows `first..` of `targets`, less the entropy of
/// the targets' distribution: an unbiased estimate of the forward Kullback–Leibler divergence. The logits become
/// `d loss / d logits` of the weighted sum.
pub fn sparse_cross_entropy(logits: &mut [f32], targets: &SparseTargets, first: usize, weights: &[f32]) -> Sums {
    let vocabulary = (logits.len() / weights.len().max(1)).max(1);
    let parts: Vec<Sums> = logits
        .par_chunks_mut(vocabulary)
        .enumerate()
        .zip(weights)
        .map(|((index, logits), &weight)| {
            if weight == 0.0 {
                logits.fill(0.0);
                return Sums::default();
            }
            let row = first + index;
            let (arg_max, lse) = arg_max_and_lse(logits, 1.0);
            let (mut loss, mut mass, mut best) = (0.0f64, 0.0f32, (0.0f32, u32::MAX));
            for (id, probability) in targets.row(row) {
                loss += f64::from(probability) * f64::from(lse - logits[id as usize]);
                mass += probability;
                best = if probability > best.0 { (probability, id) } else { best };
            }
            softmax_scaled(logits, lse, weight * mass);
            for (id, probability) in targets.row(row) {
                logits[id as usize] -= weight * probability;
            }
            let entropy = f64::from(targets.entropies.get(row).copied().unwrap_or(0.0));
            let weight = f64::from(weight);
            Sums {
                loss: (loss - entropy) * weight,
                target_entropy: entropy * weight,
                agreement: if arg_max == best.1 as usize { weight } else { 0.0 },
                overlap: 0.0,
            }
        })
        .collect();
    Sums::of(parts)
}
