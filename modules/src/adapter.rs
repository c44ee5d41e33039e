//! A module in memory: low-rank updates by the name of the projection they belong to.

use std::collections::BTreeMap;

use lore_model::config::ModelConfig;
use lore_model::fingerprint::Fingerprint;

use crate::Error;
use crate::config::AdapterConfig;
use crate::layout;

/// One low-rank update, `y += weight · scale · (x Aᵀ) Bᵀ` beside a frozen projection.
#[derive(Debug, Clone, PartialEq)]
pub struct LowRank {
    /// `[rank, in_features]`, row-major.
    pub a: Vec<f32>,
    /// `[out_features, rank]`, row-major.
    pub b: Vec<f32>,
    /// The rank.
    pub rank: usize,
    /// Width of the projection's input.
    pub in_features: usize,
    /// Width of the projection's output.
    pub out_features: usize,
    /// The factor the product is scaled by: `alpha / rank`, or `alpha / √rank` for rank-stabilised LoRA.
    pub scale: f32,
    /// The lengths that the rows of `W + scale · B·A` are brought to, `[out_features]` (DoRA, Liu et al. 2024); absent,
    /// they keep their own. What such an update changes depends on the base's `W`.
    pub magnitude: Option<Vec<f32>>,
}

/// A LoRA module.
#[derive(Debug, Clone, PartialEq)]
pub struct Adapter {
    /// Ranks, scales and what the module says about itself in PEFT's terms.
    pub config: AdapterConfig,
    /// Updates by projection, named as in the base: `model.layers.0.self_attn.q_proj`.
    pub updates: BTreeMap<String, LowRank>,
    /// The base the module was trained on, if it says so.
    pub base: Option<Fingerprint>,
    /// Free text by key, such as `topic`.
    pub metadata: BTreeMap<String, String>,
}

impl Adapter {
    /// Number of trained values.
    pub fn parameter_count(&self) -> usize {
        let magnitudes = |update: &LowRank| update.magnitude.as_ref().map_or(0, Vec::len);
        self.updates.values().map(|update| update.a.len() + update.b.len() + magnitudes(update)).sum()
    }

    /// Checks that the module belongs to a base: its fingerprint, unless `allow_mismatch`, and in any case that
    /// every update sits on one of the seven projections of a block and has its shape.
    ///
    /// # Errors
    /// [`Error::OtherBase`]; [`Error::Shapes`] naming every update that does not fit.
    pub fn check_base(
        &self,
        config: &ModelConfig,
        fingerprint: &Fingerprint,
        allow_mismatch: bool,
    ) -> Result<(), Error> {
        if !allow_mismatch && self.base.as_ref() != Some(fingerprint) {
            return Err(Error::OtherBase { trained_on: self.base, found: *fingerprint });
        }
        let problems = self.shape_problems(config);
        if problems.is_empty() { Ok(()) } else { Err(Error::Shapes { problems }) }
    }

    /// Why the module cannot be looked at without its base, if it cannot: with magnitudes (DoRA) the change it makes is
    /// not `scale · B·A`.
    pub(crate) fn without_base(&self) -> Option<String> {
        let scaled = self.updates.values().any(|update| update.magnitude.is_some());
        scaled.then(|| {
            "it has magnitudes (DoRA), so that its change depends on its base's weights; `lore module fold` adds it to \
             its base, and `lore module extract` makes a module without magnitudes of the difference"
                .to_owned()
        })
    }

    pub(crate) fn shape_problems(&self, config: &ModelConfig) -> Vec<String> {
        let sizes = self.updates.iter().map(|(name, update)| (name.as_str(), update.in_features, update.out_features));
        layout::shape_problems(config, sizes)
    }

    /// Problems of the updates themselves and with the configuration; empty if there are none.
    pub(crate) fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        if self.updates.is_empty() {
            problems.push("there are no updates".to_owned());
        }
        for (name, update) in &self.updates {
            let rank = update.rank;
            if rank == 0 || update.a.len() != rank * update.in_features || update.b.len() != update.out_features * rank
            {
                problems.push(format!("`{name}`: the factors do not have the sizes of a rank {rank} update"));
            }
            if let Some(problem) = layout::rank_problem(name, rank, &self.config) {
                problems.push(problem);
            } else if update.scale != self.config.scale_of(name) {
                problems.push(format!(
                    "`{name}` has scale {}; the configuration says {}",
                    update.scale,
                    self.config.scale_of(name)
                ));
            }
            match &update.magnitude {
                Some(magnitude) if magnitude.len() != update.out_features => problems.push(format!(
                    "`{name}` has {} magnitudes for {} outputs",
                    magnitude.len(),
                    update.out_features
                )),
                _ => {}
            }
            if update.magnitude.is_some() != self.config.use_dora {
                let has = if update.magnitude.is_some() { "has" } else { "lacks" };
                problems.push(format!(
                    "`{name}` {has} magnitudes; the configuration says `use_dora` {}",
                    self.config.use_dora
                ));
            }
            let empty = Vec::new();
            let magnitude = update.magnitude.as_ref().unwrap_or(&empty);
            for (factor, values) in [("A", &update.a), ("B", &update.b), ("the magnitudes", magnitude)] {
                let count = values.iter().filter(|value| !value.is_finite()).count();
                if count > 0 {
                    problems
                        .push(format!("`{name}`: {count} of {} values of {factor} are NaN or infinite", values.len()));
                }
            }
        }
        problems
    }
}
