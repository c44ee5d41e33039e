//! Documents out of what was fetched, as a recipe declares it: which files, which records in them, and
//! templates that make text of a record. There is no code for any particular corpus.
//!
//! Whatever is read is untrusted: sizes are capped, archives and symbolic links lead nowhere else,
//! databases are opened read-only, and templates run with limits.
//!
//! ```
//! use lore_datasets::extract::{ExtractSpec, extract};
//! use lore_datasets::progress::Silent;
//!
//! # let folder = tempfile::tempdir()?;
//! std::fs::write(folder.path().join("rivers.jsonl"), "{\"name\": \"Nile\", \"km\": 6650}\n")?;
//! let rule: ExtractSpec = serde_json::from_str(
//!     r#"{"format": "jsonl", "files": ["*.jsonl"], "id": "{{ record.name }}",
//!         "text": "The {{ record.name }} is {{ record.km }} km long."}"#,
//! )?;
//! let extraction = extract("rivers", folder.path(), &[rule], &Silent)?;
//! assert_eq!(extraction.documents[0].text, "The Nile is 6650 km long.");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod container;
mod discover;
pub mod filters;
mod glob;
mod html;
mod ids;
mod json;
mod lines;
mod markdown;
mod markup;
mod record;
mod records;
mod rule;
mod spec;
mod table;
mod template;
mod text;
mod xml;

use std::collections::HashSet;
use std::path::Path;

use container::Container;
use ids::Ids;
use rule::compile;

pub use discover::{Discovery, TEXT_FIELDS, discover};
pub use glob::Glob;
pub use markup::{decode_entities, html_blocks, markdown_blocks};
pub use records::{FileRecord, records};
pub use spec::{BadFiles, ExtractSpec, Format, Layout, MAX_DOCUMENT_BYTES};

use crate::error::{Error, Result};
use crate::progress::{Progress, Unit};
use crate::spool as documents;

/// A document as its templates made it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Extracted {
    /// Unique within the corpus.
    pub id: String,
    /// Documents of one group belong to the same split.
    pub group: String,
    /// May be empty.
    pub title: String,
    /// The text, never empty.
    pub text: String,
}

/// What became of the files and records of a corpus.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ExtractReport {
    /// Files in the source.
    pub files_listed: usize,
    /// Files that no rule asks for.
    pub files_unasked: usize,
    /// Files read, counted once per rule.
    pub files_read: usize,
    /// Records found in them.
    pub records: usize,
    /// Records of which no document could be made.
    pub broken: usize,
    /// Records whose text was shorter than `min_chars`.
    pub short: usize,
    /// Ids that were taken already and got `~2`, `~3` … appended.
    pub renamed: usize,
    /// The first problems with records, each with its file.
    pub problems: Vec<String>,
    /// Files that could not be read and were skipped, files in which nothing was, and links that were not followed.
    pub left_out: Vec<String>,
}

impl ExtractReport {
    /// Everything that a file adds to.
    fn counts(&self) -> [usize; 6] {
        [self.records, self.broken, self.short, self.renamed, self.problems.len(), self.left_out.len()]
    }

    /// Takes back what a file added since.
    fn restore(&mut self, [records, broken, short, renamed, problems, left_out]: [usize; 6]) {
        (self.records, self.broken, self.short, self.renamed) = (records, broken, short, renamed);
        self.problems.truncate(problems);
        self.left_out.truncate(left_out);
    }
}

/// The documents of a corpus, in the order of rules, file names and records.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Extraction {
    /// At least one.
    pub documents: Vec<Extracted>,
    /// What became of everything else.
    pub report: ExtractReport,
}

/// Problems that a report quotes.
const QUOTED: usize = 20;

/// Extracts the documents of `corpus` from the file, folder or zip archive (wheel) at `path`.
///
/// # Errors
/// A rule that is declared wrongly; files that cannot be read as declared, all of them at once, unless
/// the rule skips them; a rule that no file matches; a corpus without any document.
pub fn extract(corpus: &str, path: &Path, rules: &[ExtractSpec], progress: &dyn Progress) -> Result<Extraction> {
    let mut documents: Vec<Extracted> = Vec::new();
    let report = extract_into(corpus, path, rules, &mut documents, progress)?;
    Ok(Extraction { documents, report })
}

/// As [`extract`], giving the documents to `sink` while files are read, so that a corpus may be larger than memory.
/// Of a file that cannot be read to its end nothing is left in `sink`.
///
/// # Errors
/// As there, and those of the sink.
pub fn extract_into(
    corpus: &str,
    path: &Path,
    rules: &[ExtractSpec],
    sink: &mut dyn documents::Sink,
    progress: &dyn Progress,
) -> Result<ExtractReport> {
    let compiled = compile(corpus, rules)?;
    let mut container = Container::open(path)?;
    let matches: Vec<Vec<String>> = compiled.iter().map(|rule| container.matching(&rule.globs)).collect();
    if let Some(empty) = matches.iter().position(Vec::is_empty) {
        let patterns = rules.get(empty).map_or_else(Vec::new, |rule| rule.files.clone());
        let (corpus, path, holds) = (corpus.to_owned(), path.to_owned(), sample(&container.names));
        return Err(Error::NoFile { corpus, path, patterns, holds });
    }
    let asked: HashSet<&String> = matches.iter().flatten().collect();
    let mut report = ExtractReport {
        files_listed: container.names.len(),
        files_unasked: container.names.len() - asked.len(),
        left_out: container.left_out.clone(),
        ..ExtractReport::default()
    };
    let mut ids = Ids::of(rules, &matches);
    let earlier = sink.taken();
    let mut bad = Vec::new();
    let total = matches.iter().map(Vec::len).sum::<usize>() as u64;
    let mut task = progress.task(&format!("extract {corpus}"), Some(total), Unit::Items);
    for (rule, names) in compiled.iter().zip(&matches) {
        let mut left = rule.spec.max_documents.unwrap_or(usize::MAX);
        for name in names {
            if left > 0 {
                let before = (sink.taken(), left, report.counts());
                let outcome = match container.read(name) {
                    Ok(mut member) => rule.extract_file(&mut member, &mut left, &mut ids, sink, &mut report)?,
                    Err(problem) => Err(problem),
                };
                match outcome {
                    Ok(()) => report.files_read += 1,
                    Err(problem) => {
                        sink.forget(before.0)?;
                        left = before.1;
                        report.restore(before.2);
                        let problem = format!("{name}: {problem}");
                        match rule.spec.bad_files {
                            BadFiles::Stop => bad.push(problem),
                            BadFiles::Skip => report.left_out.push(problem),
                        }
                    }
                }
            }
            task.advance(1);
        }
    }
    if !bad.is_empty() {
        return Err(Error::BadFiles { corpus: corpus.to_owned(), files: bad });
    }
    if sink.taken() == earlier {
        let first = report.problems.first().map_or_else(String::new, |problem| format!(" (first: {problem})"));
        let left_out: Vec<&str> = report.left_out.iter().take(QUOTED).map(String::as_str).collect();
        let left_out = if left_out.is_empty() { String::new() } else { format!("; left out: {}", left_out.join("; ")) };
        return Err(Error::EmptyCorpus {
            corpus: corpus.to_owned(),
            searched: format!(
                "{}: {} files read, {} records, of which {} broken{first} and {} with too short a text{left_out}",
                path.display(),
                report.files_read,
                report.records,
                report.broken,
                report.short
            ),
        });
    }
    task.finish(&format!(
        "{} documents from {} records ({} broken, {} too short)",
        sink.taken() - earlier,
        report.records,
        report.broken,
        report.short
    ));
    Ok(report)
}

/// Checks rules without reading anything: patterns, templates and queries.
///
/// # Errors
/// Everything that is wrong with them, in one error.
pub fn validate(corpus: &str, rules: &[ExtractSpec]) -> Result<()> {
    compile(corpus, rules).map(|_| ())
}

fn sample(names: &[String]) -> String {
    match names {
        [] => "no files".into(),
        [one] => format!("`{one}`"),
        [first, .., last] => format!("{} files from `{first}` to `{last}`", names.len()),
    }
}
