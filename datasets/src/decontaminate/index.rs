//! Runs of words of all items, to be looked up.

use std::collections::HashMap;
use std::hash::BuildHasherDefault;
use std::ops::Range;

use super::{DOCUMENT_NGRAM, EvaluationSet, FEWEST_WORDS, SHORT_ITEM, SHORT_NGRAM};
use crate::clean::quality::AsIs;
use crate::words::Words;

/// An item that is looked for.
pub(super) struct Entry {
    /// Number of its set.
    pub set: usize,
    /// Its number in the set.
    pub number: usize,
    /// Words of a run.
    pub ngram: usize,
    /// Different runs it has.
    pub runs: u64,
}

/// A run of an item in a document.
pub(super) struct Hit {
    /// Hash of the run.
    pub key: u64,
    /// Words of it.
    pub ngram: usize,
    /// Where it stands, in bytes.
    pub range: Range<usize>,
}

/// Items by run.
type Runs = HashMap<u64, Vec<u32>, BuildHasherDefault<AsIs>>;

pub(super) struct Index {
    entries: Vec<Entry>,
    too_short: Vec<u64>,
    /// For each length that occurs, the runs of it.
    runs: Vec<(usize, Runs)>,
}

impl Index {
    pub fn new(sets: &[EvaluationSet]) -> Self {
        let mut index = Self { entries: Vec::new(), too_short: vec![0; sets.len()], runs: Vec::new() };
        for (number, set) in sets.iter().enumerate() {
            for item in 0..set.items.len() {
                index.add(number, set, item);
            }
        }
        index
    }

    fn add(&mut self, set: usize, declared: &EvaluationSet, number: usize) {
        let words = Words::of(&declared.items[number].text);
        let count = words.hashes.len();
        if count < FEWEST_WORDS {
            self.too_short[set] += 1;
            return;
        }
        let usual = if count <= SHORT_ITEM { SHORT_NGRAM } else { DOCUMENT_NGRAM };
        let ngram = declared.ngram.unwrap_or(usual).min(count);
        let mut runs: Vec<u64> = words.runs(ngram).collect();
        runs.sort_unstable();
        runs.dedup();
        let entry = self.entries.len() as u32;
        self.entries.push(Entry { set, number, ngram, runs: runs.len() as u64 });
        let place = self.runs.iter().position(|(n, _)| *n == ngram).unwrap_or_else(|| {
            self.runs.push((ngram, Runs::default()));
            self.runs.len() - 1
        });
        for run in runs {
            self.runs[place].1.entry(run).or_default().push(entry);
        }
    }

    /// Every run of an item in a text.
    pub fn find(&self, text: &str) -> Vec<Hit> {
        let words = Words::of(text);
        let mut hits = Vec::new();
        for (ngram, runs) in &self.runs {
            for (at, key) in words.runs(*ngram).enumerate() {
                if runs.contains_key(&key) {
                    let range = words.spans[at].start as usize..words.spans[at + ngram - 1].end as usize;
                    hits.push(Hit { key, ngram: *ngram, range });
                }
            }
        }
        hits
    }

    /// The items that have a run.
    pub fn items_of(&self, hit: &Hit) -> &[u32] {
        let runs = self.runs.iter().find(|(ngram, _)| *ngram == hit.ngram);
        runs.and_then(|(_, runs)| runs.get(&hit.key)).map_or(&[], Vec::as_slice)
    }

    pub fn item(&self, number: u32) -> &Entry {
        &self.entries[number as usize]
    }

    /// Items of a set with too few words.
    pub fn too_short(&self, set: usize) -> u64 {
        self.too_short[set]
    }
}
