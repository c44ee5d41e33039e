//! `[[topic]]`: what a module is about, and what becomes of its texts.

use lore_datasets::clean::CleanSpec;
use lore_datasets::decontaminate::Remove;
use lore_datasets::dedup::DedupSpec;
use lore_datasets::extract::ExtractSpec;
use lore_datasets::source::SourceUri;
use serde::{Deserialize, Serialize};

use super::{ModuleConfig, Split};

/// `[[topic]]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Topic {
    /// Names the topic and its module.
    pub name: String,
    /// Where its texts come from.
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
    /// Cleaning of its documents; without the table they are used as extracted.
    #[serde(default)]
    pub clean: Option<CleanSpec>,
    /// Duplicates that are dropped; without the table only exact ones.
    #[serde(default)]
    pub dedup: Option<DedupSpec>,
    /// Evaluation items that are kept out of training.
    #[serde(default)]
    pub decontaminate: Option<Decontaminate>,
    /// Held-out shares.
    #[serde(default)]
    pub split: Split,
    /// Beginnings that base and module continue in the report.
    #[serde(default)]
    pub prompts: Vec<String>,
    /// Its module: `[modules]` with this topic's changes.
    #[serde(default)]
    pub module: ModuleConfig,
}

/// `[topic.decontaminate]`
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Decontaminate {
    /// What goes where a training document and an item overlap.
    pub remove: Remove,
    /// The evaluation items.
    pub against: Vec<Against>,
}

/// `[[topic.decontaminate.against]]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Against {
    /// Names the items in the report.
    pub name: String,
    /// Where they come from.
    pub source: SourceUri,
    /// sha256 of the file, or of the wheel for a `pypi:` source.
    #[serde(default)]
    pub sha256: Option<String>,
    /// More arguments for pip.
    #[serde(default)]
    pub pip_args: Vec<String>,
    /// Words of a run that counts as an overlap; absent, 8 for short items and 13 for long ones.
    #[serde(default)]
    pub ngram: Option<usize>,
    /// Rules that make items of what was fetched.
    #[serde(default)]
    pub extract: Vec<ExtractSpec>,
}

impl Topic {
    /// Evaluation items that are kept out of training.
    pub fn against(&self) -> &[Against] {
        self.decontaminate.as_ref().map_or(&[], |declared| &declared.against)
    }

    /// Whether more is asked for than extraction and splits.
    pub fn refines(&self) -> bool {
        self.clean.is_some() || self.dedup.is_some() || self.decontaminate.is_some()
    }
}
