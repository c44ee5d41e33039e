//! Words as duplicates and evaluation overlap are found by: lower case, letters and digits only.
//!
//! This is the normalisation of GPT-3's overlap analysis (Brown et al. 2020, appendix C) and of
//! lm-evaluation-harness, with Unicode's punctuation removed as well as ASCII's.

use std::ops::Range;

use xxhash_rust::xxh3::xxh3_64;

/// The words of a text, each as a hash.
#[derive(Debug, Clone, Default)]
pub(crate) struct Words {
    /// One hash per word.
    pub hashes: Vec<u64>,
    /// Where each word stands in the text, in bytes.
    pub spans: Vec<Range<u32>>,
}

/// Base of the polynomial over word hashes; odd, so that it is invertible modulo 2^64.
const BASE: u64 = 0x9e37_79b9_7f4a_7c15;

impl Words {
    /// The words of `text`: what stands between white space, without everything that is neither letter nor
    /// digit, in lower case. What has none of either is no word.
    pub fn of(text: &str) -> Self {
        let mut words = Self::default();
        let mut word = String::new();
        let mut start = 0;
        // A space behind the text ends its last word.
        for (at, c) in text.char_indices().chain([(text.len(), ' ')]) {
            if c.is_ascii_alphanumeric() {
                word.push(c.to_ascii_lowercase());
            } else if c.is_whitespace() {
                if !word.is_empty() {
                    words.hashes.push(xxh3_64(word.as_bytes()));
                    words.spans.push(start as u32..at as u32);
                    word.clear();
                }
                start = at + c.len_utf8();
            } else if !c.is_ascii() && c.is_alphanumeric() {
                word.extend(c.to_lowercase());
            }
        }
        words
    }

    /// The hash of every run of `n` words, in order; none where there are fewer.
    pub fn runs(&self, n: usize) -> impl Iterator<Item = u64> + use<'_> {
        let highest = BASE.wrapping_pow(n as u32);
        let mut rolling = 0u64;
        self.hashes.iter().enumerate().filter_map(move |(at, &hash)| {
            rolling = rolling.wrapping_mul(BASE).wrapping_add(hash);
            if let Some(left) = at.checked_sub(n) {
                rolling = rolling.wrapping_sub(self.hashes[left].wrapping_mul(highest));
            }
            (at + 1 >= n && n > 0).then(|| mix(rolling))
        })
    }

    /// The set of runs of `n` words, sorted; a text with fewer words is one run.
    pub fn shingles(&self, n: usize) -> Vec<u64> {
        let mut set: Vec<u64> = self.runs(n.min(self.hashes.len())).collect();
        set.sort_unstable();
        set.dedup();
        set
    }
}

/// The finaliser of SplitMix64 (Steele, Lea and Flood 2014).
pub(crate) const fn mix(value: u64) -> u64 {
    let mut z = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// The share of two sorted sets that is in both: |A ∩ B| / |A ∪ B|; 0 for two empty sets.
pub(crate) fn jaccard(left: &[u64], right: &[u64]) -> f64 {
    let (mut i, mut j, mut both) = (0, 0, 0usize);
    while i < left.len() && j < right.len() {
        match left[i].cmp(&right[j]) {
            std::cmp::Ordering::Less => i += 1,
            std::cmp::Ordering::Greater => j += 1,
            std::cmp::Ordering::Equal => {
                both += 1;
                i += 1;
                j += 1;
            }
        }
    }
    let all = left.len() + right.len() - both;
    if all == 0 { 0.0 } else { both as f64 / all as f64 }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn texts(words: &Words, text: &str) -> Vec<String> {
        words.spans.iter().map(|span| text[span.start as usize..span.end as usize].to_owned()).collect()
    }

    #[test]
    fn case_and_punctuation_make_no_difference() {
        let (left, right) =
            (Words::of("“It’s  well-known,” he SAID — 3.5 É"), Words::of("its wellknown he said 35 é ..."));
        assert_eq!(left.hashes, right.hashes);
        assert_eq!(
            texts(&left, "“It’s  well-known,” he SAID — 3.5 É"),
            ["“It’s", "well-known,”", "he", "SAID", "3.5", "É"]
        );
        assert!(Words::of(" -- … ").hashes.is_empty());
    }

    #[test]
    fn the_finaliser_is_that_of_split_mix() {
        // First output of SplitMix64 seeded with 1234567, from the reference in Java's SplittableRandom.
        assert_eq!(mix(1_234_567), 6_457_827_717_110_365_317);
    }

    #[test]
    fn short_texts_are_one_shingle() {
        assert_eq!(Words::of("one two").shingles(5).len(), 1);
        assert_eq!(Words::of("one two three").shingles(2).len(), 2);
        assert!(Words::of("").shingles(5).is_empty());
    }

    proptest! {
        #[test]
        fn runs_are_equal_exactly_where_words_are(letters in prop::collection::vec(0..3u8, 0..40), n in 1..6usize) {
            let list: Vec<String> = letters.iter().map(|l| char::from(b'a' + l).to_string()).collect();
            let words = Words::of(&list.join(" "));
            let runs: Vec<u64> = words.runs(n).collect();
            let plain: Vec<&[String]> = list.windows(n).collect();
            prop_assert_eq!(runs.len(), plain.len());
            for i in 0..runs.len() {
                for j in 0..i {
                    prop_assert_eq!(runs[i] == runs[j], plain[i] == plain[j]);
                }
            }
        }

        #[test]
        fn jaccard_is_that_of_sets(a in prop::collection::btree_set(0..30u64, 0..20), b in prop::collection::btree_set(0..30u64, 0..20)) {
            let list = |set: &BTreeSet<u64>| set.iter().copied().collect::<Vec<_>>();
            let union = a.union(&b).count();
            let expected = if union == 0 { 0.0 } else { a.intersection(&b).count() as f64 / union as f64 };
            prop_assert_eq!(jaccard(&list(&a), &list(&b)), expected);
        }
    }
}
