//! A finished run, as commands about routing see it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::models::{LoadedModel, load_model};
use crate::session::Session;
use crate::stages::Finished;
use crate::stages::finished::{behind, finished_in};

/// Base, modules and texts of a run.
pub struct RoutedRun {
    folder: PathBuf,
    /// The base.
    pub model: LoadedModel,
    /// Folders of the topics' modules, by topic.
    pub modules: BTreeMap<String, PathBuf>,
    /// Folders of the finished stages that the published modules were made from.
    stages: BTreeMap<String, PathBuf>,
}

impl RoutedRun {
    /// Opens a run's folder.
    ///
    /// # Errors
    /// A folder of something else; a base that cannot be read; a run without modules.
    pub fn open(folder: &Path, session: &Session) -> Result<Self> {
        let published = |stage: &Finished| {
            let Some(name) = stage.manifest.stage.strip_prefix("module:") else { return false };
            let places = [folder.join("modules").join(name), stage.folder.join("module")].map(std::fs::canonicalize);
            matches!(places, [Ok(link), Ok(target)] if link == target)
        };
        let stages = behind(&finished_in(folder)?, published);
        let stages: BTreeMap<String, PathBuf> = stages.into_iter().map(|(name, stage)| (name, stage.folder)).collect();
        let names = stages.keys().filter_map(|stage| stage.strip_prefix("topic:"));
        let modules: BTreeMap<String, PathBuf> =
            names.map(|name| (name.to_owned(), folder.join("modules").join(name))).collect();
        if modules.is_empty() {
            return Err(Error::Failed(format!(
                "{}: the run has no topic, and so no module to choose",
                folder.display()
            )));
        }
        let model = load_model(&folder.join("base"), &session.device.device()?)?;
        Ok(Self { folder: folder.to_owned(), model, modules, stages })
    }

    /// Where the run is.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The prepared texts of the stage `general`, or `topic:` with the name of a topic.
    ///
    /// # Errors
    /// A stage that is not finished.
    pub fn texts(&self, stage: &str) -> Result<&Path> {
        let folder = self.stages.get(stage).map(PathBuf::as_path);
        folder.ok_or_else(|| {
            Error::Failed(format!("{}: the stage `{stage}` is not finished; run it again", self.folder.display()))
        })
    }
}
