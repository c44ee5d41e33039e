//! What `lore data build` and `lore data synth` wrote, looked at again.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, ErrorKind};
use std::path::{Path, PathBuf};

use lore_datasets::clean::Example;
use lore_datasets::decontaminate::ContaminatedItem;
use lore_datasets::dedup::Duplicate;
use lore_datasets::extract::ExtractSpec;
use lore_datasets::prepare::{CONTAMINATION, DUPLICATES, DataReport, REPORT};
use lore_datasets::split::Split;
use lore_datasets::token_store::TokenStore;
use lore_distill::synth::{self, ACCEPTED, Rejected};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::json;

use super::survey::SHOWN;
use super::terminal::{report_lines, synthesis_lines};
use crate::error::{Error, Result};
use crate::stages::prepared::DOCUMENTS;
use crate::stages::topic::Tokens;

/// Name of the card beside what was built.
pub const CARD: &str = "README.md";
/// The template of a record's licence.
pub const LICENSE: &str = "{{ record.license or record.licence }}";

/// Characters of a reply that is shown.
const REPLY: usize = 200;

/// What the steps of a build did, or the checks of a synthesis.
#[derive(Debug, Default, Serialize)]
pub struct Built {
    /// Counts, one line each.
    pub lines: Vec<String>,
    /// Documents and lines that cleaning dropped, or replies that failed a check.
    pub dropped: Vec<Example>,
    /// The first duplicates.
    pub duplicates: Vec<Duplicate>,
    /// The first evaluation items that overlap.
    pub items: Vec<ContaminatedItem>,
}

/// What Lore wrote to a folder: the folder itself, or all folders in it. None if there is anything else in it but a card.
///
/// # Errors
/// A folder that cannot be listed.
pub fn folders(path: &Path) -> Result<Vec<PathBuf>> {
    if !path.is_dir() {
        return Ok(Vec::new());
    }
    if texts(path).is_some() {
        return Ok(vec![path.to_owned()]);
    }
    let mut folders = Vec::new();
    for entry in fs::read_dir(path).map_err(Error::io(path))? {
        let entry = entry.map_err(Error::io(path))?;
        if entry.file_name() == CARD || entry.file_name().as_encoded_bytes().starts_with(b".") {
            continue;
        }
        if texts(&entry.path()).is_none() {
            return Ok(Vec::new());
        }
        folders.push(entry.path());
    }
    folders.sort();
    Ok(folders)
}

/// The file with the texts that Lore wrote to a folder, and how it is read; `None` if there is none.
pub fn texts(folder: &Path) -> Option<(PathBuf, ExtractSpec)> {
    let (file, format) = [(DOCUMENTS, "parquet"), (ACCEPTED, "jsonl")]
        .into_iter()
        .map(|(name, format)| (folder.join(name), format))
        .find(|(path, _)| path.is_file())?;
    let rule = json!({ "format": format, "id": "{{ record.id }}", "columns": ["text"], "layout": "lines" });
    Some((file, serde_json::from_value(rule).expect("a valid rule")))
}

/// What the work on a folder was reported to have done; `None` if there is no report.
///
/// # Errors
/// Reports that cannot be read or are none.
pub fn read(folder: &Path) -> Result<Option<Built>> {
    if let Some(report) = report(folder)? {
        return Ok(Some(Built {
            lines: report_lines(&report, tokens(folder).as_ref()),
            dropped: report.clean.map(|clean| clean.examples).unwrap_or_default(),
            duplicates: first_lines(&folder.join(DUPLICATES))?,
            items: first_lines(&folder.join(CONTAMINATION))?,
        }));
    }
    let Some(report) = json_file::<synth::Report>(&folder.join(synth::REPORT), "lore data synth")? else {
        return Ok(None);
    };
    let rejected: Vec<Rejected> = first_lines(&folder.join(synth::REJECTED))?;
    let example = |Rejected { id, reason, reply, .. }| Example {
        rule: reason,
        document: id,
        measure: 0.0,
        excerpt: reply.chars().take(REPLY).collect(),
    };
    let dropped = rejected.into_iter().map(example).collect();
    Ok(Some(Built { lines: synthesis_lines(&report), dropped, ..Built::default() }))
}

/// The report of a topic's build; `None` if there is none.
///
/// # Errors
/// A file that cannot be read or is no report.
pub fn report(folder: &Path) -> Result<Option<DataReport>> {
    json_file(&folder.join(REPORT), "lore data build")
}

fn json_file<T: DeserializeOwned>(path: &Path, writer: &str) -> Result<Option<T>> {
    let text = match fs::read(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        read => read.map_err(Error::io(path))?,
    };
    serde_json::from_slice(&text).map(Some).map_err(|error| {
        let path = path.display();
        Error::Failed(format!("{path}: it is not a report of `{writer}` ({error}); build again"))
    })
}

/// Tokens of a built topic by split, if they are there.
pub fn tokens(folder: &Path) -> Option<Tokens> {
    let of = |split: Split| {
        let store = TokenStore::open(&folder.join("tokens").join(split.name())).ok()?;
        Some((split.name().to_owned(), store.tokens().len() as u64))
    };
    Split::ALL.into_iter().map(of).collect()
}

fn first_lines<T: DeserializeOwned>(path: &Path) -> Result<Vec<T>> {
    let file = match File::open(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        file => file.map_err(Error::io(path))?,
    };
    let lines = BufReader::new(file).lines().take(SHOWN);
    lines
        .map(|line| {
            serde_json::from_str(&line.map_err(Error::io(path))?)
                .map_err(|error| Error::Failed(format!("{}: {error}; build again", path.display())))
        })
        .collect()
}
