//! From extracted texts to a table of documents: cleaned, without duplicates, split without leaks, without
//! evaluation items. Steps that are not asked for do nothing.

use std::io::Write;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::clean::{CleanReport, CleanSpec, clean};
use crate::decontaminate::{ContaminatedItem, DecontaminationReport, EvaluationSet, Remove, decontaminate};
use crate::dedup::leakage::{LeakageReport, separate};
use crate::dedup::{DedupReport, DedupSpec, Duplicate, deduplicate};
use crate::documents::{CleaningReport, Documents, Origin};
use crate::error::{Error, Result};
use crate::extract::Extraction;
use crate::progress::Progress;
use crate::split::{Split, SplitSpec};

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
#[derive(Debug, Clone)]
pub struct Prepared {
    /// The table.
    pub documents: Documents,
    /// Counts.
    pub report: DataReport,
    /// Duplicates and leaks.
    pub duplicates: Vec<Duplicate>,
    /// Evaluation items that overlap.
    pub contamination: Vec<ContaminatedItem>,
}

/// Takes extracted texts through every step that is asked for. The result does not depend on the number of
/// threads.
///
/// # Errors
/// A step that is declared wrongly.
pub fn prepare(extraction: Extraction, preparation: &Preparation<'_>, progress: &dyn Progress) -> Result<Prepared> {
    let Preparation { split, origin, .. } = preparation;
    split.validate()?;
    let extracted = &extraction.report;
    let mut report = DataReport {
        files_listed: extracted.files_listed as u64,
        files_read: extracted.files_read as u64,
        broken_records: extracted.broken as u64,
        short_records: extracted.short as u64,
        left_out: extracted.left_out.iter().chain(&extracted.problems).cloned().collect(),
        ..DataReport::default()
    };
    let mut documents = extraction.documents;
    if let Some(spec) = preparation.clean {
        let (cleaned, done) = clean(documents, spec, progress)?;
        documents = cleaned;
        report.clean = Some(done);
    }
    let mut duplicates = Vec::new();
    if let Some(spec) = preparation.dedup {
        let deduplicated = deduplicate(documents, spec, progress)?;
        documents = deduplicated.documents;
        duplicates = deduplicated.duplicates;
        report.dedup = Some(deduplicated.report);
    }
    let mut assigned: Vec<_> = documents
        .into_iter()
        .map(|document| {
            let split = split.assign(&document.group);
            (document, split)
        })
        .collect();
    if let Some(spec) = preparation.dedup {
        let (rest, leaks) = separate(assigned, spec.leakage, &spec.near_spec(), &mut duplicates);
        assigned = rest;
        report.leakage = Some(leaks);
    }
    let mut contamination = Vec::new();
    if let Some((sets, remove)) = preparation.decontaminate {
        let decontaminated = decontaminate(assigned, sets, remove, progress);
        assigned = decontaminated.documents;
        contamination = decontaminated.items;
        report.decontamination = Some(decontaminated.report);
    }
    let (documents, CleaningReport { duplicates: same, empty }) = Documents::assemble(assigned, origin);
    report.duplicates = same as u64;
    report.empty = empty as u64;
    report.splits = documents
        .summary()
        .into_iter()
        .map(|s| SplitSize { split: s.split, documents: s.documents, characters: s.chars, bytes: s.bytes })
        .collect();
    Ok(Prepared { documents, report, duplicates, contamination })
}

impl Prepared {
    /// Writes [`REPORT`], and [`DUPLICATES`] and [`CONTAMINATION`] where those steps were asked for.
    ///
    /// # Errors
    /// What kept a file from being written.
    pub fn write_reports(&self, folder: &Path) -> Result<()> {
        let mut report = serde_json::to_vec_pretty(&self.report).expect("a report is plain data");
        report.push(b'\n');
        write(&folder.join(REPORT), &report)?;
        if self.report.dedup.is_some() {
            write(&folder.join(DUPLICATES), &lines(&self.duplicates))?;
        }
        if self.report.decontamination.is_some() {
            write(&folder.join(CONTAMINATION), &lines(&self.contamination))?;
        }
        Ok(())
    }
}

fn lines<T: Serialize>(values: &[T]) -> Vec<u8> {
    let line = |value| serde_json::to_string(value).expect("plain data") + "\n";
    values.iter().map(line).collect::<String>().into_bytes()
}

fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    let folder = path.parent().expect("a file in a folder");
    let mut file = tempfile::NamedTempFile::new_in(folder).map_err(|e| Error::io(folder, e))?;
    file.write_all(bytes).map_err(|e| Error::io(path, e))?;
    file.as_file().sync_all().map_err(|e| Error::io(path, e))?;
    file.persist(path).map_err(|e| Error::io(path, e.error))?;
    Ok(())
}
