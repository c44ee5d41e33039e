//! Texts that a model writes from the passages of a corpus: question–answer pairs, paraphrases, summaries and cloze
//! facts, each kept with its passage, and checked.
//!
//! Raw text alone teaches a small module little; the same facts asked and said in other ways teach more. A model that
//! writes them also invents, copies and repeats itself, so that every item has to pass [`checks`] that need no
//! second opinion (its answer stands in the passage, nothing is copied, its numbers are those of the passage) and a
//! question is put to the model again, which must find the same answer in the passage (Alberti et al. 2019, "Synthetic
//! QA Corpora Generation with Roundtrip Consistency").
//!
//! Everything follows from the passages, the author and [`Request`]: an interrupted run goes on where it stopped, to
//! the same bytes.

mod author;
pub mod checks;
mod ledger;
mod passages;
mod prompts;
mod reply;
mod run;

use std::collections::BTreeMap;
use std::path::PathBuf;

use lore_model::sampling::Sampling;
use serde::{Deserialize, Serialize};

pub use author::{Author, ModelAuthor, Turn};
pub use passages::{Passage, PassagePicker};
pub use run::{ACCEPTED, REJECTED, REPORT, Synthesis, synthesise};

/// What is written from a passage.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// A question that the passage answers, with the answer in the passage's words.
    Question,
    /// The passage in other words.
    Paraphrase,
    /// The passage in a sentence or two.
    Summary,
    /// A fact of the passage with its most important word left out.
    Cloze,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Question, Self::Paraphrase, Self::Summary, Self::Cloze];

    /// The name in files and arguments.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Question => "question",
            Self::Paraphrase => "paraphrase",
            Self::Summary => "summary",
            Self::Cloze => "cloze",
        }
    }
}

impl std::str::FromStr for Kind {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let known = Self::ALL.into_iter().find(|kind| kind.name() == name);
        known.ok_or_else(|| format!("`{name}` is none of {}", Self::ALL.map(Self::name).join(", ")))
    }
}

/// What is asked for.
#[derive(Debug, Clone, PartialEq)]
pub struct Request {
    /// Kinds, in the order in which they are written from each passage.
    pub kinds: Vec<Kind>,
    /// Items of each kind from each passage.
    pub each: usize,
    /// Texts written at the same time; part of what the texts follow from.
    pub batch: usize,
    /// How they are drawn.
    pub sampling: Sampling,
    /// Tokens of a text, at most.
    pub max_tokens: usize,
    /// Everything random follows from it.
    pub seed: u64,
}

/// One text with the passage it was written from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Item {
    /// Unique: the passage's id, the kind and a number.
    pub id: String,
    /// What it is.
    pub kind: Kind,
    /// What to train on: question and answer, the paraphrase, the summary, or the whole fact.
    pub text: String,
    /// The question, or the fact with `____` in place of the answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub question: Option<String>,
    /// What answers it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answer: Option<String>,
    /// The document that the passage is from.
    pub document: String,
    /// The passage.
    pub passage: String,
}

/// An item that failed a check, or a reply of which no item could be made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rejected {
    /// As an item's.
    pub id: String,
    /// What it should have been.
    pub kind: Kind,
    /// The check that failed first.
    pub reason: String,
    /// What the author wrote.
    pub reply: String,
    /// The document that the passage is from.
    pub document: String,
}

/// How many items of a kind passed.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct KindReport {
    /// Replies.
    pub written: u64,
    /// Items that passed every check.
    pub accepted: u64,
    /// Their share of all replies; 0 where there are none.
    pub acceptance_rate: f64,
    /// Replies by the check that failed first.
    pub rejected: BTreeMap<String, u64>,
}

/// How many items passed.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// Passages that were written from.
    pub passages: u64,
    /// By kind.
    pub kinds: BTreeMap<String, KindReport>,
    /// Of the random draws.
    pub seed: u64,
    /// Names the author.
    pub author: String,
}

/// What can go wrong.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file cannot be read or written.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was attempted.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// The system's own error.
        source: std::io::Error,
    },
    /// The folder holds what was begun from something else.
    #[error(
        "{} was begun with other passages, another model or other settings ({what} differs); choose another folder, or repeat the command that began it", folder.display()
    )]
    Begun {
        /// The folder.
        folder: PathBuf,
        /// What differs.
        what: String,
    },
    /// There is nothing to write from.
    #[error("no passage of {least} to {most} words was found in the corpus")]
    NoPassages {
        /// Words of the shortest passage.
        least: usize,
        /// Words of the longest.
        most: usize,
    },
    /// No passage of a batch fits the author.
    #[error(
        "the shortest request of a batch has {tokens} tokens, but only {room} fit the model beside a reply; ask for shorter passages or replies"
    )]
    TooLong {
        /// Tokens of the shortest request.
        tokens: usize,
        /// Tokens there is room for.
        room: usize,
    },
    /// The author cannot be run.
    #[error(transparent)]
    Model(#[from] lore_model::Error),
    /// The author's tokenizer failed.
    #[error("the tokenizer: {0}")]
    Tokenizer(String),
    /// Items cannot be compared.
    #[error(transparent)]
    Data(#[from] lore_datasets::Error),
}

impl Error {
    pub(crate) fn io(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { action, path, source }
    }
}
