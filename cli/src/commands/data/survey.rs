//! What texts are like, measured.

use std::collections::BTreeMap;
use std::path::Path;

use lore_datasets::clean::{CleanReport, CleanSpec, clean_corpus, identify};
use lore_datasets::dedup::{DedupReport, DedupSpec, Duplicate, Kind, deduplicate_corpus};
use lore_datasets::extract::{BadFiles, ExtractReport, Extracted, discover, extract_into};
use lore_datasets::progress::{Progress, Unit};
use lore_datasets::spool::{Corpus, Sink, Spool, SpoolWriter};
use lore_datasets::tokenise::Encoder;
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
    /// Longer texts are left out; none means 16 MiB.
    pub max_document_bytes: Option<u64>,
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

/// Reads and measures everything. Documents lie in temporary files meanwhile, so that they may be more than fit in
/// memory.
///
/// # Errors
/// When nothing can be read, or with `strict` not everything.
pub fn survey(request: &SurveyRequest<'_>) -> Result<Survey> {
    let session = request.session;
    let progress = &*session.progress;
    let encoder = request.tokenizer.map(|location| open_tokenizer(location, session)).transpose()?;
    let encoder = encoder.as_ref().map(Encoder::new);
    let mut sources = Vec::new();
    let mut documents = SpoolWriter::create(&std::env::temp_dir())?;
    for location in request.sources {
        let path = location.resolve(session)?;
        // Ids are unique within a source only.
        let prefix = if request.sources.len() > 1 { format!("{}: ", path.display()) } else { String::new() };
        sources.push(read(&path, request, &mut Prefixed { prefix, documents: &mut documents })?);
    }
    if documents.taken() == 0 {
        let reasons: Vec<&str> =
            sources.iter().flat_map(|source| &source.left_out).take(10).map(String::as_str).collect();
        return Err(Error::Failed(format!("no text was found in any source: {}", reasons.join("; "))));
    }
    let documents = documents.finish()?;
    let measured = measure(&documents, encoder.as_ref(), progress)?;
    let mut duplicates = [Kind::Near, Kind::Paragraph, Kind::Exact].map(|kind| (kind, Vec::new()));
    let corpus = Corpus::new(documents.again()?);
    let (_, dedup) = deduplicate_corpus(corpus, &DedupSpec::default(), progress, &mut |duplicate| {
        let of_kind = duplicates.iter_mut().find(|(kind, found)| *kind == duplicate.kind && found.len() < SHOWN);
        if let Some((_, found)) = of_kind {
            found.push(duplicate);
        }
        Ok(())
    })?;
    let (count, bytes) = (documents.len(), documents.text_bytes());
    let (kept, cleaned) = clean_corpus(documents, &CleanSpec::default(), progress)?;
    let step = (kept.len() / SHOWN as u64).max(1);
    let examples = (0..kept.len()).step_by(step as usize).take(SHOWN).map(|number| {
        let document = kept.get(number)?;
        Ok(Example { document: document.id, text: document.text.chars().take(400).collect() })
    });
    Ok(Survey {
        sources,
        documents: count,
        characters: measured.characters,
        bytes,
        languages: measured.languages,
        clean: cleaned,
        dedup,
        duplicates: duplicates.into_iter().flat_map(|(_, found)| found).take(SHOWN).collect(),
        unit: if encoder.is_some() { "tokens" } else { "words" },
        total_length: measured.total_length,
        lengths: histogram(&measured.lengths),
        examples: examples.collect::<Result<_>>()?,
    })
}

/// Puts a prefix before the id of every document.
struct Prefixed<'a> {
    prefix: String,
    documents: &'a mut SpoolWriter,
}

impl Sink for Prefixed<'_> {
    fn push(&mut self, mut document: Extracted) -> lore_datasets::Result<()> {
        document.id.insert_str(0, &self.prefix);
        self.documents.push(document)
    }

    fn taken(&self) -> u64 {
        self.documents.taken()
    }

    fn forget(&mut self, count: u64) -> lore_datasets::Result<()> {
        self.documents.forget(count)
    }
}

fn read(path: &Path, request: &SurveyRequest<'_>, documents: &mut Prefixed<'_>) -> Result<SourceSurvey> {
    let name = path.display().to_string();
    let discovery = discover(path, request.columns)?;
    let mut report = ExtractReport { left_out: discovery.unknown, ..ExtractReport::default() };
    let before = documents.taken();
    let mut rules = discovery.rules;
    rules.iter_mut().for_each(|rule| {
        rule.bad_files = BadFiles::Skip;
        rule.max_document_bytes = request.max_document_bytes;
    });
    if !rules.is_empty() {
        match extract_into(&name, path, &rules, documents, &*request.session.progress) {
            Ok(extracted) => {
                let left_out = std::mem::take(&mut report.left_out);
                report = extracted;
                report.left_out.splice(0..0, left_out);
            }
            // Other sources may have text.
            Err(error @ lore_datasets::Error::EmptyCorpus { .. }) => report.left_out.push(error.to_string()),
            Err(error) => return Err(error.into()),
        }
    }
    refuse_left_out(&name, request.strict, &report)?;
    let more = report.broken.saturating_sub(report.problems.len());
    let more = (more > 0).then(|| format!("and {more} more broken records"));
    let without_text = (report.short > 0).then(|| format!("records without text: {}", report.short));
    Ok(SourceSurvey {
        name,
        files: report.files_listed as u64,
        read: report.files_read as u64,
        documents: documents.taken() - before,
        left_out: report.left_out.into_iter().chain(report.problems).chain(more).chain(without_text).collect(),
    })
}

/// Sums over all documents.
#[derive(Default)]
struct Measured {
    languages: BTreeMap<String, u64>,
    characters: u64,
    total_length: u64,
    /// Documents by the logarithm of their length to base 2.
    lengths: BTreeMap<u32, u64>,
}

/// Languages and lengths: tokens of each document, or words where there is no encoder.
fn measure(documents: &Spool, encoder: Option<&Encoder>, progress: &dyn Progress) -> Result<Measured> {
    let mut measured = Measured::default();
    let mut task = progress.task("measure", Some(documents.len()), Unit::Documents);
    for batch in documents.batches() {
        let found: Vec<(String, u64, u64)> = batch?
            .documents
            .par_iter()
            .map(|Extracted { id, text, .. }| {
                let length = match encoder {
                    Some(encoder) => encoder.encode(id, text)?.len(),
                    None => text.split_whitespace().count(),
                };
                Ok((identify(text).code().to_owned(), text.chars().count() as u64, length as u64))
            })
            .collect::<Result<_>>()?;
        task.advance(found.len() as u64);
        for (language, characters, length) in found {
            *measured.languages.entry(language).or_default() += 1;
            measured.characters += characters;
            measured.total_length += length;
            *measured.lengths.entry(length.max(1).ilog2()).or_default() += 1;
        }
    }
    task.finish("");
    Ok(measured)
}

fn open_tokenizer(location: &Location, session: &Session) -> Result<Tokenizer> {
    let path = location.resolve(session)?;
    if path.extension().is_some_and(|extension| extension == "json") {
        let refused = |error| Error::Failed(format!("{}: it is not a tokenizer: {error}", path.display()));
        return Tokenizer::from_file(&path).map_err(refused);
    }
    Ok(ModelFiles::open(&path)?.tokenizer)
}

/// Counts by powers of two, without empty ends.
fn histogram(lengths: &BTreeMap<u32, u64>) -> Vec<Bucket> {
    let (Some((low, _)), Some((high, _))) = (lengths.first_key_value(), lengths.last_key_value()) else {
        return Vec::new();
    };
    let most = lengths.values().copied().max().unwrap_or(1).max(1);
    (*low..=*high)
        .map(|power| {
            let documents = lengths.get(&power).copied().unwrap_or_default();
            Bucket { from: 1 << power, documents, percent: documents * 100 / most }
        })
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
        assert_eq!(histogram(&[(2, 3), (4, 1)].into()), [bucket(4, 3, 100), bucket(8, 0, 0), bucket(16, 1, 33)]);
        assert_eq!(histogram(&[(0, 1)].into()), [bucket(1, 1, 100)]);
        assert_eq!(histogram(&BTreeMap::new()), []);
    }
}
