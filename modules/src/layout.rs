//! What a module's configuration and the names and shapes of its tensors say, before any value is read.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use lore_model::config::ModelConfig;
use lore_model::weights::TensorInfo;

use crate::Error;
use crate::config::{AdapterConfig, is_target};

/// What PEFT puts before the base's own names.
pub(crate) const PREFIX: &str = "base_model.model.";

/// What PEFT puts after the name of a projection that has magnitudes.
const MAGNITUDE: &str = ".lora_magnitude_vector";

/// The sizes of one low-rank update.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UpdateShape {
    /// The rank: A is `[rank, in_features]`, B is `[out_features, rank]`.
    pub rank: usize,
    /// Width of the projection's input.
    pub in_features: usize,
    /// Width of the projection's output.
    pub out_features: usize,
    /// Whether there is a magnitude for each output (DoRA).
    pub magnitude: bool,
}

/// A module without its values: what can be known from its configuration and its weight file's header.
#[derive(Debug, Clone, PartialEq)]
pub struct Layout {
    /// Ranks, scales and what the module says about itself in PEFT's terms.
    pub config: AdapterConfig,
    /// Sizes of the updates by projection, named as in the base.
    pub updates: BTreeMap<String, UpdateShape>,
}

impl Layout {
    /// Reads the text of an `adapter_config.json` and compares it with the tensors of a weight file; `path`
    /// is only named in errors.
    ///
    /// # Errors
    /// [`Error::Config`] naming every setting that is not supported; [`Error::Tensors`] naming every tensor
    /// that is missing its other half, of another rank than configured, or not a low-rank factor.
    pub fn of(path: &Path, config: &str, tensors: &BTreeMap<String, TensorInfo>) -> Result<Self, Error> {
        let (config, targets) = AdapterConfig::from_json(path, config)?;
        let (updates, mut problems) = updates(tensors, targets.as_deref());
        if updates.is_empty() && problems.is_empty() {
            problems.push("there are no updates".to_owned());
        }
        for (name, shape) in &updates {
            problems.extend(rank_problem(name, shape.rank, &config));
            if shape.magnitude != config.use_dora {
                let has = if shape.magnitude { "has" } else { "lacks" };
                problems
                    .push(format!("`{name}` {has} magnitudes; the configuration says `use_dora` {}", config.use_dora));
            }
        }
        if problems.is_empty() {
            Ok(Self { config, updates })
        } else {
            Err(Error::Tensors { path: path.to_owned(), problems })
        }
    }

    /// Number of trained values.
    pub fn parameter_count(&self) -> usize {
        let count = |update: &UpdateShape| {
            update.rank * (update.in_features + update.out_features)
                + if update.magnitude { update.out_features } else { 0 }
        };
        self.updates.values().map(count).sum()
    }

    /// The highest rank.
    pub fn rank(&self) -> usize {
        self.updates.values().map(|update| update.rank).max().unwrap_or_default()
    }

    /// The projections it changes, by their last names: `q_proj`, sorted.
    pub fn targets(&self) -> Vec<String> {
        let last = |name: &String| name.rsplit('.').next().unwrap_or(name).to_owned();
        self.updates.keys().map(last).collect::<BTreeSet<_>>().into_iter().collect()
    }

    /// Checks that every update sits on one of the seven projections of a block of the base, in its shape.
    ///
    /// # Errors
    /// [`Error::Shapes`] naming every update that does not fit.
    pub fn check_base(&self, config: &ModelConfig) -> Result<(), Error> {
        let sizes = self.updates.iter().map(|(name, update)| (name.as_str(), update.in_features, update.out_features));
        let problems = shape_problems(config, sizes);
        if problems.is_empty() { Ok(()) } else { Err(Error::Shapes { problems }) }
    }
}

/// The updates that a weight file's tensors form, and what is wrong with them.
pub(crate) fn updates(
    tensors: &BTreeMap<String, TensorInfo>,
    targets: Option<&[String]>,
) -> (BTreeMap<String, UpdateShape>, Vec<String>) {
    let mut problems = Vec::new();
    let mut modules = BTreeSet::new();
    for name in tensors.keys() {
        let module = name.strip_prefix(PREFIX).and_then(|rest| {
            [".lora_A.weight", ".lora_B.weight", MAGNITUDE].iter().find_map(|end| rest.strip_suffix(end))
        });
        match module {
            Some(module) => drop(modules.insert(module)),
            None => problems.push(unusable(name)),
        }
    }
    let mut updates = BTreeMap::new();
    for module in modules {
        if targets.is_some_and(|targets| !is_target(targets, module)) {
            problems.push(format!("`{module}` is not among the configured `target_modules`, so PEFT would ignore it"));
        }
        let shape = |letter: &str| tensors.get(&factor(module, letter)).map(|info| info.shape.as_slice());
        let (a, b) = match (shape("A"), shape("B")) {
            (Some(a), Some(b)) => (a, b),
            (a, _) => {
                problems.push(format!("`{module}` has no lora_{}", if a.is_none() { "A" } else { "B" }));
                continue;
            }
        };
        let magnitudes = tensors.get(&magnitude(module)).map(|info| info.shape.as_slice());
        match (a, b) {
            (&[rank, in_features], &[out_features, b_rank]) if rank == b_rank && rank > 0 => {
                if let Some(shape) = magnitudes.filter(|shape| **shape != [out_features]) {
                    problems.push(format!("`{module}`: {shape:?} magnitudes for {out_features} outputs"));
                }
                let magnitude = magnitudes.is_some();
                updates.insert(module.to_owned(), UpdateShape { rank, in_features, out_features, magnitude });
            }
            _ => problems.push(format!("`{module}`: A {a:?} and B {b:?} are not [rank, in] and [out, rank]")),
        }
    }
    (updates, problems)
}

/// The name of a factor's tensor; `letter` is A or B.
pub(crate) fn factor(module: &str, letter: &str) -> String {
    format!("{PREFIX}{module}.lora_{letter}.weight")
}

/// The name of the tensor of a projection's magnitudes (DoRA).
pub(crate) fn magnitude(module: &str) -> String {
    format!("{PREFIX}{module}{MAGNITUDE}")
}

/// Whether an update has another rank than its configuration says.
pub(crate) fn rank_problem(name: &str, rank: usize, config: &AdapterConfig) -> Option<String> {
    let expected = config.rank_of(name);
    (rank != expected).then(|| format!("`{name}` has rank {rank}; the configuration says {expected}"))
}

/// Which of these updates, each with its input and output width, do not fit a base.
pub(crate) fn shape_problems<'a>(
    config: &ModelConfig,
    updates: impl Iterator<Item = (&'a str, usize, usize)>,
) -> Vec<String> {
    let projections: BTreeMap<String, Vec<usize>> = config
        .expected_tensors()
        .into_iter()
        .filter_map(|(name, shape)| {
            Some((name.strip_suffix("_proj.weight").map(|stem| format!("{stem}_proj"))?, shape))
        })
        .collect();
    updates
        .filter_map(|(name, in_features, out_features)| match projections.get(name) {
            None => Some(format!("`{name}` is not a projection of this base's {} blocks", config.num_hidden_layers)),
            Some(shape) if *shape != [out_features, in_features] => Some(format!(
                "`{name}` maps {in_features} to {out_features} values; the base's maps {} to {}",
                shape[1], shape[0]
            )),
            Some(_) => None,
        })
        .collect()
}

/// Why a tensor that is not a factor of a linear projection is refused.
fn unusable(name: &str) -> String {
    let why = if name.contains("lora_embedding_") {
        "updates of embeddings are not supported"
    } else if !name.starts_with(PREFIX) {
        "it does not begin with `base_model.model.`, so it was not saved by PEFT's own writer"
    } else {
        "it is not a low-rank factor of a projection"
    };
    format!("`{name}`: {why}")
}
