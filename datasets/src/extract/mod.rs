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
mod json;
mod markdown;
mod markup;
mod record;
mod records;
mod spec;
mod table;
mod template;
mod text;
mod xml;

use std::collections::HashSet;
use std::path::Path;

use container::{Container, Member};
use record::{Record, Sink};
use template::Templates;

pub use discover::{Discovery, TEXT_FIELDS, discover};
pub use glob::Glob;
pub use markup::{decode_entities, html_blocks, markdown_blocks};
pub use records::{FileRecord, records};
pub use spec::{BadFiles, ExtractSpec, Format, Layout};

use crate::error::{Error, Result};
use crate::progress::{Progress, Unit};

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
    /// Files that could not be read and were skipped, and links that were not followed.
    pub left_out: Vec<String>,
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
    let compiled = compile(corpus, rules)?;
    let mut container = Container::open(path)?;
    let matches: Vec<Vec<String>> = compiled.iter().map(|rule| container.matching(&rule.globs)).collect();
    if let Some(empty) = matches.iter().position(Vec::is_empty) {
        let patterns = rules.get(empty).map_or_else(String::new, |rule| rule.files.join("`, `"));
        return Err(Error::EmptyCorpus {
            corpus: corpus.to_owned(),
            searched: format!("{} for files like `{patterns}`; it holds {}", path.display(), sample(&container.names)),
        });
    }
    let mut extraction = Extraction::default();
    extraction.report.files_listed = container.names.len();
    extraction.report.left_out.clone_from(&container.left_out);
    let mut ids = HashSet::new();
    let mut bad = Vec::new();
    let total = matches.iter().map(Vec::len).sum::<usize>() as u64;
    let mut task = progress.task(&format!("extract {corpus}"), Some(total), Unit::Items);
    for (rule, names) in compiled.iter().zip(&matches) {
        let mut left = rule.spec.max_documents.unwrap_or(usize::MAX);
        for name in names {
            if left > 0 {
                let mut empty = false;
                let outcome = container.read(name).and_then(|member| {
                    empty = member.bytes.is_empty();
                    rule.extract_file(member, &mut left, &mut ids, &mut extraction)
                });
                if empty && outcome.is_ok() {
                    extraction.report.left_out.push(format!("{name}: it is empty"));
                }
                match (outcome, rule.spec.bad_files) {
                    (Ok(()), _) => extraction.report.files_read += 1,
                    (Err(problem), BadFiles::Stop) => bad.push(format!("{name}: {problem}")),
                    (Err(problem), BadFiles::Skip) => extraction.report.left_out.push(format!("{name}: {problem}")),
                }
            }
            task.advance(1);
        }
    }
    if !bad.is_empty() {
        return Err(Error::BadFiles { corpus: corpus.to_owned(), files: bad });
    }
    let report = &extraction.report;
    if extraction.documents.is_empty() {
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
        extraction.documents.len(),
        report.records,
        report.broken,
        report.short
    ));
    Ok(extraction)
}

/// Checks rules without reading anything: patterns, templates and queries.
///
/// # Errors
/// Everything that is wrong with them, in one error.
pub fn validate(corpus: &str, rules: &[ExtractSpec]) -> Result<()> {
    compile(corpus, rules).map(|_| ())
}

struct Rule<'a> {
    spec: &'a ExtractSpec,
    globs: Vec<Glob>,
    templates: Templates<'a>,
}

fn compile<'a>(corpus: &str, rules: &'a [ExtractSpec]) -> Result<Vec<Rule<'a>>> {
    let mut problems = Vec::new();
    let mut compiled = Vec::new();
    if rules.is_empty() {
        problems.push("no extraction rule".to_owned());
    }
    for (number, spec) in (1..).zip(rules) {
        let mut globs = Vec::new();
        for pattern in &spec.files {
            match Glob::new(pattern) {
                Ok(glob) => globs.push(glob),
                Err(problem) => problems.push(format!("rule {number}: {problem}")),
            }
        }
        match &spec.format {
            Format::Json { records } if !records.is_empty() && !records.starts_with('/') => {
                problems
                    .push(format!("rule {number}: `records` is a JSON pointer such as `/items/*`, not `{records}`"));
            }
            Format::Sqlite { query, .. } if !table::is_select(query) => {
                problems.push(format!("rule {number}: `query` must be a single SELECT"));
            }
            _ => {}
        }
        match Templates::new(spec) {
            Ok(templates) => compiled.push(Rule { spec, globs, templates }),
            Err(Error::Declaration { problems: found, .. }) => {
                problems.extend(found.into_iter().map(|problem| format!("rule {number}: {problem}")));
            }
            Err(other) => return Err(other),
        }
    }
    if problems.is_empty() {
        Ok(compiled)
    } else {
        Err(Error::Declaration { what: format!("extraction of {corpus}"), problems })
    }
}

impl Rule<'_> {
    fn extract_file(
        &self,
        member: Member,
        left: &mut usize,
        ids: &mut HashSet<String>,
        extraction: &mut Extraction,
    ) -> Result<(), String> {
        let Member { name, bytes } = member;
        let Extraction { documents, report } = extraction;
        let (broken_before, quoted_before) = (report.broken, report.problems.len());
        let mut without_column = (0, String::new());
        let mut number = 0;
        let mut take = |record: Result<Record, String>| {
            if *left == 0 {
                return;
            }
            report.records += 1;
            if let Ok(record) = &record
                && let Err(problem) = self.templates.column(record)
            {
                without_column.0 += 1;
                without_column.1 = problem;
            }
            let made = record.and_then(|record| self.templates.document(&name, number, record));
            number += 1;
            match made {
                Ok(document) if document.text.is_empty() || document.text.chars().count() < self.spec.min_chars => {
                    report.short += 1
                }
                Ok(mut document) => {
                    report.renamed += usize::from(make_unique(&mut document.id, ids));
                    documents.push(document);
                    *left -= 1;
                }
                Err(problem) => {
                    report.broken += 1;
                    if report.problems.len() < QUOTED {
                        report.problems.push(format!("{name}: {problem}"));
                    }
                }
            }
        };
        let give: &mut Sink<'_> = &mut take;
        read_records(&self.spec.format, &bytes, give)?;
        // Not a few odd records, but a file of another kind.
        if without_column.0 > 0 && without_column.0 == number {
            report.broken = broken_before;
            report.problems.truncate(quoted_before);
            return Err(without_column.1);
        }
        Ok(())
    }
}

/// Gives every record of a file; `Err` says why the file cannot be read as declared.
fn read_records(format: &Format, bytes: &[u8], take: &mut Sink<'_>) -> Result<(), String> {
    match format {
        Format::Json { records } => json::read(bytes, records, take),
        Format::Jsonl => json::read_lines(bytes, take),
        Format::Xml { record } => xml::read(bytes, record, take),
        Format::Sqlite { query, json_columns } => table::read_sqlite(bytes, query, json_columns, take),
        Format::Csv { delimiter } => table::read_csv(bytes, *delimiter, take),
        Format::Parquet => table::read_parquet(bytes, take),
        Format::Text { split_headings } => text::read(bytes, *split_headings, take),
        Format::Html => html::read(bytes, take),
        Format::Markdown => markdown::read(bytes, take),
    }
}

fn make_unique(id: &mut String, ids: &mut HashSet<String>) -> bool {
    if ids.insert(id.clone()) {
        return false;
    }
    let mut copy = 2;
    while !ids.insert(format!("{id}~{copy}")) {
        copy += 1;
    }
    *id = format!("{id}~{copy}");
    true
}

fn sample(names: &[String]) -> String {
    match names {
        [] => "no files".into(),
        [one] => format!("`{one}`"),
        [first, .., last] => format!("{} files from `{first}` to `{last}`", names.len()),
    }
}
