//! One singular basis for the changes of several modules (KnOTS, arXiv 2410.19735).

use nalgebra::DMatrix;

use super::{Part, sparsify, ties};
use crate::Error;
use crate::delta::{Factors, Keep};

/// `U Σ · merged(V₁ … Vₙ)ᵀ`, where `[ΔW₁ … ΔWₙ] = U Σ [V₁ … Vₙ]ᵀ` and the merge is TIES.
///
/// The changes side by side have the factors `[B₁ … Bₙ]` and the block diagonal of the `Aᵢ`, so that no dense
/// change is needed.
pub(super) fn shared_basis(parts: &[Part<'_>], density: f64) -> Result<Factors, Error> {
    let mut changes: Vec<Factors> = parts.iter().map(|part| Factors::of(part.update, 1.0)).collect();
    let in_features = parts[0].update.in_features;
    let rank: usize = changes.iter().map(|change| change.left.ncols()).sum();
    let mut right = DMatrix::zeros(rank, in_features * changes.len());
    let mut first = 0;
    for (place, change) in changes.iter().enumerate() {
        let block = &change.right;
        right.view_mut((first, place * in_features), block.shape()).copy_from(block);
        first += block.nrows();
    }
    let mut singular = Factors { left: Factors::sum(&changes).left, right }.singular(Keep::All)?;
    let size = singular.kept();
    if size == 0 {
        // Every change is nothing, and so is this.
        return Ok(changes.swap_remove(0));
    }
    let bases: Vec<Vec<f64>> = (0..changes.len())
        .map(|place| {
            let mut values: Vec<f64> = singular.v.rows(place * in_features, in_features).into_owned().data.into();
            sparsify::keep_largest(&mut values, density);
            values
        })
        .collect();
    let weights: Vec<f64> = parts.iter().map(|part| part.weight).collect();
    let merged = DMatrix::from_vec(in_features, size, ties::merge(&bases, &weights));
    for (mut column, value) in singular.u.column_iter_mut().zip(&singular.values) {
        column *= *value;
    }
    Ok(Factors { left: singular.u, right: merged.transpose() })
}
