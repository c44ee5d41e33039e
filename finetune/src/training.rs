//! Low-rank updates of a frozen base, to be trained.

use crate::context::ContextConfig;
use crate::start::{magnitudes, principal_factors, random_factors};
use crate::{Init, LoraConfig, dropout};
use burn::tensor::Tensor;
use lore_model::Decoder;
use lore_model::ops::host::matrix;
use lore_model::projection::{LowRank, Mask, Projection};
use lore_model::sampling::Random;
use lore_train::{Micro, Parameters};
use rayon::prelude::*;
use std::collections::BTreeMap;

/// The adapter asked for does not fit the base.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A target names no projection.
    #[error("no projection of the base is called {}; choose from {}", unknown.join(", "), known.join(", "))]
    UnknownTargets {
        /// Targets without a projection.
        unknown: Vec<String>,
        /// What there is.
        known: Vec<String>,
    },
    /// A pattern for ranks or alphas names nothing that is trained.
    #[error("no projection among the targets is named by the pattern {}", unused.join(", "))]
    UnusedPatterns {
        /// Patterns without a target.
        unused: Vec<String>,
    },
    /// PiSSA's start and DoRA's magnitudes would both have to be taken out of the base's matrices.
    #[error("`init = \"pissa\"` and `dora = true` do not go together")]
    PissaWithMagnitudes,
    /// Singular values of a matrix of the base could not be computed.
    #[error(transparent)]
    Module(#[from] lore_modules::Error),
}

/// Low-rank updates of a frozen base, learnt by cross-entropy or from a distribution.
pub struct LoraTraining {
    pub(crate) base: Decoder,
    pub(crate) config: LoraConfig,
    seed: u64,
    initial: Parameters,
    /// `Σ w²` of every row of the base's matrices, for updates with magnitudes.
    squares: BTreeMap<String, Vec<f64>>,
    /// The factors that updates began at, if their product is taken out of the base.
    pub(crate) starts: BTreeMap<String, (Tensor<2>, Tensor<2>)>,
    pub(crate) rehearsal: Option<(Decoder, f32)>,
    pub(crate) context: Option<ContextConfig>,
    /// How many parts of the mixture, the first ones, are of topics.
    pub(crate) topics: usize,
}

impl LoraTraining {
    /// Fresh updates on the projections of `base` that `config` names: `A` uniform in ±1/√in as PEFT
    /// draws it (the Kaiming initialisation with a = √5), `B` zero, so that the base is unchanged at the start. With
    /// [`Init::Pissa`] they are the base's largest singular triples, and what they are at the start is taken out of it.
    ///
    /// # Errors
    /// Targets and patterns that name no projections of the base; settings that do not go together.
    pub fn new(base: Decoder, config: &LoraConfig, seed: u64) -> Result<Self, Error> {
        check(&base, config)?;
        let device = base.embedding.device();
        let targets: Vec<(u64, String, &Projection)> = base
            .blocks
            .iter()
            .enumerate()
            .flat_map(|(layer, block)| {
                let named = block.projections().into_iter().enumerate();
                named.map(move |(index, (name, projection))| {
                    ((layer * 16 + index) as u64, format!("model.layers.{layer}.{name}"), projection)
                })
            })
            .filter(|(_, path, _)| config.selects(path))
            .collect();
        // Singular values take their time.
        let factors: Result<Vec<[Vec<f32>; 2]>, lore_modules::Error> = targets
            .par_iter()
            .map(|(stream, path, projection)| {
                let [outputs, inputs] = projection.weight.dims();
                let rank = config.rank_of(path);
                match config.init {
                    Init::Default => Ok(random_factors(&mut Random::new(seed, *stream), rank, inputs, outputs)),
                    Init::Pissa => principal_factors(&projection.weight, rank, config.scale_of(path)),
                }
            })
            .collect();
        let mut tensors = Vec::new();
        let (mut squares, mut starts) = (BTreeMap::new(), BTreeMap::new());
        for ((_, path, projection), [a, b]) in targets.into_iter().zip(factors?) {
            let [outputs, inputs] = projection.weight.dims();
            let rank = config.rank_of(&path);
            let (a, b) = (matrix(a, rank, inputs, &device), matrix(b, outputs, rank, &device));
            if config.init == Init::Pissa {
                starts.insert(path.clone(), (a.clone(), b.clone()));
            }
            if config.dora {
                let of_rows = projection.weight.squared_rows();
                let lengths = matrix(magnitudes(&of_rows), 1, outputs, &device);
                tensors.push((format!("{path}.lora_magnitude_vector"), lengths));
                squares.insert(path.clone(), of_rows);
            }
            tensors.push((format!("{path}.lora_A"), a));
            tensors.push((format!("{path}.lora_B"), b));
        }
        Ok(Self {
            base,
            config: config.clone(),
            seed,
            initial: Parameters::new(tensors),
            squares,
            starts,
            rehearsal: None,
            context: None,
            topics: 1,
        })
    }

    /// Learns the rows of all parts of the mixture that are of no topic from `teacher`'s distribution instead of
    /// their next tokens, so that a module rehearses general English without learning its accidents
    /// (after Li and Hoiem 2016, "Learning without Forgetting", where the teacher is the model itself). These rows
    /// count `weight` times: a divergence is smaller than a cross-entropy, and so is its pull.
    ///
    /// # Panics
    /// When the vocabularies differ in size.
    pub fn with_rehearsal(mut self, teacher: Decoder, weight: f32) -> Self {
        assert_eq!(self.base.config.vocab_size, teacher.config.vocab_size, "one vocabulary");
        self.rehearsal = Some((teacher, weight));
        self
    }

    /// Learns topics by context distillation ([`ContextConfig`]) instead of from their next tokens.
    pub fn with_context(mut self, context: ContextConfig) -> Self {
        self.context = Some(context);
        self
    }

    /// Says how many parts of the mixture, the first ones, are of topics; unless it is said, one.
    pub fn with_topics(mut self, topics: usize) -> Self {
        self.topics = topics;
        self
    }

    /// The fresh updates.
    pub fn parameters(&self) -> Parameters {
        self.initial.clone()
    }

    /// The base with trained updates.
    pub fn model(&self, parameters: &Parameters) -> Decoder {
        self.adapted(1.0, None, |name| parameters.get(name).cloned())
    }

    /// The base with weighted updates taken from `get` by parameter name; inputs are dropped out for `training`.
    pub(crate) fn adapted(
        &self,
        weight: f64,
        training: Option<&Micro>,
        get: impl Fn(&str) -> Option<Tensor<2>>,
    ) -> Decoder {
        self.base.with_updates_of(|path, projection| {
            let a = get(&format!("{path}.lora_A"))?;
            let b = get(&format!("{path}.lora_B"))?;
            let mut update = LowRank::new(a, b, self.config.scale_of(path));
            if let Some(magnitude) = get(&format!("{path}.lora_magnitude_vector")) {
                update = update.with_magnitude(magnitude, &projection.weight, &self.squares[path]);
            }
            update.start = self.starts.get(path).cloned();
            update.mask = training.and_then(|micro| self.mask(path, projection, micro));
            Some(update.weighted(weight))
        })
    }

    fn mask(&self, path: &str, projection: &Projection, micro: &Micro) -> Option<Mask> {
        let share = Some(self.config.dropout).filter(|share| *share > 0.0)?;
        let [_, inputs] = projection.weight.dims();
        let (device, path, rows) = (self.base.embedding.device(), path.to_owned(), micro.batch_rows.clone());
        let (seed, step) = (self.seed, micro.step);
        Some(Mask::new(move || dropout::mask(seed, step, &path, &rows, inputs, share, &device)))
    }

    /// The weight of a step: a function of seed and step, so that a resumed run draws the same.
    pub(crate) fn weight(&self, step: u64) -> f64 {
        let weights = &self.config.weights;
        let drawn = Random::new(self.seed ^ 0x77_65_69_67, step).bits();
        weights.get((drawn % weights.len().max(1) as u64) as usize).copied().unwrap_or(1.0)
    }
}

/// Names that stand for nothing, all at once, and settings that exclude each other.
fn check(base: &Decoder, config: &LoraConfig) -> Result<(), Error> {
    let paths: Vec<String> = base
        .blocks
        .iter()
        .enumerate()
        .flat_map(|(layer, block)| block.projections().map(|(name, _)| format!("model.layers.{layer}.{name}")))
        .collect();
    let named = |pattern: &String, among: &[&String]| among.iter().any(|path| crate::pattern::matches(pattern, path));
    let all: Vec<&String> = paths.iter().collect();
    let unknown: Vec<String> = config.targets.iter().filter(|target| !named(target, &all)).cloned().collect();
    if !unknown.is_empty() {
        let last = |path: &String| path.rsplit('.').next().unwrap_or(path).to_owned();
        let known = paths.iter().take(7).map(last).collect();
        return Err(Error::UnknownTargets { unknown, known });
    }
    let selected: Vec<&String> = paths.iter().filter(|path| config.selects(path)).collect();
    let patterns = config.rank_pattern.keys().chain(config.alpha_pattern.keys());
    let unused: Vec<String> = patterns.filter(|pattern| !named(pattern, &selected)).cloned().collect();
    if !unused.is_empty() {
        return Err(Error::UnusedPatterns { unused });
    }
    if config.dora && config.init == Init::Pissa {
        return Err(Error::PissaWithMagnitudes);
    }
    Ok(())
}
