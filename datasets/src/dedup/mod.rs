//! Duplicates: exact by a hash of normalised words, near by MinHash, of documents and of paragraphs.
//!
//! Of each set of duplicates the first in order stays. A near duplicate is a text whose word shingles have
//! a Jaccard similarity of at least `threshold` with those of a text that stays: similarity is not passed
//! on along chains. Candidates come from MinHash and are then compared exactly ([`near`]).
//!
//! ```
//! use lore_datasets::dedup::{DedupSpec, deduplicate};
//! use lore_datasets::extract::Extracted;
//! use lore_datasets::progress::Silent;
//!
//! let document = |id: &str, text: &str| Extracted {
//!     id: id.into(), group: id.into(), title: String::new(), text: text.into(),
//! };
//! let given = vec![document("a", "Rivers run downhill."), document("b", "rivers run — downhill")];
//! let found = deduplicate(given, &DedupSpec::default(), &Silent)?;
//! assert_eq!(found.documents.len(), 1);
//! assert_eq!(found.duplicates[0].kept, "a");
//! # Ok::<(), lore_datasets::Error>(())
//! ```

pub mod leakage;
pub mod near;
mod paragraphs;

use std::collections::{BTreeMap, HashMap};

use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_128;

pub use leakage::Leakage;
use near::NearSpec;
pub(crate) use paragraphs::separator;

use crate::clean::excerpt;
use crate::error::{Error, Result};
use crate::extract::Extracted;
use crate::progress::{Progress, Unit};
use crate::words::Words;

/// `[topic.dedup]`: which duplicates are dropped. Every step is on by default.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DedupSpec {
    /// Documents with the same words.
    pub exact: bool,
    /// Documents with nearly the same words.
    pub near: bool,
    /// Paragraphs with nearly the same words as an earlier paragraph, of the same or another document.
    pub paragraphs: bool,
    /// Jaccard similarity from which on texts are near duplicates, above 0 to 1.
    pub threshold: f64,
    /// Words in a shingle.
    pub shingle_words: usize,
    /// Hash functions of a MinHash signature.
    pub permutations: usize,
    /// Paragraphs of fewer words are not compared.
    pub min_paragraph_words: usize,
    /// What is done about training documents that nearly equal a held-out one.
    pub leakage: Leakage,
    /// Of the hash functions.
    pub seed: u64,
}

impl Default for DedupSpec {
    fn default() -> Self {
        Self {
            exact: true,
            near: true,
            paragraphs: true,
            threshold: 0.75,
            shingle_words: 5,
            permutations: 128,
            min_paragraph_words: 20,
            leakage: Leakage::Drop,
            seed: 0,
        }
    }
}

impl DedupSpec {
    /// Refuses impossible numbers.
    ///
    /// # Errors
    /// [`Error::Declaration`] with everything that is wrong.
    pub fn validate(&self) -> Result<()> {
        let mut problems = Vec::new();
        if !(self.threshold > 0.0 && self.threshold <= 1.0) {
            problems.push(format!("`threshold` is {}, but a number above 0 and up to 1 is needed", self.threshold));
        }
        if self.shingle_words == 0 || self.shingle_words > 64 {
            problems.push(format!("`shingle_words` is {}, but 1 to 64 are possible", self.shingle_words));
        }
        if !(16..=4096).contains(&self.permutations) {
            problems.push(format!("`permutations` is {}, but 16 to 4096 are possible", self.permutations));
        }
        if problems.is_empty() { Ok(()) } else { Err(Error::Declaration { what: "dedup".into(), problems }) }
    }

    pub(crate) fn near_spec(&self) -> NearSpec {
        let Self { threshold, shingle_words, permutations, seed, .. } = *self;
        NearSpec { threshold, shingle_words, permutations, seed }
    }
}

/// Why a text was dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// A document with the same words.
    Exact,
    /// A document with nearly the same words.
    Near,
    /// A paragraph with nearly the same words.
    Paragraph,
    /// A training document that nearly equals a held-out one.
    Leak,
}

/// One text that was dropped (or moved, for a leak), and the one it duplicates. All with the same `kept`
/// are a cluster.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Duplicate {
    /// Why.
    pub kind: Kind,
    /// The document that stays.
    pub kept: String,
    /// The document that was dropped, or lost a paragraph.
    pub dropped: String,
    /// Jaccard similarity of their shingles.
    pub similarity: f64,
    /// The beginning of what was dropped.
    pub excerpt: String,
}

/// How many texts were dropped.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct DedupReport {
    /// Documents before.
    pub given: u64,
    /// Documents after.
    pub kept: u64,
    /// Documents with the same words as an earlier one.
    pub exact: u64,
    /// Documents with nearly the same words as an earlier one.
    pub near: u64,
    /// Paragraphs cut.
    pub paragraphs: u64,
    /// Documents of which no paragraph was left.
    pub emptied: u64,
    /// Sets of duplicate documents, with the one that stays.
    pub clusters: u64,
    /// Documents in the largest of them.
    pub largest_cluster: u64,
}

/// What is left, and what is not.
#[derive(Debug, Clone, PartialEq)]
pub struct Deduplicated {
    /// In the order given.
    pub documents: Vec<Extracted>,
    /// In the order of what was dropped, exact ones first.
    pub duplicates: Vec<Duplicate>,
    /// Counts.
    pub report: DedupReport,
}

/// Drops duplicates. The result depends on the order of the documents and the seed alone.
///
/// # Errors
/// A `spec` that is not [valid](DedupSpec::validate).
pub fn deduplicate(documents: Vec<Extracted>, spec: &DedupSpec, progress: &dyn Progress) -> Result<Deduplicated> {
    spec.validate()?;
    let mut report = DedupReport { given: documents.len() as u64, ..DedupReport::default() };
    let mut task = progress.task("deduplicate", Some(report.given), Unit::Documents);
    let mut duplicates = Vec::new();
    let mut kept = documents;
    if spec.exact {
        kept = without(kept, exact_duplicates, Kind::Exact, &mut duplicates);
        report.exact = duplicates.len() as u64;
    }
    if spec.near {
        let near = |texts: &[&str]| near::duplicates(texts, &spec.near_spec());
        kept = without(kept, near, Kind::Near, &mut duplicates);
        report.near = duplicates.len() as u64 - report.exact;
    }
    let mut clusters: BTreeMap<&str, u64> = BTreeMap::new();
    for duplicate in &duplicates {
        *clusters.entry(&duplicate.kept).or_insert(1) += 1;
    }
    report.clusters = clusters.len() as u64;
    report.largest_cluster = clusters.values().copied().max().unwrap_or_default();
    if spec.paragraphs {
        let before = duplicates.len();
        let count = kept.len();
        kept = paragraphs::without_repeated(kept, spec, &mut duplicates);
        report.paragraphs = (duplicates.len() - before) as u64;
        report.emptied = (count - kept.len()) as u64;
    }
    report.kept = kept.len() as u64;
    task.advance(report.given);
    task.finish(&format!(
        "{} of {} documents kept ({} exact, {} near duplicates; {} repeated paragraphs cut)",
        report.kept, report.given, report.exact, report.near, report.paragraphs
    ));
    Ok(Deduplicated { documents: kept, duplicates, report })
}

/// A text that duplicates an earlier one: both by number.
pub(crate) struct Repeat {
    pub kept: usize,
    pub dropped: usize,
    pub similarity: f64,
}

fn without(
    documents: Vec<Extracted>,
    find: impl FnOnce(&[&str]) -> Vec<Repeat>,
    kind: Kind,
    duplicates: &mut Vec<Duplicate>,
) -> Vec<Extracted> {
    let texts: Vec<&str> = documents.iter().map(|document| document.text.as_str()).collect();
    let repeats = find(&texts);
    let mut dropped = vec![false; documents.len()];
    for Repeat { kept, dropped: number, similarity } in repeats {
        dropped[number] = true;
        duplicates.push(Duplicate {
            kind,
            kept: documents[kept].id.clone(),
            dropped: documents[number].id.clone(),
            similarity,
            excerpt: excerpt(&documents[number].text),
        });
    }
    documents.into_iter().zip(dropped).filter(|(_, dropped)| !dropped).map(|(document, _)| document).collect()
}

/// Texts with the same normalised words as an earlier one; without any word, with the same characters.
fn exact_duplicates(texts: &[&str]) -> Vec<Repeat> {
    let keys: Vec<u128> = texts.par_iter().map(|text| exact_key(text)).collect();
    let mut first = HashMap::new();
    let mut repeats = Vec::new();
    for (number, key) in keys.into_iter().enumerate() {
        let kept = *first.entry(key).or_insert(number);
        if kept != number {
            repeats.push(Repeat { kept, dropped: number, similarity: 1.0 });
        }
    }
    repeats
}

fn exact_key(text: &str) -> u128 {
    let words = Words::of(text);
    if words.hashes.is_empty() {
        return xxh3_128(text.as_bytes());
    }
    let bytes: Vec<u8> = words.hashes.iter().flat_map(|hash| hash.to_le_bytes()).collect();
    xxh3_128(&bytes)
}
