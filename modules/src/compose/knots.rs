//! One singular basis for the changes of several modules (KnOTS, arXiv 2410.19735).

use faer::Mat;

use super::{Part, by_columns, sparsify, ties};
use crate::Error;
use crate::delta::{Factors, Keep};

/// `U Σ · merged(V₁ … Vₙ)ᵀ`, where `[ΔW₁ … ΔWₙ] = U Σ [V₁ … Vₙ]ᵀ` and the merge is TIES.
///
/// The changes side by side have the factors `[B₁ … Bₙ]` and the block diagonal of the `Aᵢ`, so that no dense
/// change is needed.
pub(super) fn shared_basis(parts: &[Part<'_>], density: f64) -> Result<Factors, Error> {
    let changes: Vec<Factors> = parts.iter().map(|part| Factors::of(part.update, 1.0)).collect();
    let in_features = parts[0].update.in_features;
    let rank: usize = changes.iter().map(|change| change.left.ncols()).sum();
    let mut right = Mat::zeros(rank, in_features * changes.len());
    let mut first = 0;
    for (place, change) in changes.iter().enumerate() {
        let block = &change.right;
        for column in 0..in_features {
            for row in 0..block.nrows() {
                right[(first + row, place * in_features + column)] = block[(row, column)];
            }
        }
        first += block.nrows();
    }
    let singular = Factors { left: Factors::sum(&changes).left, right }.singular(Keep::All)?;
    let size = singular.kept();
    let bases: Vec<Vec<f64>> = (0..changes.len())
        .map(|place| {
            let mut values = by_columns(&singular.v.subrows(place * in_features, in_features).to_owned());
            sparsify::keep_largest(&mut values, density);
            values
        })
        .collect();
    let weights: Vec<f64> = parts.iter().map(|part| part.weight).collect();
    let merged = if size == 0 { Vec::new() } else { ties::merge(&bases, &weights) };
    Ok(Factors {
        left: Mat::from_fn(singular.u.nrows(), size, |row, k| singular.u[(row, k)] * singular.values[k]),
        right: Mat::from_fn(size, in_features, |k, column| merged[k * in_features + column]),
    })
}
