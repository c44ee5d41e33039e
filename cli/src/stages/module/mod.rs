//! `module:<name>`: a LoRA module for the base, trained on a topic, or on several.

mod training;
mod validation;

use std::path::{Path, PathBuf};

use lore_modules::compose::said_together;
use serde_json::{Value, json};

use super::{Outcome, Publication, Stage, StageContext};
use crate::error::Result;
use crate::plan::estimate::{self, Estimate, Facts};
use crate::recipe::{Base, Joint, ModuleConfig, Recipe, Rehearse, Topic};
use crate::session::Session;

/// Trains one module.
pub struct ModuleStage {
    name: String,
    module: ModuleConfig,
    subject: Subject,
    base: Base,
    seed: u64,
}

/// What a module is about.
#[derive(Debug, Clone)]
pub struct Subject {
    /// What the module is called.
    pub name: String,
    /// Its topics: itself, or several.
    pub topics: Vec<String>,
    /// Their licences together, an SPDX expression.
    pub license: Option<String>,
    /// Who must be named, and how.
    pub attribution: Option<String>,
}

impl Subject {
    /// Whether it is about several topics.
    pub fn is_joint(&self) -> bool {
        self.topics != [self.name.as_str()]
    }
}

/// What training a module works with.
pub struct ModuleRequest<'a> {
    /// Name, licence and attribution go into the module's card.
    pub subject: &'a Subject,
    /// Adapter, training, replay.
    pub module: &'a ModuleConfig,
    /// Everything random follows from it.
    pub seed: u64,
    /// Hugging Face repository of the base.
    pub base: &'a Path,
    /// What the base is called.
    pub base_name: &'a str,
    /// The teacher, for modules that rehearse with it.
    pub teacher: &'a Path,
    /// Folders of the stages `topic:<name>`, with their token files.
    pub topics: &'a [PathBuf],
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
        let subject = Subject {
            name: topic.name.clone(),
            topics: vec![topic.name.clone()],
            license: topic.license.clone(),
            attribution: topic.attribution.clone(),
        };
        Self::about(subject, &topic.module, recipe)
    }

    /// Trains the module of several topics.
    pub fn joint(joint: &Joint, recipe: &Recipe) -> Self {
        let topics = joint.topics_of(recipe);
        let joined = |key: &str, field: fn(&Topic) -> &Option<String>| {
            said_together(key, topics.iter().filter_map(|topic| field(topic).as_deref()))
        };
        let subject = Subject {
            name: joint.name.clone(),
            topics: topics.iter().map(|topic| topic.name.clone()).collect(),
            license: joined("license", |topic| &topic.license),
            attribution: joined("attribution", |topic| &topic.attribution),
        };
        Self::about(subject, &joint.module, recipe)
    }

    fn about(subject: Subject, module: &ModuleConfig, recipe: &Recipe) -> Self {
        Self {
            name: format!("module:{}", subject.name),
            module: module.clone(),
            subject,
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
        let topics = self.subject.topics.iter().map(|topic| format!("topic:{topic}"));
        ["base".into(), "teacher".into()].into_iter().chain(topics).chain(["general".into()]).collect()
    }

    fn reads(&self) -> Vec<String> {
        let mut reads = self.inputs();
        if self.module.rehearse != Rehearse::Teacher {
            reads.retain(|input| input != "teacher");
        }
        reads
    }

    fn config(&self) -> Value {
        let Subject { name, topics, license, attribution } = &self.subject;
        let mut config = json!({
            "topic": name, "license": license, "attribution": attribution,
            "module": self.module, "seed": self.seed,
        });
        if self.subject.is_joint() {
            config["topics"] = json!(topics);
        }
        config
    }

    fn schema(&self) -> u32 {
        // Router entries of modules that were trained on blocks were once made from the blocks' states.
        if self.module.quantise.is_some() { 4 } else { 3 }
    }

    fn resumable(&self) -> bool {
        true
    }

    fn publications(&self) -> Vec<Publication> {
        vec![Publication::new(Path::new("modules").join(&self.subject.name), "module")]
    }

    fn estimate(&self, facts: &Facts) -> Estimate {
        estimate::module(&self.module, &self.base, facts)
    }

    fn run(&self, context: &StageContext<'_>) -> Result<Outcome> {
        let topics = self.subject.topics.iter();
        let topics = topics.map(|topic| Ok(context.input(&format!("topic:{topic}"))?.folder.clone()));
        training::train_module(&ModuleRequest {
            subject: &self.subject,
            module: &self.module,
            seed: self.seed,
            base: &context.input("base")?.folder.join("base"),
            base_name: &self.base.name,
            teacher: context.input("teacher")?.external().unwrap_or(Path::new("")),
            topics: &topics.collect::<Result<Vec<_>>>()?,
            general: &context.input("general")?.folder,
            output: &context.folder.join("module"),
            working: context.folder,
            session: context.session,
        })
    }
}
