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

use std::borrow::Cow;

use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_128;

pub use leakage::Leakage;
use near::{Bands, NearSpec, Texts};
pub(crate) use paragraphs::separator;

use crate::clean::excerpt;
use crate::error::{Error, Result};
use crate::extract::Extracted;
use crate::progress::{Progress, Task, Unit};
use crate::sort::Sorter;
use crate::spool::{Corpus, Spool};
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
    let corpus = Corpus::new(Spool::of(documents, &std::env::temp_dir())?);
    let mut duplicates = Vec::new();
    let (corpus, report) = deduplicate_corpus(corpus, spec, progress, &mut |duplicate| {
        duplicates.push(duplicate);
        Ok(())
    })?;
    let documents = corpus.list()?.into_iter().map(|(document, _)| document).collect();
    Ok(Deduplicated { documents, duplicates, report })
}

/// As [`deduplicate`], for documents on disk: what is kept in memory of a document is a few bits. `duplicate` takes
/// what was dropped, exact duplicates first, in order.
///
/// # Errors
/// As there, files that cannot be read or written, and those of `duplicate`.
pub fn deduplicate_corpus(
    mut corpus: Corpus,
    spec: &DedupSpec,
    progress: &dyn Progress,
    duplicate: &mut dyn FnMut(Duplicate) -> Result<()>,
) -> Result<(Corpus, DedupReport)> {
    spec.validate()?;
    let mut report = DedupReport { given: corpus.kept(), ..DedupReport::default() };
    let mut task = progress.task("deduplicate", Some(report.given), Unit::Documents);
    let (exact, bands) = keys(&corpus, spec, &mut *task)?;
    let mut dropped = Numbers::new(corpus.len());
    let mut clusters = Sorter::new(corpus.spool.folder());
    let mut tell = |kind: Kind, spool: &Spool, Repeat { kept, dropped, similarity }: Repeat| -> Result<()> {
        clusters.push([kept])?;
        let Extracted { id, text, .. } = spool.get(dropped)?;
        duplicate(Duplicate { kind, kept: spool.id(kept)?, dropped: id, similarity, excerpt: excerpt(&text) })
    };
    let mut repeats = Sorter::new(corpus.spool.folder());
    let mut first: Option<[u64; 3]> = None;
    for row in exact.finish()? {
        let row = row?;
        match first {
            Some(first) if first[..2] == row[..2] => repeats.push([row[2], first[2]])?,
            _ => first = Some(row),
        }
    }
    for repeat in repeats.finish()? {
        let [number, kept] = repeat?;
        dropped.insert(number);
        report.exact += 1;
        tell(Kind::Exact, &corpus.spool, Repeat { kept, dropped: number, similarity: 1.0 })?;
    }
    if spec.near {
        let exact = dropped.clone();
        near::duplicates(
            bands,
            &corpus.spool,
            |number| exact.contains(number),
            &mut dropped,
            |repeat| {
                report.near += 1;
                tell(Kind::Near, &corpus.spool, repeat)
            },
        )?;
    }
    dropped.iter().for_each(|number| corpus.drop(number));
    let (mut cluster, mut members) = (None, 0);
    for kept in clusters.finish()? {
        let kept = kept?;
        if cluster.replace(kept) != Some(kept) {
            report.clusters += 1;
            members = 1;
        }
        members += 1;
        report.largest_cluster = report.largest_cluster.max(members);
    }
    if spec.paragraphs {
        let before = corpus.kept();
        let (rest, cut) = paragraphs::without_repeated(corpus, spec, duplicate)?;
        corpus = rest;
        report.paragraphs = cut;
        report.emptied = before - corpus.kept();
    }
    report.kept = corpus.kept();
    task.finish(&format!(
        "{} of {} documents kept ({} exact, {} near duplicates; {} repeated paragraphs cut)",
        report.kept, report.given, report.exact, report.near, report.paragraphs
    ));
    Ok((corpus, report))
}

/// The keys of all documents: of all their words, and of the bands of their signatures.
fn keys(corpus: &Corpus, spec: &DedupSpec, task: &mut dyn Task) -> Result<(Sorter<3>, Bands)> {
    let folder = corpus.spool.folder();
    let (mut exact, mut bands) = (Sorter::new(folder), Bands::new(&spec.near_spec(), folder));
    for batch in corpus.batches() {
        let found: Vec<(u64, u128, Vec<u64>)> = batch?
            .par_iter()
            .map(|(number, document, _)| {
                let words = Words::of(&document.text);
                let keys = if spec.near { bands.keys(&words) } else { Vec::new() };
                (*number, exact_key(&document.text, &words), keys)
            })
            .collect();
        task.advance(found.len() as u64);
        for (number, key, keys) in found {
            if spec.exact {
                exact.push([(key >> 64) as u64, key as u64, number])?;
            }
            bands.add(number, &keys)?;
        }
    }
    Ok((exact, bands))
}

/// A text that duplicates an earlier one: both by number.
pub(crate) struct Repeat {
    pub kept: u64,
    pub dropped: u64,
    pub similarity: f64,
}

impl Texts for Spool {
    fn text(&self, number: u64) -> Result<Cow<'_, str>> {
        Ok(Cow::Owned(self.get(number)?.text))
    }
}

/// A set of numbers, a bit each.
#[derive(Clone)]
pub(crate) struct Numbers {
    words: Vec<u64>,
}

impl Numbers {
    /// An empty set that may hold numbers below `end`.
    fn new(end: u64) -> Self {
        Self { words: vec![0; end.div_ceil(64) as usize] }
    }

    fn contains(&self, number: u64) -> bool {
        self.words[(number / 64) as usize] >> (number % 64) & 1 == 1
    }

    fn insert(&mut self, number: u64) {
        self.words[(number / 64) as usize] |= 1 << (number % 64);
    }

    fn iter(&self) -> impl Iterator<Item = u64> + '_ {
        (0..self.words.len() as u64 * 64).filter(|number| self.contains(*number))
    }
}

/// A key that texts share which have the same normalised words; without any word, the same characters.
fn exact_key(text: &str, words: &Words) -> u128 {
    if words.hashes.is_empty() {
        return xxh3_128(text.as_bytes());
    }
    let bytes: Vec<u8> = words.hashes.iter().flat_map(|hash| hash.to_le_bytes()).collect();
    xxh3_128(&bytes)
}
