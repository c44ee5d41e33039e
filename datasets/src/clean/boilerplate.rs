//! Lines that many documents share: navigation, notices, running headers.

use std::collections::HashMap;

use rayon::prelude::*;

use crate::words::Words;

/// Lines that are repeated, by a hash of their normalised words, with the number of documents that have them.
pub(super) struct Boilerplate {
    lines: HashMap<u64, u64>,
    documents: u64,
}

/// A line of more words is text, however often it occurs; deduplication is for that.
const MOST_WORDS: usize = 30;

impl Boilerplate {
    /// Finds the lines that at least `documents` documents have, and at least the fraction `share` of all.
    pub fn find(texts: &[&str], documents: usize, share: f64) -> Self {
        let counted = texts
            .par_iter()
            .fold(HashMap::new, |mut counts: HashMap<u64, u64>, text| {
                let mut seen: Vec<u64> = text.lines().filter_map(key).collect();
                seen.sort_unstable();
                seen.dedup();
                for key in seen {
                    *counts.entry(key).or_default() += 1;
                }
                counts
            })
            .reduce(HashMap::new, |mut left, right| {
                for (key, count) in right {
                    *left.entry(key).or_default() += count;
                }
                left
            });
        let least = (documents as u64).max((share * texts.len() as f64).ceil() as u64).max(2);
        let lines = counted.into_iter().filter(|(_, count)| *count >= least).collect();
        Self { lines, documents: texts.len() as u64 }
    }

    /// Whether nothing is repeated.
    pub fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    /// The text without repeated lines, and each line that was cut, with the share of documents that have it;
    /// `None` where there is none.
    pub fn without<'a>(&self, text: &'a str) -> Option<(String, Vec<(&'a str, f64)>)> {
        let mut cut = Vec::new();
        let mut kept = String::with_capacity(text.len());
        for line in text.split_inclusive('\n') {
            match key(line).and_then(|key| self.lines.get(&key)) {
                Some(&count) => cut.push((line.trim(), count as f64 / self.documents as f64)),
                None => kept.push_str(line),
            }
        }
        (!cut.is_empty()).then_some((kept, cut))
    }
}

fn key(line: &str) -> Option<u64> {
    let words = Words::of(line);
    let count = words.hashes.len();
    (1..=MOST_WORDS).contains(&count).then(|| words.runs(count).next()).flatten()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn repeated_lines_go_and_rare_ones_stay() {
        let texts: Vec<String> = (0..20)
            .map(|i| {
                let notice = if i < 12 { "All rights reserved.\n" } else { "" };
                let rare = if i < 4 { "A common saying.\n" } else { "" };
                format!("Menu | Home\nText number {i} is here.\n{rare}{notice}")
            })
            .collect();
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        let found = Boilerplate::find(&texts, 5, 0.1);
        let (kept, cut) = found.without(texts[0]).unwrap();
        assert_eq!(kept, "Text number 0 is here.\nA common saying.\n");
        assert_eq!(cut, [("Menu | Home", 1.0), ("All rights reserved.", 0.6)]);
        assert_eq!(found.without(texts[19]).unwrap().0, "Text number 19 is here.\n");
        assert!(Boilerplate::find(&texts, 21, 0.0).is_empty());
    }

    #[test]
    fn a_line_twice_in_one_document_is_one_document() {
        let texts = ["same\nsame\nsame", "other"];
        assert!(Boilerplate::find(&texts, 2, 0.0).is_empty());
    }
}
