//! `teacher`: checks the teacher and records what it is.

use std::path::Path;

use serde_json::{Value, json};

use super::{Outcome, Stage, StageContext};
use crate::error::{Error, Result};
use crate::plan::estimate::{self, Estimate, Facts};
use crate::recipe::Teacher;
use crate::session::Session;

/// Opens the fetched teacher once, so that a bad file fails early.
pub struct TeacherStage {
    config: Teacher,
}

impl TeacherStage {
    /// Checks the teacher of a recipe.
    pub fn new(config: &Teacher) -> Self {
        Self { config: config.clone() }
    }
}

impl Stage for TeacherStage {
    fn name(&self) -> &str {
        "teacher"
    }

    fn inputs(&self) -> Vec<String> {
        vec!["fetch:teacher".into()]
    }

    fn config(&self) -> Value {
        json!({ "license": self.config.license })
    }

    fn estimate(&self, facts: &Facts) -> Estimate {
        estimate::teacher(facts)
    }

    fn run(&self, context: &StageContext<'_>) -> Result<Outcome> {
        let path = context.input("fetch:teacher")?.external()?;
        let facts = inspect_teacher(path, context.folder, context.session)?;
        Ok(Outcome {
            summary: format!("{}", path.file_name().unwrap_or_default().display()),
            facts,
            identity: None,
            external: vec![path.to_owned()],
        })
    }
}

/// Opens the model at `path`, checks every tensor, and writes what later stages want ready into `folder`.
/// Returns the facts the report shows: parameters, blocks, width, vocabulary, bytes, fingerprint.
fn inspect_teacher(_path: &Path, _folder: &Path, _session: &Session) -> Result<Value> {
    Err(Error::NotWired("checking the teacher (stages::teacher::inspect_teacher)"))
}
