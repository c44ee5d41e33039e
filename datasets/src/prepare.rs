//! From extracted texts to a table of documents: cleaned, without duplicates, split without leaks, without
//! evaluation items. Steps that are not asked for do nothing.

use std::fs::File;
use std::io::{BufWriter, Read, Seek, SeekFrom, Write};
use std::path::Path;

use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::clean::{CleanReport, CleanSpec, clean_corpus};
use crate::decontaminate::{ContaminatedItem, DecontaminationReport, EvaluationSet, Remove, decontaminate_corpus};
use crate::dedup::leakage::{LeakageReport, separate_corpus};
use crate::dedup::{DedupReport, DedupSpec, Duplicate, deduplicate_corpus};
use crate::documents::{Origin, clean};
use crate::error::{Error, Result};
use crate::extract::{ExtractReport, Extracted};
use crate::progress::Progress;
use crate::sort::Sorter;
use crate::split::{Split, SplitSpec};
use crate::spool::{Corpus, Spool};
use crate::table::{Row, Sizes, TableWriter};

/// Name of the [`DataReport`] beside the documents.
pub const REPORT: &str = "data.json";
/// Name of the list of [`Duplicate`]s, JSON lines.
pub const DUPLICATES: &str = "duplicates.jsonl";
/// Name of the list of [`ContaminatedItem`]s, JSON lines.
pub const CONTAMINATION: &str = "contamination.jsonl";

/// What is to be done to extracted texts.
#[derive(Debug, Clone)]
pub struct Preparation<'a> {
    /// Cleaning.
    pub clean: Option<&'a CleanSpec>,
    /// Deduplication, and leaks between splits.
    pub dedup: Option<&'a DedupSpec>,
    /// Evaluation items to look for, and what to remove.
    pub decontaminate: Option<(&'a [EvaluationSet], Remove)>,
    /// Held-out fractions.
    pub split: SplitSpec,
    /// Where the documents come from.
    pub origin: Origin,
}

/// What every step did. Absent steps were not asked for.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct DataReport {
    /// Files listed in the source.
    pub files_listed: u64,
    /// Files that no rule asks for.
    #[serde(default)]
    pub files_unasked: u64,
    /// Files read.
    pub files_read: u64,
    /// Records of which no document could be made.
    pub broken_records: u64,
    /// Records with too short a text.
    pub short_records: u64,
    /// Files and links that were left out, and the first broken records, each with its reason.
    pub left_out: Vec<String>,
    /// Cleaning.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clean: Option<CleanReport>,
    /// Deduplication.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dedup: Option<DedupReport>,
    /// Leaks between splits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub leakage: Option<LeakageReport>,
    /// Decontamination.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decontamination: Option<DecontaminationReport>,
    /// Documents with the same characters as an earlier one, dropped at the end.
    pub duplicates: u64,
    /// Documents of which no text was left at the end.
    pub empty: u64,
    /// Documents, characters and bytes of each split.
    pub splits: Vec<SplitSize>,
}

/// The size of a split.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SplitSize {
    /// Which one.
    pub split: Split,
    /// Documents.
    pub documents: u64,
    /// Characters (Unicode scalar values) of text.
    pub characters: u64,
    /// Bytes of text in UTF-8.
    pub bytes: u64,
}

/// Documents and what became of everything else.
pub struct Prepared {
    corpus: Corpus,
    origin: Origin,
    /// Counts.
    pub report: DataReport,
    /// [`Duplicate`]s and leaks, JSON lines.
    duplicates: File,
    /// Evaluation items that overlap.
    pub contamination: Vec<ContaminatedItem>,
}

/// Takes extracted texts through every step that is asked for. The result does not depend on the number of
/// threads. Documents lie on disk between the steps, beside those that are given; what is kept in memory of each is a
/// few bytes.
///
/// # Errors
/// A step that is declared wrongly; files that cannot be read or written.
pub fn prepare(
    documents: Spool,
    extracted: &ExtractReport,
    preparation: &Preparation<'_>,
    progress: &dyn Progress,
) -> Result<Prepared> {
    let Preparation { split, origin, .. } = preparation;
    split.validate()?;
    let mut report = DataReport {
        files_listed: extracted.files_listed as u64,
        files_unasked: extracted.files_unasked as u64,
        files_read: extracted.files_read as u64,
        broken_records: extracted.broken as u64,
        short_records: extracted.short as u64,
        left_out: extracted.left_out.iter().chain(&extracted.problems).cloned().collect(),
        ..DataReport::default()
    };
    let folder = documents.folder().to_owned();
    let failed = |e| Error::io(&folder, e);
    let mut documents = documents;
    if let Some(spec) = preparation.clean {
        let (cleaned, done) = clean_corpus(documents, spec, progress)?;
        documents = cleaned;
        report.clean = Some(done);
    }
    let mut duplicates = BufWriter::new(tempfile::tempfile_in(&folder).map_err(failed)?);
    let mut write = |duplicate: Duplicate| {
        let line = serde_json::to_string(&duplicate).expect("plain data") + "\n";
        duplicates.write_all(line.as_bytes()).map_err(failed)
    };
    let mut corpus = Corpus::new(documents);
    if let Some(spec) = preparation.dedup {
        let (rest, done) = deduplicate_corpus(corpus, spec, progress, &mut write)?;
        corpus = rest;
        report.dedup = Some(done);
    }
    assign(&mut corpus, split)?;
    if let Some(spec) = preparation.dedup {
        report.leakage = Some(separate_corpus(&mut corpus, spec.leakage, &spec.near_spec(), &mut write)?);
    }
    let mut contamination = Vec::new();
    if let Some((sets, remove)) = preparation.decontaminate {
        let (rest, items, done) = decontaminate_corpus(corpus, sets, remove, progress)?;
        corpus = rest;
        contamination = items;
        report.decontamination = Some(done);
    }
    unique(&mut corpus, &mut report)?;
    let duplicates = duplicates.into_inner().map_err(|e| failed(e.into_error()))?;
    Ok(Prepared { corpus, origin: origin.clone(), report, duplicates, contamination })
}

/// Puts every document into its split.
fn assign(corpus: &mut Corpus, spec: &SplitSpec) -> Result<()> {
    let mut splits = Vec::new();
    for batch in corpus.spool.batches() {
        splits.par_extend(batch?.documents.par_iter().map(|document| spec.assign(&document.group)));
    }
    for (number, split) in (0..).zip(splits) {
        if corpus.split(number).is_some() {
            corpus.assign(number, split);
        }
    }
    Ok(())
}

/// Drops documents of which no text is left, and those with the same characters as an earlier one; counts the rest.
fn unique(corpus: &mut Corpus, report: &mut DataReport) -> Result<()> {
    let mut hashes = Sorter::new(corpus.spool.folder());
    let (mut sizes, mut empty) = (Sizes::default(), Vec::new());
    for batch in corpus.batches() {
        let rows: Vec<(u64, Option<Row>)> =
            batch?.into_par_iter().map(|(number, document, split)| (number, row(document, split))).collect();
        for (number, row) in rows {
            let Some(row) = row else {
                empty.push(number);
                continue;
            };
            let half = |at: usize| u64::from_be_bytes(row.sha256[at..at + 8].try_into().expect("eight bytes"));
            hashes.push([half(0), half(8), number])?;
            sizes.add(row.split, row.characters, row.text.len() as u64);
        }
    }
    report.empty = empty.len() as u64;
    empty.into_iter().for_each(|number| corpus.drop(number));
    let mut before = None;
    for hash in hashes.finish()? {
        let [high, low, number] = hash?;
        if before.replace((high, low)) == Some((high, low)) {
            report.duplicates += 1;
            let split = corpus.split(number).expect("what is hashed is not dropped");
            if let Some(row) = row(corpus.spool.get(number)?, split) {
                sizes.remove(split, row.characters, row.text.len() as u64);
            }
            corpus.drop(number);
        }
    }
    report.splits = sizes
        .0
        .into_iter()
        .filter(|(_, [documents, ..])| *documents > 0)
        .map(|(split, [documents, characters, bytes])| SplitSize { split, documents, characters, bytes })
        .collect();
    Ok(())
}

/// A document as it stands in the table; `None` if nothing is left of its text.
fn row(document: Extracted, split: Split) -> Option<Row> {
    let text = clean(&document.text);
    let Extracted { id, group, title, .. } = document;
    (!text.is_empty()).then(|| Row {
        sha256: Sha256::digest(text.as_bytes()).into(),
        characters: text.chars().count() as u64,
        id,
        group,
        title,
        text,
        split,
    })
}

impl Prepared {
    /// How many documents there are.
    pub fn documents(&self) -> u64 {
        self.report.splits.iter().map(|split| split.documents).sum()
    }

    /// Documents of a split.
    pub fn documents_of(&self, split: Split) -> u64 {
        self.report.splits.iter().filter(|size| size.split == split).map(|size| size.documents).sum()
    }

    /// Bytes of text of all documents.
    pub fn text_bytes(&self) -> u64 {
        self.report.splits.iter().map(|split| split.bytes).sum()
    }

    /// Writes the table of documents as Parquet, atomically; its hash, as
    /// [`Documents::hash`](crate::documents::Documents::hash) says. `each` sees all rows in order, some at a time.
    ///
    /// # Errors
    /// What kept the file from being written, and errors of `each`.
    pub fn write_table(&self, path: &Path, mut each: impl FnMut(&[Row]) -> Result<()>) -> Result<String> {
        let mut table = TableWriter::create(path, &self.origin)?;
        for batch in self.corpus.batches() {
            let rows: Vec<Row> =
                batch?.into_par_iter().filter_map(|(_, document, split)| row(document, split)).collect();
            table.rows(&rows)?;
            each(&rows)?;
        }
        table.finish()
    }

    /// Writes [`REPORT`], and [`DUPLICATES`] and [`CONTAMINATION`] where those steps were asked for.
    ///
    /// # Errors
    /// What kept a file from being written.
    pub fn write_reports(&self, folder: &Path) -> Result<()> {
        let mut report = serde_json::to_vec_pretty(&self.report).expect("a report is plain data");
        report.push(b'\n');
        write(&folder.join(REPORT), &mut report.as_slice())?;
        if self.report.dedup.is_some() {
            let mut duplicates = &self.duplicates;
            duplicates.seek(SeekFrom::Start(0)).map_err(|e| Error::io(folder, e))?;
            write(&folder.join(DUPLICATES), &mut duplicates)?;
        }
        if self.report.decontamination.is_some() {
            let line = |item| serde_json::to_string(item).expect("plain data") + "\n";
            let lines: String = self.contamination.iter().map(line).collect();
            write(&folder.join(CONTAMINATION), &mut lines.as_bytes())?;
        }
        Ok(())
    }
}

fn write(path: &Path, content: &mut dyn Read) -> Result<()> {
    let folder = path.parent().expect("a file in a folder");
    let mut file = crate::whole::beside(folder).map_err(|e| Error::io(folder, e))?;
    std::io::copy(content, &mut file).map_err(|e| Error::io(path, e))?;
    file.as_file().sync_all().map_err(|e| Error::io(path, e))?;
    file.persist(path).map_err(|e| Error::io(path, e.error))?;
    Ok(())
}
