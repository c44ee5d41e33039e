//! `evaluate`: the composition matrix, combinations of modules, costs and samples.

mod kept;
mod measure;
mod rows;
mod samples;
mod scorer;
mod tasks;
mod teacher;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use lore_eval::report::{Matrix, Routing, Sample, TaskColumn, TeacherSample};
use measure::{measure, measure_share};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{Outcome, Share, Stage, StageContext};
use crate::error::{Error, Result};
use crate::plan::estimate::{self, Estimate, Facts};
use crate::recipe::{Base, Combine, Evaluate, Recipe};
use crate::routing::Worth;
use crate::session::Session;

/// Measures a run.
pub struct EvaluateStage {
    evaluate: Evaluate,
    base: Base,
    /// Name and prompts of each topic.
    topics: Vec<(String, Vec<String>)>,
    /// Name and topics of each module of several topics.
    joint: Vec<(String, Vec<String>)>,
    seed: u64,
}

/// A module of several topics, to compare with.
pub struct JointModule {
    /// Its name.
    pub name: String,
    /// Its topics.
    pub topics: Vec<String>,
    /// The PEFT adapter.
    pub module: PathBuf,
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
    /// Modules of several topics.
    pub joint: &'a [JointModule],
    /// Where to write `evaluation.json`.
    pub folder: &'a Path,
    /// Device, progress.
    pub session: &'a Session,
}

impl EvaluateStage {
    /// Measures the run of `recipe`.
    pub fn new(recipe: &Recipe) -> Self {
        let topics = recipe.topics.iter().map(|topic| (topic.name.clone(), topic.prompts.clone())).collect();
        let joint = recipe.joint.iter().map(|joint| {
            let topics = joint.topics_of(recipe).into_iter().map(|topic| topic.name.clone());
            (joint.name.clone(), topics.collect())
        });
        let joint = joint.collect();
        let mut evaluate = recipe.evaluate.clone();
        if recipe.topics.is_empty() {
            // There are no modules to use together.
            evaluate = Evaluate { combine: Vec::new(), weights: Vec::new(), composed: Vec::new(), ..evaluate };
        }
        Self { evaluate, base: recipe.base.clone(), topics, joint, seed: recipe.seed }
    }
}

impl Stage for EvaluateStage {
    fn name(&self) -> &str {
        "evaluate"
    }

    fn inputs(&self) -> Vec<String> {
        let of_topics = self.topics.iter().flat_map(|(t, _)| [format!("topic:{t}"), format!("module:{t}")]);
        let joint = self.joint.iter().map(|(name, _)| format!("module:{name}"));
        ["teacher", "general", "base"].map(String::from).into_iter().chain(of_topics).chain(joint).collect()
    }

    fn schema(&self) -> u32 {
        3
    }

    fn config(&self) -> Value {
        // Where the tasks lie is no part of what is answered.
        let evaluate = Evaluate { tasks: None, ..self.evaluate.clone() };
        let mut config = json!({ "evaluate": evaluate, "topics": self.topics, "seed": self.seed });
        if let Some(asked) = &self.evaluate.tasks {
            config["tasks"] = tasks::config(asked);
        }
        if !self.joint.is_empty() {
            config["joint"] = json!(self.joint);
        }
        config
    }

    fn estimate(&self, facts: &Facts) -> Estimate {
        estimate::evaluate(&self.evaluate, &self.base, self.topics.len(), self.joint.len(), facts)
    }

    /// What is scored is kept, a row at a time.
    fn resumable(&self) -> bool {
        true
    }

    fn parts(&self) -> u64 {
        let combined = self.evaluate.combine.iter().filter(|combine| **combine != Combine::Routed).count();
        let more = self.evaluate.weights.len() + self.evaluate.composed.len() + self.joint.len();
        // Base and teacher are the two.
        (2 + self.topics.len() + combined + more) as u64
    }

    fn run_share(&self, context: &StageContext<'_>, share: Share) -> Result<()> {
        self.with_request(context, |request| measure_share(request, share))
    }

    fn run(&self, context: &StageContext<'_>) -> Result<Outcome> {
        self.with_request(context, measure)
    }
}

impl EvaluateStage {
    fn with_request<T>(
        &self,
        context: &StageContext<'_>,
        then: impl FnOnce(&EvaluateRequest<'_>) -> Result<T>,
    ) -> Result<T> {
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
        let joint = self.joint.iter().map(|(name, topics)| {
            let module = context.input(&format!("module:{name}"))?.folder.join("module");
            Ok(JointModule { name: name.clone(), topics: topics.clone(), module })
        });
        then(&EvaluateRequest {
            evaluate: &self.evaluate,
            seed: self.seed,
            teacher: context.input("teacher")?.external()?,
            base: &context.input("base")?.folder.join("base"),
            general: &context.input("general")?.folder,
            topics: &topics,
            joint: &joint.collect::<Result<Vec<_>>>()?,
            folder: context.folder,
            session: context.session,
        })
    }
}

/// What was measured, for the report.
#[derive(Debug, Serialize, Deserialize)]
pub struct Evaluation {
    /// Models against texts.
    pub matrix: Matrix,
    /// How often the chosen module was the topic's own: of the router, if all modules have an entry, else of the probe.
    pub routing: Option<Routing>,
    /// What the router of the modules' own entries is worth, if all modules have one.
    #[serde(default)]
    pub router: Option<Worth>,
    /// What was answered, by task.
    #[serde(default)]
    pub tasks: Vec<TaskColumn>,
    /// What base and modules write.
    pub samples: Vec<Sample>,
    /// What base and teacher write.
    #[serde(default)]
    pub teacher_samples: Vec<TeacherSample>,
    /// Milliseconds to read each module and put it on the device.
    pub load_ms: BTreeMap<String, f64>,
}

impl Evaluation {
    const FILE: &str = "evaluation.json";

    fn write(&self, folder: &Path) -> Result<()> {
        let path = folder.join(Self::FILE);
        let text = serde_json::to_string_pretty(self).expect("figures are plain data");
        std::fs::write(&path, text).map_err(Error::io(path))
    }

    /// Reads what the stage `evaluate` wrote.
    ///
    /// # Errors
    /// A file that is missing or damaged.
    pub fn read(folder: &Path) -> Result<Self> {
        let path = folder.join(Self::FILE);
        let text = std::fs::read_to_string(&path).map_err(Error::io(&path))?;
        serde_json::from_str(&text).map_err(Error::while_doing(format!("reading {}", path.display())))
    }
}
