//! One rule: which files, and how documents are made of the records in them.

use std::cell::Cell;
use std::io::BufReader;

use super::container::Member;
use super::glob::Glob;
use super::ids::Ids;
use super::record::{Record, Sink, Utf8};
use super::spec::{ExtractSpec, Format};
use super::template::Templates;
use super::{ExtractReport, QUOTED, html, json, markdown, table, text, xml};
use crate::error::{Error, Result};
use crate::spool as documents;

/// Bytes of a text that are read at once.
const READ: usize = 256 << 10;

/// A rule that was checked.
pub(super) struct Rule<'a> {
    pub(super) spec: &'a ExtractSpec,
    pub(super) globs: Vec<Glob>,
    templates: Templates<'a>,
}

/// Checks all rules.
///
/// # Errors
/// Everything that is wrong with them, in one error.
pub(super) fn compile<'a>(corpus: &str, rules: &'a [ExtractSpec]) -> Result<Vec<Rule<'a>>> {
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
    pub(super) fn extract_file(
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
            let made = record.and_then(|record| match self.templates.column(&record) {
                Ok(_) => self.templates.document(&name, number, record),
                Err(problem) => {
                    without_column = (without_column.0 + 1, problem.clone());
                    Err(format!("record {}: {problem}", number + 1))
                }
            });
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
pub(super) fn read_records(
    format: &Format,
    member: &mut Member<'_>,
    most: u64,
    take: &mut Sink<'_>,
) -> Result<(), String> {
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
