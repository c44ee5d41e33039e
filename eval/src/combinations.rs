//! Which modules are tried together where there are too many for all to be.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;

use crate::verify::draw;

/// Sets of `sizes` of `count` things, at most `limit`: all of them, or of each size an equal share, drawn with `seed`.
/// Each set is sorted; smaller sets come first, sets of a size in their order.
///
/// ```
/// use lore_eval::combinations::combinations;
///
/// assert_eq!(combinations(3, 2..=3, 10, 0), [vec![0, 1], vec![0, 2], vec![1, 2], vec![0, 1, 2]]);
/// assert_eq!(combinations(500, 2..=4, 30, 0).len(), 30);
/// ```
pub fn combinations(count: usize, sizes: RangeInclusive<usize>, limit: usize, seed: u64) -> Vec<Vec<usize>> {
    let sizes: Vec<usize> = sizes.filter(|&size| size > 0 && size <= count).collect();
    // What a size does not use is left to those after it: the sizes with the fewest sets first.
    let mut order = sizes.clone();
    order.sort_by_key(|&size| how_many(count, size));
    let mut chosen: Vec<(usize, BTreeSet<Vec<usize>>)> = Vec::new();
    let mut left = limit;
    for (place, &size) in order.iter().enumerate() {
        let share = left / (order.len() - place);
        let sets = of_size(count, size, share, seed);
        left -= sets.len();
        chosen.push((size, sets));
    }
    chosen.sort_by_key(|(size, _)| *size);
    chosen.into_iter().flat_map(|(_, sets)| sets).collect()
}

fn of_size(count: usize, size: usize, most: usize, seed: u64) -> BTreeSet<Vec<usize>> {
    let mut sets = BTreeSet::new();
    if how_many(count, size) <= most {
        every(count, size, &mut Vec::new(), &mut sets);
        return sets;
    }
    // There are more than are wanted, so that enough different ones turn up.
    for attempt in 0.. {
        if sets.len() >= most {
            break;
        }
        sets.insert(draw(count, size, seed.wrapping_mul(1_000_003).wrapping_add(attempt)));
    }
    sets
}

/// Binomial coefficient, or the largest number where it is larger.
fn how_many(count: usize, size: usize) -> usize {
    let size = size.min(count - size);
    let mut found: usize = 1;
    for step in 0..size {
        match found.checked_mul(count - step) {
            Some(product) => found = product / (step + 1),
            None => return usize::MAX,
        }
    }
    found
}

fn every(count: usize, size: usize, begun: &mut Vec<usize>, sets: &mut BTreeSet<Vec<usize>>) {
    if begun.len() == size {
        sets.insert(begun.clone());
        return;
    }
    for next in begun.last().map_or(0, |last| last + 1)..count {
        begun.push(next);
        every(count, size, begun, sets);
        begun.pop();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn counts_are_binomial() {
        assert_eq!([how_many(6, 2), how_many(6, 6), how_many(6, 1), how_many(40, 20)], [15, 1, 6, 137_846_528_820]);
        assert_eq!(how_many(5000, 2500), usize::MAX);
    }

    #[test]
    fn what_a_size_does_not_need_is_left_to_the_others() {
        // All 15 pairs and 20 triples.
        assert_eq!(combinations(6, 2..=3, 35, 0).len(), 35);
        let some = combinations(6, 2..=6, 30, 3);
        let sizes: Vec<usize> = (2..=6).map(|size| some.iter().filter(|set| set.len() == size).count()).collect();
        assert_eq!(sizes, [7, 8, 8, 6, 1]);
    }

    proptest! {
        #[test]
        fn sets_are_sorted_different_and_follow_from_the_seed(count in 0usize..9, most in 1usize..5, limit in 0usize..60, seed: u64) {
            let found = combinations(count, 2..=most, limit, seed);
            prop_assert!(found.len() <= limit);
            let total: usize = (2..=most).filter(|&size| size <= count).map(|size| how_many(count, size)).sum();
            prop_assert_eq!(found.len(), limit.min(total));
            let distinct: BTreeSet<&Vec<usize>> = found.iter().collect();
            prop_assert_eq!(distinct.len(), found.len());
            for set in &found {
                prop_assert!(set.windows(2).all(|pair| pair[0] < pair[1]) && set.iter().all(|&one| one < count));
            }
            prop_assert_eq!(&found, &combinations(count, 2..=most, limit, seed));
        }
    }
}
