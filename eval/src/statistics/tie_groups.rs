//! Groups of equals instead of ranks.

/// The group of each entry, 0 for the best, by `values` of which more is better. A group begins with its best
/// entry and takes the next best ones as long as they do not differ from it.
pub fn tie_groups(values: &[f64], differs: impl Fn(usize, usize) -> bool) -> Vec<usize> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|&a, &b| values[b].total_cmp(&values[a]));
    let mut groups = vec![0; values.len()];
    let (mut group, mut leader) = (0, order.first().copied());
    for &entry in &order {
        let Some(best) = leader else { break };
        if entry != best && differs(best, entry) {
            group += 1;
            leader = Some(entry);
        }
        groups[entry] = group;
    }
    groups
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn entries_that_cannot_be_told_apart_share_a_group() {
        let values = [0.5f64, 0.9, 0.88, 0.7, 0.68];
        let apart = |a: usize, b: usize| (values[a] - values[b]).abs() > 0.1;
        assert_eq!(tie_groups(&values, apart), [2, 0, 0, 1, 1]);
        assert_eq!(tie_groups(&values, |_, _| false), [0; 5]);
        assert_eq!(tie_groups(&[], |_, _| true), Vec::<usize>::new());
    }

    proptest! {
        #[test]
        fn a_better_entry_is_never_in_a_worse_group(values in prop::collection::vec(0.0f64..1.0, 0..20), width in 0.0f64..0.5) {
            let groups = tie_groups(&values, |a, b| (values[a] - values[b]).abs() > width);
            for (i, j) in (0..values.len()).flat_map(|i| (0..values.len()).map(move |j| (i, j))) {
                prop_assert!(values[i] <= values[j] || groups[i] <= groups[j]);
            }
        }
    }
}
