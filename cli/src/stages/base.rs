//! `base`: the student, distilled from the teacher on general text.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use lore_datasets::evaluation::EvalPassage;
use lore_datasets::mixture::{Mixture, Part};
use lore_datasets::split::Split;
use lore_distill::{Distillation, student_from_teacher};
use lore_eval::composition::{Text, score_texts};
use lore_eval::statistics::bits_per_byte;
use lore_model::Decoder;
use lore_model::config::ModelConfig;
use lore_model::ops::head::{Sums, Target, head_loss};
use lore_model::ops::host::values;
use lore_model::ops::sequences::Sequences;
use lore_model::save::{Repository, SHARD_BYTES, save_repository};
use lore_model::weights::safetensors_writer::StoredType;
use lore_train::{Run, clear_checkpoints, train};
use serde_json::{Value, json};

use super::prepared::{held_out, open_tokens};
use super::sha256_of;

use super::{Outcome, Publication, Stage, StageContext};
use crate::error::{Error, Result};
use crate::models::load_model;
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
    /// The teacher.
    pub teacher: &'a Path,
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
        vec!["teacher".into(), "general".into()]
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
            teacher: context.input("teacher")?.external()?,
            general: &context.input("general")?.folder,
            output: &context.folder.join("base"),
            working: context.folder,
            session: context.session,
        })
    }
}

/// Initialises the student from the teacher, trains it, and writes it to `output`; removes the
/// checkpoints at the end. Facts: parameters, fingerprint, steps, tokens, held-out bits per byte of teacher,
/// untrained student and student, loss curve (or the metrics file that holds it).
fn distil_base(request: &BaseRequest<'_>) -> Result<Outcome> {
    let BaseRequest { base, license, seed, teacher, general, output, working, session } = request;
    let began = Instant::now();
    let teacher_path = teacher;
    let teacher = load_model(teacher, &session.device.device()?)?;
    teacher.check_length("`base.train.sequence_length`", base.train.sequence_length + 1)?;
    let untrained = student_from_teacher(&teacher.decoder, &base.depth)
        .map_err(Error::while_doing("`base.depth` of the recipe"))?;
    let learner = untrained.clone().with_recompute(base.train.recompute);
    let distillation = Distillation::new(learner, teacher.decoder.clone(), 1.0);
    let parts = vec![Part { name: "general".into(), store: open_tokens(general, Split::Train)?, weight: 1.0 }];
    let mixture = Mixture::new(parts, base.train.sequence_length, base.train.batch_sequences, *seed)?;
    let run = Run {
        config: &base.train,
        identity: &sha256_of(&json!([base, seed, mixture.parts()[0].store.hash()])),
        directory: working,
        label: "distil",
    };
    let initial = distillation.parameters();
    let trained = train(&run, initial, &mixture, &distillation, &*session.progress)?;
    let student = distillation.student(&trained.parameters);
    let config = ModelConfig { num_hidden_layers: student.blocks.len(), ..teacher.files.config.clone() };
    let readme = card(request, teacher_path, config.parameter_count());
    let tensors: BTreeMap<String, _> = student.parameters().into_iter().collect();
    let repository = Repository {
        config: &config,
        tokenizer: &teacher.files.tokenizer,
        tokenizer_settings: &teacher.files.tokenizer_settings,
        dtype: StoredType::F32,
        shard_bytes: SHARD_BYTES,
        readme: Some(&readme),
    };
    let fingerprint = save_repository(output, &repository, &mut |name| Ok(values(&tensors[name])))?;
    let seconds: f64 = trained.metrics.iter().map(|m| m.seconds).sum();

    let passages = held_out(general, &teacher.files.tokenizer, HELD_OUT_TOKENS, base.train.sequence_length)?;
    let text = [Text { name: "general".into(), passages }];
    let measure = |decoder: &Decoder, label: &str| -> Result<f64> {
        let row = score_texts(decoder, &text, teacher.start, label, &*session.progress)
            .map_err(Error::while_doing("scoring held-out general text"))?;
        Ok(bits_per_byte(&row.measured(&text, 0)).value)
    };
    let teacher_bits = measure(&teacher.decoder, "held-out: teacher")?;
    let untrained_bits = measure(&untrained, "held-out: untrained student")?;
    let student_bits = measure(&student, "held-out: student")?;
    let agreement = distance(&teacher.decoder, &student, teacher.start, &text[0].passages);
    clear_checkpoints(working)?;
    // A student with all of the teacher's blocks starts where the teacher is.
    let way = if untrained_bits > teacher_bits {
        let share = 100.0 * (untrained_bits - student_bits) / (untrained_bits - teacher_bits);
        format!("{share:.0} % of the way from {untrained_bits:.3} to the teacher's {teacher_bits:.3}")
    } else {
        format!("untrained {untrained_bits:.3}, the teacher {teacher_bits:.3}")
    };
    Ok(Outcome {
        summary: format!(
            "{:.0} million parameters, {student_bits:.3} bits per byte on held-out text: {way}",
            config.parameter_count() as f64 / 1e6,
        ),
        facts: json!({
            "name": base.name,
            "license": license,
            "parameters": config.parameter_count(),
            "fingerprint": fingerprint,
            "steps": base.train.steps,
            "curve": trained.metrics,
            "teacher_bits_per_byte": teacher_bits,
            "untrained_bits_per_byte": untrained_bits,
            "student_bits_per_byte": student_bits,
            "forward_kl": agreement.loss,
            "teacher_entropy": agreement.target_entropy,
            "top1_agreement": agreement.agreement,
            "overlap": agreement.overlap,
            "training_seconds": seconds,
            "seconds": began.elapsed().as_secs_f64(),
        }),
        identity: Some(fingerprint.to_string()),
        ..Outcome::default()
    })
}

/// Held-out tokens that teacher and students are compared on.
const HELD_OUT_TOKENS: u64 = 4096;

/// Mean divergence from the teacher, its entropy, agreement and overlap over held-out passages.
fn distance(teacher: &Decoder, student: &Decoder, start: u32, passages: &[EvalPassage]) -> Sums {
    let mut sums = Sums::default();
    let rows: usize = passages.iter().map(|passage| passage.tokens.len() + 1).sum();
    for passage in passages {
        let tokens: Arc<Vec<u32>> = Arc::new(std::iter::once(start).chain(passage.tokens.iter().copied()).collect());
        let sequences = Arc::new(Sequences::whole(&[tokens.len()]));
        let weights = Arc::new(vec![1.0 / rows as f32; tokens.len()]);
        let target = Target::Teacher {
            hidden: teacher.hidden(tokens.clone(), sequences.clone()),
            head: teacher.head(),
            temperature: 1.0,
        };
        sums.add(head_loss(student.hidden(tokens, sequences), student.head(), target, weights).1);
    }
    sums
}

/// The model card.
fn card(request: &BaseRequest<'_>, teacher: &Path, parameters: usize) -> String {
    let BaseRequest { base, license, .. } = request;
    let teacher = teacher.file_name().unwrap_or_default().display();
    format!(
        "---\nlicense: {}\nlanguage: en\nlibrary_name: transformers\npipeline_tag: text-generation\ntags: [lore, distilled]\n---\n\n# {}\n\n{:.1} million parameters, distilled with Lore from {teacher}: its first {} and last {} blocks,\nthen {} steps of {} tokens of forward KL on general English.\n",
        license.map_or_else(|| "other".to_owned(), str::to_lowercase),
        base.name,
        parameters as f64 / 1e6,
        base.depth.first,
        base.depth.last,
        base.train.steps,
        base.train.batch_sequences * base.train.sequence_length,
    )
}
