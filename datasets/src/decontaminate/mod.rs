//! Evaluation items whose words stand in the training text: found, reported item by item, and removed.
//!
//! Words are compared in lower case without punctuation, in runs of `n`: 13 for documents and 8 for short
//! items (Brown et al. 2020, appendix C; lm-evaluation-harness, `decontamination`). An item with fewer
//! words than `n` is looked for whole, if it has at least [`FEWEST_WORDS`].
//!
//! ```
//! use lore_datasets::decontaminate::{EvaluationSet, Remove, decontaminate};
//! use lore_datasets::extract::Extracted;
//! use lore_datasets::progress::Silent;
//! use lore_datasets::split::Split;
//!
//! let text = |id: &str, text: &str| Extracted {
//!     id: id.into(), group: id.into(), title: String::new(), text: text.into(),
//! };
//! let question = "Which long river of Egypt runs down to the sea?";
//! let sets = [EvaluationSet { name: "quiz".into(), items: vec![text("q1", question)], ngram: None }];
//! let given = vec![(text("a", &format!("A good line.\n\nAnd then: {question}")), Split::Train)];
//! let clean = decontaminate(given, &sets, Remove::Paragraph, &Silent)?;
//! assert_eq!(clean.documents[0].0.text, "A good line.");
//! assert_eq!(clean.items[0].item, "q1");
//! # Ok::<(), lore_datasets::Error>(())
//! ```

mod index;

use std::collections::{BTreeMap, BTreeSet};

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use index::{Hit, Index};

use crate::clean::excerpt;
use crate::dedup::separator;
use crate::error::Result;
use crate::extract::Extracted;
use crate::progress::{Progress, Unit};
use crate::split::Split;
use crate::spool::{Corpus, CorpusWriter};

/// Words of a run for an item that is a document.
pub const DOCUMENT_NGRAM: usize = 13;
/// Words of a run for a short item.
pub const SHORT_NGRAM: usize = 8;
/// An item of more words is a document.
pub const SHORT_ITEM: usize = 64;
/// Documents of a split that are named for an item; where there are more, the first of them.
const NAMED: usize = 1000;
/// An item of fewer words is not looked for: that such words stand somewhere says nothing.
pub const FEWEST_WORDS: usize = 5;

/// Evaluation items of one kind.
#[derive(Debug, Clone, PartialEq)]
pub struct EvaluationSet {
    /// Names the set in the report.
    pub name: String,
    /// Items; `id` and `text` are used.
    pub items: Vec<Extracted>,
    /// Words of a run; absent, 8 for items of up to 64 words and 13 for longer ones.
    pub ngram: Option<usize>,
}

/// What is removed where a training document and an item overlap.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Remove {
    /// Nothing; overlaps are only reported.
    Nothing,
    /// The paragraph, or the paragraphs, in which the overlap stands.
    #[default]
    Paragraph,
    /// The document.
    Document,
}

/// An item that overlaps.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ContaminatedItem {
    /// The set.
    pub set: String,
    /// The item's id.
    pub item: String,
    /// Words of a run.
    pub ngram: usize,
    /// Different runs of the item that were found.
    pub found: u64,
    /// Different runs of the item.
    pub runs: u64,
    /// Documents with such a run, by split, at most 1000 of each; training ones were removed as was asked.
    pub documents: BTreeMap<String, Vec<String>>,
    /// The first run that was found, as it stands in the document.
    pub overlap: String,
    /// The beginning of the item.
    pub excerpt: String,
}

/// Counts of one set.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SetReport {
    /// Items.
    pub items: u64,
    /// Items that overlap with any document.
    pub contaminated: u64,
    /// Items that overlap with a training document.
    pub in_training: u64,
    /// Items with too few words to look for.
    pub too_short: u64,
}

/// Counts of a decontamination.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DecontaminationReport {
    /// By name of the set.
    pub sets: BTreeMap<String, SetReport>,
    /// Training documents that overlap with any item.
    pub training_documents: u64,
    /// Training documents that were dropped, whole or because nothing was left.
    pub dropped: u64,
    /// Paragraphs that were cut.
    pub paragraphs: u64,
}

/// What is left, and what overlapped.
#[derive(Debug, Clone, PartialEq)]
pub struct Decontaminated {
    /// In the order given.
    pub documents: Vec<(Extracted, Split)>,
    /// Items that overlap, in the order of sets and items.
    pub items: Vec<ContaminatedItem>,
    /// Counts.
    pub report: DecontaminationReport,
}

/// Looks for the items of `sets` in all documents and removes what overlaps from the training documents.
///
/// # Errors
/// Temporary files that cannot be written.
pub fn decontaminate(
    documents: Vec<(Extracted, Split)>,
    sets: &[EvaluationSet],
    remove: Remove,
    progress: &dyn Progress,
) -> Result<Decontaminated> {
    let corpus = Corpus::of(documents, &std::env::temp_dir())?;
    let (corpus, items, report) = decontaminate_corpus(corpus, sets, remove, progress)?;
    Ok(Decontaminated { documents: corpus.list()?, items, report })
}

/// As [`decontaminate`], for documents on disk. The items and what overlaps with them are in memory.
///
/// # Errors
/// Files that cannot be read or written.
pub fn decontaminate_corpus(
    corpus: Corpus,
    sets: &[EvaluationSet],
    remove: Remove,
    progress: &dyn Progress,
) -> Result<(Corpus, Vec<ContaminatedItem>, DecontaminationReport)> {
    let mut task = progress.task("decontaminate", Some(corpus.kept()), Unit::Documents);
    let index = Index::new(sets);
    let mut report = DecontaminationReport::default();
    let mut found = BTreeMap::new();
    let mut rest = CorpusWriter::create(corpus.spool.folder())?;
    for batch in corpus.batches() {
        let batch = batch?;
        task.advance(batch.len() as u64);
        let hits: Vec<Vec<Hit>> = batch.par_iter().map(|(_, document, _)| index.find(&document.text)).collect();
        for ((_, mut document, split), hits) in batch.into_iter().zip(hits) {
            note(&index, &document, split, &hits, &mut found);
            if split == Split::Train && !hits.is_empty() {
                report.training_documents += 1;
                match remove {
                    Remove::Nothing => {}
                    Remove::Document => document.text.clear(),
                    Remove::Paragraph => report.paragraphs += cut_paragraphs(&mut document.text, &hits),
                }
                if document.text.trim().is_empty() {
                    report.dropped += 1;
                    continue;
                }
            }
            rest.push(document, split)?;
        }
    }
    let items: Vec<(usize, ContaminatedItem)> =
        found.into_iter().map(|(number, found)| described(&index, sets, number, found)).collect();
    for (number, set) in sets.iter().enumerate() {
        let of_set: Vec<&ContaminatedItem> = items.iter().filter(|(set, _)| *set == number).map(|(_, i)| i).collect();
        let in_training = of_set.iter().filter(|item| item.documents.contains_key(Split::Train.name())).count();
        report.sets.insert(
            set.name.clone(),
            SetReport {
                items: set.items.len() as u64,
                contaminated: of_set.len() as u64,
                in_training: in_training as u64,
                too_short: index.too_short(number),
            },
        );
    }
    let contaminated: u64 = report.sets.values().map(|set| set.contaminated).sum();
    task.finish(&format!(
        "{contaminated} of {} items overlap; {} paragraphs cut, {} documents dropped",
        sets.iter().map(|set| set.items.len()).sum::<usize>(),
        report.paragraphs,
        report.dropped
    ));
    Ok((rest.finish()?, items.into_iter().map(|(_, item)| item).collect(), report))
}

/// What was found of an item.
#[derive(Default)]
struct Found {
    runs: BTreeSet<u64>,
    documents: BTreeMap<String, Vec<String>>,
    overlap: String,
}

/// Notes the hits of a document, by item.
fn note(index: &Index, document: &Extracted, split: Split, hits: &[Hit], found: &mut BTreeMap<u32, Found>) {
    for hit in hits {
        for &item in index.items_of(hit) {
            let found = found.entry(item).or_default();
            if found.runs.is_empty() {
                let overlap = &document.text[hit.range.clone()];
                found.overlap = overlap.split_whitespace().collect::<Vec<_>>().join(" ");
            }
            found.runs.insert(hit.key);
            let ids = found.documents.entry(split.name().to_owned()).or_default();
            if ids.len() < NAMED && ids.last() != Some(&document.id) {
                ids.push(document.id.clone());
            }
        }
    }
}

/// An item that was hit, with the number of its set.
fn described(index: &Index, sets: &[EvaluationSet], number: u32, found: Found) -> (usize, ContaminatedItem) {
    let entry = index.item(number);
    let item = &sets[entry.set].items[entry.number];
    let described = ContaminatedItem {
        set: sets[entry.set].name.clone(),
        item: item.id.clone(),
        ngram: entry.ngram,
        found: found.runs.len() as u64,
        runs: entry.runs,
        documents: found.documents,
        overlap: found.overlap,
        excerpt: excerpt(&item.text),
    };
    (entry.set, described)
}

/// Cuts every paragraph in which a hit begins, ends or lies; how many.
fn cut_paragraphs(text: &mut String, hits: &[Hit]) -> u64 {
    let separator = separator(text);
    let (mut kept, mut cut, mut start) = (Vec::new(), 0, 0);
    for part in text.split(separator) {
        let end = start + part.len();
        if hits.iter().any(|hit| hit.range.start < end && start < hit.range.end) {
            cut += 1;
        } else {
            kept.push(part);
        }
        start = end + separator.len();
    }
    *text = kept.join(separator).trim_matches('\n').to_owned();
    cut
}
