//! `teacher`: checks the teacher and records what it is.

use std::path::Path;

use lore_model::files::ModelFiles;
use lore_model::weights::check::check_finite;
use serde_json::{Value, json};

use super::{Outcome, Stage, StageContext};
use crate::error::{Error, Result};
use crate::plan::estimate::{self, Estimate, Facts};
use crate::recipe::{Shape, Teacher};

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
        let mut config = json!({ "license": self.config.license });
        if let Some(shape) = &self.config.shape {
            config["shape"] = json!(shape);
        }
        config
    }

    fn estimate(&self, facts: &Facts) -> Estimate {
        estimate::teacher(facts)
    }

    fn run(&self, context: &StageContext<'_>) -> Result<Outcome> {
        let path = context.input("fetch:teacher")?.external()?;
        let facts = inspect_teacher(path, self.config.shape.as_ref())?;
        Ok(Outcome {
            summary: format!("{}", path.file_name().unwrap_or_default().display()),
            facts,
            identity: None,
            external: vec![path.to_owned()],
        })
    }
}

/// Opens the model at `path` and checks its sizes and every tensor. Returns the facts the report shows: parameters,
/// blocks, vocabulary, bytes.
fn inspect_teacher(path: &Path, shape: Option<&Shape>) -> Result<Value> {
    let files = ModelFiles::open(path)?;
    let differences = shape.map(|shape| shape.differences(&files.config)).unwrap_or_default();
    if !differences.is_empty() {
        let differences = differences.join(", ");
        return Err(Error::Usage(format!(
            "{}: not the model that `[teacher.shape]` describes: {differences}. Correct the recipe, or its source",
            path.display()
        )));
    }
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
