//! `lore data inspect`: what is in texts.

use std::path::PathBuf;

use lore_datasets::extract::MAX_DOCUMENT_BYTES;

use super::page::{folder_of, write_page};
use super::survey::{SurveyRequest, survey};
use crate::error::{Error, Result};
use crate::location::Location;
use crate::session::Session;

/// Show what is in texts: sizes, languages, quality, personal data, duplicates
///
/// Files are read by the endings of their names: txt, md, html, json (a list), jsonl, csv, tsv and parquet,
/// also with .gz or .zst. A file that cannot be read is named with the reason, and the rest is shown. Of what
/// `lore data build` or `lore data synth` wrote, it also shows what was dropped.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  lore data inspect texts/ notes.jsonl.gz
  lore data inspect texts/ --tokenizer runs/quickstart/base --html texts.html
  lore data inspect data/us-history --html us-history.html
  lore data inspect hf:datasets/owner/repo/train.parquet --column content")]
pub struct InspectArguments {
    /// Files, folders, or sources of them
    #[arg(value_name = "PATH|SOURCE", required = true)]
    sources: Vec<Location>,
    /// Field of records that holds the text [default: text, content, body, document, ...]
    #[arg(long = "column", value_name = "NAME")]
    columns: Vec<String>,
    /// Take the sections of text files under headings (#) up to this level, instead of whole files
    #[arg(long, value_name = "LEVEL", value_parser = clap::value_parser!(u8).range(1..=6))]
    split_headings: Option<u8>,
    /// Count tokens with this tokenizer: a model, or a tokenizer.json
    #[arg(long, value_name = "FILE|DIR")]
    tokenizer: Option<Location>,
    /// Write a page that shows it all
    #[arg(long, value_name = "FILE.html")]
    html: Option<PathBuf>,
    /// Leave out texts of more bytes
    #[arg(long, value_name = "N", default_value_t = MAX_DOCUMENT_BYTES, value_parser = clap::value_parser!(u64).range(1..=1 << 30))]
    max_document_bytes: u64,
    /// Stop if anything is left out: a file, a link or a record
    #[arg(long)]
    strict: bool,
}

/// Inspects; the summary goes to stdout.
///
/// # Errors
/// When nothing can be read, or with `--strict` not everything.
pub fn inspect(arguments: &InspectArguments, session: &Session) -> Result<()> {
    if let Some(path) = &arguments.html
        && !folder_of(path).is_dir()
    {
        let folder = folder_of(path).display();
        return Err(Error::Usage(format!(
            "--html {}: the directory {folder} does not exist; create it first",
            path.display()
        )));
    }
    let request = SurveyRequest {
        sources: &arguments.sources,
        columns: &arguments.columns,
        tokenizer: arguments.tokenizer.as_ref(),
        split_headings: arguments.split_headings,
        max_document_bytes: Some(arguments.max_document_bytes),
        strict: arguments.strict,
        session,
    };
    let survey = survey(&request)?;
    for line in survey.lines() {
        println!("{line}");
    }
    if let Some(path) = &arguments.html {
        write_page(&survey, path)?;
        session.progress.note(&format!("page: {}", path.display()));
    }
    Ok(())
}
