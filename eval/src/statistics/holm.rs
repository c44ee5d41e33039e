//! Holm's correction (Holm 1979): of many comparisons, as few as possible are called different by chance.

/// Adjusted p-values in the order given: what is at most 0.05 may be called different, with one false call among
/// all of them in at most 5 % of cases.
pub fn holm(p_values: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..p_values.len()).collect();
    order.sort_by(|&a, &b| p_values[a].total_cmp(&p_values[b]));
    let mut adjusted = vec![0.0; p_values.len()];
    let mut reached = 0.0f64;
    for (rank, index) in order.into_iter().enumerate() {
        reached = reached.max((p_values[index] * (p_values.len() - rank) as f64).min(1.0));
        adjusted[index] = reached;
    }
    adjusted
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::statistics::{Bootstrap, Discordant, mcnemar};
    use lore_model::sampling::Random;
    use proptest::prelude::*;
    use rayon::prelude::*;

    #[test]
    fn a_hand_worked_case() {
        // Sorted 0.01·4, 0.02·3, 0.03·2, 0.04·1, each at least the one before.
        let found = holm(&[0.04, 0.01, 0.03, 0.02]);
        let expected = [0.06, 0.04, 0.06, 0.06];
        assert!(found.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-12), "{found:?}");
        assert!(holm(&[]).is_empty());
        assert_eq!(holm(&[0.9, 0.8]), [1.0, 1.0]);
    }

    proptest! {
        #[test]
        fn between_no_correction_and_bonferroni(p in prop::collection::vec(0.0f64..=1.0, 1..20)) {
            let adjusted = holm(&p);
            for (p_value, adjusted) in p.iter().zip(&adjusted) {
                prop_assert!(adjusted >= p_value && *adjusted <= (p_value * p.len() as f64).min(1.0).max(*p_value) + 1e-15);
            }
            for (i, j) in (0..p.len()).flat_map(|i| (0..p.len()).map(move |j| (i, j))) {
                prop_assert!(p[i] > p[j] || adjusted[i] <= adjusted[j]);
            }
        }
    }

    /// 1,000 comparisons of two models that do not differ, each over four tasks: how many call any task different.
    fn false_positives(p_value: impl Fn(&mut Random) -> f64 + Sync) -> f64 {
        let wrong = (0..1000u64).into_par_iter().filter(|&comparison| {
            let mut random = Random::new(11, comparison);
            let p: Vec<f64> = (0..4).map(|_| p_value(&mut random)).collect();
            holm(&p).iter().any(|&p| p <= 0.05)
        });
        wrong.count() as f64 / 1000.0
    }

    #[test]
    fn models_that_do_not_differ_are_seldom_called_different() {
        // Margins of 120 items: two noisy measurements of the same skewed quantity.
        let margins = false_positives(|random| {
            let pairs: Vec<(f64, f64)> = (0..120)
                .map(|_| {
                    let shared = random.normal().exp();
                    (shared + random.normal(), shared + random.normal())
                })
                .collect();
            let (a, b): (Vec<f64>, Vec<f64>) = pairs.into_iter().unzip();
            let bootstrap = Bootstrap { resamples: 1000, seed: random.bits() };
            bootstrap.compare(&a, &b, &[1.0; 120]).p_value
        });
        // Answers to 200 items, right with the same probability.
        let answers = false_positives(|random| {
            let mut draw = || (0..200).map(|_| f64::from(u8::from(random.uniform() < 0.6))).collect::<Vec<f64>>();
            mcnemar(Discordant::of(&draw(), &draw()))
        });
        println!("margins {margins}, answers {answers}");
        assert!((0.02..=0.065).contains(&margins), "{margins}");
        // An exact test of counts errs on the safe side.
        assert!((0.005..=0.065).contains(&answers), "{answers}");
    }
}
