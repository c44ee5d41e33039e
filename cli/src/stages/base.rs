//! `base`: the student, distilled from the teacher on general text.

use std::path::Path;

use serde_json::{Value, json};

use super::{Outcome, Publication, Stage, StageContext};
use crate::error::{Error, Result};
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
    let BaseRequest { base: _, license: _, seed: _, teacher: _, general: _, output: _, working: _, session: _ } = request;
    Err(Error::NotWired("distilling the base (stages::base::distil_base)"))
}
