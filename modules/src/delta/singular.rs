//! Singular values of `ΔW`, and `ΔW` cut down to the largest of them.

use nalgebra::DMatrix;

use super::root_of_squares;
use crate::adapter::LowRank;
use crate::error::Error;

/// Singular values below this part of the largest are rounding of `f32` factors, not rank.
const ROUNDING: f64 = 1e-6;

/// How many singular triples to keep; never one that is zero to rounding.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Keep {
    /// All.
    All,
    /// At most this many.
    Rank(usize),
    /// The fewest whose squares sum to at least this part of all squares; in `(0, 1]`.
    Energy(f64),
}

impl Keep {
    /// The number kept of these values, largest first.
    pub fn count(self, values: &[f64]) -> usize {
        match self {
            Self::All => values.len(),
            Self::Rank(rank) => rank.min(values.len()),
            Self::Energy(part) => {
                let wanted = part * values.iter().map(|value| value * value).sum::<f64>();
                let mut sum = 0.0;
                let enough = values.iter().position(|value| {
                    sum += value * value;
                    sum >= wanted
                });
                enough.map_or(values.len(), |last| last + 1)
            }
        }
    }
}

/// `ΔW ≈ U · diag(σ) · Vᵀ` with orthonormal columns, as many as were kept.
#[derive(Debug, Clone)]
pub struct Singular {
    /// `[out, kept]`.
    pub u: DMatrix<f64>,
    /// `[in, kept]`.
    pub v: DMatrix<f64>,
    /// Every singular value that is not zero to rounding, those not kept too, largest first.
    pub values: Vec<f64>,
}

impl Singular {
    /// Of a dense `[out, in]` matrix, through the eigenvalues of its smaller Gram matrix. That squares the
    /// condition number: values below about `1e-7` of the largest drown, which [`ROUNDING`] takes for zero anyway.
    ///
    /// # Errors
    /// [`Error::Decomposition`].
    pub fn of_dense(dense: &DMatrix<f64>, keep: Keep) -> Result<Self, Error> {
        let (rows, columns) = dense.shape();
        let tall = rows >= columns;
        let gram = if tall { dense.tr_mul(dense) } else { dense * dense.transpose() };
        let failed = || Error::Decomposition { rows, columns };
        if gram.iter().any(|value| !value.is_finite()) {
            return Err(failed());
        }
        // Usually about two steps per eigenvalue; of rounding there is no end to wait for.
        let steps = 1000 + 100 * gram.nrows();
        let eigen = gram.try_symmetric_eigen(f64::EPSILON, steps).ok_or_else(failed)?;
        let mut order: Vec<usize> = (0..eigen.eigenvalues.len()).collect();
        order.sort_by(|&a, &b| eigen.eigenvalues[b].total_cmp(&eigen.eigenvalues[a]));
        // The matrix is positive semidefinite, so that a negative eigenvalue is rounding.
        let values = above_rounding(order.iter().map(|&i| eigen.eigenvalues[i].max(0.0).sqrt()).collect());
        order.truncate(keep.count(&values));
        let basis = eigen.eigenvectors.select_columns(&order);
        let mut image = if tall { dense * &basis } else { dense.tr_mul(&basis) };
        for (mut column, value) in image.column_iter_mut().zip(&values) {
            column /= *value;
        }
        let (u, v) = if tall { (image, basis) } else { (basis, image) };
        Ok(Self { u, v, values })
    }

    /// How many triples were kept.
    pub fn kept(&self) -> usize {
        self.u.ncols()
    }

    /// The approximation as an update of scale 1, both factors of equal size. Of nothing, it is a rank 1 update
    /// of zeros, so that files can hold it.
    pub fn update(&self) -> (LowRank, Kept) {
        let (out_features, in_features, rank) = (self.u.nrows(), self.v.nrows(), self.kept());
        // The norm of what is cut off is the error of the approximation (Eckart and Young 1936).
        let norm = |values: &[f64]| root_of_squares(values.iter().copied());
        let kept = Kept { rank: rank.max(1), norm: norm(&self.values), lost: norm(&self.values[rank..]) };
        if rank == 0 {
            return (zero_update(out_features, in_features), kept);
        }
        let roots: Vec<f64> = self.values[..rank].iter().map(|value| value.sqrt()).collect();
        let a = (0..rank).flat_map(|k| (0..in_features).map(move |column| (k, column)));
        let a = a.map(|(k, column)| (roots[k] * self.v[(column, k)]) as f32).collect();
        let b = (0..out_features).flat_map(|row| (0..rank).map(move |k| (row, k)));
        let b = b.map(|(row, k)| (roots[k] * self.u[(row, k)]) as f32).collect();
        (LowRank { a, b, rank, in_features, out_features, scale: 1.0, magnitude: None }, kept)
    }
}

/// The factors `[A, B]` of the largest singular triples of a row-major matrix, `B·A` the best approximation of this rank, both
/// factors of equal size: `[rank, columns]` and `[rows, rank]`, with zeros where the matrix has less rank.
///
/// # Errors
/// [`Error::Decomposition`].
pub fn principal(values: &[f32], columns: usize, rank: usize) -> Result<[Vec<f32>; 2], Error> {
    let rows = values.len() / columns;
    let dense = DMatrix::from_fn(rows, columns, |row, column| f64::from(values[row * columns + column]));
    let (update, _) = Singular::of_dense(&dense, Keep::Rank(rank))?.update();
    let mut a = update.a;
    a.resize(rank * columns, 0.0);
    let mut b = Vec::with_capacity(rows * rank);
    for row in update.b.chunks_exact(update.rank) {
        b.extend(row);
        b.resize(b.len() + rank - update.rank, 0.0);
    }
    Ok([a, b])
}

/// What cutting `ΔW` down to a rank has left of it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Kept {
    /// The rank of the update.
    pub rank: usize,
    /// ‖ΔW‖_F before the cut.
    pub norm: f64,
    /// ‖·‖_F of what the cut took away.
    pub lost: f64,
}

impl Kept {
    /// The part of ‖ΔW‖²_F over all these projections that is left, in `[0, 1]`; 1 if there is nothing.
    pub fn energy<'a>(projections: impl Iterator<Item = &'a Self>) -> f64 {
        let (whole, lost) =
            projections.fold((0.0, 0.0), |(whole, lost), kept| (whole + kept.norm.powi(2), lost + kept.lost.powi(2)));
        if whole > 0.0 { 1.0 - lost / whole } else { 1.0 }
    }
}

/// An update that changes nothing.
pub(crate) fn zero_update(out_features: usize, in_features: usize) -> LowRank {
    LowRank {
        a: vec![0.0; in_features],
        b: vec![0.0; out_features],
        rank: 1,
        in_features,
        out_features,
        scale: 1.0,
        magnitude: None,
    }
}

fn above_rounding(mut values: Vec<f64>) -> Vec<f64> {
    let least = ROUNDING * values.first().copied().unwrap_or(0.0);
    values.truncate(values.iter().take_while(|&&value| value > least).count());
    values
}
