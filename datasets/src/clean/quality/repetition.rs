//! How much of a text is said more than once (Rae et al. 2021, appendix A.1, table A1).

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasherDefault, Hasher};

use xxhash_rust::xxh3::xxh3_64;

use crate::words::mix;

/// Fractions of a text that repeat what stands before.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Repetition {
    /// Of lines, those that stand before already.
    pub lines: f64,
    /// Characters in them.
    pub line_characters: f64,
    /// Of paragraphs, those that stand before already.
    pub paragraphs: f64,
    /// Characters in them.
    pub paragraph_characters: f64,
    /// Characters in the most frequent 2-, 3- and 4-gram of words.
    pub top: [f64; 3],
    /// Characters in repeated 5- to 10-grams, each position counted once.
    pub repeated: [f64; 6],
}

/// Keys are hashes already.
#[derive(Default)]
pub(crate) struct AsIs(u64);

impl Hasher for AsIs {
    fn finish(&self) -> u64 {
        self.0
    }
    fn write(&mut self, _: &[u8]) {
        unreachable!("only u64 keys are hashed")
    }
    fn write_u64(&mut self, value: u64) {
        self.0 = value;
    }
}

type Counts = HashMap<u64, u32, BuildHasherDefault<AsIs>>;

pub(super) fn repetition(text: &str, words: &[&str], lengths: &[u32]) -> Repetition {
    let characters = text.chars().count().max(1) as f64;
    let (lines, line_characters) = repeated(text.lines(), characters);
    let (paragraphs, paragraph_characters) = repeated(text.split("\n\n"), characters);
    let mut found = Repetition { lines, line_characters, paragraphs, paragraph_characters, ..Repetition::default() };

    let hashes: Vec<u64> = words.iter().map(|word| xxh3_64(word.as_bytes())).collect();
    let mut starts = vec![0u32; words.len() + 1];
    for (at, length) in lengths.iter().enumerate() {
        starts[at + 1] = starts[at] + length;
    }
    let length = |at: usize, n: usize| f64::from(starts[at + n] - starts[at]);
    // An n-gram can only occur twice where its first n - 1 words do, so ever fewer places are looked at.
    let mut places: Vec<u32> = (0..words.len() as u32).collect();
    let mut grams: Vec<u64> = hashes.clone();
    for n in 2..=10usize {
        let mut at = 0;
        places.retain(|&place| {
            let end = place as usize + n;
            let fits = end <= words.len();
            if fits {
                grams[at] = mix(grams[at]).wrapping_add(hashes[end - 1]);
            }
            at += 1;
            fits
        });
        grams.truncate(places.len());
        let mut counts = Counts::default();
        for gram in &grams {
            *counts.entry(*gram).or_default() += 1;
        }
        if n <= 4 {
            let top = places.iter().zip(&grams).map(|(&place, gram)| (counts[gram], place));
            // Of equally frequent ones the first.
            if let Some((count, place)) = top.filter(|(count, _)| *count > 1).max_by_key(|&(c, p)| (c, u32::MAX - p)) {
                found.top[n - 2] = f64::from(count) * length(place as usize, n) / characters;
            }
        }
        let keep: Vec<bool> = grams.iter().map(|gram| counts[gram] > 1).collect();
        let mut kept = keep.iter();
        places.retain(|_| *kept.next().expect("as many as places"));
        let mut kept = keep.iter();
        grams.retain(|_| *kept.next().expect("as many as places"));
        if n >= 5 {
            let mut seen: HashSet<u64, BuildHasherDefault<AsIs>> = HashSet::default();
            let (mut total, mut free) = (0.0, 0);
            for (&place, gram) in places.iter().zip(&grams) {
                if (place as usize) < free {
                    continue;
                }
                if !seen.insert(*gram) {
                    total += length(place as usize, n);
                    free = place as usize + n;
                }
            }
            found.repeated[n - 5] = total / characters;
        }
        if places.is_empty() {
            break;
        }
    }
    found
}

/// Of parts that are not blank, the fraction that stands before, and the fraction of characters in them.
fn repeated<'a>(parts: impl Iterator<Item = &'a str>, characters: f64) -> (f64, f64) {
    let mut seen = HashSet::new();
    let (mut count, mut again, mut again_characters) = (0usize, 0usize, 0usize);
    for part in parts.map(str::trim).filter(|part| !part.is_empty()) {
        count += 1;
        if !seen.insert(part) {
            again += 1;
            again_characters += part.chars().count();
        }
    }
    (again as f64 / count.max(1) as f64, again_characters as f64 / characters)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of(text: &str) -> Repetition {
        let words: Vec<&str> = text.split_whitespace().collect();
        let lengths: Vec<u32> = words.iter().map(|word| word.chars().count() as u32).collect();
        repetition(text, &words, &lengths)
    }

    /// As datatrove counts: every n-gram, joined, in a map.
    fn plainly(text: &str) -> ([f64; 3], [f64; 6]) {
        let words: Vec<&str> = text.split_whitespace().collect();
        let characters = text.chars().count().max(1) as f64;
        let mut top = [0.0; 3];
        for n in 2..=4usize {
            let grams: Vec<&[&str]> = words.windows(n).collect();
            let mut best = 0;
            for gram in &grams {
                let count = grams.iter().filter(|other| *other == gram).count();
                if count > best && count > 1 {
                    best = count;
                    top[n - 2] = (count * gram.iter().map(|w| w.chars().count()).sum::<usize>()) as f64 / characters;
                }
            }
        }
        let mut repeated = [0.0; 6];
        for n in 5..=10usize {
            let mut seen = HashSet::new();
            let (mut at, mut total) = (0, 0);
            while at + n <= words.len() {
                let gram = words[at..at + n].join(" ");
                if seen.contains(&gram) {
                    total += words[at..at + n].iter().map(|w| w.chars().count()).sum::<usize>();
                    at += n;
                } else {
                    seen.insert(gram);
                    at += 1;
                }
            }
            repeated[n - 5] = total as f64 / characters;
        }
        (top, repeated)
    }

    #[test]
    fn lines_and_paragraphs_that_stand_before() {
        let found = of("one\ntwo\none\n\nthree\n\nthree");
        assert_eq!(found.lines, 2.0 / 5.0);
        assert_eq!(found.line_characters, 8.0 / 25.0);
        assert_eq!((found.paragraphs, found.paragraph_characters), (1.0 / 3.0, 5.0 / 25.0));
    }

    proptest! {
        #[test]
        fn n_grams_are_counted_as_plainly(letters in prop::collection::vec(0..3u8, 0..60)) {
            let words: Vec<String> =
                letters.iter().map(|l| "ab".repeat(usize::from(*l) + 1)).collect();
            let text = words.join(" ");
            let (found, (top, repeated)) = (of(&text), plainly(&text));
            for (left, right) in found.top.iter().chain(&found.repeated).zip(top.iter().chain(&repeated)) {
                prop_assert!((left - right).abs() < 1e-12, "{:?} for {:?} {:?}", found, top, repeated);
            }
        }
    }
}
