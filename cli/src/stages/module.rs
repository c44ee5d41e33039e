//! `module:<topic>`: a LoRA module for the base, trained on a topic.

use std::path::Path;

use serde_json::{Value, json};

use super::{Outcome, Publication, Stage, StageContext};
use crate::error::{Error, Result};
use crate::plan::estimate::{self, Estimate, Facts};
use crate::recipe::{Base, ModuleConfig, Recipe, Topic};
use crate::session::Session;

/// Trains one module.
pub struct ModuleStage {
    name: String,
    topic: Topic,
    base: Base,
    seed: u64,
}

/// What training a module works with.
pub struct ModuleRequest<'a> {
    /// Name, licence and attribution go into the module's card.
    pub topic: &'a Topic,
    /// Adapter, training, replay.
    pub module: &'a ModuleConfig,
    /// Everything random follows from it.
    pub seed: u64,
    /// Hugging Face repository of the base.
    pub base: &'a Path,
    /// Folder of the stage `topic:<name>`, with its token files.
    pub topic_tokens: &'a Path,
    /// Folder of the stage `general`, with its token files.
    pub general: &'a Path,
    /// Where to write the PEFT adapter.
    pub output: &'a Path,
    /// Where checkpoints and metrics are kept, and found after an interruption.
    pub working: &'a Path,
    /// Device, progress.
    pub session: &'a Session,
}

impl ModuleStage {
    /// Trains the module of `topic`.
    pub fn new(topic: &Topic, recipe: &Recipe) -> Self {
        Self {
            name: format!("module:{}", topic.name),
            topic: topic.clone(),
            base: recipe.base.clone(),
            seed: recipe.seed,
        }
    }
}

impl Stage for ModuleStage {
    fn name(&self) -> &str {
        &self.name
    }

    fn inputs(&self) -> Vec<String> {
        vec!["base".into(), format!("topic:{}", self.topic.name), "general".into()]
    }

    fn config(&self) -> Value {
        let Topic { name, license, attribution, module, .. } = &self.topic;
        json!({
            "topic": name, "license": license, "attribution": attribution,
            "module": module, "seed": self.seed,
        })
    }

    fn resumable(&self) -> bool {
        true
    }

    fn publications(&self) -> Vec<Publication> {
        vec![Publication::new(Path::new("modules").join(&self.topic.name), "module")]
    }

    fn estimate(&self, facts: &Facts) -> Estimate {
        estimate::module(&self.topic.module, &self.base, facts)
    }

    fn run(&self, context: &StageContext<'_>) -> Result<Outcome> {
        train_module(&ModuleRequest {
            topic: &self.topic,
            module: &self.topic.module,
            seed: self.seed,
            base: &context.input("base")?.folder.join("base"),
            topic_tokens: &context.input(&format!("topic:{}", self.topic.name))?.folder,
            general: &context.input("general")?.folder,
            output: &context.folder.join("module"),
            working: context.folder,
            session: context.session,
        })
    }
}

/// Trains the module, resuming from `working`, and writes it to `output`; removes the checkpoints at the
/// end. Facts: parameters, bytes, steps, tokens, loss curve (or the metrics file that holds it).
fn train_module(request: &ModuleRequest<'_>) -> Result<Outcome> {
    let ModuleRequest {
        topic: _,
        module: _,
        seed: _,
        base: _,
        topic_tokens: _,
        general: _,
        output: _,
        working: _,
        session: _,
    } = request;
    Err(Error::NotWired("training a module (stages::module::train_module)"))
}
