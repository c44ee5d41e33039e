//! Adding changes, and averaging only those that agree in sign (TIES, arXiv 2306.01708).

/// `Σ weight · change`, value by value.
pub(super) fn sum(changes: &[Vec<f64>], weights: &[f64]) -> Vec<f64> {
    let mut merged = vec![0.0; changes[0].len()];
    for (change, weight) in changes.iter().zip(weights) {
        merged.iter_mut().zip(change).for_each(|(sum, value)| *sum += weight * value);
    }
    merged
}

/// For each value the sign of its sum over the changes (positive if that is 0), and the mean of the weighted
/// values that have it. As in PEFT the weights take no part in the election.
pub(super) fn merge(changes: &[Vec<f64>], weights: &[f64]) -> Vec<f64> {
    (0..changes[0].len())
        .map(|i| {
            let positive = changes.iter().map(|change| change[i]).sum::<f64>() >= 0.0;
            let (mut sum, mut count) = (0.0, 0_u32);
            for (change, weight) in changes.iter().zip(weights) {
                let value = change[i];
                if value != 0.0 && (value > 0.0) == positive {
                    sum += weight * value;
                    count += 1;
                }
            }
            sum / f64::from(count.max(1))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Four values of two modules, by hand.
    #[test]
    fn a_two_by_two_case_by_hand() {
        let changes = [vec![3.0, -1.0, 0.0, 2.0], vec![1.0, 4.0, -5.0, -2.0]];
        // Sums 4, 3, -5, 0: signs +, +, -, +.
        assert_eq!(merge(&changes, &[1.0, 1.0]), [2.0, 4.0, -5.0, 2.0]);
        assert_eq!(merge(&changes, &[0.5, 2.0]), [(1.5 + 2.0) / 2.0, 8.0, -10.0, 1.0]);
        assert_eq!(merge(&changes, &[1.0, -1.0]), [1.0, -4.0, 5.0, 2.0]);
        assert_eq!(sum(&changes, &[0.5, -2.0]), [-0.5, -8.5, 10.0, 5.0]);
    }
}
