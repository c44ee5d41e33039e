//! The result of one model on one task, with hashes of everything it came from.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use lore_model::quantised::Blocks;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::contamination::CleanAndDirty;
use crate::controls::controls;
use crate::metrics::summarise;
use crate::sample::Sample;
use crate::statistics::Estimate;
use crate::task::{Item, Selection, Task, hash_of_items, hex};

/// What a result file calls itself.
const KIND: &str = "lore-evaluation";
/// Raised when a field changes its meaning.
const SCHEMA: u32 = 1;

/// A result file that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It cannot be read or written.
    #[error("{}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// It is something else.
    #[error("{}: {problem}", path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
}

/// One model on one task. Written as JSON with sorted keys and no times, so that the same evaluation gives the same
/// bytes, interrupted or not.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TaskResult {
    /// `lore-evaluation`.
    pub lore: String,
    /// What the fields mean.
    pub schema: u32,
    /// The program and its version.
    pub program: String,
    /// Where it was computed.
    pub environment: Environment,
    /// What was asked.
    pub task: TaskIdentity,
    /// The items that were asked.
    pub items: ItemsIdentity,
    /// Who answered.
    pub model: ModelIdentity,
    /// Figures over all items, with standard errors.
    pub metrics: BTreeMap<String, Estimate>,
    /// Figures of each subset, where there are several.
    pub subsets: BTreeMap<String, Subset>,
    /// Accuracies that need no knowledge.
    pub controls: BTreeMap<String, f64>,
    /// Figures without the items that stand in the texts of the modules, where those were searched.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub contamination: Option<CleanAndDirty>,
    /// The items' raw scores, in a file beside this one.
    pub samples: SamplesIdentity,
}

/// Where a result was computed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Environment {
    /// Operating system.
    pub os: String,
    /// Processor architecture.
    pub arch: String,
    /// Device of the computation.
    pub device: String,
}

/// Which task, exactly.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TaskIdentity {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: u32,
    /// Its kind.
    pub kind: String,
    /// Hash of its file.
    pub sha256: String,
    /// The only subset that was asked, if not all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subset: Option<String>,
}

/// Which items, exactly.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ItemsIdentity {
    /// How many.
    pub count: usize,
    /// The most that were taken of each subset, if not all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<usize>,
    /// What drew items and examples, if anything did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seed: Option<u64>,
    /// Solved examples before each question.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub shots: usize,
    /// Whether choices were scored without their question too.
    pub answer_only: bool,
    /// Hash over the hashes of the items, in their order.
    pub sha256: String,
    /// Items with a request whose beginning did not fit the model.
    pub truncated: usize,
}

/// Which model, exactly.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelIdentity {
    /// What the base is called.
    pub base: String,
    /// Fingerprint of its weights, tokenizer and configuration.
    pub fingerprint: String,
    /// How the matrices of its projections are kept in memory, if not as their own values.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub blocks: Option<Blocks>,
    /// The modules, in the order of their hashes.
    pub modules: Vec<ModuleIdentity>,
}

/// A module and its weight.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModuleIdentity {
    /// What it is called.
    pub name: String,
    /// Hash of its files.
    pub sha256: String,
    /// What its update is multiplied by.
    pub weight: f32,
}

impl ModuleIdentity {
    /// A module's hash, of the hashes of its two files.
    pub fn hash_of_files(config: &str, weights: &str) -> String {
        let text = format!("{{\"adapter_config.json\":\"{config}\",\"adapter_model.safetensors\":\"{weights}\",}}");
        hex(&Sha256::digest(text))
    }
}

/// Figures of a part of the items.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Subset {
    /// How many items.
    pub items: usize,
    /// Its figures.
    pub metrics: BTreeMap<String, Estimate>,
}

/// The file of raw scores.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SamplesIdentity {
    /// Its name.
    pub file: String,
    /// Hash of its bytes.
    pub sha256: String,
}

fn is_zero(count: &usize) -> bool {
    *count == 0
}

impl ModelIdentity {
    /// Everything that scores depend on, as one text: names are left out.
    pub fn key(&self, device: &str) -> String {
        let modules: Vec<String> = self.modules.iter().map(|m| format!("{}*{}", m.sha256, m.weight)).collect();
        let blocks = self.blocks.map_or(String::new(), |kind| format!("/{}", kind.name()));
        format!("{}{blocks}+{}@{device}", self.fingerprint, modules.join("+"))
    }
}

/// What a result is told beside items and samples.
#[derive(Clone, Debug)]
pub struct Circumstances {
    /// Who answered.
    pub model: ModelIdentity,
    /// Which items were asked.
    pub selection: Selection,
    /// Whether choices were scored without their question too.
    pub answer_only: bool,
    /// Device of the computation.
    pub device: String,
}

impl TaskResult {
    /// Sums up the samples of a task's items.
    ///
    /// # Panics
    /// When the samples are not those of the items.
    pub fn new(task: &Task, items: &[Item], samples: &[Sample], circumstances: Circumstances) -> Self {
        let Circumstances { model, selection, answer_only, device } = circumstances;
        let Selection { subset, limit, seed, shots } = selection;
        let kind = task.kind.name();
        let (metrics, subsets) = figures(kind, samples);
        let samples_name = samples_name(&task.name, subset.as_deref());
        Self {
            lore: KIND.into(),
            schema: SCHEMA,
            program: concat!("lore ", env!("CARGO_PKG_VERSION")).into(),
            environment: Environment { os: std::env::consts::OS.into(), arch: std::env::consts::ARCH.into(), device },
            task: TaskIdentity {
                name: task.name.clone(),
                version: task.version,
                kind: kind.into(),
                sha256: task.sha256.clone(),
                subset,
            },
            items: ItemsIdentity {
                count: items.len(),
                limit,
                seed,
                shots,
                answer_only,
                sha256: hash_of_items(samples.iter().map(|sample| sample.item.as_str())),
                truncated: samples.iter().filter(|sample| sample.truncated > 0).count(),
            },
            model,
            metrics,
            subsets,
            controls: controls(items, samples),
            contamination: None,
            samples: SamplesIdentity { file: samples_name, sha256: hex(&Sha256::digest(lines(samples))) },
        }
    }

    /// The same with figures of clean and dirty items apart; `samples` are those it was made of, `searched` the sha256 of
    /// the tables in which `dirty` items were found.
    #[must_use]
    pub fn with_contamination(
        mut self,
        samples: &[Sample],
        searched: BTreeSet<String>,
        dirty: &BTreeSet<String>,
    ) -> Self {
        self.contamination = Some(CleanAndDirty::of(&self.task.kind, samples, searched, dirty));
        self
    }

    /// Which items were asked.
    pub fn selection(&self) -> Selection {
        let ItemsIdentity { limit, seed, shots, .. } = self.items;
        Selection { subset: self.task.subset.clone(), limit, seed, shots }
    }

    /// Name of the task, with its subset where only that was asked.
    pub fn name(&self) -> String {
        match &self.task.subset {
            Some(subset) => format!("{}/{subset}", self.task.name),
            None => self.task.name.clone(),
        }
    }

    /// Writes result and samples into a folder, each whole or not at all, the result last. Returns its path.
    ///
    /// # Errors
    /// The file that cannot be written.
    pub fn write(&self, folder: &Path, samples: &[Sample]) -> Result<PathBuf, Error> {
        write_whole(&folder.join(&self.samples.file), &lines(samples))?;
        let path = folder.join(file_name(&self.task.name, self.task.subset.as_deref()));
        let value = serde_json::to_value(self).expect("a result is JSON");
        let mut text = serde_json::to_vec_pretty(&value).expect("a value is JSON");
        text.push(b'\n');
        write_whole(&path, &text)?;
        Ok(path)
    }

    /// Reads a result and its samples, which must be those it was written with.
    ///
    /// # Errors
    /// A file that cannot be read, is something else, or was altered.
    pub fn read(path: &Path) -> Result<(Self, Vec<Sample>), Error> {
        let wrong = |path: &Path, problem: String| Error::Format { path: path.to_owned(), problem };
        let io = |path: &Path| {
            let path = path.to_owned();
            move |source| Error::Io { path, source }
        };
        let bytes = fs::read(path).map_err(io(path))?;
        let result: Self = serde_json::from_slice(&bytes)
            .map_err(|error| wrong(path, format!("not a result of `lore eval`: {error}")))?;
        if result.lore != KIND || result.schema != SCHEMA {
            let problem = format!("`{}` of schema {} is not `{KIND}` of schema {SCHEMA}", result.lore, result.schema);
            return Err(wrong(path, problem));
        }
        let name = &result.samples.file;
        if name.contains(['/', '\\']) {
            return Err(wrong(path, format!("its samples `{name}` are not beside it")));
        }
        let beside = path.with_file_name(name);
        let bytes = fs::read(&beside).map_err(io(&beside))?;
        if hex(&Sha256::digest(&bytes)) != result.samples.sha256 {
            return Err(wrong(&beside, format!("altered: not the samples that {} was made of", path.display())));
        }
        let samples = bytes
            .split(|&byte| byte == b'\n')
            .filter(|line| !line.is_empty())
            .map(|line| serde_json::from_slice(line).map_err(|error| wrong(&beside, error.to_string())))
            .collect::<Result<Vec<Sample>, Error>>()?;
        Ok((result, samples))
    }
}

/// Figures over all samples, and of each subset where there are several.
pub(crate) fn figures(kind: &str, samples: &[Sample]) -> (BTreeMap<String, Estimate>, BTreeMap<String, Subset>) {
    let mut parts: BTreeMap<&str, Vec<&Sample>> = BTreeMap::new();
    for sample in samples {
        parts.entry(&sample.subset).or_default().push(sample);
    }
    let all: Vec<&Sample> = samples.iter().collect();
    let subsets = match parts.len() {
        0 | 1 => BTreeMap::new(),
        _ => {
            let subset = |samples: &Vec<&Sample>| Subset { items: samples.len(), metrics: summarise(kind, samples) };
            parts.iter().map(|(name, samples)| ((*name).to_owned(), subset(samples))).collect()
        }
    };
    (summarise(kind, &all), subsets)
}

/// Name of the file of a task's result.
pub fn file_name(task: &str, subset: Option<&str>) -> String {
    format!("{}.json", file_stem(task, subset))
}

/// Name of the file of its samples, beside it.
pub fn samples_name(task: &str, subset: Option<&str>) -> String {
    format!("{}.samples.jsonl", file_stem(task, subset))
}

/// `task`, or `task.subset` with whatever is no part of a file's name replaced.
fn file_stem(task: &str, subset: Option<&str>) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() || matches!(c, '_' | '-') { c } else { '-' };
    subset.map_or_else(|| task.to_owned(), |subset| format!("{task}.{}", subset.chars().map(plain).collect::<String>()))
}

fn lines(samples: &[Sample]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for sample in samples {
        serde_json::to_writer(&mut bytes, sample).expect("a sample is JSON");
        bytes.push(b'\n');
    }
    bytes
}

/// Writes through a temporary file beside `path`.
pub(crate) fn write_whole(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let partial = path.with_file_name(format!("{name}.partial"));
    let write = || {
        let mut file = fs::File::create(&partial)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&partial, path)
    };
    write().map_err(|source| Error::Io { path: path.to_owned(), source })
}
