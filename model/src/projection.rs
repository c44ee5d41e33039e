//! A linear layer of the decoder: a matrix, an optional bias and an optional low-rank update.

use crate::ops::projection::{linear, low_rank_linear};
use burn::tensor::Tensor;

/// A low-rank update `scale · B·A` of a projection. Several updates are one with their rows of `A` and
/// columns of `B` put side by side, which is exact for any ranks and weights.
#[derive(Clone, Debug)]
pub struct LowRank {
    /// `[rank, in]`.
    pub a: Tensor<2>,
    /// `[out, rank]`.
    pub b: Tensor<2>,
    /// Factor on the product.
    pub scale: f32,
}

impl LowRank {
    /// The sum of weighted updates as one update of scale 1.
    ///
    /// # Panics
    /// When `parts` is empty.
    pub fn concatenated(parts: &[(Self, f32)]) -> Self {
        if let [(only, weight)] = parts {
            return Self { scale: only.scale * weight, ..only.clone() };
        }
        let a = parts.iter().map(|(part, _)| part.a.clone()).collect();
        let b = parts.iter().map(|(part, weight)| part.b.clone() * (part.scale * weight)).collect();
        Self { a: Tensor::cat(a, 0), b: Tensor::cat(b, 1), scale: 1.0 }
    }
}

/// `y = x·Wᵀ + bias + scale·(x·Aᵀ)·Bᵀ`.
#[derive(Clone, Debug)]
pub struct Projection {
    /// `[out, in]`, as Hugging Face stores it.
    pub weight: Tensor<2>,
    /// `[1, out]`.
    pub bias: Option<Tensor<2>>,
    /// What the active modules add.
    pub update: Option<LowRank>,
}

impl Projection {
    /// `x: [rows, in]` to `[rows, out]`.
    pub fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        let weight = self.weight.clone();
        let out = match &self.update {
            Some(update) => low_rank_linear(x, weight, update.a.clone(), update.b.clone(), update.scale),
            None => linear(x, weight),
        };
        match &self.bias {
            Some(bias) => out + bias.clone(),
            None => out,
        }
    }
}
