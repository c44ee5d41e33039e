//! Next-token training of low-rank updates on a frozen base.

use crate::LoraConfig;
use burn::tensor::Tensor;
use lore_model::Decoder;
use lore_model::ops::head::{Divergence, Target, head_loss};
use lore_model::ops::host::matrix;
use lore_model::ops::sequences::Sequences;
use lore_model::projection::LowRank;
use lore_model::sampling::Random;
use lore_train::{Figures, Micro, Objective, Parameters, Tracked};
use std::ops::Range;
use std::sync::Arc;

/// The adapter asked for does not fit the base.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// A target names no projection.
    #[error("no projection of the base is called {}; choose from {}", unknown.join(", "), known.join(", "))]
    UnknownTargets {
        /// Targets without a projection.
        unknown: Vec<String>,
        /// What there is.
        known: Vec<String>,
    },
}

/// Low-rank updates of a frozen base, learnt by cross-entropy.
pub struct LoraTraining {
    base: Decoder,
    scale: f32,
    weights: Vec<f64>,
    seed: u64,
    initial: Parameters,
    rehearsal: Option<(Decoder, f32)>,
}

impl LoraTraining {
    /// Fresh updates on the projections of `base` that `config` names: `A` uniform in ±1/√in as PEFT
    /// draws it (the Kaiming initialisation with a = √5), `B` zero, so that the base is unchanged at the start.
    ///
    /// # Errors
    /// Targets that are no projections of the base.
    pub fn new(base: Decoder, config: &LoraConfig, seed: u64) -> Result<Self, Error> {
        let device = base.embedding.device();
        let last = |name: &str| name.rsplit('.').next().unwrap_or(name).to_owned();
        let known: Vec<String> = base
            .blocks
            .first()
            .map(|block| block.projections().map(|(name, _)| last(name)).to_vec())
            .unwrap_or_default();
        let unknown: Vec<String> = config.targets.iter().filter(|target| !known.contains(target)).cloned().collect();
        if !unknown.is_empty() {
            return Err(Error::UnknownTargets { unknown, known });
        }
        let mut tensors = Vec::new();
        for (layer, block) in base.blocks.iter().enumerate() {
            for (index, (name, projection)) in block.projections().into_iter().enumerate() {
                if !config.targets.contains(&last(name)) {
                    continue;
                }
                let [outputs, inputs] = projection.weight.dims();
                let mut random = Random::new(seed, (layer * 16 + index) as u64);
                let bound = 1.0 / (inputs as f64).sqrt();
                let a = (0..config.rank * inputs).map(|_| ((2.0 * random.uniform() - 1.0) * bound) as f32).collect();
                let path = format!("model.layers.{layer}.{name}");
                tensors.push((format!("{path}.lora_A"), matrix(a, config.rank, inputs, &device)));
                tensors.push((format!("{path}.lora_B"), Tensor::zeros([outputs, config.rank], &device)));
            }
        }
        let scale = (config.alpha / config.rank as f64) as f32;
        Ok(Self {
            base,
            scale,
            weights: config.weights.clone(),
            seed,
            initial: Parameters::new(tensors),
            rehearsal: None,
        })
    }

    /// Learns the rows of all parts of the mixture but the first from `teacher`'s distribution instead of
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

    /// The fresh updates.
    pub fn parameters(&self) -> Parameters {
        self.initial.clone()
    }

    /// The base with weighted updates taken from `get` by parameter name.
    fn adapted(&self, weight: f64, get: impl Fn(&str) -> Option<Tensor<2>>) -> Decoder {
        let scale = (f64::from(self.scale) * weight) as f32;
        self.base.with_updates(|path| {
            let a = get(&format!("{path}.lora_A"))?;
            let b = get(&format!("{path}.lora_B"))?;
            Some(LowRank { a, b, scale })
        })
    }

    /// The weight of a step: a function of seed and step, so that a resumed run draws the same.
    fn weight(&self, step: u64) -> f64 {
        let drawn = Random::new(self.seed ^ 0x77_65_69_67, step).bits();
        self.weights.get((drawn % self.weights.len().max(1) as u64) as usize).copied().unwrap_or(1.0)
    }

    /// The base with trained updates.
    pub fn model(&self, parameters: &Parameters) -> Decoder {
        self.adapted(1.0, |name| parameters.get(name).cloned())
    }
}

impl Objective for LoraTraining {
    fn loss(&self, parameters: &Tracked, micro: &Micro) -> (Tensor<2>, Figures) {
        let model = self.adapted(self.weight(micro.step), |name| parameters.get(name));
        let hidden = model.hidden(micro.tokens.clone(), micro.sequences.clone());
        let [rows, _] = hidden.dims();
        let topic_rows = match &self.rehearsal {
            Some(_) => micro.rows_of_part.first().copied().unwrap_or(0),
            None => rows,
        };
        let part = |range: Range<usize>, target: Target, factor: f32| {
            let weights = Arc::new(micro.weights[range.clone()].iter().map(|weight| weight * factor).collect());
            head_loss(hidden.clone().narrow(0, range.start, range.len()), model.head(), target, weights)
        };
        let learnt = (topic_rows > 0)
            .then(|| part(0..topic_rows, Target::Labels(Arc::new(micro.targets[..topic_rows].to_vec())), 1.0));
        let rehearsed = self.rehearsal.as_ref().filter(|_| topic_rows < rows).map(|(teacher, factor)| {
            let tokens = Arc::new(micro.tokens[topic_rows..].to_vec());
            let spans = micro.sequences.spans().iter().filter(|span| span.queries.start >= topic_rows);
            let lengths: Vec<usize> = spans.map(|span| span.queries.len()).collect();
            let hidden = teacher.hidden(tokens, Arc::new(Sequences::whole(&lengths)));
            part(
                topic_rows..rows,
                Target::Teacher { hidden, head: teacher.head(), temperature: 1.0, divergence: Divergence::ForwardKl },
                *factor,
            )
        });
        match (learnt, rehearsed) {
            (Some((a, mut figures)), Some((b, more))) => {
                figures.add(more);
                (a + b, figures)
            }
            (Some(only), None) | (None, Some(only)) => only,
            (None, None) => unreachable!("a micro-batch has rows"),
        }
    }
}
