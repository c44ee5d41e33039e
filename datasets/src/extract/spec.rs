//! The declaration of how documents come out of a source.

use serde::{Deserialize, Serialize};

/// One rule: which files, how they are read, and the templates that make a document of each record.
///
/// A topic may have several rules over the same source; each adds its documents. Templates are
/// [minijinja](https://docs.rs/minijinja) and see:
///
/// | name | what it holds |
/// |---|---|
/// | `record` | the record: object, row, element or `{text, heading, headings}` |
/// | `root` | the whole JSON file (format `json` only) |
/// | `key` | the last path step that led to the record: an object key or an index |
/// | `file`, `stem`, `folder` | path inside the source, its last part without extension, its folder's name |
/// | `number` | the record's number within its file, from 0 |
/// | `column` | the field of `columns` that was found |
///
/// What is missing is empty, never an error. The filters are those of minijinja and
/// [these](super::filters).
///
/// ```
/// let rule: lore_datasets::extract::ExtractSpec = serde_json::from_str(r#"{
///     "format": "json", "files": ["data/*/??.json"], "records": "/articles/*",
///     "id": "{{ stem }}/{{ key }}", "group": "{{ stem }}",
///     "title": "{{ record.headline | plain }}", "text": "{{ record.body | plain }}",
///     "min_chars": 100
/// }"#)?;
/// assert_eq!(rule.min_chars, 100);
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Declared", into = "Declared")]
pub struct ExtractSpec {
    /// Patterns of file names inside the source ([`Glob`](super::Glob)); none means every file.
    pub files: Vec<String>,
    /// How a file is read, with what only that format needs.
    pub format: Format,
    /// Template of the id, unique within the corpus. Default: `{{ file }}#{{ number }}`.
    pub id: Option<String>,
    /// Template of the split key: documents of one group land in the same split. Default: the id.
    pub group: Option<String>,
    /// Template of the title. Default: for format `text` the headings above the section and its own, `A > B`; for `html`
    /// and `markdown` the title; empty for others.
    pub title: Option<String>,
    /// Template of the text. Default: `{{ record }}`, or `{{ record.text }}` for formats `text`, `html` and
    /// `markdown`.
    pub text: Option<String>,
    /// Fields that hold the text, instead of a template: the first that a record has. A file of which no
    /// record has any cannot be read as declared.
    pub columns: Vec<String>,
    /// What a line break in the rendered text means. Default: `paragraphs`, or `lines` for format `text`.
    pub layout: Option<Layout>,
    /// Texts of fewer characters are left out.
    pub min_chars: usize,
    /// Longer texts are left out, and no more of one than this is ever in memory. Default: 16 MiB.
    pub max_document_bytes: Option<u64>,
    /// Stop after this many documents of this rule.
    pub max_documents: Option<usize>,
    /// What to do about a file that cannot be read as declared.
    pub bad_files: BadFiles,
}

/// Bytes of text a document may have, unless a rule says otherwise.
pub const MAX_DOCUMENT_BYTES: u64 = 16 << 20;
/// The most a rule may say.
const MOST_DOCUMENT_BYTES: u64 = 1 << 30;

impl ExtractSpec {
    /// Bytes of text a document may have.
    pub fn max_document_bytes(&self) -> u64 {
        self.max_document_bytes.unwrap_or(MAX_DOCUMENT_BYTES)
    }
}

/// How a file is read.
#[derive(Debug, Clone, PartialEq)]
pub enum Format {
    /// One JSON value per file; the records are what the path leads to.
    Json {
        /// A JSON pointer (RFC 6901) in which a step `*` means every entry. Empty: the whole file.
        records: String,
    },
    /// One JSON value per line.
    Jsonl,
    /// Elements of an XML file. Namespaces are ignored.
    Xml {
        /// The element's name, or its last path steps such as `Weaknesses/Weakness`.
        record: String,
    },
    /// Rows of one SELECT on an SQLite database, opened read-only.
    Sqlite {
        /// The SELECT. Order the rows, so that the documents are in a known order.
        query: String,
        /// Columns that hold JSON, shown to the templates as values.
        json_columns: Vec<String>,
    },
    /// Rows of a file with a header line, RFC 4180.
    Csv {
        /// The separator, one ASCII character.
        delimiter: u8,
    },
    /// Rows of a Parquet file.
    Parquet,
    /// The file itself.
    Text {
        /// Cut at Markdown headings (`#` to `######`) up to this level; 0 keeps the file whole.
        split_headings: u8,
    },
    /// A whole HTML page: its title and text, without navigation and scripts.
    Html,
    /// A whole Markdown file: its first heading and its text, without marks.
    Markdown,
}

/// What a line break in a rendered text means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Layout {
    /// Blank lines separate paragraphs; within one, white space is folded to single spaces.
    Paragraphs,
    /// Line breaks are kept; white space within a line is folded, runs of blank lines become one.
    Lines,
}

/// What to do about a file that cannot be read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BadFiles {
    /// Fail, naming all of them.
    #[default]
    Stop,
    /// Report them and go on.
    Skip,
}

#[derive(Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Declared {
    #[serde(default)]
    files: Vec<String>,
    format: FormatName,
    #[serde(skip_serializing_if = "Option::is_none")]
    records: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    record: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    query: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    json_columns: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    delimiter: Option<char>,
    #[serde(skip_serializing_if = "Option::is_none")]
    split_headings: Option<u8>,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    group: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    title: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    columns: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    layout: Option<Layout>,
    #[serde(default = "one")]
    min_chars: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_document_bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_documents: Option<usize>,
    #[serde(default)]
    bad_files: BadFiles,
}

#[derive(Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum FormatName {
    #[default]
    Json,
    Jsonl,
    Xml,
    Sqlite,
    Csv,
    Parquet,
    Text,
    Html,
    Markdown,
}

fn one() -> usize {
    1
}

impl TryFrom<Declared> for ExtractSpec {
    type Error = String;

    fn try_from(d: Declared) -> Result<Self, String> {
        let given = [
            ("records", d.records.is_some(), FormatName::Json, "json"),
            ("record", d.record.is_some(), FormatName::Xml, "xml"),
            ("query", d.query.is_some(), FormatName::Sqlite, "sqlite"),
            ("json_columns", d.json_columns.is_some(), FormatName::Sqlite, "sqlite"),
            ("delimiter", d.delimiter.is_some(), FormatName::Csv, "csv"),
            ("split_headings", d.split_headings.is_some(), FormatName::Text, "text"),
        ];
        let mut problems: Vec<String> = given
            .iter()
            .filter(|(_, present, format, _)| *present && *format != d.format)
            .map(|(key, _, _, name)| format!("`{key}` belongs to format \"{name}\""))
            .collect();
        let format = match d.format {
            FormatName::Json => Format::Json { records: d.records.unwrap_or_default() },
            FormatName::Jsonl => Format::Jsonl,
            FormatName::Xml => {
                if d.record.is_none() {
                    problems.push("format \"xml\" needs `record`, the name of the elements to take".into());
                }
                Format::Xml { record: d.record.unwrap_or_default() }
            }
            FormatName::Sqlite => {
                if d.query.is_none() {
                    problems.push("format \"sqlite\" needs `query`, a SELECT".into());
                }
                Format::Sqlite { query: d.query.unwrap_or_default(), json_columns: d.json_columns.unwrap_or_default() }
            }
            FormatName::Csv => {
                let delimiter = d.delimiter.unwrap_or(',');
                if !delimiter.is_ascii() {
                    problems.push(format!("`delimiter` is one ASCII character, not `{delimiter}`"));
                }
                Format::Csv { delimiter: u8::try_from(delimiter).unwrap_or(b',') }
            }
            FormatName::Parquet => Format::Parquet,
            FormatName::Text => Format::Text { split_headings: d.split_headings.unwrap_or(0) },
            FormatName::Html => Format::Html,
            FormatName::Markdown => Format::Markdown,
        };
        if !d.columns.is_empty() && d.text.is_some() {
            problems.push("`text` and `columns` both say what the text is: give one of them".into());
        }
        if let Some(bytes) = d.max_document_bytes.filter(|bytes| !(1..=MOST_DOCUMENT_BYTES).contains(bytes)) {
            problems.push(format!("`max_document_bytes` is {bytes}, but 1 to {MOST_DOCUMENT_BYTES} are possible"));
        }
        if !problems.is_empty() {
            return Err(problems.join("; "));
        }
        Ok(Self {
            files: d.files,
            format,
            id: d.id,
            group: d.group,
            title: d.title,
            text: d.text,
            columns: d.columns,
            layout: d.layout,
            min_chars: d.min_chars,
            max_document_bytes: d.max_document_bytes,
            max_documents: d.max_documents,
            bad_files: d.bad_files,
        })
    }
}

impl From<ExtractSpec> for Declared {
    fn from(spec: ExtractSpec) -> Self {
        let mut d = Self {
            files: spec.files,
            id: spec.id,
            group: spec.group,
            title: spec.title,
            text: spec.text,
            columns: spec.columns,
            layout: spec.layout,
            min_chars: spec.min_chars,
            max_document_bytes: spec.max_document_bytes,
            max_documents: spec.max_documents,
            bad_files: spec.bad_files,
            ..Self::default()
        };
        match spec.format {
            Format::Json { records } => d.records = Some(records),
            Format::Jsonl => d.format = FormatName::Jsonl,
            Format::Xml { record } => {
                d.format = FormatName::Xml;
                d.record = Some(record);
            }
            Format::Sqlite { query, json_columns } => {
                d.format = FormatName::Sqlite;
                d.query = Some(query);
                d.json_columns = Some(json_columns);
            }
            Format::Csv { delimiter } => {
                d.format = FormatName::Csv;
                d.delimiter = Some(char::from(delimiter));
            }
            Format::Parquet => d.format = FormatName::Parquet,
            Format::Html => d.format = FormatName::Html,
            Format::Markdown => d.format = FormatName::Markdown,
            Format::Text { split_headings } => {
                d.format = FormatName::Text;
                d.split_headings = Some(split_headings);
            }
        }
        d
    }
}
