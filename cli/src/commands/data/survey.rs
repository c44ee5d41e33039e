//! What texts are like, measured.

use std::collections::BTreeMap;
use std::path::Path;

use lore_datasets::clean::{CleanReport, CleanSpec, clean, identify};
use lore_datasets::dedup::{DedupReport, DedupSpec, Duplicate, Kind, deduplicate};
use lore_datasets::extract::{BadFiles, ExtractReport, Extracted, discover, extract};
use lore_datasets::progress::Unit;
use lore_model::files::ModelFiles;
use rayon::prelude::*;
use serde::Serialize;
use tokenizers::Tokenizer;

use super::terminal::counts;
use crate::error::{Error, Result};
use crate::location::Location;
use crate::quantity;
use crate::session::Session;
use crate::stages::topic::refuse_left_out;

/// Duplicates and documents that are shown.
const SHOWN: usize = 20;

/// What to look at.
pub struct SurveyRequest<'a> {
    /// Files, folders, sources.
    pub sources: &'a [Location],
    /// Fields that hold the text; none means the usual ones.
    pub columns: &'a [String],
    /// Counts tokens.
    pub tokenizer: Option<&'a Location>,
    /// Whether anything that is left out is a failure.
    pub strict: bool,
    /// Sources, progress.
    pub session: &'a Session,
}

/// What was found.
#[derive(Debug, Serialize)]
pub struct Survey {
    /// By source.
    pub sources: Vec<SourceSurvey>,
    /// Documents.
    pub documents: u64,
    /// Characters of text.
    pub characters: u64,
    /// Bytes of text.
    pub bytes: u64,
    /// Documents by language (ISO 639-3, or `unclear`).
    pub languages: BTreeMap<String, u64>,
    /// What cleaning with its defaults would do.
    pub clean: CleanReport,
    /// Duplicates.
    pub dedup: DedupReport,
    /// Some of them, near ones first.
    pub duplicates: Vec<Duplicate>,
    /// What lengths count: `tokens` or `words`.
    pub unit: &'static str,
    /// All of them.
    pub total_length: u64,
    /// Documents by length.
    pub lengths: Vec<Bucket>,
    /// Beginnings of documents that cleaning would keep.
    pub examples: Vec<Example>,
}

/// One source.
#[derive(Debug, Serialize)]
pub struct SourceSurvey {
    /// As it was named.
    pub name: String,
    /// Files in it.
    pub files: u64,
    /// Files that were read.
    pub read: u64,
    /// Documents.
    pub documents: u64,
    /// Files, links and records that were left out, each with the reason.
    pub left_out: Vec<String>,
}

/// Documents of at least `from` and fewer than twice as many tokens or words.
#[derive(Debug, Serialize, PartialEq, Eq)]
pub struct Bucket {
    /// The least.
    pub from: u64,
    /// Documents.
    pub documents: u64,
    /// Of the largest bucket, percent.
    pub percent: u64,
}

/// A document.
#[derive(Debug, Serialize)]
pub struct Example {
    /// Its id.
    pub document: String,
    /// Its beginning.
    pub text: String,
}

/// Reads and measures everything.
///
/// # Errors
/// When nothing can be read, or with `strict` not everything.
pub fn survey(request: &SurveyRequest<'_>) -> Result<Survey> {
    let session = request.session;
    let tokenizer = request.tokenizer.map(|location| open_tokenizer(location, session)).transpose()?;
    let (mut sources, mut documents) = (Vec::new(), Vec::new());
    for location in request.sources {
        let path = location.resolve(session)?;
        let (source, found) = read(&path, request)?;
        // Ids are unique within a source only.
        let prefix = if request.sources.len() > 1 { format!("{}: ", source.name) } else { String::new() };
        documents
            .extend(found.into_iter().map(|document| Extracted { id: format!("{prefix}{}", document.id), ..document }));
        sources.push(source);
    }
    if documents.is_empty() {
        let reasons: Vec<&str> =
            sources.iter().flat_map(|source| &source.left_out).take(10).map(String::as_str).collect();
        return Err(Error::Failed(format!("no text was found in any source: {}", reasons.join("; "))));
    }
    let languages = documents.par_iter().map(|document| identify(&document.text).code().to_owned()).collect::<Vec<_>>();
    let mut by_language: BTreeMap<String, u64> = BTreeMap::new();
    languages.into_iter().for_each(|language| *by_language.entry(language).or_default() += 1);
    let lengths = lengths(&documents, tokenizer.as_ref(), session)?;
    let (characters, bytes) = documents.iter().fold((0, 0), |(characters, bytes), d| {
        (characters + d.text.chars().count() as u64, bytes + d.text.len() as u64)
    });
    let count = documents.len() as u64;
    let found = deduplicate(documents.clone(), &DedupSpec::default(), &*session.progress)?;
    let (kept, cleaned) = clean(documents, &CleanSpec::default(), &*session.progress)?;
    let mut duplicates = found.duplicates;
    duplicates
        .sort_by_key(|duplicate| [Kind::Near, Kind::Paragraph, Kind::Exact].iter().position(|k| *k == duplicate.kind));
    duplicates.truncate(SHOWN);
    let step = (kept.len() / SHOWN).max(1);
    let examples = kept
        .iter()
        .step_by(step)
        .take(SHOWN)
        .map(|document| Example { document: document.id.clone(), text: document.text.chars().take(400).collect() });
    Ok(Survey {
        sources,
        documents: count,
        characters,
        bytes,
        languages: by_language,
        clean: cleaned,
        dedup: found.report,
        duplicates,
        unit: if tokenizer.is_some() { "tokens" } else { "words" },
        total_length: lengths.iter().sum(),
        lengths: histogram(&lengths),
        examples: examples.collect(),
    })
}

fn read(path: &Path, request: &SurveyRequest<'_>) -> Result<(SourceSurvey, Vec<Extracted>)> {
    let name = path.display().to_string();
    let discovery = discover(path, request.columns)?;
    let mut report = ExtractReport { left_out: discovery.unknown, ..ExtractReport::default() };
    let mut documents = Vec::new();
    let mut rules = discovery.rules;
    rules.iter_mut().for_each(|rule| rule.bad_files = BadFiles::Skip);
    if !rules.is_empty() {
        let outcome = extract(&name, path, &rules, &*request.session.progress);
        match outcome {
            Ok(extraction) => {
                documents = extraction.documents;
                report.left_out.extend(extraction.report.left_out);
                report.problems = extraction.report.problems;
                report.files_listed = extraction.report.files_listed;
                report.files_read = extraction.report.files_read;
                report.broken = extraction.report.broken;
            }
            // Other sources may have text.
            Err(error @ lore_datasets::Error::EmptyCorpus { .. }) => report.left_out.push(error.to_string()),
            Err(error) => return Err(error.into()),
        }
    }
    refuse_left_out(&name, request.strict, &report)?;
    let more = report.broken.saturating_sub(report.problems.len());
    let more = (more > 0).then(|| format!("and {more} more broken records"));
    let source = SourceSurvey {
        name,
        files: report.files_listed as u64,
        read: report.files_read as u64,
        documents: documents.len() as u64,
        left_out: report.left_out.into_iter().chain(report.problems).chain(more).collect(),
    };
    Ok((source, documents))
}

fn open_tokenizer(location: &Location, session: &Session) -> Result<Tokenizer> {
    let path = location.resolve(session)?;
    if path.extension().is_some_and(|extension| extension == "json") {
        let refused = |error| Error::Failed(format!("{}: it is not a tokenizer: {error}", path.display()));
        return Tokenizer::from_file(&path).map_err(refused);
    }
    Ok(ModelFiles::open(&path)?.tokenizer)
}

/// Tokens of each document, or words where there is no tokenizer.
fn lengths(documents: &[Extracted], tokenizer: Option<&Tokenizer>, session: &Session) -> Result<Vec<u64>> {
    let Some(tokenizer) = tokenizer else {
        return Ok(documents.par_iter().map(|document| document.text.split_whitespace().count() as u64).collect());
    };
    let mut task = session.progress.task("count tokens", Some(documents.len() as u64), Unit::Documents);
    let mut lengths = Vec::with_capacity(documents.len());
    for batch in documents.chunks(256) {
        let counted: Result<Vec<u64>> = batch
            .par_iter()
            .map(|document| match tokenizer.encode_fast(document.text.as_str(), false) {
                Ok(encoding) => Ok(encoding.len() as u64),
                Err(error) => Err(Error::Failed(format!("document `{}`: the tokenizer failed: {error}", document.id))),
            })
            .collect();
        lengths.extend(counted?);
        task.advance(batch.len() as u64);
    }
    task.finish("");
    Ok(lengths)
}

/// Counts by powers of two, without empty ends.
fn histogram(lengths: &[u64]) -> Vec<Bucket> {
    let bucket = |length: u64| length.max(1).ilog2();
    let (Some(low), Some(high)) = (lengths.iter().min(), lengths.iter().max()) else { return Vec::new() };
    let count = |power: u32| lengths.iter().filter(|length| bucket(**length) == power).count() as u64;
    let counted: Vec<(u32, u64)> = (bucket(*low)..=bucket(*high)).map(|power| (power, count(power))).collect();
    let most = counted.iter().map(|(_, count)| *count).max().unwrap_or(1).max(1);
    counted
        .into_iter()
        .map(|(power, documents)| Bucket { from: 1 << power, documents, percent: documents * 100 / most })
        .collect()
}

impl Survey {
    /// The summary for a terminal.
    pub fn lines(&self) -> Vec<String> {
        let mut lines = Vec::new();
        for source in &self.sources {
            lines.push(format!(
                "{}: {} of {} files read, {} documents",
                source.name, source.read, source.files, source.documents
            ));
            lines.extend(source.left_out.iter().map(|reason| format!("  left out: {reason}")));
        }
        lines.push(format!(
            "\n{} documents, {} ({} characters), {} {}",
            self.documents,
            quantity::bytes(self.bytes),
            quantity::count(self.characters),
            quantity::count(self.total_length),
            self.unit
        ));
        lines.push(format!("languages: {}", counts(&self.languages)));
        lines.push(format!(
            "duplicates: {} exact, {} near, {} paragraphs",
            self.dedup.exact, self.dedup.near, self.dedup.paragraphs
        ));
        let or_none = |text: String| if text.is_empty() { "nothing".into() } else { text };
        lines.push(format!("\ncleaning with its defaults would keep {} documents", self.clean.kept));
        lines.push(format!("  documents that break a rule: {}", or_none(counts(&self.clean.broken))));
        lines.push(format!(
            "  lines cut: boilerplate {}; {}",
            self.clean.boilerplate_lines,
            or_none(counts(&self.clean.lines))
        ));
        lines.push(format!("  replaced: {}", or_none(counts(&self.clean.scrubbed))));
        lines.push(format!(
            "  characters: normalised {}, mojibake {}, control {} (documents)",
            self.clean.normalised, self.clean.repaired, self.clean.controls
        ));
        lines.push(format!("\ndocuments by {}", self.unit));
        for bucket in &self.lengths {
            let bar = "█".repeat((bucket.percent as usize * 40).div_ceil(100));
            lines.push(format!("  {:>9}+ {:>8}  {bar}", bucket.from, bucket.documents).trim_end().to_owned());
        }
        for duplicate in self.duplicates.iter().take(5) {
            let Duplicate { kept, dropped, similarity, excerpt, .. } = duplicate;
            lines.push(format!("\n{dropped} repeats {kept} ({:.0} %): {excerpt}", similarity * 100.0));
        }
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_fall_into_powers_of_two() {
        let bucket = |from, documents, percent| Bucket { from, documents, percent };
        assert_eq!(histogram(&[4, 5, 7, 17]), [bucket(4, 3, 100), bucket(8, 0, 0), bucket(16, 1, 33)]);
        assert_eq!(histogram(&[0]), [bucket(1, 1, 100)]);
        assert_eq!(histogram(&[]), []);
    }
}
