//! The stages of a run: what each is made of, and the cache that keeps what it made.

pub mod base;
pub mod elsewhere;
pub mod evaluate;
pub mod fetch;
pub mod finished;
mod folder;
pub mod general;
mod hash;
pub mod manifest;
pub mod module;
mod only;
pub mod prepared;
mod proof;
pub mod report;
mod runner;
mod share;
pub mod targets;
pub mod teacher;
pub mod topic;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::Value;

pub use folder::RunFolder;
pub use hash::{sha256_of, sha256_of_file};
pub use manifest::{Manifest, Output, outputs_of};
pub use runner::{Resolved, Runner, State, key_of, resolve, run_in};
pub use share::Share;

use crate::error::{Error, Result};
use crate::plan::estimate::{Estimate, Facts};
use crate::session::Session;

/// One step of a run: from the folders of its inputs to its own.
///
/// Its key is a hash over [`Stage::schema`], [`Stage::name`], [`Stage::config`] and what its inputs
/// made. A stage whose key was finished before is not run again.
pub trait Stage {
    /// Such as `module:geography`. The part before the colon is the kind.
    fn name(&self) -> &str;

    /// Names of the stages that must be finished before, all earlier in the run.
    fn inputs(&self) -> Vec<String>;

    /// Those of its inputs whose files it opens; of the others it asks only that they are finished.
    fn reads(&self) -> Vec<String> {
        self.inputs()
    }

    /// Everything else its result depends on.
    fn config(&self) -> Value;

    /// Raised whenever the same inputs and config make something different.
    fn schema(&self) -> u32 {
        1
    }

    /// Whether [`Stage::run`] goes on from what an interrupted run left in its folder; else the
    /// folder is emptied first.
    fn resumable(&self) -> bool {
        false
    }

    /// What [`Manifest::identity`] will be, if that is known before it ran. It is not for the bytes of a
    /// source that is not pinned; such a stage sets [`Outcome::identity`].
    fn expected_identity(&self, key: &str) -> Option<String> {
        Some(key.into())
    }

    /// What the run's folder links to once this is finished.
    fn publications(&self) -> Vec<Publication> {
        Vec::new()
    }

    /// What it will cost, as far as that is known.
    fn estimate(&self, facts: &Facts) -> Estimate;

    /// Does the work, in `context.folder`.
    ///
    /// # Errors
    /// Anything; the folder is kept, and used again if [`Stage::resumable`].
    fn run(&self, context: &StageContext<'_>) -> Result<Outcome>;

    /// Into how many parts its work can be divided at most, to be computed side by side before [`Stage::run`].
    fn parts(&self) -> u64 {
        1
    }

    /// Computes a part and leaves it in `context.folder`, where [`Stage::run`] finds it. A stage that does so is
    /// [`Stage::resumable`], and what it makes does not depend on it.
    ///
    /// # Errors
    /// As [`Stage::run`]; a stage that cannot be divided.
    fn run_share(&self, _context: &StageContext<'_>, share: Share) -> Result<()> {
        Err(Error::Usage(format!("--share {share}: `{}` cannot be divided", self.name())))
    }
}

/// A link from the run's folder into a stage's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Publication {
    /// In the run's folder, such as `modules/geography`.
    pub link: PathBuf,
    /// In the stage's folder.
    pub target: PathBuf,
}

impl Publication {
    /// Links `link` to `target`.
    pub fn new(link: impl Into<PathBuf>, target: impl Into<PathBuf>) -> Self {
        Self { link: link.into(), target: target.into() }
    }
}

/// What a stage works with.
pub struct StageContext<'a> {
    /// Where it writes, and finds what an interrupted run of it left.
    pub folder: &'a Path,
    /// Its finished inputs, by name.
    pub inputs: &'a BTreeMap<String, Finished>,
    /// Device, sources, progress.
    pub session: &'a Session,
}

impl StageContext<'_> {
    /// A finished input.
    ///
    /// # Errors
    /// When the stage did not declare it.
    pub fn input(&self, name: &str) -> Result<&Finished> {
        self.inputs.get(name).ok_or_else(|| Error::Failed(format!("this stage has no input `{name}`")))
    }
}

/// A stage that is finished.
#[derive(Debug, Clone)]
pub struct Finished {
    /// Where its files are.
    pub folder: PathBuf,
    /// What it said about itself.
    pub manifest: Manifest,
}

impl Finished {
    /// The path of something outside the stage's folder that it is about, such as a fetched file.
    ///
    /// # Errors
    /// When the stage recorded none.
    pub fn external(&self) -> Result<&Path> {
        self.manifest
            .external
            .first()
            .map(|file| file.path.as_path())
            .ok_or_else(|| Error::Failed(format!("stage `{}` recorded no file", self.manifest.stage)))
    }
}

/// What a stage made, beside its files.
#[derive(Debug, Default)]
pub struct Outcome {
    /// One line for the person who waits.
    pub summary: String,
    /// What later stages and the report read.
    pub facts: Value,
    /// Stands for what was made in the keys of later stages; the stage's key when absent.
    pub identity: Option<String>,
    /// Files and folders elsewhere that later stages read.
    pub external: Vec<PathBuf>,
}
