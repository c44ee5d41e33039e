//! What a LoRA module is made of.

use lore_modules::AdapterConfig;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

use crate::pattern;

/// Shape of a low-rank adapter (LoRA, Hu et al. 2021): `ΔW = alpha/rank · B·A`.
///
/// Targets and patterns name projections: `q_proj` is that of every block, `layers.0.self_attn.q_proj` that of one, and `*`
/// stands for any text, as in `mlp.*` or `layers.1*.v_proj`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LoraConfig {
    /// Rank of every update that `rank_pattern` does not name.
    pub rank: usize,
    /// Scale numerator of every update that `alpha_pattern` does not name: updates are multiplied by `alpha / rank`.
    pub alpha: f64,
    /// Projections that get an update.
    pub targets: Vec<String>,
    /// Weights the module is trained at: each step draws one of them. A module that will share a total weight
    /// with others should know smaller weights than 1, or it is at its best only alone.
    pub weights: Vec<f64>,
    /// Scales by `alpha / √rank` instead (rank-stabilised LoRA, Kalajdzievski 2023).
    #[serde(skip_serializing_if = "is_false")]
    pub rslora: bool,
    /// Trains the lengths of the rows of `W + ΔW` too (DoRA, Liu et al. 2024).
    #[serde(skip_serializing_if = "is_false")]
    pub dora: bool,
    /// What the factors are at the start.
    #[serde(skip_serializing_if = "Init::is_default")]
    pub init: Init,
    /// Share of each update's inputs that is left out in training, in `[0, 1)`; the rest counts for more accordingly.
    #[serde(skip_serializing_if = "is_zero")]
    pub dropout: f64,
    /// How many times faster `B` learns than `A` (LoRA+, Hayou et al. 2024, who suggest 16).
    #[serde(skip_serializing_if = "is_one")]
    pub b_rate_ratio: f64,
    /// Other ranks by projection; of several patterns that match the longest counts.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub rank_pattern: BTreeMap<String, usize>,
    /// Other alphas by projection; of several patterns that match the longest counts.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub alpha_pattern: BTreeMap<String, f64>,
}

/// What the factors are at the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Init {
    /// `A` uniform, `B` zero.
    #[default]
    Default,
    /// The largest singular triples of the base's matrix, which are taken out of it (PiSSA, Meng et al. 2024). The finished
    /// module is plain LoRA of twice the rank, for the base as it is.
    Pissa,
}

impl Init {
    fn is_default(&self) -> bool {
        *self == Self::Default
    }
}

fn is_false(value: &bool) -> bool {
    !value
}

fn is_zero(value: &f64) -> bool {
    *value == 0.0
}

fn is_one(value: &f64) -> bool {
    *value == 1.0
}

impl Default for LoraConfig {
    fn default() -> Self {
        let all = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"];
        Self {
            rank: 16,
            alpha: 16.0,
            targets: all.map(String::from).to_vec(),
            weights: vec![1.0],
            rank_pattern: BTreeMap::new(),
            alpha_pattern: BTreeMap::new(),
            rslora: false,
            dora: false,
            init: Init::Default,
            dropout: 0.0,
            b_rate_ratio: 1.0,
        }
    }
}

impl LoraConfig {
    /// Whether the projection of this name, such as `model.layers.0.self_attn.q_proj`, gets an update.
    pub fn selects(&self, path: &str) -> bool {
        self.targets.iter().any(|target| pattern::matches(target, path))
    }

    /// The rank of a projection's update.
    pub fn rank_of(&self, path: &str) -> usize {
        pattern::longest(&self.rank_pattern, path).unwrap_or(self.rank)
    }

    /// The scale numerator of a projection's update.
    pub fn alpha_of(&self, path: &str) -> f64 {
        pattern::longest(&self.alpha_pattern, path).unwrap_or(self.alpha)
    }

    /// The factor on the product of a projection's `B` and `A`.
    pub fn scale_of(&self, path: &str) -> f32 {
        let rank = self.rank_of(path) as f64;
        (self.alpha_of(path) / if self.rslora { rank.sqrt() } else { rank }) as f32
    }

    /// The same in PEFT's terms for updates of these projections. PEFT takes the first pattern that matches and knows no
    /// `*`, so that patterns it would read otherwise are written out as whole names.
    pub fn adapter_config<'a>(&self, paths: impl Iterator<Item = &'a str> + Clone) -> AdapterConfig {
        let mut config = AdapterConfig::uniform(self.rank, self.alpha);
        (config.use_rslora, config.use_dora, config.dropout) = (self.rslora, self.dora, self.dropout);
        config.rank_pattern = self.rank_pattern.iter().map(|(name, &rank)| (name.clone(), rank)).collect();
        config.alpha_pattern = self.alpha_pattern.iter().map(|(name, &alpha)| (name.clone(), alpha)).collect();
        let literal = !self.rank_pattern.keys().chain(self.alpha_pattern.keys()).any(|name| name.contains('*'));
        let same =
            |path: &str| config.rank_of(path) == self.rank_of(path) && config.scale_of(path) == self.scale_of(path);
        if !(literal && paths.clone().all(same)) {
            let others =
                |differs: &dyn Fn(&str) -> bool| paths.clone().filter(|path| differs(path)).collect::<Vec<&str>>();
            let ranks = others(&|path| self.rank_of(path) != self.rank);
            let alphas = others(&|path| self.alpha_of(path) != self.alpha);
            config.rank_pattern = ranks.into_iter().map(|path| (path.to_owned(), self.rank_of(path))).collect();
            config.alpha_pattern = alphas.into_iter().map(|path| (path.to_owned(), self.alpha_of(path))).collect();
        }
        config
    }
}
