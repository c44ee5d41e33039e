//! McNemar's test, exact (McNemar 1947): of the items on which two models differ, is one right too often?

/// Items on which exactly one of two models is better.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Discordant {
    /// Items that only the first answers, or on which it scores higher.
    pub first: u64,
    /// Items that only the second answers, or on which it scores higher.
    pub second: u64,
}

impl Discordant {
    /// Counts them; half points count as whole differences (a sign test).
    ///
    /// # Panics
    /// When there are not as many scores of both.
    pub fn of(first: &[f64], second: &[f64]) -> Self {
        assert_eq!(first.len(), second.len(), "the same items");
        let count = |wins: fn(&(&f64, &f64)) -> bool| first.iter().zip(second).filter(wins).count() as u64;
        Self { first: count(|(a, b)| a > b), second: count(|(a, b)| a < b) }
    }
}

/// Two-sided p-value: twice the probability that of so many fair coins no more than the smaller count fall on one
/// side, at most 1.
pub fn mcnemar(discordant: Discordant) -> f64 {
    let Discordant { first, second } = discordant;
    let (tosses, few) = (first + second, first.min(second));
    if tosses == 0 {
        return 1.0;
    }
    // ln C(n, i) − n·ln 2, term by term.
    let mut term = -(tosses as f64) * std::f64::consts::LN_2;
    let mut terms = vec![term];
    for i in 1..=few {
        term += ((tosses - i + 1) as f64 / i as f64).ln();
        terms.push(term);
    }
    let largest = terms.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let sum: f64 = terms.iter().map(|term| (term - largest).exp()).sum();
    (2.0 * (largest + sum.ln()).exp()).min(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn hand_worked_cases() {
        let p = |first, second| mcnemar(Discordant { first, second });
        assert_eq!((p(0, 0), p(1, 0), p(3, 3)), (1.0, 1.0, 1.0));
        // 2 · (1 + 6) / 64.
        assert!((p(1, 5) - 14.0 / 64.0).abs() < 1e-14);
        // 2 · (1 + 10 + 45) / 1024.
        assert!((p(8, 2) - 112.0 / 1024.0).abs() < 1e-14);
        // scipy.stats.binomtest(400, 900).pvalue
        assert!((p(400, 500) - 0.000_956_444_136_918_937_3).abs() < 1e-15, "{}", p(400, 500));
        // No overflow and no loss far out.
        assert!(p(0, 5000) >= 0.0 && p(0, 5000) < 1e-300);
    }

    #[test]
    fn half_points_are_differences() {
        let found = Discordant::of(&[1.0, 0.5, 0.0, 1.0], &[1.0, 0.0, 0.5, 0.0]);
        assert_eq!(found, Discordant { first: 2, second: 1 });
    }

    proptest! {
        #[test]
        fn the_sides_are_alike(first in 0u64..300, second in 0u64..300) {
            let p = mcnemar(Discordant { first, second });
            prop_assert!(p > 0.0 && p <= 1.0);
            prop_assert_eq!(p, mcnemar(Discordant { first: second, second: first }));
            // A more lopsided count is never more likely.
            if first >= second && second > 0 {
                let lopsided = mcnemar(Discordant { first: first + 1, second: second - 1 });
                prop_assert!(lopsided <= p + 1e-12);
            }
        }
    }
}
