//! A recipe as stages, and what they will cost, before anything runs.

pub mod devices;
pub mod estimate;
pub mod memory;
pub mod speed;
mod table;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use lore_datasets::fetch::Fetcher;
use lore_datasets::progress::Silent;
use lore_datasets::source::SourceRequest;
use lore_distill::TeacherSource;
use lore_model::config::ModelConfig;

use crate::error::{Error, Result};

use crate::recipe::{Against, Recipe, Shape, Topic, request};
use crate::session::Session;
use crate::stages::base::BaseStage;
use crate::stages::evaluate::EvaluateStage;
use crate::stages::fetch::Fetch;
use crate::stages::general::GeneralStage;
use crate::stages::module::ModuleStage;
use crate::stages::report::ReportStage;
use crate::stages::targets::TargetsStage;
use crate::stages::teacher::TeacherStage;
use crate::stages::topic::TopicStage;
use crate::stages::{Resolved, RunFolder, Stage, resolve};
use devices::Devices;
use estimate::{Estimate, Facts};
use speed::Speed;

/// The stages of a recipe, inputs before what needs them.
pub fn stages(recipe: &Recipe) -> Vec<Box<dyn Stage>> {
    let mut stages: Vec<Box<dyn Stage>> = vec![Box::new(Fetch::new("teacher", teacher_request(recipe)))];
    if let Some(corpus) = &recipe.general.corpus {
        let request = request(&corpus.source, corpus.sha256.as_ref(), &corpus.pip_args);
        stages.push(Box::new(Fetch::new("general", request)));
    }
    for topic in &recipe.topics {
        let request = request(&topic.source, topic.sha256.as_ref(), &topic.pip_args);
        stages.push(Box::new(Fetch::new(&topic.name, request)));
        for against in topic.against() {
            let request = crate::recipe::request(&against.source, against.sha256.as_ref(), &against.pip_args);
            stages.push(Box::new(Fetch::new(&items_of(topic, against), request)));
        }
    }
    stages.push(Box::new(TeacherStage::new(&recipe.teacher)));
    for topic in &recipe.topics {
        stages.push(Box::new(TopicStage::new(topic)));
    }
    stages.push(Box::new(GeneralStage::new(&recipe.general, recipe.seed)));
    if recipe.base.distil.teacher == TeacherSource::Cached {
        stages.push(Box::new(TargetsStage::new(recipe)));
    }
    stages.push(Box::new(BaseStage::new(recipe)));
    for topic in &recipe.topics {
        stages.push(Box::new(ModuleStage::new(topic, recipe)));
    }
    for joint in &recipe.joint {
        stages.push(Box::new(ModuleStage::joint(joint, recipe)));
    }
    stages.push(Box::new(EvaluateStage::new(recipe)));
    stages.push(Box::new(ReportStage::new(recipe)));
    stages
}

/// The stage `wanted` and all that it needs.
///
/// # Errors
/// When there is no such stage.
pub fn needed_for(stages: Vec<Box<dyn Stage>>, wanted: &str) -> Result<Vec<Box<dyn Stage>>> {
    let names: Vec<String> = stages.iter().map(|stage| stage.name().to_owned()).collect();
    if !names.iter().any(|name| name == wanted) {
        return Err(Error::Usage(format!("`{wanted}`: no stage has this name. The stages are {}", names.join(", "))));
    }
    Ok(needed_for_all(stages, &[wanted.to_owned()]))
}

/// The stages `wanted` and all that they need.
pub fn needed_for_all(mut stages: Vec<Box<dyn Stage>>, wanted: &[String]) -> Vec<Box<dyn Stage>> {
    let mut needed: BTreeSet<String> = wanted.iter().cloned().collect();
    // Inputs come before what needs them.
    for stage in stages.iter().rev() {
        if needed.contains(stage.name()) {
            needed.extend(stage.inputs());
        }
    }
    stages.retain(|stage| needed.contains(stage.name()));
    stages
}

/// The owner of the evaluation items that a topic is kept apart from; no name holds a `+`.
pub fn items_of(topic: &Topic, against: &Against) -> String {
    format!("{}+{}", topic.name, against.name)
}

fn teacher_request(recipe: &Recipe) -> SourceRequest {
    let teacher = &recipe.teacher;
    request(&teacher.source, teacher.sha256.as_ref(), &teacher.pip_args)
}

/// A stage and what is known of it.
#[derive(Debug)]
pub struct PlannedStage {
    /// Its name.
    pub name: String,
    /// What must be finished before.
    pub inputs: Vec<String>,
    /// Key and state.
    pub resolved: Resolved,
    /// Cost.
    pub estimate: Estimate,
}

/// A run, resolved.
#[derive(Debug)]
pub struct Plan {
    /// Name of the recipe.
    pub name: String,
    /// Sources by stage, as a person reads them.
    pub sources: Vec<(String, String)>,
    /// The stages in order.
    pub stages: Vec<PlannedStage>,
    /// What it is planned for, if not for this machine.
    pub devices: Option<Devices>,
    /// How fast this machine multiplies, if times were made of that.
    pub speed: Option<Speed>,
    /// Whether the report asks questions, whose time is not known before.
    pub questions: bool,
    /// Price of one of those for an hour.
    pub hourly_price: Option<f64>,
}

impl Plan {
    /// Resolves `stages` against what was run before, for this machine or for `devices`. Nothing is run, fetched or
    /// written.
    pub fn new(
        recipe: &Recipe,
        stages: &[Box<dyn Stage>],
        folder: &RunFolder,
        session: &Session,
        devices: Option<Devices>,
    ) -> Self {
        let teacher = cached_teacher(&session.fetcher, &teacher_request(recipe));
        let teacher = teacher.or_else(|| recipe.teacher.shape.as_ref().map(Shape::config));
        // Without the teacher's shapes no time is known; without the device none either.
        let measured = teacher.is_some() && devices.is_none();
        let speed = measured.then(|| session.device.device().ok().map(|device| Speed::measured(&device))).flatten();
        let facts = Facts { teacher, speed, devices };
        let mut identities = BTreeMap::new();
        let planned = stages
            .iter()
            .map(|stage| {
                let resolved = resolve(stage.as_ref(), &identities, folder);
                identities.insert(stage.name().to_owned(), resolved.identity.clone());
                let estimate = stage.estimate(&facts);
                PlannedStage { name: stage.name().into(), inputs: stage.inputs(), resolved, estimate }
            })
            .collect();
        let source = |owner: &str, uri: String, hash: Option<&String>| {
            let pin = if hash.is_some() { "pinned by sha256" } else { "not pinned" };
            (format!("fetch:{owner}"), format!("{uri} ({pin})"))
        };
        let mut sources = vec![source("teacher", recipe.teacher.source.to_string(), recipe.teacher.sha256.as_ref())];
        if let Some(corpus) = &recipe.general.corpus {
            sources.push(source("general", corpus.source.to_string(), corpus.sha256.as_ref()));
        }
        for topic in &recipe.topics {
            sources.push(source(&topic.name, topic.source.to_string(), topic.sha256.as_ref()));
            for against in topic.against() {
                let owner = items_of(topic, against);
                sources.push(source(&owner, against.source.to_string(), against.sha256.as_ref()));
            }
        }
        Self {
            name: recipe.name.clone(),
            sources,
            stages: planned,
            devices,
            speed,
            questions: recipe.evaluate.tasks.is_some(),
            hourly_price: None,
        }
    }
}

/// The teacher's shapes if it is on this machine already.
fn cached_teacher(fetcher: &Fetcher, request: &SourceRequest) -> Option<ModelConfig> {
    let fetched = fetcher.clone().offline(true).fetch(request, &Silent).ok()?;
    model_config(&fetched.path)
}

/// Reads only the configuration of a GGUF file or a Hugging Face repository.
fn model_config(path: &Path) -> Option<ModelConfig> {
    if path.is_dir() {
        let path = path.join("config.json");
        return ModelConfig::from_json(&path, &std::fs::read_to_string(&path).ok()?).ok();
    }
    let file = lore_model::weights::gguf::GgufFile::open(path).ok()?;
    ModelConfig::from_gguf(&file).ok()
}
