//! Records as they are, for those who make something else of them than documents.

use std::path::Path;

use minijinja::Value;

use super::container::Container;
use super::glob::Glob;
use super::rule::read_records;
use super::sample;
use super::spec::{Format, MAX_DOCUMENT_BYTES};
use crate::error::{Error, Result};

/// A record and where it was.
#[derive(Debug, Clone)]
pub struct FileRecord {
    /// Path of its file inside the source.
    pub file: String,
    /// Its number within the file, from 0.
    pub number: u64,
    /// What it holds.
    pub value: Value,
}

/// Reads every record of the files that match any of `patterns` (all files where there are none) inside the file,
/// folder or zip archive at `path`, in the order of file names and records. `what` names the corpus in errors.
///
/// # Errors
/// Patterns that are none; no file that matches; every file that cannot be read and every record that is broken, at
/// once: what is scored must be complete.
pub fn records(what: &str, path: &Path, patterns: &[String], format: &Format) -> Result<Vec<FileRecord>> {
    let (globs, problems): (Vec<_>, Vec<_>) = patterns.iter().map(|p| Glob::new(p)).partition(Result::is_ok);
    let problems: Vec<String> = problems.into_iter().filter_map(Result::err).collect();
    if !problems.is_empty() {
        return Err(Error::Declaration { what: format!("files of {what}"), problems });
    }
    let globs: Vec<Glob> = globs.into_iter().filter_map(Result::ok).collect();
    let mut container = Container::open(path)?;
    let names = container.matching(&globs);
    if names.is_empty() {
        let (corpus, path, patterns) = (what.to_owned(), path.to_owned(), patterns.to_vec());
        return Err(Error::NoFile { corpus, path, patterns, holds: sample(&container.names) });
    }
    let (mut found, mut bad) = (Vec::new(), Vec::new());
    for name in names {
        let mut number = 0;
        let outcome = container.read(&name).and_then(|mut member| {
            read_records(format, &mut member, MAX_DOCUMENT_BYTES, &mut |record| {
                match record {
                    Ok(record) => found.push(FileRecord { file: name.clone(), number, value: record.value }),
                    Err(problem) => bad.push(format!("{name}: {problem}")),
                }
                number += 1;
            })
        });
        if let Err(problem) = outcome {
            bad.push(format!("{name}: {problem}"));
        }
    }
    if bad.is_empty() { Ok(found) } else { Err(Error::BadFiles { corpus: what.to_owned(), files: bad }) }
}
