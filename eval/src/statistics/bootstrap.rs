//! The paired bootstrap (Efron and Tibshirani 1993, chapters 13 and 16).

use lore_model::sampling::Random;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::ratio::ratio;

/// How often items are drawn anew, and from which seed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bootstrap {
    /// Resamples. The smallest p-value is about twice its inverse.
    pub resamples: usize,
    /// Seed; resample `i` draws from stream `i`, so that results do not depend on threads.
    pub seed: u64,
}

impl Default for Bootstrap {
    fn default() -> Self {
        Self { resamples: 10_000, seed: 0 }
    }
}

/// The difference of two models on the same items.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct PairedDifference {
    /// `Σ (b − a) / Σ weight`.
    pub difference: f64,
    /// Its standard error; `None` with fewer than two items.
    pub standard_error: Option<f64>,
    /// Percentile interval that holds the true difference 19 times out of 20.
    pub interval: [f64; 2],
    /// Two-sided: how likely a difference this large is between models that do not differ.
    pub p_value: f64,
}

impl Bootstrap {
    /// Compares two models by their figures on the same items, each with the weight that a ratio divides by (bytes,
    /// or 1 for a mean).
    ///
    /// # Panics
    /// When there are not as many figures of both, or none.
    pub fn compare(&self, a: &[f64], b: &[f64], weights: &[f64]) -> PairedDifference {
        assert!(a.len() == b.len() && a.len() == weights.len() && !a.is_empty(), "the same items, at least one");
        let pairs: Vec<(f64, f64)> = a.iter().zip(b).zip(weights).map(|((a, b), &w)| (b - a, w)).collect();
        let estimate = ratio(pairs.iter().copied());
        let observed = estimate.value;
        if pairs.iter().all(|(difference, _)| *difference == 0.0) {
            return PairedDifference {
                difference: 0.0,
                standard_error: estimate.standard_error,
                interval: [0.0; 2],
                p_value: 1.0,
            };
        }
        let count = pairs.len();
        // The spread of resampled means is that of a sample divided by n, not by n − 1.
        let widen = if count > 1 { (count as f64 / (count - 1) as f64).sqrt() } else { 1.0 };
        let mut drawn: Vec<f64> = (0..self.resamples)
            .into_par_iter()
            .map(|resample| {
                let mut random = Random::new(self.seed, resample as u64);
                let (mut top, mut bottom) = (0.0, 0.0);
                for _ in 0..count {
                    // Items are far fewer than 2^32: the product of two 32-bit numbers picks one evenly.
                    let index = ((random.bits() >> 32) * count as u64) >> 32;
                    let (difference, weight) = pairs[index as usize];
                    top += difference;
                    bottom += weight;
                }
                observed + (top / bottom - observed) * widen
            })
            .collect();
        drawn.sort_unstable_by(f64::total_cmp);
        let tail = |count: usize| (count + 1) as f64 / (self.resamples + 1) as f64;
        let below = drawn.partition_point(|&x| x <= 0.0);
        let above = drawn.len() - drawn.partition_point(|&x| x < 0.0);
        let at = |share: f64| {
            let place = (share * (drawn.len().saturating_sub(1)) as f64).round() as usize;
            drawn.get(place).copied().unwrap_or(observed)
        };
        PairedDifference {
            difference: observed,
            standard_error: estimate.standard_error,
            interval: [at(0.025), at(0.975)],
            p_value: (2.0 * tail(below.min(above))).min(1.0),
        }
    }
}

/// The smallest true difference that a test at 5 % finds four times out of five: 2.80 standard errors of the paired
/// difference. For right and wrong answers this is about `2.8·√(discordance / items)`.
pub fn minimum_detectable_effect(standard_error: f64) -> f64 {
    // 97.5 % and 80 % points of the normal distribution.
    (1.959_964 + 0.841_621) * standard_error
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const FEW: Bootstrap = Bootstrap { resamples: 400, seed: 3 };

    #[test]
    fn the_standard_error_agrees_with_the_normal_interval() {
        let mut random = Random::new(1, 1);
        let a: Vec<f64> = (0..400).map(|_| random.normal()).collect();
        let b: Vec<f64> = a.iter().map(|a| a + 0.1 + random.normal()).collect();
        let found = Bootstrap::default().compare(&a, &b, &vec![1.0; 400]);
        let error = found.standard_error.expect("many items");
        let half = (found.interval[1] - found.interval[0]) / 2.0;
        assert!((half / (1.96 * error) - 1.0).abs() < 0.05, "{half} against {error}");
        let deviations: f64 = a.iter().zip(&b).map(|(a, b)| (b - a - found.difference).powi(2)).sum();
        assert!((error - (deviations / 399.0 / 400.0).sqrt()).abs() < 1e-12);
    }

    #[test]
    fn the_detectable_effect_is_found_four_times_out_of_five() {
        let (items, runs) = (150, 400);
        let mut random = Random::new(7, 0);
        let effect = minimum_detectable_effect(1.0 / f64::from(items).sqrt());
        let found = (0..runs)
            .filter(|_| {
                let b: Vec<f64> = (0..items).map(|_| random.normal() + effect).collect();
                FEW.compare(&vec![0.0; b.len()], &b, &vec![1.0; b.len()]).p_value <= 0.05
            })
            .count();
        let power = found as f64 / f64::from(runs);
        assert!((0.74..=0.86).contains(&power), "{power}");
    }

    proptest! {
        #[test]
        fn exchanging_the_models_turns_the_sign(values in prop::collection::vec((-3.0f64..3.0, -3.0f64..3.0, 0.5f64..2.0), 2..40)) {
            let (a, b, w): (Vec<f64>, Vec<f64>, Vec<f64>) = (
                values.iter().map(|v| v.0).collect(),
                values.iter().map(|v| v.1).collect(),
                values.iter().map(|v| v.2).collect(),
            );
            let (there, back) = (FEW.compare(&a, &b, &w), FEW.compare(&b, &a, &w));
            prop_assert!((there.difference + back.difference).abs() < 1e-12);
            prop_assert!((there.p_value - back.p_value).abs() < 1e-12);
            prop_assert!(there.interval[0] <= there.difference + 1e-9 && there.difference <= there.interval[1] + 1e-9);
            prop_assert!(there.p_value > 0.0 && there.p_value <= 1.0);
        }

        #[test]
        fn a_model_ties_with_itself(values in prop::collection::vec(-3.0f64..3.0, 1..40)) {
            let found = FEW.compare(&values, &values, &vec![1.0; values.len()]);
            prop_assert_eq!((found.difference, found.p_value), (0.0, 1.0));
        }
    }
}
