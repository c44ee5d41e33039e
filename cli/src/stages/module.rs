//! `module:<topic>`: a LoRA module for the base, trained on a topic.

use std::collections::BTreeMap;
use std::path::Path;

use lore_datasets::mixture::{Mixture, Part};
use lore_datasets::split::Split;
use lore_finetune::LoraTraining;
use lore_model::fingerprint::Fingerprint;
use lore_model::ops::host::values;
use lore_model::weights::safetensors_writer::StoredType;
use lore_modules::{Adapter, AdapterConfig, LowRank, peft};
use lore_train::{Parameters, Run, clear_checkpoints, train};
use serde_json::{Value, json};

use super::prepared::open_tokens;
use super::sha256_of;

use super::{Outcome, Publication, Stage, StageContext};
use crate::error::{Error, Result};
use crate::models::load_model;
use crate::plan::estimate::{self, Estimate, Facts};
use crate::recipe::{Base, ModuleConfig, Recipe, Rehearse, Topic};
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
    /// What the base is called.
    pub base_name: &'a str,
    /// The teacher, for modules that rehearse with it.
    pub teacher: &'a Path,
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
        vec!["base".into(), "teacher".into(), format!("topic:{}", self.topic.name), "general".into()]
    }

    fn config(&self) -> Value {
        let Topic { name, license, attribution, module, .. } = &self.topic;
        json!({
            "topic": name, "license": license, "attribution": attribution,
            "module": module, "seed": self.seed,
        })
    }

    fn schema(&self) -> u32 {
        2
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
            base_name: &self.base.name,
            teacher: context.input("teacher")?.external()?,
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
    let ModuleRequest { topic, module, seed, base, topic_tokens, general, output, working, session, .. } = request;
    let model = load_model(base, &session.device.device()?)?;
    model.check_length("the module's `train.sequence_length`", module.train.sequence_length + 1)?;
    let fingerprint = model.fingerprint()?;
    let learner = model.decoder.clone().with_recompute(module.train.recompute);
    let training = LoraTraining::new(learner, &module.lora, initial_seed(*seed, &topic.name))
        .map_err(Error::while_doing("`lora.targets` of the recipe"))?;
    let training = match module.rehearse {
        Rehearse::Text => training,
        Rehearse::Base => training.with_rehearsal(model.decoder.clone(), module.rehearse_weight as f32),
        Rehearse::Teacher => {
            let teacher = load_model(request.teacher, &session.device.device()?)?.decoder;
            training.with_rehearsal(teacher, module.rehearse_weight as f32)
        }
    };
    let mut parts = vec![Part {
        name: topic.name.clone(),
        store: open_tokens(topic_tokens, Split::Train)?,
        weight: 1.0 - module.replay,
    }];
    if module.replay > 0.0 {
        parts.push(Part { name: "general".into(), store: open_tokens(general, Split::Train)?, weight: module.replay });
    }
    let mixture = Mixture::new(parts, module.train.sequence_length, module.train.batch_sequences, *seed)?;
    let stores: Vec<String> = mixture.parts().iter().map(|part| part.store.hash()).collect();
    let run = Run {
        config: &module.train,
        identity: &sha256_of(&json!([module, seed, fingerprint, stores])),
        directory: working,
        label: &format!("module {}", topic.name),
    };
    let trained = train(&run, training.parameters(), &mixture, &training, &*session.progress)?;
    let adapter = adapter(request, &trained.parameters, fingerprint);
    peft::write(output, &adapter, StoredType::F32)?;
    copy_data_reports(topic_tokens, output)?;
    clear_checkpoints(working)?;
    let seconds: f64 = trained.metrics.iter().map(|m| m.seconds).sum();
    Ok(Outcome {
        summary: format!("{:.1} million parameters", adapter.parameter_count() as f64 / 1e6),
        facts: json!({
            "topic": topic.name,
            "rank": module.lora.rank,
            "parameters": adapter.parameter_count(),
            "curve": trained.metrics,
            "training_seconds": seconds,
        }),
        ..Outcome::default()
    })
}

/// What was kept out of the training text goes with the module, where that was asked for.
fn copy_data_reports(from: &Path, to: &Path) -> Result<()> {
    for name in [lore_datasets::prepare::REPORT, lore_datasets::prepare::CONTAMINATION] {
        let (from, to) = (from.join(name), to.join(name));
        if from.is_file() {
            std::fs::copy(&from, &to).map_err(Error::io(&to))?;
        }
    }
    Ok(())
}

/// Each topic's updates start from other random inputs: modules that all begin with the same `A` read the same few
/// directions of the residual stream, and disturb each other when they are added up.
fn initial_seed(seed: u64, topic: &str) -> u64 {
    let hash = sha256_of(&json!([seed, topic]));
    u64::from_str_radix(&hash[..16], 16).expect("a hash is hexadecimal")
}

/// The trained updates as a PEFT adapter.
fn adapter(request: &ModuleRequest<'_>, parameters: &Parameters, base: Fingerprint) -> Adapter {
    let ModuleRequest { topic, module, .. } = request;
    let mut config = AdapterConfig::uniform(module.lora.rank, module.lora.alpha);
    let mut updates = BTreeMap::new();
    for (name, a) in parameters.iter() {
        let Some(path) = name.strip_suffix(".lora_A") else { continue };
        let b = parameters.get(&format!("{path}.lora_B")).expect("A and B are made together");
        let ([rank, in_features], [out_features, _]) = (a.dims(), b.dims());
        let update =
            LowRank { a: values(a), b: values(b), rank, in_features, out_features, scale: config.scale_of(path) };
        updates.insert(path.to_owned(), update);
    }
    config.base_model_name_or_path = Some(request.base_name.to_owned());
    let metadata = [
        ("topic", Some(&topic.name)),
        ("license", topic.license.as_ref()),
        ("attribution", topic.attribution.as_ref()),
    ];
    let metadata = metadata.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?.clone()))).collect();
    Adapter { config, updates, base: Some(base), metadata }
}
