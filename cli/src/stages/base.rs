//! `base`: the student, distilled from the teacher on general text.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Instant;

use lore_datasets::batches::Batch;
use lore_datasets::mixture::Mixture;
use lore_datasets::progress::Unit;
use lore_distill::{
    Depth, Distillation, NextToken, TeacherSource, importance, measured_depth, narrowed, student_from_teacher,
};
use lore_model::Decoder;
use lore_model::ops::host::values;
use lore_model::save::{Repository, SHARD_BYTES, save_repository};
use lore_model::weights::safetensors_writer::StoredType;
use lore_train::{Parameters, Run, clear_checkpoints, train_under};
use serde_json::{Value, json};

use super::proof::HeldOut;
use super::targets::{batches, open_targets};
use super::{Finished, Outcome, Publication, Stage, StageContext, sha256_of};
use crate::error::{Error, Result};
use crate::models::{LoadedModel, load_model};
use crate::plan::estimate::{self, Estimate, Facts};
use crate::recipe::{Base, Recipe};
use crate::session::Session;

/// Distils the base.
pub struct BaseStage {
    base: Base,
    license: Option<String>,
    seed: u64,
}

/// What distilling works with.
pub struct BaseRequest<'a> {
    /// Name, depth, training.
    pub base: &'a Base,
    /// Licence of the teacher, which is the base's too.
    pub license: Option<&'a str>,
    /// Everything random follows from it.
    pub seed: u64,
    /// The stage `teacher`.
    pub teacher: &'a Finished,
    /// The stage `targets`, when distributions come from there.
    pub targets: Option<&'a Finished>,
    /// Folder of the stage `general`, with its token files.
    pub general: &'a Path,
    /// Where to write the Hugging Face repository.
    pub output: &'a Path,
    /// Where checkpoints and metrics are kept, and found after an interruption.
    pub working: &'a Path,
    /// Device, progress.
    pub session: &'a Session,
}

impl BaseStage {
    /// Distils the base of `recipe`.
    pub fn new(recipe: &Recipe) -> Self {
        Self { base: recipe.base.clone(), license: recipe.teacher.license.clone(), seed: recipe.seed }
    }
}

impl Stage for BaseStage {
    fn name(&self) -> &str {
        "base"
    }

    fn inputs(&self) -> Vec<String> {
        let cached = self.base.distil.teacher == TeacherSource::Cached;
        ["teacher", "general"].into_iter().chain(cached.then_some("targets")).map(String::from).collect()
    }

    fn config(&self) -> Value {
        json!({ "base": self.base, "license": self.license, "seed": self.seed })
    }

    fn resumable(&self) -> bool {
        true
    }

    fn publications(&self) -> Vec<Publication> {
        vec![Publication::new("base", "base")]
    }

    fn estimate(&self, facts: &Facts) -> Estimate {
        estimate::base(&self.base, facts)
    }

    fn run(&self, context: &StageContext<'_>) -> Result<Outcome> {
        distil_base(&BaseRequest {
            base: &self.base,
            license: self.license.as_deref(),
            seed: self.seed,
            teacher: context.input("teacher")?,
            targets: match self.base.distil.teacher {
                TeacherSource::Live => None,
                TeacherSource::Cached => Some(context.input("targets")?),
            },
            general: &context.input("general")?.folder,
            output: &context.folder.join("base"),
            working: context.folder,
            session: context.session,
        })
    }
}

/// Initialises the student from the teacher, trains it, and writes it to `output`; removes the
/// checkpoints at the end. Facts: parameters, fingerprint, steps, tokens, held-out measurements, loss curve.
fn distil_base(request: &BaseRequest<'_>) -> Result<Outcome> {
    let BaseRequest { base, license, seed, teacher: teacher_stage, targets, general, output, working, session } =
        request;
    let began = Instant::now();
    let path = teacher_stage.external()?;
    let device = session.device.device()?;
    let loaded = load_model(path, &device)?;
    loaded.check_length("`base.train.sequence_length`", base.train.sequence_length + 1)?;
    let LoadedModel { files, decoder, start, .. } = loaded;
    let mixture = batches(base, *seed, general)?;
    let depth = depth(base, &decoder, &mixture, session)?;
    let shallow = student_from_teacher(&decoder, &depth).map_err(Error::while_doing("`base.depth` of the recipe"))?;
    let untrained = match &base.width {
        None => shallow,
        Some(width) => {
            let importance = importance(&shallow, &calibration(&mixture));
            narrowed(&shallow, width, &importance).map_err(Error::while_doing("`base.width` of the recipe"))?
        }
    };
    let learner = untrained.clone().with_recompute(base.train.recompute);
    let (distillation, live) = match targets {
        Some(targets) => {
            let cache = open_targets(base, *seed, (teacher_stage, targets), &mixture, files.config.vocab_size)?;
            // The teacher has said what it had to say; it is read again to be compared with.
            drop(decoder);
            (Distillation::cached(learner, cache, base.distil.labels as f32), None)
        }
        None => (Distillation::live(learner, decoder.clone(), &base.distil, *seed), Some(decoder)),
    };
    let run = Run {
        config: &base.train,
        identity: &sha256_of(&json!([base, seed, mixture.parts()[0].store.hash()])),
        directory: working,
        label: "distil",
    };
    let trained = train_under(
        &session.training,
        &run,
        distillation.parameters(),
        &mixture,
        &distillation,
        None,
        &*session.progress,
    )?;
    let student = distillation.student(&trained.parameters);
    drop(distillation);
    let config = student.config.clone();
    let readme = card(request, path, &depth, config.parameter_count());
    let tensors: BTreeMap<String, _> = student.parameters().into_iter().collect();
    let repository = Repository {
        config: &config,
        tokenizer: &files.tokenizer,
        tokenizer_settings: &files.tokenizer_settings,
        dtype: StoredType::F32,
        shard_bytes: SHARD_BYTES,
        readme: Some(&readme),
    };
    let fingerprint = save_repository(output, &repository, &mut |name| Ok(values(&tensors[name])))?;
    let seconds: f64 = trained.metrics.iter().map(|m| m.seconds).sum();
    drop(trained.parameters);

    let control = base.distil.control.then(|| train_control(request, &untrained, &mixture)).transpose()?;
    let teacher = match live {
        Some(decoder) => decoder,
        None => load_model(path, &device)?.decoder,
    };
    let held_out = HeldOut::new(general, &files.tokenizer, base.train.sequence_length, start, session)?;
    let proof = held_out.compare(&teacher, &untrained, &student, control.as_ref())?;
    clear_checkpoints(working)?;
    let mut facts = json!({
        "name": base.name,
        "license": license,
        "parameters": config.parameter_count(),
        "fingerprint": fingerprint,
        "depth": depth,
        "width": base.width,
        "steps": base.train.steps,
        "curve": trained.metrics,
        "training_seconds": seconds,
        "seconds": began.elapsed().as_secs_f64(),
    });
    let measured = serde_json::to_value(&proof).map_err(Error::while_doing("recording the base"))?;
    if let (Value::Object(facts), Value::Object(measured)) = (&mut facts, measured) {
        facts.extend(measured);
    }
    Ok(Outcome {
        summary: format!("{:.0} million parameters, {proof}", config.parameter_count() as f64 / 1e6),
        facts,
        identity: Some(fingerprint.to_string()),
        ..Outcome::default()
    })
}

/// Steps whose batches say which parts to keep.
const CALIBRATION_STEPS: u64 = 2;

fn calibration(mixture: &Mixture) -> Vec<Batch> {
    (0..CALIBRATION_STEPS).map(|step| mixture.batch(step)).collect()
}

/// The blocks the recipe names, or those that measure best on the first batches.
fn depth(base: &Base, teacher: &Decoder, mixture: &Mixture, session: &Session) -> Result<Depth> {
    let Some(keep) = base.depth.keep else {
        return Ok(Depth { first: base.depth.first, last: base.depth.last });
    };
    let batches = calibration(mixture);
    let mut task = session.progress.task("which blocks to keep", Some(keep as u64 + 1), Unit::Items);
    let chosen = measured_depth(teacher, keep, &batches, |depth, loss| {
        task.message(&format!("first {}, last {}: {loss:.3} nats a token", depth.first, depth.last));
        task.advance(1);
    });
    let (depth, loss) = chosen.map_err(Error::while_doing("`base.depth` of the recipe"))?;
    task.finish(&format!("the first {} and the last {}: {loss:.3} nats a token untrained", depth.first, depth.last));
    Ok(depth)
}

/// The student that learns from next tokens alone: same start, same batches, same steps. It is measured and not kept.
fn train_control(request: &BaseRequest<'_>, untrained: &Decoder, mixture: &Mixture) -> Result<Decoder> {
    let BaseRequest { base, seed, working, session, .. } = request;
    let directory = working.join("control");
    let run = Run {
        config: &base.train,
        identity: &sha256_of(&json!(["control", base, seed, mixture.parts()[0].store.hash()])),
        directory: &directory,
        label: "control",
    };
    let objective = NextToken(untrained.clone().with_recompute(base.train.recompute));
    let initial = Parameters::new(untrained.parameters());
    let trained = train_under(&session.training, &run, initial, mixture, &objective, None, &*session.progress)?;
    // It is soon trained again should what follows fail.
    std::fs::remove_dir_all(&directory).map_err(Error::io(&directory))?;
    Ok(trained.parameters.put_into(untrained))
}

/// The model card.
fn card(request: &BaseRequest<'_>, teacher: &Path, depth: &Depth, parameters: usize) -> String {
    let BaseRequest { base, license, .. } = request;
    let teacher = teacher.file_name().unwrap_or_default().display();
    let narrower = if base.width.is_some() { ", and of those the parts that carry most" } else { "" };
    format!(
        "---\nlicense: {}\nlanguage: en\nlibrary_name: transformers\npipeline_tag: text-generation\ntags: [lore, distilled]\n---\n\n# {}\n\n{:.1} million parameters, distilled with Lore from {teacher}: its first {} and last {} blocks{narrower},\nthen {} steps of {} tokens of forward KL on general English.\n",
        license.map_or_else(|| "other".to_owned(), str::to_lowercase),
        base.name,
        parameters as f64 / 1e6,
        depth.first,
        depth.last,
        base.train.steps,
        base.train.batch_sequences * base.train.sequence_length,
    )
}
