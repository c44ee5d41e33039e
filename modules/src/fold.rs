//! Modules folded into the weights of their base.

use lore_model::weights::WeightFile;

use crate::adapter::Adapter;
use crate::delta::Factors;

/// Reads tensors of the base with `Σ weight · ΔW` added, for
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
        let parts: Vec<Factors> = modules
            .iter()
            .filter_map(|(adapter, weight)| Some(Factors::of(adapter.updates.get(path)?, f64::from(*weight))))
            .collect();
        if !parts.is_empty() {
            let change = Factors::sum(&parts).dense();
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
