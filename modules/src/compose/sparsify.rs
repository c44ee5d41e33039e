//! Leaving values of a change out, by size or at random.

use lore_model::sampling::Random;

/// Zeroes all but the largest `⌊density · n⌋` values by magnitude, as TIES trims; of equal ones the first stay.
pub(super) fn keep_largest(values: &mut [f64], density: f64) {
    let kept = (density * values.len() as f64) as usize;
    if kept >= values.len() {
        return;
    }
    if kept == 0 {
        values.fill(0.0);
        return;
    }
    let mut sizes: Vec<f64> = values.iter().map(|value| value.abs()).collect();
    let (above, &mut least, _) = sizes.select_nth_unstable_by(kept - 1, |a, b| b.total_cmp(a));
    let mut equal = kept - above.iter().filter(|&&size| size > least).count();
    for value in values {
        let size = value.abs();
        let stays = size > least || (size == least && equal > 0);
        if size == least && stays {
            equal -= 1;
        }
        if !stays {
            *value = 0.0;
        }
    }
}

/// Keeps each value with probability `density`, divided by it, and zeroes the others: the expectation of every
/// value stays (DARE, arXiv 2311.03099).
pub(super) fn drop_at_random(values: &mut [f64], density: f64, mut random: Random) {
    if density >= 1.0 {
        return;
    }
    for value in values {
        *value = if random.uniform() < density { *value / density } else { 0.0 };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_by_magnitude_stay() {
        let mut values = [0.5, -3.0, 1.0, -0.1, 2.0];
        keep_largest(&mut values, 0.4);
        assert_eq!(values, [0.0, -3.0, 0.0, 0.0, 2.0]);
        // Of equal ones the first, and never more than asked for.
        let mut values = [1.0, -1.0, 1.0, 1.0];
        keep_largest(&mut values, 0.5);
        assert_eq!(values, [1.0, -1.0, 0.0, 0.0]);
        keep_largest(&mut values, 0.1);
        assert_eq!(values, [0.0; 4]);
    }

    #[test]
    fn dropping_preserves_the_expectation_and_follows_the_seed() {
        let mut sum = [0.0; 3];
        const DRAWS: u64 = 40_000;
        for seed in 0..DRAWS {
            let mut values = [1.0, -2.0, 0.25];
            drop_at_random(&mut values, 0.3, Random::new(seed, 0));
            sum.iter_mut().zip(values).for_each(|(sum, value)| *sum += value / DRAWS as f64);
        }
        // Standard error of the second: 2·√(0.7/0.3)/√40000 = 0.015.
        for (mean, expected) in sum.into_iter().zip([1.0, -2.0, 0.25]) {
            assert!((mean - expected).abs() < 0.06, "{mean} instead of {expected}");
        }
        let dropped = |seed| {
            let mut values = [1.0; 64];
            drop_at_random(&mut values, 0.5, Random::new(seed, 0));
            values
        };
        assert_eq!(dropped(1), dropped(1));
        assert_ne!(dropped(1), dropped(2));
    }
}
