//! Languages, licences and lengths of documents.

use std::collections::BTreeMap;

use lore_datasets::clean::identify;
use lore_datasets::extract::Extracted;
use lore_datasets::progress::{Progress, Unit};
use lore_datasets::spool::Spool;
use lore_datasets::tokenise::Encoder;
use rayon::prelude::*;
use serde::Serialize;

use crate::error::Result;

/// Licences that are told apart.
const LICENSES: usize = 100;
/// Characters of a licence that are shown.
const LICENSE: usize = 80;
/// More words than `gopher.words` allows.
const LONG: usize = 100_000;

/// Documents of at least `from` and fewer than twice as many tokens or words.
#[derive(Debug, Serialize, PartialEq, Eq)]
pub struct Bucket {
    /// The least.
    pub from: u64,
    /// Documents.
    pub documents: u64,
    /// Of the largest bucket, percent.
    pub percent: u64,
}

/// Sums over all documents.
#[derive(Default)]
pub struct Measured {
    /// Documents by language (ISO 639-3, or `unclear`).
    pub languages: BTreeMap<String, u64>,
    /// Documents by licence.
    pub licenses: BTreeMap<String, u64>,
    /// Documents that are much longer than others and have headings.
    pub to_split: u64,
    /// Characters of text.
    pub characters: u64,
    /// Tokens or words of text.
    pub total_length: u64,
    /// Documents by the logarithm of their length to base 2.
    pub lengths: BTreeMap<u32, u64>,
}

/// One document, measured.
struct One {
    language: String,
    license: String,
    to_split: bool,
    characters: u64,
    length: u64,
}

impl Measured {
    fn add(&mut self, one: One) {
        *self.languages.entry(one.language).or_default() += 1;
        let room = self.licenses.len() < LICENSES || self.licenses.contains_key(&one.license);
        *self.licenses.entry(if room { one.license } else { "others".into() }).or_default() += 1;
        self.to_split += u64::from(one.to_split);
        self.characters += one.characters;
        self.total_length += one.length;
        *self.lengths.entry(one.length.max(1).ilog2()).or_default() += 1;
    }
}

/// Languages, licences and lengths: tokens of each document, or words where there is no encoder.
pub fn measure(documents: &Spool, encoder: Option<&Encoder>, progress: &dyn Progress) -> Result<Measured> {
    let mut measured = Measured::default();
    let mut task = progress.task("measure", Some(documents.len()), Unit::Documents);
    for batch in documents.batches() {
        let found: Vec<One> = batch?
            .documents
            .par_iter()
            .map(|Extracted { id, text, group, .. }| {
                let words = text.split_whitespace().count();
                let length = encoder.map_or(Ok(words), |encoder| encoder.encode(id, text).map(|ids| ids.len()))?;
                Ok(One {
                    language: identify(text).code().to_owned(),
                    license: if group.is_empty() { "not stated".into() } else { group.chars().take(LICENSE).collect() },
                    to_split: words > LONG && text.lines().any(|line| line.starts_with("# ")),
                    characters: text.chars().count() as u64,
                    length: length as u64,
                })
            })
            .collect::<Result<_>>()?;
        task.advance(found.len() as u64);
        found.into_iter().for_each(|one| measured.add(one));
    }
    task.finish("");
    Ok(measured)
}

/// Counts by powers of two, without empty ends.
pub fn histogram(lengths: &BTreeMap<u32, u64>) -> Vec<Bucket> {
    let (Some((low, _)), Some((high, _))) = (lengths.first_key_value(), lengths.last_key_value()) else {
        return Vec::new();
    };
    let most = lengths.values().copied().max().unwrap_or(1).max(1);
    (*low..=*high)
        .map(|power| {
            let documents = lengths.get(&power).copied().unwrap_or_default();
            Bucket { from: 1 << power, documents, percent: documents * 100 / most }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_fall_into_powers_of_two() {
        let bucket = |from, documents, percent| Bucket { from, documents, percent };
        assert_eq!(histogram(&[(2, 3), (4, 1)].into()), [bucket(4, 3, 100), bucket(8, 0, 0), bucket(16, 1, 33)]);
        assert_eq!(histogram(&[(0, 1)].into()), [bucket(1, 1, 100)]);
        assert_eq!(histogram(&BTreeMap::new()), []);
    }
}
