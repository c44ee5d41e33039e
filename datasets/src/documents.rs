//! Documents as a table: what extraction found, cleaned, without exact duplicates, each in its split.

use std::collections::{BTreeMap, HashSet};
use std::fs::File;
use std::io::Write;
use std::path::Path;

use polars::prelude::{DataFrame, DataType, ParquetReader, ParquetWriter, SerReader, StringChunked, UInt64Chunked, df};
use sha2::{Digest, Sha256};

use crate::error::{Error, Result};
use crate::extract::Extracted;
use crate::split::{Split, SplitSpec};
use crate::table::TableHasher;

const TEXT_COLUMNS: [&str; 9] = ["id", "group", "title", "text", "source", "license", "topic", "split", "sha256"];
const COUNT_COLUMNS: [&str; 2] = ["chars", "bytes"];

/// Where documents come from; the same for all documents of a corpus.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// The topic's name.
    pub topic: String,
    /// The source, as its URI.
    pub source: String,
    /// An SPDX expression, or the licence in words.
    pub license: String,
}

/// A table of documents with the columns `id`, `group`, `title`, `text`, `source`, `license`, `topic`,
/// `split`, `sha256` (of the text, hexadecimal), `chars` and `bytes` (of the text).
#[derive(Debug, Clone)]
pub struct Documents {
    frame: DataFrame,
}

/// What was left out when the table was made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CleaningReport {
    /// Documents whose text is the same as an earlier one's.
    pub duplicates: usize,
    /// Documents in which nothing was left after cleaning.
    pub empty: usize,
}

/// One document of a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Document<'a> {
    /// Unique within the table.
    pub id: &'a str,
    /// What it is split by.
    pub group: &'a str,
    /// May be empty.
    pub title: &'a str,
    /// The text.
    pub text: &'a str,
}

/// Sizes of one split.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SplitSummary {
    /// Which one.
    pub split: Split,
    /// Documents in it.
    pub documents: u64,
    /// Groups in it.
    pub groups: u64,
    /// Characters (Unicode scalar values) of text.
    pub chars: u64,
    /// Bytes of text in UTF-8.
    pub bytes: u64,
}

impl Documents {
    /// Cleans the texts, drops exact duplicates (the first is kept) and assigns the splits.
    ///
    /// # Errors
    /// A split that is declared wrongly.
    pub fn build(extracted: Vec<Extracted>, origin: &Origin, split: &SplitSpec) -> Result<(Self, CleaningReport)> {
        split.validate()?;
        let documents = extracted.into_iter().map(|document| {
            let split = split.assign(&document.group);
            (document, split)
        });
        Ok(Self::assemble(documents, origin))
    }

    /// A table of documents whose splits are given.
    pub fn assemble(
        documents: impl IntoIterator<Item = (Extracted, Split)>,
        origin: &Origin,
    ) -> (Self, CleaningReport) {
        let mut report = CleaningReport::default();
        let mut seen = HashSet::new();
        let mut columns: [Vec<String>; 6] = Default::default();
        let (mut chars, mut bytes) = (Vec::new(), Vec::new());
        for (document, split) in documents {
            let text = clean(&document.text);
            if text.is_empty() {
                report.empty += 1;
                continue;
            }
            let digest: [u8; 32] = Sha256::digest(text.as_bytes()).into();
            if !seen.insert(digest) {
                report.duplicates += 1;
                continue;
            }
            chars.push(text.chars().count() as u64);
            bytes.push(text.len() as u64);
            let split = split.name().to_owned();
            let row = [document.id, document.group, document.title, text, split, hex(&digest)];
            columns.iter_mut().zip(row).for_each(|(column, value)| column.push(value));
        }
        let [id, group, title, text, split, sha256] = columns;
        let same = |value: &str| vec![value.to_owned(); id.len()];
        let (source, license, topic) = (same(&origin.source), same(&origin.license), same(&origin.topic));
        let frame = df!(
            "id" => id, "group" => group, "title" => title, "text" => text, "source" => source, "license" => license,
            "topic" => topic, "split" => split, "sha256" => sha256, "chars" => chars, "bytes" => bytes,
        )
        .expect("the columns are equally long and differently named");
        (Self { frame }, report)
    }

    /// The table itself.
    pub fn frame(&self) -> &DataFrame {
        &self.frame
    }

    /// How many documents there are.
    pub fn len(&self) -> usize {
        self.frame.height()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The documents of a split, in the order of the table.
    pub fn split(&self, split: Split) -> Vec<Document<'_>> {
        let [id, group, title, text, splits] = ["id", "group", "title", "text", "split"].map(|name| self.texts(name));
        (0..self.len())
            .filter(|&row| splits.get(row) == Some(split.name()))
            .map(|row| Document {
                id: id.get(row).unwrap_or_default(),
                group: group.get(row).unwrap_or_default(),
                title: title.get(row).unwrap_or_default(),
                text: text.get(row).unwrap_or_default(),
            })
            .collect()
    }

    /// Sizes of the splits that have documents, training first.
    pub fn summary(&self) -> Vec<SplitSummary> {
        let [splits, groups] = ["split", "group"].map(|name| self.texts(name));
        let [chars, bytes] = COUNT_COLUMNS.map(|name| numbers(&self.frame, name));
        let mut summaries: BTreeMap<Split, (SplitSummary, HashSet<&str>)> = BTreeMap::new();
        for row in 0..self.len() {
            let Some(split) = splits.get(row).and_then(|name| name.parse().ok()) else { continue };
            let nothing = SplitSummary { split, documents: 0, groups: 0, chars: 0, bytes: 0 };
            let (summary, seen) = summaries.entry(split).or_insert_with(|| (nothing, HashSet::new()));
            seen.insert(groups.get(row).unwrap_or_default());
            summary.documents += 1;
            summary.groups = seen.len() as u64;
            summary.chars += chars.get(row).unwrap_or_default();
            summary.bytes += bytes.get(row).unwrap_or_default();
        }
        summaries.into_values().map(|(summary, _)| summary).collect()
    }

    /// SHA-256, hexadecimal, over id, split and text hash of every document in order: what a stage that
    /// reads these documents depends on.
    pub fn hash(&self) -> String {
        let mut hasher = TableHasher::default();
        let columns = ["id", "split", "sha256"].map(|name| self.texts(name));
        for row in 0..self.len() {
            hasher.row(columns.map(|values| values.get(row).unwrap_or_default()));
        }
        hasher.finish()
    }

    /// Writes the table as Parquet, atomically.
    ///
    /// # Errors
    /// What kept the file from being written.
    pub fn write(&self, path: &Path) -> Result<()> {
        let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        std::fs::create_dir_all(folder).map_err(|e| Error::io(folder, e))?;
        // In memory first: Parquet's errors do not tell a full disk from anything else.
        let mut bytes = Vec::new();
        ParquetWriter::new(&mut bytes)
            .finish(&mut self.frame.clone())
            .map_err(|e| Error::Documents { path: path.to_owned(), problem: format!("it cannot be written: {e}") })?;
        let mut file = crate::whole::beside(folder).map_err(|e| Error::io(folder, e))?;
        file.write_all(&bytes).map_err(|e| Error::io(path, e))?;
        file.as_file().sync_all().map_err(|e| Error::io(path, e))?;
        file.persist(path).map_err(|e| Error::io(path, e.error))?;
        Ok(())
    }

    /// Reads a table that [`write`](Self::write) wrote.
    ///
    /// # Errors
    /// A file that is not Parquet, lacks columns, has empty cells, or names an unknown split.
    pub fn read(path: &Path) -> Result<Self> {
        let problem = |problem: String| Error::Documents { path: path.to_owned(), problem };
        let file = File::open(path).map_err(|e| Error::io(path, e))?;
        let frame =
            ParquetReader::new(file).finish().map_err(|e| problem(format!("it is not readable as Parquet: {e}")))?;
        let mut problems = Vec::new();
        for (names, kind) in [(&TEXT_COLUMNS[..], DataType::String), (&COUNT_COLUMNS[..], DataType::UInt64)] {
            for name in names {
                match frame.column(name) {
                    Err(_) => problems.push(format!("no column `{name}`")),
                    Ok(column) if *column.dtype() != kind => {
                        problems.push(format!("column `{name}` is {} instead of {kind}", column.dtype()));
                    }
                    Ok(column) if column.null_count() > 0 => problems.push(format!("column `{name}` has empty cells")),
                    Ok(_) => {}
                }
            }
        }
        if !problems.is_empty() {
            return Err(problem(format!("it is not a table of documents: {}", problems.join("; "))));
        }
        let documents = Self { frame };
        let unknown = documents.texts("split").iter().flatten().find_map(|name| name.parse::<Split>().err());
        unknown.map_or(Ok(documents), |unknown| Err(problem(unknown)))
    }

    fn texts(&self, name: &str) -> &StringChunked {
        column(&self.frame, name).str().expect("a text column, checked when the table was made")
    }
}

fn column<'a>(frame: &'a DataFrame, name: &str) -> &'a polars::prelude::Column {
    frame.column(name).expect("a column of every table of documents")
}

fn numbers<'a>(frame: &'a DataFrame, name: &str) -> &'a UInt64Chunked {
    column(frame, name).u64().expect("a column of counts")
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Line ends as `\n`, every other Unicode space as a plain space, control and invisible formatting
/// characters removed, no spaces at line ends, no blank lines at the ends.
pub fn clean(text: &str) -> String {
    let mut cleaned = String::with_capacity(text.len());
    let mut characters = text.chars().peekable();
    while let Some(c) = characters.next() {
        match c {
            '\r' if characters.peek() == Some(&'\n') => {}
            '\n' | '\r' | '\u{2028}' | '\u{2029}' | '\u{85}' | '\u{c}' => {
                cleaned.truncate(cleaned.trim_end_matches(' ').len());
                cleaned.push('\n');
            }
            // Soft hyphen, zero-width space, byte order mark, direction marks.
            '\u{ad}' | '\u{200b}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}' | '\u{feff}' => {}
            c if c.is_whitespace() => cleaned.push(' '),
            c if c.is_control() => {}
            c => cleaned.push(c),
        }
    }
    cleaned.trim_matches([' ', '\n']).to_owned()
}
