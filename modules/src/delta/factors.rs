//! `ΔW` as the product of a tall and a wide matrix.

use nalgebra::DMatrix;

use super::{Keep, Singular};
use crate::adapter::LowRank;
use crate::error::Error;

/// `ΔW = left · right`.
#[derive(Debug, Clone)]
pub struct Factors {
    /// `[out, k]`.
    pub left: DMatrix<f64>,
    /// `[k, in]`.
    pub right: DMatrix<f64>,
}

impl Factors {
    /// `weight · scale · B·A`; the weight and the scale go into the left factor.
    pub fn of(update: &LowRank, weight: f64) -> Self {
        let (rank, factor) = (update.rank, weight * f64::from(update.scale));
        Self {
            left: DMatrix::from_fn(update.out_features, rank, |row, k| factor * f64::from(update.b[row * rank + k])),
            right: DMatrix::from_fn(rank, update.in_features, |k, column| {
                f64::from(update.a[k * update.in_features + column])
            }),
        }
    }

    /// The sum of several changes of one projection, by putting their factors side by side.
    ///
    /// # Panics
    /// When `parts` is empty or their shapes differ.
    pub fn sum(parts: &[Self]) -> Self {
        let (out_features, in_features) = parts[0].shape();
        let ranks: Vec<usize> = parts.iter().map(|part| part.left.ncols()).collect();
        let places: Vec<(usize, usize)> =
            ranks.iter().enumerate().flat_map(|(part, &rank)| (0..rank).map(move |k| (part, k))).collect();
        Self {
            left: DMatrix::from_fn(out_features, places.len(), |row, k| parts[places[k].0].left[(row, places[k].1)]),
            right: DMatrix::from_fn(places.len(), in_features, |k, column| {
                parts[places[k].0].right[(places[k].1, column)]
            }),
        }
    }

    /// Rows and columns of `ΔW`.
    pub fn shape(&self) -> (usize, usize) {
        (self.left.nrows(), self.right.ncols())
    }

    /// `ΔW` itself, `[out, in]`.
    pub fn dense(&self) -> DMatrix<f64> {
        &self.left * &self.right
    }

    /// The Frobenius inner product `⟨ΔW, ΔW'⟩ = tr(ΔWᵀ ΔW')`.
    pub fn inner(&self, other: &Self) -> f64 {
        let left = self.left.tr_mul(&other.left);
        let right = &self.right * other.right.transpose();
        left.dot(&right)
    }

    /// The Frobenius norm.
    pub fn norm(&self) -> f64 {
        self.inner(self).max(0.0).sqrt()
    }

    /// Singular values and vectors, by QR of both factors and a decomposition of the small product of their
    /// triangles.
    ///
    /// # Errors
    /// [`Error::Decomposition`].
    pub fn singular(&self, keep: Keep) -> Result<Singular, Error> {
        let (left, right) = (self.left.clone().qr(), self.right.transpose().qr());
        let core = Singular::of_dense(&(left.r() * right.r().transpose()), keep)?;
        Ok(Singular { u: left.q() * core.u, v: right.q() * core.v, values: core.values })
    }
}
