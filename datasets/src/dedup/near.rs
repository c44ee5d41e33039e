//! Near duplicates: MinHash signatures (Broder 1997) in bands (locality-sensitive hashing, Leskovec,
//! Rajaraman and Ullman, "Mining of Massive Datasets", section 3.4), then an exact comparison.
//!
//! Texts with a Jaccard similarity `s` of their shingles agree in a band of `r` hash values with probability
//! `s^r`, and in one of `b` bands with `1 - (1 - s^r)^b`. The rows are as many as leave that at least
//! 0.99 at the threshold, so that few candidates are compared in vain.

use std::borrow::Cow;
use std::path::{Path, PathBuf};

use rayon::prelude::*;

use super::{Numbers, Repeat};
use crate::error::Result;
use crate::sort::Sorter;
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
/// Pairs that are compared at once.
const AT_ONCE: usize = 4096;

/// Texts by number, wherever they are.
pub(crate) trait Texts: Sync {
    /// Text `number`.
    fn text(&self, number: u64) -> Result<Cow<'_, str>>;
}

impl Texts for [&str] {
    fn text(&self, number: u64) -> Result<Cow<'_, str>> {
        Ok(Cow::Borrowed(self[number as usize]))
    }
}

/// All pairs of near duplicates, sorted. Texts without a word are in none.
///
/// A pair is missed with the probability above, about 0.01 at the threshold and less above it. In a bucket
/// of more than 64 texts each is compared with the first 64 and with the one before it.
///
/// # Errors
/// Of more texts than fit in memory, temporary files that cannot be written.
pub fn pairs(texts: &[&str], spec: &NearSpec) -> Result<Vec<Pair>> {
    let mut bands = Bands::new(spec, &std::env::temp_dir());
    let keys: Vec<Vec<u64>> = texts.par_iter().map(|text| bands.keys(&Words::of(text))).collect();
    for (number, keys) in (0..).zip(keys) {
        bands.add(number, &keys)?;
    }
    let mut found = Vec::new();
    bands.pairs(
        texts,
        |_| false,
        |pair| {
            found.push(pair);
            Ok(())
        },
    )?;
    Ok(found)
}

/// Bands of the signatures of texts, each as a hash, on disk where there are many.
pub(crate) struct Bands {
    spec: NearSpec,
    hashes: HashFunctions,
    rows: usize,
    folder: PathBuf,
    keys: Sorter<2>,
}

impl Bands {
    /// Temporary files, if any are needed, are made in `folder`.
    pub fn new(spec: &NearSpec, folder: &Path) -> Self {
        let hashes = HashFunctions::new(spec.permutations, spec.seed);
        let rows = rows(spec.threshold, spec.permutations);
        Self { spec: *spec, hashes, rows, folder: folder.to_owned(), keys: Sorter::new(folder) }
    }

    /// A hash of each band of a text's signature; none of a text without words.
    pub fn keys(&self, words: &Words) -> Vec<u64> {
        let length = self.spec.shingle_words.min(words.hashes.len());
        let shingles: Vec<u64> = words.runs(length).collect();
        let Some(signature) = self.hashes.signature(&shingles) else { return Vec::new() };
        let key = |(band, part): (u64, &[u32])| part.iter().fold(band, |key, &value| mix(key ^ u64::from(value)));
        (0..).zip(signature.chunks_exact(self.rows)).map(key).collect()
    }

    /// Takes the keys of a text.
    pub fn add(&mut self, number: u64, keys: &[u64]) -> Result<()> {
        keys.iter().try_for_each(|key| self.keys.push([*key, number]))
    }

    /// Gives all pairs of near duplicates, sorted, without the texts that are skipped.
    pub fn pairs<T: Texts + ?Sized>(
        self,
        texts: &T,
        skip: impl Fn(u64) -> bool,
        mut found: impl FnMut(Pair) -> Result<()>,
    ) -> Result<()> {
        let mut candidates = Sorter::new(&self.folder);
        let (mut key, mut first, mut last) = (0, Vec::new(), 0);
        for row in self.keys.finish()? {
            let [next, right] = row?;
            if next != key {
                key = next;
                first.clear();
            }
            if skip(right) {
                continue;
            }
            for &left in &first {
                candidates.push([left, right])?;
            }
            if first.len() < BUCKET {
                first.push(right);
            } else if last != first[BUCKET - 1] {
                candidates.push([last, right])?;
            }
            last = right;
        }
        let (mut candidates, mut at_once) = (candidates.finish()?, Vec::new());
        let mut before = None;
        loop {
            at_once.clear();
            for pair in candidates.by_ref() {
                let pair = pair?;
                if before.replace(pair) != Some(pair) {
                    at_once.push(pair);
                }
                if at_once.len() == AT_ONCE {
                    break;
                }
            }
            if at_once.is_empty() {
                return Ok(());
            }
            for pair in self.spec.compare(texts, &at_once)? {
                found(pair)?;
            }
        }
    }
}

impl NearSpec {
    /// Those of sorted pairs that are near duplicates.
    fn compare<T: Texts + ?Sized>(&self, texts: &T, pairs: &[[u64; 2]]) -> Result<Vec<Pair>> {
        let of_one: Vec<&[[u64; 2]]> = pairs.chunk_by(|left, right| left[0] == right[0]).collect();
        let shingles = |number| Ok(Words::of(&texts.text(number)?).shingles(self.shingle_words));
        let compared: Result<Vec<Vec<Pair>>> = of_one
            .into_par_iter()
            .map(|pairs| {
                let left = shingles(pairs[0][0])?;
                let mut near = Vec::new();
                for &[one, other] in pairs {
                    let similarity = jaccard(&left, &shingles(other)?);
                    if similarity >= self.threshold {
                        near.push(Pair { left: one as usize, right: other as usize, similarity });
                    }
                }
                Ok(near)
            })
            .collect();
        Ok(compared?.concat())
    }
}

/// Gives texts that nearly equal an earlier one that stays, each with the most similar of those, in order. `dropped`
/// gets all of them.
pub(super) fn duplicates<T: Texts + ?Sized>(
    bands: Bands,
    texts: &T,
    skip: impl Fn(u64) -> bool,
    dropped: &mut Numbers,
    mut found: impl FnMut(Repeat) -> Result<()>,
) -> Result<()> {
    let mut pairs = Sorter::new(&bands.folder);
    bands.pairs(texts, skip, |pair| pairs.push([pair.right as u64, pair.left as u64, pair.similarity.to_bits()]))?;
    let (mut groups, mut group) = (pairs.finish()?.groups(), Vec::new());
    while groups.next(&mut group)? {
        let staying = group.iter().filter(|pair| !dropped.contains(pair[1]));
        // Of equally similar ones the first.
        let nearest = staying
            .map(|&[_, left, similarity]| (left, f64::from_bits(similarity)))
            .max_by(|(l, a), (r, b)| a.total_cmp(b).then(r.cmp(l)));
        if let Some((kept, similarity)) = nearest {
            dropped.insert(group[0][0]);
            found(Repeat { kept, dropped: group[0][0], similarity })?;
        }
    }
    Ok(())
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
