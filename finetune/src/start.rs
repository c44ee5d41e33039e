//! What updates are before the first step.

use lore_model::ops::host::values;
use lore_model::projection::Weight;
use lore_model::sampling::Random;

/// `A` uniform in ±1/√in, `B` zero.
pub(crate) fn random_factors(random: &mut Random, rank: usize, inputs: usize, outputs: usize) -> [Vec<f32>; 2] {
    let bound = 1.0 / (inputs as f64).sqrt();
    let a = (0..rank * inputs).map(|_| ((2.0 * random.uniform() - 1.0) * bound) as f32).collect();
    [a, vec![0.0; outputs * rank]]
}

/// The largest singular triples of a matrix, as factors whose product times `scale` they are (PiSSA, Meng et al. 2024).
///
/// # Errors
/// Singular values that do not converge.
pub(crate) fn principal_factors(
    weight: &Weight,
    rank: usize,
    scale: f32,
) -> Result<[Vec<f32>; 2], lore_modules::Error> {
    let [_, inputs] = weight.dims();
    let factors = lore_modules::delta::principal(&values(&weight.dense()), inputs, rank)?;
    let root = scale.sqrt();
    Ok(factors.map(|factor| factor.into_iter().map(|value| value / root).collect()))
}

/// The lengths of rows from their squares, as [`lore_model::projection::LowRank::with_magnitude`] finds them for an update of
/// zero.
pub(crate) fn magnitudes(squares: &[f64]) -> Vec<f32> {
    squares.iter().map(|square| square.sqrt() as f32).collect()
}
