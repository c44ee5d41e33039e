//! Near duplicates: MinHash signatures (Broder 1997) in bands (locality-sensitive hashing, Leskovec,
//! Rajaraman and Ullman, "Mining of Massive Datasets", section 3.4), then an exact comparison.
//!
//! Texts with a Jaccard similarity `s` of their shingles agree in a band of `r` hash values with probability
//! `s^r`, and in one of `b` bands with `1 - (1 - s^r)^b`. The rows are as many as leave that at least
//! 0.99 at the threshold, so that few candidates are compared in vain.

use std::collections::HashMap;

use rayon::prelude::*;

use super::Repeat;
use crate::words::{Words, jaccard, mix};

/// What is near.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct NearSpec {
    /// Jaccard similarity from which on texts are near duplicates.
    pub threshold: f64,
    /// Words in a shingle.
    pub shingle_words: usize,
    /// Hash functions of a signature.
    pub permutations: usize,
    /// Of the hash functions.
    pub seed: u64,
}

/// Two texts by number, the earlier first, and the Jaccard similarity of their shingles.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Pair {
    /// The earlier.
    pub left: usize,
    /// The later.
    pub right: usize,
    /// At least the threshold.
    pub similarity: f64,
}

/// Texts of a bucket that are all compared with one another; of a larger one, each with this many.
const BUCKET: usize = 64;

/// All pairs of near duplicates, sorted. Texts without a word are in none.
///
/// A pair is missed with the probability above, about 0.01 at the threshold and less above it. In a bucket
/// of more than 64 texts each is compared with the first 64 and with the one before it.
pub fn pairs(texts: &[&str], spec: &NearSpec) -> Vec<Pair> {
    let hashes = HashFunctions::new(spec.permutations, spec.seed);
    let signatures: Vec<Option<Vec<u32>>> =
        texts.par_iter().map(|text| hashes.signature(&Words::of(text).shingles(spec.shingle_words))).collect();
    let rows = rows(spec.threshold, spec.permutations);
    let bands = spec.permutations / rows;
    let mut candidates: Vec<(u32, u32)> = (0..bands)
        .into_par_iter()
        .flat_map_iter(|band| {
            let mut keys: Vec<(u64, u32)> = signatures
                .iter()
                .enumerate()
                .filter_map(|(number, signature)| {
                    let part = &signature.as_ref()?[band * rows..(band + 1) * rows];
                    Some((part.iter().fold(band as u64, |key, &value| mix(key ^ u64::from(value))), number as u32))
                })
                .collect();
            keys.sort_unstable();
            let mut found = Vec::new();
            for bucket in keys.chunk_by(|left, right| left.0 == right.0) {
                for (at, &(_, right)) in bucket.iter().enumerate() {
                    found.extend(bucket[..at.min(BUCKET)].iter().map(|&(_, left)| (left, right)));
                    if at > BUCKET {
                        found.push((bucket[at - 1].1, right));
                    }
                }
            }
            found
        })
        .collect();
    drop(signatures);
    candidates.par_sort_unstable();
    candidates.dedup();
    let of_one: Vec<&[(u32, u32)]> = candidates.chunk_by(|left, right| left.0 == right.0).collect();
    of_one
        .par_iter()
        .flat_map_iter(|pairs| {
            let shingles = |number: u32| Words::of(texts[number as usize]).shingles(spec.shingle_words);
            let left = shingles(pairs[0].0);
            pairs.iter().filter_map(move |&(number, right)| {
                let similarity = jaccard(&left, &shingles(right));
                (similarity >= spec.threshold).then_some(Pair {
                    left: number as usize,
                    right: right as usize,
                    similarity,
                })
            })
        })
        .collect()
}

/// Texts that nearly equal an earlier one that stays, each with the most similar of those.
pub(super) fn duplicates(texts: &[&str], spec: &NearSpec) -> Vec<Repeat> {
    let mut earlier: HashMap<usize, Vec<(usize, f64)>> = HashMap::new();
    for pair in pairs(texts, spec) {
        earlier.entry(pair.right).or_default().push((pair.left, pair.similarity));
    }
    let mut dropped = vec![false; texts.len()];
    let mut repeats = Vec::new();
    for number in 0..texts.len() {
        let staying = earlier.get(&number).into_iter().flatten().filter(|(left, _)| !dropped[*left]);
        // Of equally similar ones the first.
        let nearest = staying.copied().max_by(|(l, a), (r, b)| a.total_cmp(b).then(r.cmp(l)));
        if let Some((kept, similarity)) = nearest {
            dropped[number] = true;
            repeats.push(Repeat { kept, dropped: number, similarity });
        }
    }
    repeats
}

/// Hash values in a band: the most with which a pair at the threshold is found with probability 0.99.
fn rows(threshold: f64, permutations: usize) -> usize {
    let found = |rows: usize| 1.0 - (1.0 - threshold.powi(rows as i32)).powi((permutations / rows) as i32);
    (1..=permutations).take_while(|&rows| found(rows) >= 0.99).last().unwrap_or(1)
}

/// Hash functions `x ↦ (a·x + b) ⊕ high bits`, with odd `a`: each permutes the 32-bit numbers.
struct HashFunctions {
    multipliers: Vec<u32>,
    increments: Vec<u32>,
}

impl HashFunctions {
    fn new(count: usize, seed: u64) -> Self {
        let draw = |stream: u64| {
            let key = mix(seed ^ stream);
            (0..count as u64).map(move |i| mix(key.wrapping_add(i)) as u32)
        };
        Self { multipliers: draw(1).map(|a| a | 1).collect(), increments: draw(2).collect() }
    }

    /// The least value of each function over a set of shingles; `None` for an empty set.
    fn signature(&self, shingles: &[u64]) -> Option<Vec<u32>> {
        if shingles.is_empty() {
            return None;
        }
        let mut least = vec![u32::MAX; self.multipliers.len()];
        fold_minima(&self.multipliers, &self.increments, shingles, &mut least);
        Some(least)
    }
}

fn fold_minima(multipliers: &[u32], increments: &[u32], shingles: &[u64], least: &mut [u32]) {
    #[cfg(target_arch = "x86_64")]
    if std::arch::is_x86_feature_detected!("avx2") {
        #[allow(unsafe_code)]
        // SAFETY: the processor has AVX2.
        return unsafe { fold_minima_avx2(multipliers, increments, shingles, least) };
    }
    fold_minima_plainly(multipliers, increments, shingles, least);
}

/// The same code, which the compiler makes eight lanes wide here.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn fold_minima_avx2(multipliers: &[u32], increments: &[u32], shingles: &[u64], least: &mut [u32]) {
    fold_minima_plainly(multipliers, increments, shingles, least);
}

#[inline(always)]
fn fold_minima_plainly(multipliers: &[u32], increments: &[u32], shingles: &[u64], least: &mut [u32]) {
    for &shingle in shingles {
        let x = (shingle >> 32) as u32 ^ shingle as u32;
        for ((least, &a), &b) in least.iter_mut().zip(multipliers).zip(increments) {
            let h = x.wrapping_mul(a).wrapping_add(b);
            *least = (*least).min(h ^ (h >> 15));
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn rows_are_as_many_as_find_the_threshold() {
        // 1 - (1 - 0.75^5)^25 = 0.9989; 1 - (1 - 0.75^6)^21 = 0.9838.
        assert_eq!(rows(0.75, 128), 5);
        assert_eq!(rows(1.0, 128), 128);
        assert_eq!(rows(0.01, 16), 1);
    }

    #[test]
    fn signatures_agree_as_often_as_sets_overlap() {
        let hashes = HashFunctions::new(4096, 7);
        for shared in [20u64, 50, 80] {
            let set = |from: u64| (from..from + 100).map(mix).collect::<Vec<_>>();
            let (left, right) = (set(0), set(100 - shared));
            let expected = shared as f64 / (200 - shared) as f64;
            let (left, right) = (hashes.signature(&left).unwrap(), hashes.signature(&right).unwrap());
            let equal = left.iter().zip(&right).filter(|(a, b)| a == b).count() as f64 / 4096.0;
            // Five standard deviations of a binomial fraction.
            let bound = 5.0 * (expected * (1.0 - expected) / 4096.0).sqrt();
            assert!((equal - expected).abs() < bound, "{equal} for {expected}");
        }
        assert!(hashes.signature(&[]).is_none());
    }

    #[test]
    fn both_widths_give_the_same() {
        let hashes = HashFunctions::new(100, 3);
        let shingles: Vec<u64> = (0..77).map(mix).collect();
        let mut plain = vec![u32::MAX; 100];
        fold_minima_plainly(&hashes.multipliers, &hashes.increments, &shingles, &mut plain);
        assert_eq!(hashes.signature(&shingles).unwrap(), plain);
    }
}
