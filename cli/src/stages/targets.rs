//! `targets`: what the teacher would say at every position of the base's batches, drawn once and kept.

use std::path::Path;

use lore_datasets::mixture::{Mixture, Part};
use lore_datasets::split::Split;
use lore_distill::cache::{Binding, Captured, TargetCache, Teacher, capture, capture_share};
use lore_model::Decoder;
use lore_model::files::ModelFiles;
use lore_model::streamed::StreamedDecoder;
use serde_json::{Value, json};

use super::prepared::open_tokens;
use super::{Finished, Outcome, Share, Stage, StageContext, sha256_of};
use crate::error::{Error, Result};
use crate::memory::without_keeping;
use crate::plan::estimate::{self, Estimate, Facts};
use crate::recipe::{Base, Recipe};

/// Captures the teacher's distributions.
pub struct TargetsStage {
    base: Base,
    seed: u64,
}

impl TargetsStage {
    /// For the base of `recipe`.
    pub fn new(recipe: &Recipe) -> Self {
        Self { base: recipe.base.clone(), seed: recipe.seed }
    }
}

/// The batches a base learns from.
pub fn batches(base: &Base, seed: u64, general: &Path) -> Result<Mixture> {
    let parts = vec![Part { name: "general".into(), store: open_tokens(general, Split::Train)?, weight: 1.0 }];
    Ok(Mixture::new(parts, base.train.sequence_length, base.train.batch_sequences, seed)?)
}

/// What a capture for these batches is bound to; `teacher` is the stage of that name.
fn binding(base: &Base, seed: u64, teacher: &Finished, mixture: &Mixture, vocabulary: usize) -> Binding {
    let identity = sha256_of(&json!([
        teacher.manifest.identity,
        mixture.parts()[0].store.hash(),
        base.train.sequence_length,
        base.train.batch_sequences,
        seed,
    ]));
    Binding::new(identity, vocabulary, base.distil.samples, seed)
}

/// Opens the capture of the stage `targets` for training, and checks all of it.
///
/// # Errors
/// A capture that belongs to something else, or is damaged.
pub fn open_targets(
    base: &Base,
    seed: u64,
    (teacher, targets): (&Finished, &Finished),
    mixture: &Mixture,
    vocabulary: usize,
) -> Result<TargetCache> {
    let binding = binding(base, seed, teacher, mixture, vocabulary);
    TargetCache::open(&targets.folder, &binding, mixture, base.train.steps)
        .map_err(Error::while_doing("opening the teacher's distributions"))
}

impl Stage for TargetsStage {
    fn name(&self) -> &str {
        "targets"
    }

    fn inputs(&self) -> Vec<String> {
        vec!["teacher".into(), "general".into()]
    }

    fn config(&self) -> Value {
        // More steps only make it longer, but a stage is finished or it is not.
        json!({
            "steps": self.base.train.steps,
            "sequence_length": self.base.train.sequence_length,
            "batch_sequences": self.base.train.batch_sequences,
            "samples": self.base.distil.samples,
            "seed": self.seed,
        })
    }

    fn schema(&self) -> u32 {
        2
    }

    fn resumable(&self) -> bool {
        true
    }

    fn estimate(&self, facts: &Facts) -> Estimate {
        estimate::targets(&self.base, facts)
    }

    fn parts(&self) -> u64 {
        self.base.train.steps
    }

    fn run_share(&self, context: &StageContext<'_>, share: Share) -> Result<()> {
        self.capture(context, Some(share)).map(|_| ())
    }

    fn run(&self, context: &StageContext<'_>) -> Result<Outcome> {
        let captured = self.capture(context, None)?;
        let each = captured.bytes as f64 / captured.positions.max(1) as f64;
        Ok(Outcome {
            summary: format!("{} positions, {each:.1} bytes each", captured.positions),
            facts: json!({ "positions": captured.positions, "bytes": captured.bytes }),
            ..Outcome::default()
        })
    }
}

impl TargetsStage {
    /// Captures all steps, or a share of them.
    fn capture(&self, context: &StageContext<'_>, share: Option<Share>) -> Result<Captured> {
        let teacher = context.input("teacher")?;
        let mixture = batches(&self.base, self.seed, &context.input("general")?.folder)?;
        let device = context.session.device.device()?;
        let files = ModelFiles::open(teacher.external()?)?;
        let binding = binding(&self.base, self.seed, teacher, &mixture, files.config.vocab_size);
        let capture_from = |teacher: &Teacher<'_>| {
            let (steps, folder, progress) = (self.base.train.steps, context.folder, &*context.session.progress);
            let captured = match share {
                None => capture(teacher, &mixture, steps, &binding, folder, progress),
                Some(share) => {
                    let name = share.file_name();
                    capture_share(teacher, &mixture, (&name, share.range(steps)), &binding, folder, progress)
                }
            };
            captured.map_err(Error::while_doing("capturing the teacher's distributions"))
        };
        match self.base.distil.stream_tokens {
            None => {
                let decoder = Decoder::load(&files.config, &*files.weights, &device)?;
                capture_from(&Teacher::Resident(&decoder))
            }
            Some(tokens) => {
                let decoder = StreamedDecoder::new(&files.config, &*files.weights, &device)?;
                without_keeping(|| capture_from(&Teacher::Streamed(decoder, tokens)))
            }
        }
    }
}
