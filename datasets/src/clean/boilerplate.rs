//! Lines that many documents share: navigation, notices, running headers.

use std::collections::HashMap;
use std::path::Path;

use crate::error::Result;
use crate::sort::Sorter;
use crate::words::Words;

/// Lines that are repeated, by a hash of their normalised words, with the number of documents that have them.
pub(super) struct Boilerplate {
    lines: HashMap<u64, u64>,
    documents: u64,
}

/// A line of more words is text, however often it occurs; deduplication is for that.
const MOST_WORDS: usize = 30;

/// Counts lines, of more documents than fit in memory.
pub(super) struct Lines {
    keys: Sorter<1>,
    documents: u64,
}

impl Lines {
    /// Temporary files, if any are needed, are made in `folder`.
    pub fn new(folder: &Path) -> Self {
        Self { keys: Sorter::new(folder), documents: 0 }
    }

    /// Counts the lines of a text, given as [`keys_of`] it.
    pub fn add(&mut self, keys: &[u64]) -> Result<()> {
        self.documents += 1;
        keys.iter().try_for_each(|key| self.keys.push([*key]))
    }

    /// The lines that at least `documents` documents have, and at least the fraction `share` of all.
    pub fn repeated(self, documents: usize, share: f64) -> Result<Boilerplate> {
        let least = (documents as u64).max((share * self.documents as f64).ceil() as u64).max(2);
        let mut found = Boilerplate { lines: HashMap::new(), documents: self.documents };
        let (mut key, mut count) = (0, 0);
        for row in self.keys.finish()? {
            let [next] = row?;
            if next != key || count == 0 {
                (key, count) = (next, 0);
            }
            count += 1;
            if count >= least {
                found.lines.insert(key, count);
            }
        }
        Ok(found)
    }
}

/// The lines of a text that may be boilerplate, each once.
pub(super) fn keys_of(text: &str) -> Vec<u64> {
    let mut seen: Vec<u64> = text.lines().filter_map(key).collect();
    seen.sort_unstable();
    seen.dedup();
    seen
}

impl Boilerplate {
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

    fn find(texts: &[&str], documents: usize, share: f64) -> Boilerplate {
        let folder = tempfile::tempdir().unwrap();
        let mut lines = Lines::new(folder.path());
        texts.iter().for_each(|text| lines.add(&keys_of(text)).unwrap());
        lines.repeated(documents, share).unwrap()
    }

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
        let found = find(&texts, 5, 0.1);
        let (kept, cut) = found.without(texts[0]).unwrap();
        assert_eq!(kept, "Text number 0 is here.\nA common saying.\n");
        assert_eq!(cut, [("Menu | Home", 1.0), ("All rights reserved.", 0.6)]);
        assert_eq!(found.without(texts[19]).unwrap().0, "Text number 19 is here.\n");
        assert!(find(&texts, 21, 0.0).is_empty());
    }

    #[test]
    fn a_line_twice_in_one_document_is_one_document() {
        let texts = ["same\nsame\nsame", "other"];
        assert!(find(&texts, 2, 0.0).is_empty());
    }
}
