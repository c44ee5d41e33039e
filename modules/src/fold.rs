//! Modules folded into the weights of their base.

use lore_model::weights::WeightFile;

use nalgebra::DMatrix;

use crate::adapter::{Adapter, LowRank};
use crate::delta::{Factors, root_of_squares};

/// Reads tensors of the base with `Σ weight · ΔW` added, magnitudes (DoRA) included, for
/// [`save_repository`](lore_model::save::save_repository): sums in `f64`, rounded to `f32` once. Tensors that no
/// module changes are the base's to the bit.
///
/// Folding with the opposite weights takes modules out again to within the rounding of the folded weights. The
/// original bytes are the base's own, which folding leaves alone.
///
/// The modules must fit the base ([`Adapter::check_base`]).
pub fn folded<'a>(
    weights: &'a dyn WeightFile,
    modules: &'a [(Adapter, f32)],
) -> impl FnMut(&str) -> Result<Vec<f32>, lore_model::Error> + 'a {
    |name| {
        let mut values = weights.read_f32(name)?;
        let path = name.strip_suffix(".weight").unwrap_or(name);
        let updates =
            modules.iter().filter_map(|(adapter, weight)| Some((adapter.updates.get(path)?, f64::from(*weight))));
        let (scaled, plain): (Vec<_>, Vec<_>) = updates.partition(|(update, _)| update.magnitude.is_some());
        let parts: Vec<Factors> = plain.into_iter().map(|(update, weight)| Factors::of(update, weight)).collect();
        let sum = (!parts.is_empty()).then(|| Factors::sum(&parts).dense());
        let changes = scaled.into_iter().map(|(update, weight)| with_magnitude(&values, update) * weight);
        if let Some(change) = sum.into_iter().chain(changes).reduce(|sum, change| sum + change) {
            let columns = change.ncols();
            for (row, values) in values.chunks_exact_mut(columns).enumerate() {
                for (column, value) in values.iter_mut().enumerate() {
                    *value = (f64::from(*value) + change[(row, column)]) as f32;
                }
            }
        }
        Ok(values)
    }
}

/// `ΔW = m ∘ V / ‖V‖ − W` with `V = W + scale · B·A`, row by row. A row of `V` that is zero stays zero, as it does beside the
/// base ([`LowRank::with_magnitude`](lore_model::projection::LowRank::with_magnitude)).
fn with_magnitude(weight: &[f32], update: &LowRank) -> DMatrix<f64> {
    let change = Factors::of(update, 1.0).dense();
    let columns = update.in_features;
    let base = |row: usize, column: usize| f64::from(weight[row * columns + column]);
    let factors: Vec<f64> = update
        .magnitude
        .iter()
        .flatten()
        .enumerate()
        .map(|(row, magnitude)| {
            let length = root_of_squares((0..columns).map(|column| base(row, column) + change[(row, column)]));
            if length == 0.0 { 1.0 } else { f64::from(*magnitude) / length }
        })
        .collect();
    DMatrix::from_fn(update.out_features, columns, |row, column| {
        factors[row] * (base(row, column) + change[(row, column)]) - base(row, column)
    })
}
