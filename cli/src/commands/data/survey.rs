//! What texts are like, measured.

use std::collections::BTreeMap;
use std::path::Path;

use lore_datasets::clean::{CleanReport, CleanSpec, clean_corpus};
use lore_datasets::dedup::{DedupReport, DedupSpec, Duplicate, Kind, deduplicate_corpus};
use lore_datasets::extract::{BadFiles, Discovery, ExtractReport, Extracted, Format, discover, extract_into};
use lore_datasets::spool::{Corpus, Sink, SpoolWriter};
use lore_datasets::tokenise::Encoder;
use lore_model::files::ModelFiles;
use serde::Serialize;
use tokenizers::Tokenizer;

use super::built::{self, Built};
use super::measure::{Bucket, histogram, measure};
use crate::error::{Error, Result};
use crate::location::Location;
use crate::session::Session;
use crate::stages::topic::refuse_left_out;

/// Duplicates and documents that are shown.
pub const SHOWN: usize = 20;

/// What to look at.
pub struct SurveyRequest<'a> {
    /// Files, folders, sources.
    pub sources: &'a [Location],
    /// Fields that hold the text; none means the usual ones.
    pub columns: &'a [String],
    /// Counts tokens.
    pub tokenizer: Option<&'a Location>,
    /// Text files are cut at headings up to this level; none means that they are documents whole.
    pub split_headings: Option<u8>,
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
    /// Documents by licence, as their records name it; `not stated` for the others.
    pub licenses: BTreeMap<String, u64>,
    /// Documents that are much longer than others and have headings to cut them at.
    pub to_split: u64,
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
    /// What `lore data build` said, if it wrote this.
    pub built: Option<Built>,
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
    let mut places = Vec::new();
    for location in request.sources {
        let path = location.resolve(session)?;
        let folders = built::folders(&path)?;
        if folders.is_empty() {
            places.push((path, false));
        }
        places.extend(folders.into_iter().map(|folder| (folder, true)));
    }
    for (path, is_built) in &places {
        // Ids are unique within a source only.
        let prefix = if places.len() > 1 { format!("{}: ", path.display()) } else { String::new() };
        sources.push(read(path, *is_built, request, &mut Prefixed { prefix, documents: &mut documents })?);
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
        licenses: measured.licenses,
        to_split: measured.to_split,
        clean: cleaned,
        dedup,
        duplicates: duplicates.into_iter().flat_map(|(_, found)| found).take(SHOWN).collect(),
        unit: if encoder.is_some() { "tokens" } else { "words" },
        total_length: measured.total_length,
        lengths: histogram(&measured.lengths),
        examples: examples.collect::<Result<_>>()?,
    })
}

/// Puts a prefix before the id of every document, whose group is its licence.
struct Prefixed<'a> {
    prefix: String,
    documents: &'a mut SpoolWriter,
}

impl Sink for Prefixed<'_> {
    fn push(&mut self, mut document: Extracted) -> lore_datasets::Result<()> {
        // A record that names none is its own group, whose id may have got a number since.
        let number = document.id.strip_prefix(&document.group);
        if number.is_some_and(|number| number.is_empty() || number.starts_with('~')) {
            document.group.clear();
        }
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

fn read(
    path: &Path,
    is_built: bool,
    request: &SurveyRequest<'_>,
    documents: &mut Prefixed<'_>,
) -> Result<SourceSurvey> {
    let name = path.display().to_string();
    let (files, discovery) = match built::texts(path).filter(|_| is_built) {
        Some((file, rule)) => (file, Discovery { rules: vec![rule], ..Discovery::default() }),
        None => (path.to_owned(), discover(path, request.columns)?),
    };
    let mut report = ExtractReport { left_out: discovery.unknown, ..ExtractReport::default() };
    let before = documents.taken();
    let mut rules = discovery.rules;
    for rule in &mut rules {
        rule.bad_files = BadFiles::Skip;
        rule.max_document_bytes = request.max_document_bytes;
        if let (Format::Text { split_headings }, Some(level)) = (&mut rule.format, request.split_headings) {
            *split_headings = level;
        }
        if !rule.columns.is_empty() {
            rule.group = Some(built::LICENSE.into());
        }
    }
    if !rules.is_empty() {
        match extract_into(&name, &files, &rules, documents, &*request.session.progress) {
            Ok(extracted) => {
                let left_out = std::mem::take(&mut report.left_out);
                report = extracted;
                report.left_out.splice(0..0, left_out);
            }
            // Other sources may have text.
            Err(error @ (lore_datasets::Error::EmptyCorpus { .. } | lore_datasets::Error::NoFile { .. })) => {
                report.left_out.push(error.to_string())
            }
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
        built: is_built.then(|| built::read(path)).transpose()?.flatten(),
    })
}

fn open_tokenizer(location: &Location, session: &Session) -> Result<Tokenizer> {
    let path = location.resolve(session)?;
    if path.extension().is_some_and(|extension| extension == "json") {
        let refused = |error| Error::Failed(format!("{}: it is not a tokenizer: {error}", path.display()));
        return Tokenizer::from_file(&path).map_err(refused);
    }
    Ok(ModelFiles::open(&path)?.tokenizer)
}
