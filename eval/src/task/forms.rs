//! The kinds of tasks, as their tables are written.
//!
//! A *template* is [minijinja](https://docs.rs/minijinja) text; an *expression* is what stands between `{{` and `}}`
//! there and gives a value. Both see the keys of the record, and beside them:
//!
//! | name | what it holds |
//! |---|---|
//! | `record` | the record itself, for keys that are no names |
//! | `file`, `stem`, `folder` | path inside the data, its last part without extension, its folder's name |
//! | `number` | the record's number within its file, from 0 |
//!
//! A name that is missing is an error, as in lm-evaluation-harness, whose templates these are meant to hold.

use serde::Deserialize;

/// `[rolling]`: every token of a text is scored, in windows as lm-evaluation-harness cuts them.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Rolling {
    /// Expression: the text, or a list of texts, of a record.
    #[serde(default = "text")]
    pub documents: String,
    /// Template of what is scored; sees the text as `document`.
    #[serde(default = "document")]
    pub text: String,
    /// Template of the text whose bytes and words count; by default the document before any change to it.
    #[serde(default = "document")]
    pub measured: String,
    /// Tokens of one window; by default what the model's positions hold.
    #[serde(default)]
    pub window: Option<usize>,
}

/// `[multiple_choice]`: the continuation with the highest log-likelihood is the answer.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct MultipleChoice {
    /// Template of the question.
    pub context: String,
    /// Expression: a list of texts.
    pub choices: String,
    /// Expression: the right one, its place from 0 or its text.
    pub gold: String,
    /// Stands between context and choice.
    #[serde(default = "space")]
    pub delimiter: String,
}

/// `[minimal_pairs]`: the better sentence should be more likely; a tie is half right.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct MinimalPairs {
    /// Template of what comes before both.
    #[serde(default)]
    pub context: String,
    /// Template of the better one.
    pub good: String,
    /// Template of the worse one.
    pub bad: String,
    /// Stands between context and sentence, also where the context is empty.
    #[serde(default = "space")]
    pub delimiter: String,
}

/// `[cloze]`: whether the model would say exactly this next, and how surprised it is.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Cloze {
    /// Expression: a list of texts, each an item of its own that the templates see as `document`. Without it a record
    /// is an item.
    #[serde(default)]
    pub documents: Option<String>,
    /// Template of what is given.
    pub context: String,
    /// Template of what should follow, with the space before it.
    pub target: String,
}

/// `[generate]`: the model writes; what it wrote is compared with the answers.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Generate {
    /// Template of what is given.
    pub context: String,
    /// Expression: the right answer, or a list of right answers.
    pub answers: String,
    /// What ends the answer; not part of it.
    pub until: Vec<String>,
    /// Tokens written at most.
    #[serde(default = "thirty_two")]
    pub max_tokens: usize,
}

/// `[glossary]`: the term that a definition belongs to, among terms of the same subset.
///
/// Which terms are the distractors follows from the seed and the terms alone, not from their order in the file.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Glossary {
    /// Template of the term.
    #[serde(default = "term")]
    pub term: String,
    /// Template of its definition.
    #[serde(default = "meaning")]
    pub meaning: String,
    /// Template of the question; sees `meaning`.
    pub context: String,
    /// Terms beside the right one.
    #[serde(default = "three")]
    pub distractors: usize,
    /// Chooses distractors and their order.
    #[serde(default)]
    pub seed: u64,
    /// Stands between context and term.
    #[serde(default = "space")]
    pub delimiter: String,
}

fn text() -> String {
    "text".into()
}
fn document() -> String {
    "{{ document }}".into()
}
fn space() -> String {
    " ".into()
}
fn term() -> String {
    "{{ term }}".into()
}
fn meaning() -> String {
    "{{ meaning }}".into()
}
fn three() -> usize {
    3
}
fn thirty_two() -> usize {
    32
}
