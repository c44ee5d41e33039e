//! `corpus.json` and `evaluation.json`: what a module was made from, and how well it does.

use std::collections::BTreeMap;

use lore_model::fingerprint::Fingerprint;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde::{Deserialize, Serialize};

use crate::canonical::is_sha256;
use crate::error::Problem;
use crate::license;
use crate::manifest::is_plain;

/// `corpus.json`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Corpus {
    /// The texts of the topic first, then general text.
    pub texts: Vec<CorpusText>,
}

/// What texts were for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TextRole {
    /// The module's knowledge.
    Topic,
    /// General English, so that the base keeps its own.
    General,
}

/// One source of texts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CorpusText {
    /// What they were for.
    pub role: TextRole,
    /// Where from; for files of the author's own, `file:` and their name.
    pub source: String,
    /// sha256 of the fetched file; of several files, that of the list `sha256sum` prints for them in order of name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
    /// Licence, an SPDX expression.
    pub license: String,
    /// Who must be named, and how.
    pub attribution: String,
    /// Documents, all splits together.
    pub documents: u64,
    /// sha256 of the table of documents (`documents.parquet`) that was made of them.
    pub documents_sha256: String,
    /// Tokens of each split; `test` is only scored, never learnt from.
    pub tokens: SplitTokens,
    /// Documents left out because the same text was there already, so that no held-out text was learnt from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub duplicates_removed: Option<u64>,
    /// Evaluation items that were looked for in them, if any were.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub decontamination: Option<Decontamination>,
}

/// Evaluation items that share a run of words with texts, and what was removed from those that are learnt from.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Decontamination {
    /// By name of the set of items.
    pub sets: BTreeMap<String, ItemSet>,
    /// Training documents that overlap with any item.
    pub training_documents: u64,
    /// Of these, dropped whole or because nothing was left.
    pub dropped: u64,
    /// Paragraphs cut from the others.
    pub paragraphs: u64,
}

/// Counts of one set of evaluation items.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ItemSet {
    /// Items.
    pub items: u64,
    /// Items that overlap with any document, held-out ones included.
    pub contaminated: u64,
    /// Items that overlap with a training document, before anything was removed.
    pub in_training: u64,
    /// Items with too few words to look for.
    pub too_short: u64,
}

/// Tokens of each split.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SplitTokens {
    /// Learnt from.
    pub train: u64,
    /// Looked at while training.
    pub validation: u64,
    /// Scored at the end.
    pub test: u64,
}

impl Corpus {
    /// What is missing or wrong, one sentence each.
    pub fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        let topics = self.texts.iter().filter(|text| text.role == TextRole::Topic).count();
        if topics == 0 {
            problems.push("the corpus manifest names no text of the topic".to_owned());
        }
        for text in &self.texts {
            let source = &text.source;
            let mut check = |good: bool, problem: &str| {
                if !good {
                    problems.push(format!("the text \"{}\" {problem}", source.escape_debug()));
                }
            };
            check(is_plain(source, 4096), "has no source of one plain line");
            if text.license.is_empty() {
                check(false, "has no licence");
            } else if let Err(problem) = license::check(&text.license) {
                check(false, &format!("has the licence \"{}\", which {problem}", text.license.escape_debug()));
            }
            check(text.sha256.as_deref().is_none_or(is_sha256), "has a sha256 that is none");
            check(is_sha256(&text.documents_sha256), "has no sha256 of its documents");
            check(text.documents > 0, "has no documents");
            check(text.tokens.train > 0, "has no tokens to learn from");
            if text.role == TextRole::Topic {
                check(text.tokens.test > 0, "has no held-out tokens");
            }
            if let Some(found) = &text.decontamination {
                check(found.sets.keys().all(|name| is_plain(name, 128)), "has evaluation items without a plain name");
                let sound = |set: &ItemSet| set.in_training <= set.contaminated && set.contaminated <= set.items;
                check(found.sets.values().all(sound), "has more evaluation items that overlap than there are");
            }
        }
        problems
    }
}

/// `evaluation.json`: bits per byte of every model on every held-out text.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Evaluation {
    /// The base everything was measured with.
    pub base: Fingerprint,
    /// The program that measured, with its version.
    pub program: String,
    /// How it was measured, in words, with every setting.
    pub protocol: String,
    /// The held-out texts.
    pub texts: Vec<EvaluatedText>,
    /// What was loaded.
    pub models: Vec<EvaluatedModel>,
    /// What base and module wrote.
    pub samples: Vec<Sample>,
}

/// One held-out text.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EvaluatedText {
    /// Name of the topic, or of general English.
    pub name: String,
    /// Whether it is general English, which no module should harm.
    pub general: bool,
    /// Documents scored.
    pub documents: u64,
    /// UTF-8 bytes scored.
    pub bytes: u64,
}

/// One model: the base, alone or with modules.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EvaluatedModel {
    /// Name for people.
    pub name: String,
    /// `base`, `module`, `sum`, `mean`, `chosen_per_passage`, `combination`, `control` or `teacher`.
    pub kind: String,
    /// The modules that were active.
    pub modules: Vec<String>,
    /// By name of the text.
    #[serde(deserialize_with = "each_once")]
    pub scores: BTreeMap<String, Score>,
}

/// A model on a text.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Score {
    /// Bits per UTF-8 byte; lower is better.
    pub bits_per_byte: f64,
    /// Its standard error over documents.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub standard_error: Option<f64>,
    /// Standard error of the paired difference from the base alone, bits per byte.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub difference_standard_error: Option<f64>,
}

/// The same beginning continued by the base and by the base with the module.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sample {
    /// The beginning.
    pub prompt: String,
    /// The base's continuation.
    pub base: String,
    /// The module's.
    pub module: String,
}

/// A map in which a name that occurs twice is an error instead of the last one winning.
fn each_once<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BTreeMap<String, Score>, D::Error> {
    struct Scores;
    impl<'de> Visitor<'de> for Scores {
        type Value = BTreeMap<String, Score>;

        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("scores by name of the text")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
            let mut scores = BTreeMap::new();
            while let Some((name, score)) = map.next_entry::<String, Score>()? {
                if scores.insert(name.clone(), score).is_some() {
                    return Err(serde::de::Error::custom(format!("`{}` occurs twice", name.escape_debug())));
                }
            }
            Ok(scores)
        }
    }
    deserializer.deserialize_map(Scores)
}

impl Evaluation {
    /// The base alone.
    pub fn base_model(&self) -> Option<&EvaluatedModel> {
        self.models.iter().find(|model| model.kind == "base")
    }

    /// The base with the module of `topic` and no other.
    pub fn module(&self, topic: &str) -> Option<&EvaluatedModel> {
        self.models.iter().find(|model| model.kind == "module" && model.modules == [topic])
    }

    /// Relative change of bits per byte from the base to `model` on a text; negative is better.
    pub fn change(&self, model: &EvaluatedModel, text: &str) -> Option<f64> {
        let base = self.base_model()?.scores.get(text)?.bits_per_byte;
        Some(model.scores.get(text)?.bits_per_byte / base - 1.0)
    }

    /// What is missing or wrong for a module of `topic` on `base`, one sentence each.
    pub fn problems(&self, topic: &str, base: &Fingerprint) -> Vec<String> {
        let mut problems = Vec::new();
        let names = self.texts.iter().map(|text| &text.name);
        let names =
            names.chain(self.models.iter().flat_map(|model| {
                [&model.name, &model.kind].into_iter().chain(&model.modules).chain(model.scores.keys())
            }));
        if names.chain([&self.program]).any(|name| !is_plain(name, 128)) {
            return vec!["a name is empty, longer than 128 bytes, or holds invisible characters".to_owned()];
        }
        if self.base != *base {
            problems.push(format!("it was measured on {}, but the declared base is {base}", self.base));
        }
        let names: Vec<&str> = self.texts.iter().map(|text| text.name.as_str()).collect();
        if !self.texts.iter().any(|text| !text.general && text.name == topic) {
            problems.push(format!("held-out text of the topic `{}` was not scored", topic.escape_debug()));
        }
        if !self.texts.iter().any(|text| text.general) {
            problems.push("general English was not scored".to_owned());
        }
        for (what, model) in [("the base alone", self.base_model()), ("the module alone", self.module(topic))] {
            match model {
                None => problems.push(format!("{what} was not scored")),
                Some(model) => {
                    let missing: Vec<&str> =
                        names.iter().filter(|name| !model.scores.contains_key(**name)).copied().collect();
                    if !missing.is_empty() {
                        problems.push(format!("{what} was not scored on {}", missing.join(", ")));
                    }
                }
            }
        }
        let scores = self.models.iter().flat_map(|model| model.scores.values());
        if scores.into_iter().any(|score| !score.is_sound()) {
            problems.push("a score is not a positive number".to_owned());
        }
        problems
    }
}

impl Score {
    fn is_sound(&self) -> bool {
        let error = |value: Option<f64>| value.is_none_or(|value| value.is_finite() && value >= 0.0);
        self.bits_per_byte.is_finite()
            && self.bits_per_byte > 0.0
            && error(self.standard_error)
            && error(self.difference_standard_error)
    }
}

/// Turns a list of what is wrong into the refusal of a member.
pub(crate) fn refuse_if(name: &str, problems: &[String]) -> Result<(), Problem> {
    match problems.is_empty() {
        true => Ok(()),
        false => Problem::refused(format!("`{name}`: {}", problems.join("; "))),
    }
}
