//! `report`: what was measured, as pages and tables.

use std::path::{Path, PathBuf};
use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{Manifest, Outcome, Publication, Stage, StageContext};
use crate::error::{Error, Result};
use crate::plan::estimate::{Estimate, Facts};
use crate::recipe::Recipe;

/// The table that is printed when the run ends.
pub const TERMINAL_TABLE: &str = "report.txt";

/// Writes `report.json`, `report.html` and `report.txt`.
pub struct ReportStage {
    recipe: Recipe,
}

/// What the report is made of.
pub struct ReportRequest<'a> {
    /// The recipe of the run.
    pub recipe: &'a Recipe,
    /// Folder of the stage `evaluate`.
    pub evaluation: &'a Path,
    /// Folders of all inputs, by stage.
    pub folders: &'a BTreeMap<String, PathBuf>,
    /// Manifests of all inputs, by stage: facts, seconds, hashes.
    pub manifests: &'a BTreeMap<String, Manifest>,
    /// Where to write.
    pub folder: &'a Path,
}

impl ReportStage {
    /// Reports on the run of `recipe`.
    pub fn new(recipe: &Recipe) -> Self {
        Self { recipe: recipe.clone() }
    }
}

impl Stage for ReportStage {
    fn name(&self) -> &str {
        "report"
    }

    fn inputs(&self) -> Vec<String> {
        let topics = self.recipe.topics.iter();
        let of_topics = topics.flat_map(|t| [format!("topic:{}", t.name), format!("module:{}", t.name)]);
        ["teacher", "general", "base", "evaluate"].map(String::from).into_iter().chain(of_topics).collect()
    }

    fn config(&self) -> Value {
        json!(self.recipe)
    }

    fn publications(&self) -> Vec<Publication> {
        ["report.html", "report.json"].map(|file| Publication::new(file, file)).to_vec()
    }

    fn estimate(&self, _facts: &Facts) -> Estimate {
        Estimate { seconds: Some(1), ..Estimate::default() }
    }

    fn run(&self, context: &StageContext<'_>) -> Result<Outcome> {
        let inputs = context.inputs.iter();
        write_report(&ReportRequest {
            recipe: &self.recipe,
            evaluation: &context.input("evaluate")?.folder,
            folders: &inputs.clone().map(|(name, f)| (name.clone(), f.folder.clone())).collect(),
            manifests: &inputs.map(|(name, f)| (name.clone(), f.manifest.clone())).collect(),
            folder: context.folder,
        })
    }
}

/// Writes `report.json`, `report.html` (self-contained) and the terminal's table [`TERMINAL_TABLE`].
fn write_report(request: &ReportRequest<'_>) -> Result<Outcome> {
    let ReportRequest { recipe: _, evaluation: _, folders: _, manifests: _, folder: _ } = request;
    Err(Error::NotWired("writing the report (stages::report::write_report)"))
}
