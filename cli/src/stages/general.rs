//! `general`: general English, written by the teacher or fetched, to token files, split.

use std::path::Path;

use serde_json::{Value, json};

use super::{Outcome, Stage, StageContext};
use crate::error::{Error, Result};
use crate::plan::estimate::{self, Estimate, Facts};
use crate::recipe::General;
use crate::session::Session;

/// Makes the general text.
pub struct GeneralStage {
    general: General,
    seed: u64,
}

/// What making general text works with.
pub struct GeneralRequest<'a> {
    /// How it is made.
    pub general: &'a General,
    /// Everything random follows from it.
    pub seed: u64,
    /// The teacher.
    pub teacher: &'a Path,
    /// The fetched text, if it is not the teacher that writes.
    pub source: Option<&'a Path>,
    /// Where to write, and where an interrupted run left what it wrote.
    pub folder: &'a Path,
    /// Device, progress.
    pub session: &'a Session,
}

impl GeneralStage {
    /// Makes the general text of a recipe.
    pub fn new(general: &General, seed: u64) -> Self {
        Self { general: general.clone(), seed }
    }
}

impl Stage for GeneralStage {
    fn name(&self) -> &str {
        "general"
    }

    fn inputs(&self) -> Vec<String> {
        let mut inputs = vec!["teacher".into()];
        if self.general.corpus.is_some() {
            inputs.push("fetch:general".into());
        }
        inputs
    }

    fn config(&self) -> Value {
        let General { tokens, sequence_length, split, sample, corpus } = &self.general;
        let extract = corpus.as_ref().map(|corpus| &corpus.extract);
        json!({
            "tokens": tokens, "sequence_length": sequence_length, "split": split,
            "sample": sample, "extract": extract, "seed": self.seed,
        })
    }

    fn resumable(&self) -> bool {
        true
    }

    fn estimate(&self, facts: &Facts) -> Estimate {
        estimate::general(&self.general, facts)
    }

    fn run(&self, context: &StageContext<'_>) -> Result<Outcome> {
        let source = match context.inputs.get("fetch:general") {
            Some(fetched) => Some(fetched.external()?),
            None => None,
        };
        make_general(&GeneralRequest {
            general: &self.general,
            seed: self.seed,
            teacher: context.input("teacher")?.external()?,
            source,
            folder: context.folder,
            session: context.session,
        })
    }
}

/// Samples text from the teacher (`general.sample`) or extracts it (`general.corpus`), splits it by
/// document and writes the token files, as [`super::topic`] does. Facts: documents, tokens, bytes of each split.
fn make_general(request: &GeneralRequest<'_>) -> Result<Outcome> {
    let GeneralRequest { general: _, seed: _, teacher: _, source: _, folder: _, session: _ } = request;
    Err(Error::NotWired("making general text (stages::general::make_general)"))
}
