//! `work.json`: what is to be computed, and every file that goes into it.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use tempfile::TempDir;

use super::archive;
use super::files::{Pinned, differences, is_plain, stays_below};
use crate::error::{Error, Result};
use crate::plan;
use crate::recipe::Recipe;
use crate::stages::{Finished, Manifest, Stage, key_of, manifest, sha256_of_file};

/// Its name in a job.
pub const NAME: &str = "work.json";
/// The resolved recipe of a training.
pub const RECIPE: &str = "recipe.toml";
/// Where inputs are.
pub const INPUTS: &str = "inputs";
const KIND: &str = "lore-work";
const SCHEMA: u32 = 1;
/// What a job is, for who named something else.
const EXPECTED: &str = "a job: the folder or .tar file that `lore work stage` or `lore work task` wrote to --out";

/// What is to be computed. Its hash names the job in results.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Work {
    lore: String,
    schema: u32,
    /// The version of the program that made it; the same one computes and checks it.
    pub program: String,
    /// The unit.
    pub unit: Unit,
    /// Everything else in the folder.
    pub files: Vec<Pinned>,
}

/// A unit of work.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Unit {
    /// A stage that trains.
    Training(Training),
    /// A task, put to a base with modules.
    Evaluation(Evaluation),
}

/// Train a base or a module.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Training {
    /// Name of the recipe.
    pub run: String,
    /// `base` or `module:NAME`.
    pub stage: String,
    /// Hash over everything that goes into the stage.
    pub key: String,
    /// The stages it needs, each with its folder among the inputs.
    pub inputs: BTreeMap<String, String>,
    /// Steps of the training.
    pub steps: u64,
    /// Steps whose checkpoints come with the result, so that what follows them can be computed again.
    pub checkpoints: Vec<u64>,
    /// Whether it may end before its last step.
    pub stops: bool,
}

/// Put a task to a model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Evaluation {
    /// The base's path in the job.
    pub base: String,
    /// Paths of modules in the job, and what each is multiplied by.
    pub modules: Vec<(String, f32)>,
    /// Name of a task that comes with the program, or the path of its file in the job.
    pub task: String,
    /// What the task calls itself.
    pub name: String,
    /// Hash of the task's text.
    pub sha256: String,
    /// The only subset that is asked.
    pub subset: Option<String>,
    /// The most items of each subset that are asked.
    pub limit: Option<u32>,
}

impl Unit {
    /// What it names in the job's folder.
    fn paths(&self) -> Vec<&String> {
        match self {
            Self::Training(unit) => unit.inputs.values().collect(),
            Self::Evaluation(unit) => {
                let modules = unit.modules.iter().map(|(path, _)| path);
                [&unit.base, &unit.task].into_iter().chain(modules).collect()
            }
        }
    }
}

impl Work {
    /// The unit with its files.
    pub fn new(unit: Unit, files: Vec<Pinned>) -> Self {
        Self { lore: KIND.into(), schema: SCHEMA, program: env!("CARGO_PKG_VERSION").into(), unit, files }
    }

    /// Writes it into the folder of the job.
    ///
    /// # Errors
    /// A file that cannot be written.
    pub fn write(&self, folder: &Path) -> Result<()> {
        let path = folder.join(NAME);
        let mut text = serde_json::to_vec_pretty(self).map_err(Error::while_doing("writing a job"))?;
        text.push(b'\n');
        fs::write(&path, text).map_err(Error::io(path))
    }
}

/// A job whose files are all what they should be.
pub struct Job {
    /// Its folder.
    pub folder: PathBuf,
    /// What is to be computed.
    pub work: Work,
    /// Hash of `work.json`, and with it of everything.
    pub id: String,
    _unpacked: Option<TempDir>,
}

impl Job {
    /// Opens a job, a folder or a `.tar` file, and checks every file in it.
    ///
    /// # Errors
    /// Something that is no job, was altered, names files outside itself, or is of another version of the program.
    pub fn open(path: &Path) -> Result<Self> {
        let (folder, unpacked) = archive::open(path, EXPECTED)?;
        let refuse = |problem: String| Error::Failed(format!("{}: {problem}", path.display()));
        let file = folder.join(NAME);
        if !file.is_file() {
            return Err(refuse(format!("not a job of `lore work`: it has no {NAME}")));
        }
        let text = fs::read(&file).map_err(Error::io(&file))?;
        let work: Work = serde_json::from_slice(&text).map_err(|error| refuse(format!("its {NAME}: {error}")))?;
        if work.lore != KIND || work.schema != SCHEMA {
            return Err(refuse(format!("its {NAME} is not `{KIND}` of schema {SCHEMA}")));
        }
        let program = env!("CARGO_PKG_VERSION");
        if work.program != program {
            return Err(refuse(format!(
                "lore {} made it, this is lore {program}; the same version must compute and check it",
                work.program
            )));
        }
        // Whoever computes it does not know who made it: it must not read what else is on their machine.
        if let Some(outside) = work.unit.paths().into_iter().find(|path| !is_plain(path)) {
            return Err(refuse(format!("`{}` is not inside the job", outside.escape_debug())));
        }
        let problems = differences(&folder, &work.files, &[NAME])?;
        if !problems.is_empty() {
            return Err(refuse(format!("not as it was made: {}", problems.join("; "))));
        }
        Ok(Self { id: sha256_of_file(&file)?, folder, work, _unpacked: unpacked })
    }

    /// The stage of a training, with its inputs.
    ///
    /// # Errors
    /// A recipe that is not the one the job was made from.
    pub fn stage(&self, unit: &Training) -> Result<(Box<dyn Stage>, BTreeMap<String, Finished>)> {
        let path = self.folder.join(RECIPE);
        let text = fs::read_to_string(&path).map_err(Error::io(&path))?;
        let recipe: Recipe =
            toml::from_str(&text).map_err(Error::while_doing(format!("reading {}", path.display())))?;
        let stage = plan::stages(&recipe).into_iter().find(|stage| stage.name() == unit.stage);
        let stage =
            stage.ok_or_else(|| Error::Failed(format!("{}: it has no stage `{}`", path.display(), unit.stage)))?;
        let mut inputs = BTreeMap::new();
        for (name, folder) in &unit.inputs {
            inputs.insert(name.clone(), self.input(folder)?);
        }
        let identities = inputs.iter().map(|(name, input)| (name.clone(), input.manifest.identity.clone())).collect();
        let mut needed = stage.inputs();
        needed.sort();
        if !needed.iter().eq(inputs.keys()) || key_of(stage.as_ref(), &identities) != unit.key {
            return Err(Error::Failed(format!(
                "{}: recipe and inputs do not make the key of `{}`",
                self.folder.display(),
                unit.stage
            )));
        }
        Ok((stage, inputs))
    }

    fn input(&self, folder: &str) -> Result<Finished> {
        let folder = self.folder.join(INPUTS).join(folder);
        let path = folder.join(manifest::NAME);
        let text = fs::read(&path).map_err(Error::io(&path))?;
        let mut manifest: Manifest =
            serde_json::from_slice(&text).map_err(Error::while_doing(format!("reading {}", path.display())))?;
        for external in &mut manifest.external {
            if !stays_below(&external.path) {
                let outside = external.path.display().to_string();
                return Err(Error::Failed(format!(
                    "{}: `{}` is not inside the job",
                    path.display(),
                    outside.escape_debug()
                )));
            }
            external.path = folder.join(&external.path);
        }
        Ok(Finished { folder, manifest })
    }
}
