//! `evaluate`: the composition matrix, combinations of modules, costs and samples.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::{Outcome, Stage, StageContext};
use crate::error::{Error, Result};
use crate::plan::estimate::{self, Estimate, Facts};
use crate::recipe::{Base, Evaluate, Recipe};
use crate::session::Session;

/// Measures a run.
pub struct EvaluateStage {
    evaluate: Evaluate,
    base: Base,
    /// Name and prompts of each topic.
    topics: Vec<(String, Vec<String>)>,
    seed: u64,
}

/// A topic as it is measured.
pub struct MeasuredTopic {
    /// Its name.
    pub name: String,
    /// Beginnings that base and module continue.
    pub prompts: Vec<String>,
    /// Folder of the stage `topic:<name>`, with its token files.
    pub tokens: PathBuf,
    /// The PEFT adapter.
    pub module: PathBuf,
}

/// What measuring works with.
pub struct EvaluateRequest<'a> {
    /// What is measured.
    pub evaluate: &'a Evaluate,
    /// Everything random follows from it.
    pub seed: u64,
    /// The teacher.
    pub teacher: &'a Path,
    /// Hugging Face repository of the base.
    pub base: &'a Path,
    /// Folder of the stage `general`, with its token files.
    pub general: &'a Path,
    /// The topics, in the order of the recipe.
    pub topics: &'a [MeasuredTopic],
    /// What the stages before recorded, by stage.
    pub facts: &'a BTreeMap<String, Value>,
    /// Where to write `evaluation.json`.
    pub folder: &'a Path,
    /// Device, progress.
    pub session: &'a Session,
}

impl EvaluateStage {
    /// Measures the run of `recipe`.
    pub fn new(recipe: &Recipe) -> Self {
        let topics = recipe.topics.iter().map(|topic| (topic.name.clone(), topic.prompts.clone())).collect();
        Self { evaluate: recipe.evaluate.clone(), base: recipe.base.clone(), topics, seed: recipe.seed }
    }
}

impl Stage for EvaluateStage {
    fn name(&self) -> &str {
        "evaluate"
    }

    fn inputs(&self) -> Vec<String> {
        let of_topics = self.topics.iter().flat_map(|(t, _)| [format!("topic:{t}"), format!("module:{t}")]);
        ["teacher", "general", "base"].map(String::from).into_iter().chain(of_topics).collect()
    }

    fn config(&self) -> Value {
        json!({ "evaluate": self.evaluate, "topics": self.topics, "seed": self.seed })
    }

    fn estimate(&self, facts: &Facts) -> Estimate {
        estimate::evaluate(&self.evaluate, &self.base, self.topics.len(), facts)
    }

    fn run(&self, context: &StageContext<'_>) -> Result<Outcome> {
        let topics = self
            .topics
            .iter()
            .map(|(name, prompts)| {
                Ok(MeasuredTopic {
                    name: name.clone(),
                    prompts: prompts.clone(),
                    tokens: context.input(&format!("topic:{name}"))?.folder.clone(),
                    module: context.input(&format!("module:{name}"))?.folder.join("module"),
                })
            })
            .collect::<Result<Vec<_>>>()?;
        let facts = context.inputs.iter().map(|(name, f)| (name.clone(), f.manifest.facts.clone())).collect();
        measure(&EvaluateRequest {
            evaluate: &self.evaluate,
            seed: self.seed,
            teacher: context.input("teacher")?.external()?,
            base: &context.input("base")?.folder.join("base"),
            general: &context.input("general")?.folder,
            topics: &topics,
            facts: &facts,
            folder: context.folder,
            session: context.session,
        })
    }
}

/// Scores every model and combination on every held-out text, measures costs, writes samples.
fn measure(request: &EvaluateRequest<'_>) -> Result<Outcome> {
    let EvaluateRequest {
        evaluate: _,
        seed: _,
        teacher: _,
        base: _,
        general: _,
        topics: _,
        facts: _,
        folder: _,
        session: _,
    } = request;
    Err(Error::NotWired("measuring the run (stages::evaluate::measure)"))
}
