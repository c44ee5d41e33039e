//! What a model is asked, one item at a time.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::hex;

/// One item, ready to be asked.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Item {
    /// Unique within its subset.
    pub id: String,
    /// The part of the task it belongs to; may be empty.
    pub subset: String,
    /// What is asked.
    pub form: Form,
    /// The record it was made of; no part of the item's hash.
    #[serde(skip)]
    pub record: Value,
}

/// What is asked.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Form {
    /// Every token of a text.
    Rolling {
        /// What is scored.
        text: String,
        /// Bytes that its log-likelihood is divided by.
        bytes: usize,
        /// Words, as many as white space separates.
        words: usize,
        /// Tokens of one window, if the task says so.
        window: Option<usize>,
    },
    /// Which of some continuations is likelier.
    Choice {
        /// What is given.
        context: String,
        /// Stands before each choice.
        delimiter: String,
        /// At least two, none of them empty.
        choices: Vec<String>,
        /// Place of the right one.
        gold: usize,
        /// Whether the item is a minimal pair: a tie is half right, and there is no question to leave out.
        pair: bool,
    },
    /// One continuation.
    Cloze {
        /// What is given.
        context: String,
        /// What should follow; not empty.
        target: String,
    },
    /// Text written by the model.
    Generate {
        /// What is given.
        context: String,
        /// At least one.
        answers: Vec<String>,
        /// What ends the answer.
        until: Vec<String>,
        /// Tokens written at most.
        max_tokens: usize,
    },
}

impl Item {
    /// Hash of everything a model is asked and held against.
    ///
    /// # Panics
    /// Never: an item is always JSON.
    pub fn sha256(&self) -> String {
        hex(&Sha256::digest(serde_json::to_vec(self).expect("an item is JSON")))
    }
}

/// Hash of a list of item hashes, in their order.
pub fn hash_of_items<'a>(hashes: impl IntoIterator<Item = &'a str>) -> String {
    let mut all = Sha256::new();
    for hash in hashes {
        all.update(hash);
        all.update("\n");
    }
    hex(&all.finalize())
}
