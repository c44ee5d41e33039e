//! Training a module: once, or once for each learning rate.

use std::path::Path;

use lore_datasets::mixture::{Mixture, Part};
use lore_datasets::split::Split;
use lore_eval::report::SweptRate;
use lore_finetune::LoraTraining;
use lore_model::Decoder;
use lore_model::fingerprint::Fingerprint;
use lore_model::weights::safetensors_writer::StoredType;
use lore_modules::{Adapter, peft};
use lore_route::build::{General, Settings};
use lore_route::{ENTRY_FILE, Reader};
use lore_train::{Measurement, Run, StepMetrics, Stopping, TrainConfig, Trained, clear_checkpoints, train_under};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::ModuleRequest;
use super::validation::Validation;
use crate::error::{Error, Result};
use crate::models::{LoadedModel, load_model, load_model_in};
use crate::recipe::Rehearse;
use crate::routing::{EntryMaker, corpus};
use crate::stages::prepared::open_tokens;
use crate::stages::{Outcome, sha256_of};

/// What a learning rate led to.
const SWEPT: &str = "swept.json";

/// A finished run of a sweep, so that it is not made again.
#[derive(Serialize, Deserialize)]
struct Swept {
    identity: String,
    rate: SweptRate,
    curve: Vec<StepMetrics>,
}

/// A trained module.
struct Made {
    adapter: Adapter,
    curve: Vec<StepMetrics>,
    /// What was measured of it on validation text, if anything was.
    best: Option<Measurement>,
    /// The learning rates that were tried, if there were several.
    swept: Vec<SweptRate>,
}

/// Trains the module, resuming from `working`, and writes it to `output`; removes the checkpoints at the
/// end. Facts: parameters, bytes, steps, tokens, loss curve, what was measured on validation text.
pub fn train_module(request: &ModuleRequest<'_>) -> Result<Outcome> {
    let ModuleRequest { subject, module, seed, base, topics, output, working, session, .. } = request;
    let model = load_model_in(base, &session.device.device()?, module.quantise)?;
    model.check_length("the module's `train.sequence_length`", module.train.sequence_length + 1)?;
    let fingerprint = model.fingerprint()?;
    let training = objective(request, &model)?;
    let mixture = mixture(request)?;
    let stores: Vec<String> = mixture.parts().iter().map(|part| part.store.hash()).collect();
    let validation = module.validates().then(|| Validation::new(request, &model, &training)).transpose()?;
    let task = Task {
        request,
        training: &training,
        mixture: &mixture,
        fingerprint,
        validation: validation.as_ref(),
        identity: sha256_of(&json!([module, seed, fingerprint, stores])),
    };
    let Made { adapter, curve, best, swept } = match &module.sweep {
        None => {
            let trained = task.train(&module.train, &task.identity, working)?;
            let adapter = task.adapter(&trained);
            Made { adapter, curve: trained.metrics, best: trained.best, swept: Vec::new() }
        }
        Some(sweep) => task.sweep(&sweep.lr)?,
    };
    peft::write(output, &adapter, StoredType::F32)?;
    // A report is about one topic, and so is what a router knows.
    let mut routed = false;
    if let [topic] = topics {
        copy_data_reports(topic, output)?;
        routed = write_router_entry(request, &model, fingerprint, &adapter, topic)?;
    }
    clear_checkpoints(working)?;
    let seconds: f64 = curve.iter().map(|m| m.seconds).sum();
    let mut facts = json!({
        "topic": subject.name,
        "rank": module.lora.rank,
        "parameters": adapter.parameter_count(),
        "curve": curve,
        "training_seconds": seconds,
        "router": routed,
    });
    let mut summary = format!("{:.1} million parameters", adapter.parameter_count() as f64 / 1e6);
    if let Some(best) = best {
        facts["validation"] = json!(best);
        summary += &format!(", {:.3} bits per byte on validation text after step {}", best.value, best.step);
    }
    if !swept.is_empty() {
        let rate = curve.iter().map(|m| m.learning_rate).fold(0.0, f64::max);
        summary += &format!(", at learning rate {rate:e}, the best of {}", swept.len());
        facts["sweep"] = json!(swept);
    }
    if subject.is_joint() {
        facts["topics"] = json!(subject.topics);
    }
    Ok(Outcome { summary, facts, ..Outcome::default() })
}

/// Writes what a router needs to know of the module beside it; whether there was text enough.
fn write_router_entry(
    request: &ModuleRequest<'_>,
    model: &LoadedModel,
    base: Fingerprint,
    adapter: &Adapter,
    topic: &Path,
) -> Result<bool> {
    let ModuleRequest { subject, module, general, output, session, .. } = request;
    let [learn, validate] = corpus(topic, model)?;
    let Settings { layer, .. } = Settings::of(&model.decoder);
    let device = model.decoder.embedding.device();
    // A router reads the base as it is used, not as it was kept while the module was trained.
    let own = module.quantise.map(|_| Decoder::load_lower(&model.files.config, &*model.files.weights, &device, layer));
    let decoder = own.transpose()?.unwrap_or_else(|| model.decoder.clone());
    let reader = Reader::usual(&decoder);
    let english = session.english.of(base, general, || {
        let [passages, _] = corpus(general, model)?;
        Ok(General::read(&reader, &passages)?)
    });
    let made = english.and_then(|general| EntryMaker { reader, general, base }.entry(adapter, &learn, &validate));
    match made {
        Ok(entry) => entry.write(&output.join(ENTRY_FILE))?,
        Err(error) => {
            let why = crate::error::chain(&error);
            session.progress.note(&format!("      no router entry for {}: {why}", subject.name));
            return Ok(false);
        }
    }
    Ok(true)
}

/// The module to be trained, and what it learns.
fn objective(request: &ModuleRequest<'_>, model: &LoadedModel) -> Result<LoraTraining> {
    let ModuleRequest { subject, module, seed, session, .. } = request;
    let learner = model.decoder.clone().with_recompute(module.train.recompute);
    let training = LoraTraining::new(learner, &module.lora, initial_seed(*seed, &subject.name))
        .map_err(Error::while_doing("`lora` of the recipe"))?
        .with_topics(subject.topics.len());
    let training = match module.rehearse {
        Rehearse::Text => training,
        Rehearse::Base => training.with_rehearsal(model.decoder.clone(), module.rehearse_weight as f32),
        Rehearse::Teacher => {
            let teacher = load_model(request.teacher, &session.device.device()?)?.decoder;
            training.with_rehearsal(teacher, module.rehearse_weight as f32)
        }
    };
    Ok(match module.context {
        Some(context) => training.with_context(context),
        None => training,
    })
}

/// Topics in equal shares, then general text.
fn mixture(request: &ModuleRequest<'_>) -> Result<Mixture> {
    let ModuleRequest { subject, module, seed, topics, general, .. } = request;
    let share = (1.0 - module.replay) / topics.len() as f64;
    let mut parts = Vec::new();
    for (name, folder) in subject.topics.iter().zip(*topics) {
        parts.push(Part { name: name.clone(), store: open_tokens(folder, Split::Train)?, weight: share });
    }
    if module.replay > 0.0 {
        parts.push(Part { name: "general".into(), store: open_tokens(general, Split::Train)?, weight: module.replay });
    }
    Ok(Mixture::new(parts, module.train.sequence_length, module.train.batch_sequences, *seed)?)
}

struct Task<'a> {
    request: &'a ModuleRequest<'a>,
    training: &'a LoraTraining,
    mixture: &'a Mixture,
    fingerprint: Fingerprint,
    validation: Option<&'a Validation<'a>>,
    identity: String,
}

impl Task<'_> {
    fn train(&self, config: &TrainConfig, identity: &str, directory: &Path) -> Result<Trained, lore_train::Error> {
        let ModuleRequest { subject, module, session, .. } = self.request;
        let run = Run { config, identity, directory, label: &format!("module {}", subject.name) };
        let (initial, progress) = (self.training.parameters(), &*session.progress);
        let Some(validation) = self.validation else {
            return train_under(&session.training, &run, initial, self.mixture, self.training, None, progress);
        };
        let stopping = match &module.stopping {
            Some(stopping) => {
                Stopping { held_out: validation, every: stopping.every, patience: Some(stopping.patience) }
            }
            // Only the last step is measured.
            None => Stopping { held_out: validation, every: u64::MAX, patience: None },
        };
        train_under(&session.training, &run, initial, self.mixture, self.training, Some(stopping), progress)
    }

    /// Trains once for each rate, but for those that were finished before an interruption; the best by validation text.
    /// Rates that diverge are left out, unless all do.
    fn sweep(&self, rates: &[f64]) -> Result<Made> {
        let session = self.request.session;
        // Processes that train together all make the same runs, and only the first one has what was finished before.
        let alone = session.training.peers.size() == 1;
        let (mut finished, mut diverged) = (Vec::new(), None);
        for &learning_rate in rates {
            let directory = self.request.working.join(format!("lr-{learning_rate:e}"));
            let identity = sha256_of(&json!([self.identity, learning_rate]));
            let known = if alone { read_swept(&directory, &identity)? } else { None };
            let swept = match known {
                Some(swept) => swept,
                None => {
                    session.progress.note(&format!("      learning rate {learning_rate:e}"));
                    let config = TrainConfig { learning_rate, ..self.request.module.train.clone() };
                    let trained = match self.train(&config, &identity, &directory) {
                        Ok(trained) => trained,
                        Err(error @ lore_train::Error::Diverged { .. }) => {
                            session.progress.note(&format!("      learning rate {learning_rate:e} left out: {error}"));
                            clear_checkpoints(&directory)?;
                            diverged = Some(error);
                            continue;
                        }
                        Err(error) => return Err(error.into()),
                    };
                    let best = trained.best.expect("a sweep is measured at its last step");
                    let rate = SweptRate { learning_rate, bits_per_byte: best.value, step: best.step };
                    peft::write(&directory.join("module"), &self.adapter(&trained), StoredType::F32)?;
                    let swept = Swept { identity, rate, curve: trained.metrics };
                    write_swept(&directory, &swept)?;
                    clear_checkpoints(&directory)?;
                    swept
                }
            };
            finished.push((directory, swept));
        }
        let best = finished.iter().min_by(|(_, a), (_, b)| a.rate.bits_per_byte.total_cmp(&b.rate.bits_per_byte));
        let Some((directory, best)) = best else {
            return Err(diverged.expect("a sweep has at least one rate").into());
        };
        let adapter = peft::read(&directory.join("module"))?;
        let measured = Measurement { step: best.rate.step, value: best.rate.bits_per_byte };
        let swept = finished.iter().map(|(_, swept)| swept.rate).collect();
        Ok(Made { adapter, curve: best.curve.clone(), best: Some(measured), swept })
    }

    /// The trained updates as a PEFT adapter.
    fn adapter(&self, trained: &Trained) -> Adapter {
        let ModuleRequest { subject, base_name, .. } = self.request;
        let mut adapter = self.training.adapter(&trained.parameters);
        adapter.config.base_model_name_or_path = Some((*base_name).to_owned());
        adapter.base = Some(self.fingerprint);
        let metadata = [
            ("topic", Some(&subject.name)),
            ("license", subject.license.as_ref()),
            ("attribution", subject.attribution.as_ref()),
        ];
        let known = metadata.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?.clone())));
        adapter.metadata.extend(known);
        adapter
    }
}

/// What an earlier, interrupted sweep left of this learning rate.
fn read_swept(directory: &Path, identity: &str) -> Result<Option<Swept>> {
    let path = directory.join(SWEPT);
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Error::io(path)(error)),
    };
    // A file that was cut short is as good as none.
    Ok(serde_json::from_str::<Swept>(&text).ok().filter(|swept| swept.identity == identity))
}

fn write_swept(directory: &Path, swept: &Swept) -> Result<()> {
    let path = directory.join(SWEPT);
    let text = serde_json::to_string_pretty(swept).expect("figures are plain data");
    std::fs::write(&path, text).map_err(Error::io(path))
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
