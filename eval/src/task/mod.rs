//! Tasks as data: a TOML file says where the items are and how each becomes requests.
//!
//! ```
//! use lore_eval::task::{Kind, Task};
//!
//! let task = Task::parse(r#"
//! name = "capitals"
//! version = 1
//! data = { path = "capitals.jsonl" }
//!
//! [multiple_choice]
//! context = "The capital of {{ country }} is"
//! choices = "choices"
//! gold = "answer"
//! "#, "capitals.toml".as_ref())?;
//! assert!(matches!(task.kind, Kind::MultipleChoice(_)));
//! assert_eq!(task.sha256.len(), 64);
//! # Ok::<(), lore_eval::task::Error>(())
//! ```

mod check;
mod forms;
mod glossary;
mod harness_yaml;
mod hub;
mod item;
mod items;
mod last_word;
mod python;
mod python_random;
mod selection;
mod shipped;
mod shots;
mod template;
mod wikitext;

use std::path::{Path, PathBuf};

use lore_datasets::extract::Format;
use lore_settings::Problems;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

pub use forms::{Cloze, Generate, Glossary, MinimalPairs, MultipleChoice, Rolling};
pub use item::{Form, Item, hash_of_items};
pub use selection::Selection;
pub use shipped::{names, shipped, shipped_text, subset_of};
pub use shots::{Shots, Take};

/// A task that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file is not a task.
    #[error(transparent)]
    Settings(#[from] Problems),
    /// The file cannot be read.
    #[error("the task file {}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// No task has this name.
    #[error("no task is called `{name}`, and there is no such file; {hint}")]
    Unknown {
        /// What was asked for.
        name: String,
        /// What was probably meant, or what there is.
        hint: String,
    },
    /// The file is one of lm-evaluation-harness that cannot be used here.
    #[error("{}: {problem}", path.display())]
    Harness {
        /// The file.
        path: PathBuf,
        /// Everything that stands against it.
        problem: String,
    },
    /// The data cannot be read.
    #[error("task {task}: its data {} cannot be read; --data (or LORE_DATA) names the folder that `path` is relative to", path.display())]
    Data {
        /// The task.
        task: String,
        /// Where the data should be.
        path: PathBuf,
        /// Why.
        source: Box<lore_datasets::Error>,
    },
    /// The data is on a hub and cannot be fetched.
    #[error("task {task}: its data on the hub cannot be fetched")]
    Hub {
        /// The task.
        task: String,
        /// Why.
        source: Box<lore_datasets::Error>,
    },
    /// Records of which no item can be made.
    #[error("task {task}: {problem}")]
    Items {
        /// The task.
        task: String,
        /// The records and what is wrong with them.
        problem: String,
    },
}

/// What is asked of a model and how the answers are counted.
#[derive(Debug, Clone, PartialEq)]
pub struct Task {
    /// Its name.
    pub name: String,
    /// Raised when results are no longer comparable.
    pub version: u32,
    /// One line for people.
    pub about: String,
    /// Licence of the data, an SPDX expression.
    pub license: Option<String>,
    /// Where the records are.
    pub data: Data,
    /// Template of an item's id, unique within its subset.
    pub id: String,
    /// Template of the part of the task that an item belongs to; empty where there are none.
    pub subset: String,
    /// Template of what stands before everything that is asked; sees `subset`.
    pub description: String,
    /// Where solved examples come from, for whoever asks for some.
    pub shots: Shots,
    /// How a record becomes an item.
    pub kind: Kind,
    /// Hash of the file's text, 64 hexadecimal digits.
    pub sha256: String,
}

/// How a record becomes an item, and what is counted.
#[derive(Debug, Clone, PartialEq)]
pub enum Kind {
    /// Bits per byte of whole texts.
    Rolling(Rolling),
    /// One of several continuations.
    MultipleChoice(MultipleChoice),
    /// The better of two sentences.
    MinimalPairs(MinimalPairs),
    /// The one right continuation.
    Cloze(Cloze),
    /// Text written by the model.
    Generate(Generate),
    /// The term that a definition belongs to.
    Glossary(Glossary),
}

impl Kind {
    /// As it is called in task files.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Rolling(_) => "rolling",
            Self::MultipleChoice(_) => "multiple_choice",
            Self::MinimalPairs(_) => "minimal_pairs",
            Self::Cloze(_) => "cloze",
            Self::Generate(_) => "generate",
            Self::Glossary(_) => "glossary",
        }
    }
}

/// Where the records of a task are.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Data {
    /// A file, folder or zip archive, relative to the data folder; or a dataset of a hub, or a file in it:
    /// `hf:datasets/owner/set[@revision][/file]`.
    pub path: String,
    /// Patterns of the files inside it; none means all.
    #[serde(default)]
    pub files: Vec<String>,
    /// How a file is read.
    #[serde(default)]
    pub format: DataFormat,
    /// Where it was fetched to from a hub, see [`Task::fetch`].
    #[serde(skip)]
    pub fetched: Option<PathBuf>,
}

/// How a file of records is read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DataFormat {
    /// One JSON object a line.
    #[default]
    Jsonl,
    /// Rows under a line of names.
    Csv,
    /// Rows.
    Parquet,
    /// The file is one record, with its `text`.
    Text,
}

impl DataFormat {
    fn format(self) -> Format {
        match self {
            Self::Jsonl => Format::Jsonl,
            Self::Csv => Format::Csv { delimiter: b',' },
            Self::Parquet => Format::Parquet,
            Self::Text => Format::Text { split_headings: 0 },
        }
    }
}

#[derive(Deserialize)]
struct TaskFile {
    name: String,
    version: u32,
    #[serde(default)]
    about: String,
    #[serde(default)]
    license: Option<String>,
    data: Data,
    #[serde(default = "default_id")]
    id: String,
    #[serde(default)]
    subset: String,
    #[serde(default)]
    description: String,
    #[serde(default)]
    shots: Shots,
    #[serde(default)]
    rolling: Option<Rolling>,
    #[serde(default)]
    multiple_choice: Option<MultipleChoice>,
    #[serde(default)]
    minimal_pairs: Option<MinimalPairs>,
    #[serde(default)]
    cloze: Option<Cloze>,
    #[serde(default)]
    generate: Option<Generate>,
    #[serde(default)]
    glossary: Option<Glossary>,
}

fn default_id() -> String {
    template::ID.into()
}

/// The names of all kinds, as a person is told them.
const KINDS: &str = "[rolling], [multiple_choice], [minimal_pairs], [cloze], [generate], [glossary]";

impl Task {
    /// Reads a task file; one that ends in `.yaml` is of lm-evaluation-harness, see `docs/tasks.md`.
    ///
    /// # Errors
    /// When it cannot be read, and everything that is wrong with it, at once.
    pub fn open(path: &Path) -> Result<Self, Error> {
        if harness_yaml::is_harness_file(path) {
            return harness_yaml::open(path);
        }
        let unreadable = |source| Error::Unreadable { path: path.to_owned(), source };
        let text = String::from_utf8(std::fs::read(path).map_err(unreadable)?)
            .map_err(|error| unreadable(std::io::Error::new(std::io::ErrorKind::InvalidData, error.utf8_error())))?;
        Self::parse(&text, path)
    }

    /// Reads the text of a task file; `origin` names it in errors.
    ///
    /// # Errors
    /// Everything that is wrong with it, at once.
    pub fn parse(text: &str, origin: &Path) -> Result<Self, Error> {
        let refuse = |problems| Error::Settings(Problems::new(origin, problems));
        let (file, tree) = lore_settings::from_toml::<TaskFile>(text).map_err(refuse)?;
        let mut check = check::Check::new(&tree, text);
        let mut kinds: Vec<Kind> = [
            file.rolling.map(Kind::Rolling),
            file.multiple_choice.map(Kind::MultipleChoice),
            file.minimal_pairs.map(Kind::MinimalPairs),
            file.cloze.map(Kind::Cloze),
            file.generate.map(Kind::Generate),
            file.glossary.map(Kind::Glossary),
        ]
        .into_iter()
        .flatten()
        .collect();
        check.that(kinds.len() == 1, "", &format!("needs exactly one of the tables {KINDS}; it has {}", kinds.len()));
        check.name("name", &file.name);
        check.that(file.version > 0, "version", "counts from 1");
        check.path("data.path", &file.data.path);
        check.template("id", &file.id);
        check.template("subset", &file.subset);
        check.template("description", &file.description);
        if let Some(data) = &file.shots.data {
            check.path("shots.data.path", &data.path);
        }
        if let [kind] = kinds.as_slice() {
            check.kind(kind);
        }
        let problems = check.problems();
        if !problems.is_empty() {
            return Err(refuse(problems));
        }
        Ok(Self {
            name: file.name,
            version: file.version,
            about: file.about,
            license: file.license,
            data: file.data,
            id: file.id,
            subset: file.subset,
            description: file.description,
            shots: file.shots,
            kind: kinds.remove(0),
            sha256: hex(&Sha256::digest(text.as_bytes())),
        })
    }
}

/// Lower-case hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
