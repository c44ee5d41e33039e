//! Dropout (Srivastava et al. 2014) on the inputs of updates.

use burn::tensor::{Device, Tensor};
use lore_model::ops::host::matrix;
use lore_model::sampling::Random;
use rayon::prelude::*;

/// `[rows, inputs]` of 0 for the share that is dropped and `1/(1 − share)` for the rest.
///
/// What is dropped is a function of the seed, the step, the projection and the row's place in the step's batch, so that it
/// depends neither on how the batch is cut up nor on whether the run was interrupted.
pub(crate) fn mask(
    seed: u64,
    step: u64,
    path: &str,
    batch_rows: &[usize],
    inputs: usize,
    share: f64,
    device: &Device,
) -> Tensor<2> {
    // FNV-1a, of which only the spread matters.
    let projection = path
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3));
    let kept = (1.0 / (1.0 - share)) as f32;
    let threshold = (share * 65_536.0).round() as u64;
    let mut values = vec![0.0; batch_rows.len() * inputs];
    values.par_chunks_mut(inputs).zip(batch_rows).for_each(|(values, &row)| {
        let mut random = Random::new(seed ^ projection, step << 32 ^ row as u64);
        // Sixteen bits decide about a value.
        for four in values.chunks_mut(4) {
            let bits = random.bits();
            for (place, value) in four.iter_mut().enumerate() {
                *value = if (bits >> (16 * place)) & 0xffff < threshold { 0.0 } else { kept };
            }
        }
    });
    matrix(values, batch_rows.len(), inputs, device)
}

#[cfg(test)]
mod tests {
    use super::*;
    use lore_model::ops::host::values;

    fn drawn(seed: u64, step: u64, path: &str, rows: &[usize]) -> Vec<f32> {
        values(&mask(seed, step, path, rows, 50, 0.25, &Device::flex()))
    }

    #[test]
    fn a_quarter_is_dropped_and_the_mean_stays() {
        let rows: Vec<usize> = (0..400).collect();
        let mask = drawn(1, 0, "q", &rows);
        let dropped = mask.iter().filter(|&&value| value == 0.0).count() as f64 / mask.len() as f64;
        assert!((dropped - 0.25).abs() < 0.015, "{dropped}");
        assert!(mask.iter().all(|&value| value == 0.0 || value == 4.0 / 3.0));
    }

    #[test]
    fn a_row_is_dropped_the_same_wherever_it_is_computed() {
        let together = drawn(1, 3, "q", &[0, 1, 2, 3]);
        assert_eq!(drawn(1, 3, "q", &[2, 3]), together[100..]);
        for other in [drawn(2, 3, "q", &[0]), drawn(1, 4, "q", &[0]), drawn(1, 3, "k", &[0]), drawn(1, 3, "q", &[1])] {
            assert_ne!(other, together[..50]);
        }
    }
}
