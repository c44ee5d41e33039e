//! A result that was accepted, and where it goes.

use std::fs;
use std::path::PathBuf;

use crate::error::{Error, Result};
use crate::plan;
use crate::recipe::Recipe;
use crate::stages::finished::finished_in;
use crate::stages::{Manifest, RunFolder, key_of};
use crate::work::files;

/// A result that was accepted.
pub struct Accepted {
    /// What the stage made, as the result has it.
    pub(super) folder: PathBuf,
    pub(super) manifest: Manifest,
    /// What was computed again, in words.
    pub summary: String,
}

impl Accepted {
    /// Which stage it is.
    pub fn stage(&self) -> &str {
        &self.manifest.stage
    }

    /// Puts the result where `lore run` finds the stage finished; whether it was not there before.
    ///
    /// # Errors
    /// A run with other inputs, or in use.
    pub fn install(&self, recipe: &Recipe, folder: &RunFolder) -> Result<bool> {
        let name = &self.manifest.stage;
        let stages = plan::needed_for(plan::stages(recipe), name)?;
        let stage = stages.last().expect("`needed_for` gives the wanted stage last");
        let _locks = folder.lock_stage(name)?;
        let changed = || {
            Error::Failed(format!(
                "{}: `{name}` has another key there: the recipe or what it is made from has changed since the job was made",
                folder.root().display()
            ))
        };
        // By what is finished there and not by where the recipe says it comes from: its path may be spelled otherwise.
        let there = finished_in(folder.root())?;
        let same = self.manifest.inputs.iter().all(|(input, identity)| {
            there.iter().any(|done| done.manifest.stage == *input && done.manifest.identity == *identity)
        });
        if !same || key_of(stage.as_ref(), &self.manifest.inputs) != self.manifest.key {
            return Err(changed());
        }
        if Manifest::of_intact(&folder.finished(name, &self.manifest.key)).is_some() {
            return Ok(false);
        }
        let partial = folder.partial(name, &self.manifest.key);
        if partial.exists() {
            fs::remove_dir_all(&partial).map_err(Error::io(&partial))?;
        }
        files::copy_all(&self.folder, &partial)?;
        self.manifest.write(&partial)?;
        let finished = folder.commit(name, &self.manifest.key)?;
        folder.publish(&finished, &stage.publications())?;
        Ok(true)
    }
}
