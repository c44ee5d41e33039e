//! Rules for files that nobody declared: by the endings of their names.

use std::collections::BTreeMap;
use std::path::Path;

use super::container::Container;
use super::{BadFiles, ExtractSpec, Format, Layout};
use crate::error::Result;

/// Fields that usually hold the text, in the order they are looked for.
pub const TEXT_FIELDS: [&str; 7] = ["text", "content", "body", "document", "article", "passage", "paragraph"];

/// Rules for all files under a path, and what there is no rule for.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Discovery {
    /// One rule for each ending that is known.
    pub rules: Vec<ExtractSpec>,
    /// Files of other kinds, each with what was done.
    pub unknown: Vec<String>,
}

/// Makes rules for the files of a file, folder or archive: `txt`, `md`, `html`, `json` (a list), `jsonl`,
/// `csv`, `tsv` and `parquet`, also compressed (`gz`, `zst`). `columns` names the fields that may hold the
/// text of a record; none means [`TEXT_FIELDS`]. Files that cannot be read are reported and left out.
///
/// # Errors
/// A path that cannot be listed.
pub fn discover(path: &Path, columns: &[String]) -> Result<Discovery> {
    let container = Container::open(path)?;
    let mut endings: BTreeMap<&str, Format> = BTreeMap::new();
    let mut discovery = Discovery::default();
    for name in &container.names {
        let file = name.rsplit('/').next().unwrap_or(name);
        match ending(file).and_then(|ending| Some((ending, format(ending)?))) {
            Some((ending, format)) => {
                endings.insert(ending, format);
            }
            None => discovery.unknown.push(format!("{name}: not a kind of text that is known")),
        }
    }
    let columns: Vec<String> =
        if columns.is_empty() { TEXT_FIELDS.map(str::to_owned).to_vec() } else { columns.to_vec() };
    for (ending, format) in endings {
        let records = !matches!(format, Format::Text { .. } | Format::Html | Format::Markdown);
        discovery.rules.push(ExtractSpec {
            files: vec![format!("**/*.{ending}")],
            format,
            id: None,
            group: None,
            title: None,
            text: None,
            columns: if records { columns.clone() } else { Vec::new() },
            layout: Some(Layout::Lines),
            min_chars: 1,
            max_document_bytes: None,
            max_documents: None,
            bad_files: BadFiles::Skip,
        });
    }
    Ok(discovery)
}

/// `jsonl.gz` of `a.b.jsonl.gz`.
fn ending(file: &str) -> Option<&str> {
    let plain = strip_compression(file);
    let at = plain.rfind('.').filter(|at| *at > 0)?;
    let ending = &file[at + 1..];
    // Others cannot be written as a pattern.
    (!ending.is_empty() && ending.chars().all(|c| c.is_ascii_alphanumeric() || c == '.')).then_some(ending)
}

fn strip_compression(name: &str) -> &str {
    name.strip_suffix(".gz").or_else(|| name.strip_suffix(".zst")).unwrap_or(name)
}

fn format(ending: &str) -> Option<Format> {
    Some(match strip_compression(ending).to_ascii_lowercase().as_str() {
        "txt" | "text" => Format::Text { split_headings: 0 },
        "md" | "markdown" => Format::Markdown,
        "html" | "htm" | "xhtml" => Format::Html,
        "json" => Format::Json { records: "/*".into() },
        "jsonl" | "ndjson" => Format::Jsonl,
        "csv" => Format::Csv { delimiter: b',' },
        "tsv" => Format::Csv { delimiter: b'\t' },
        "parquet" => Format::Parquet,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endings_name_formats() {
        assert_eq!(ending("a.b.jsonl.gz"), Some("jsonl.gz"));
        assert_eq!(format("jsonl.gz"), Some(Format::Jsonl));
        assert_eq!(format("TXT.zst"), Some(Format::Text { split_headings: 0 }));
        assert_eq!((ending("Makefile"), ending(".hidden"), format("bin")), (None, None, None));
    }
}
