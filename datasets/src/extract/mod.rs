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
mod lines;
mod markdown;
mod markup;
mod record;
mod records;
mod spec;
mod table;
mod template;
mod text;
mod xml;

use std::cell::Cell;
use std::collections::{HashMap, HashSet};
use std::io::BufReader;
use std::path::Path;

use container::{Container, Member};
use record::{Record, Sink, Utf8};
use template::Templates;
use xxhash_rust::xxh3::xxh3_64;

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
        let patterns = rules.get(empty).map_or_else(String::new, |rule| rule.files.join("`, `"));
        return Err(Error::EmptyCorpus {
            corpus: corpus.to_owned(),
            searched: format!("{} for files like `{patterns}`; it holds {}", path.display(), sample(&container.names)),
        });
    }
    let mut report = ExtractReport {
        files_listed: container.names.len(),
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
    /// Takes the documents of a file. The outer error is that of the sink, the inner one that of the file.
    fn extract_file(
        &self,
        member: &mut Member<'_>,
        left: &mut usize,
        ids: &mut Ids,
        sink: &mut dyn documents::Sink,
        report: &mut ExtractReport,
    ) -> Result<Result<(), String>> {
        let name = member.name.clone();
        let mut without_column = (0, String::new());
        let (mut number, mut unwritten) = (0, None);
        let mut take = |record: Result<Record, String>| {
            if *left == 0 || unwritten.is_some() {
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
                    report.renamed += usize::from(ids.make_unique(&mut document.id));
                    unwritten = sink.push(document).err();
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
        let outcome = read_records(&self.spec.format, member, self.spec.max_document_bytes(), give);
        if let Some(unwritten) = unwritten {
            return Err(unwritten);
        }
        // Not a few odd records, but a file of another kind.
        if outcome.is_ok() && without_column.0 > 0 && without_column.0 == number {
            return Ok(Err(without_column.1));
        }
        if outcome.is_ok() && member.was_empty() {
            report.left_out.push(format!("{name}: it is empty"));
        } else if outcome.is_ok() && number == 0 {
            report.left_out.push(format!("{name}: no record was found in it"));
        }
        Ok(outcome)
    }
}

/// Gives every record of a file; `Err` says why the file cannot be read as declared. No document of more than `most`
/// bytes is made.
fn read_records(format: &Format, member: &mut Member<'_>, most: u64, take: &mut Sink<'_>) -> Result<(), String> {
    let whole = u64::MAX;
    let record = Cell::new(0);
    // Twice the text: names of fields, escapes, other fields.
    let record_bytes = most.saturating_mul(2);
    match format {
        Format::Json { records } => json::read(&member.whole(whole)?, records, take),
        Format::Jsonl => {
            let text = BufReader::with_capacity(READ, Utf8::new(member, &record, u64::MAX));
            json::read_lines(text, record_bytes, take)
        }
        Format::Xml { record } => xml::read(&member.whole(whole)?, record, take),
        Format::Sqlite { query, json_columns } => table::read_sqlite(member, query, json_columns, take),
        Format::Csv { delimiter } => {
            table::read_csv(Utf8::new(member, &record, record_bytes), *delimiter, &record, take)
        }
        Format::Parquet => table::read_parquet(&member.on_disk()?, take),
        Format::Text { split_headings } => {
            let text = BufReader::with_capacity(READ, Utf8::new(member, &record, u64::MAX));
            text::read(text, *split_headings, most, take)
        }
        // Marks and scripts are not text.
        Format::Html => html::read(&member.whole(most.saturating_mul(4))?, take),
        Format::Markdown => markdown::read(&member.whole(most.saturating_mul(2))?, take),
    }
}

/// Bytes of a text that are read at once.
const READ: usize = 256 << 10;

/// Ids that are taken, by a hash of each. Two that have the same hash by chance cost one of them its name, and those
/// of a file that turned out to be unreadable stay taken.
struct Ids {
    /// `None` where ids are unique as they are made.
    taken: Option<HashSet<u64>>,
    /// The number that an id got last, by its hash: many records of one id would each count from the beginning.
    numbers: HashMap<u64, u64>,
}

impl Ids {
    /// Files and numbers, which are ids where none are declared, are unique within one rule whose files have different
    /// names.
    fn of(rules: &[ExtractSpec], matches: &[Vec<String>]) -> Self {
        let differ = |names: &Vec<String>| {
            let mut seen = HashSet::new();
            names.iter().all(|name| !name.contains(char::is_whitespace) && seen.insert(container::plain_name(name)))
        };
        let unique = matches!((rules, matches), ([one], [names]) if one.id.is_none() && differ(names));
        Self { taken: (!unique).then(HashSet::new), numbers: HashMap::new() }
    }

    /// Appends `~2`, `~3` … to an id that is taken; whether that was so.
    fn make_unique(&mut self, id: &mut String) -> bool {
        let Some(taken) = &mut self.taken else { return false };
        let hash = |id: &str| xxh3_64(id.as_bytes());
        if taken.insert(hash(id)) {
            return false;
        }
        let number = self.numbers.entry(hash(id)).or_insert(2);
        while !taken.insert(hash(&format!("{id}~{number}"))) {
            *number += 1;
        }
        *id = format!("{id}~{number}");
        true
    }
}

fn sample(names: &[String]) -> String {
    match names {
        [] => "no files".into(),
        [one] => format!("`{one}`"),
        [first, .., last] => format!("{} files from `{first}` to `{last}`", names.len()),
    }
}
