//! What a LoRA module is made of.

use serde::{Deserialize, Serialize};

/// Shape of a low-rank adapter (LoRA, Hu et al. 2021): `ΔW = alpha/rank · B·A`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LoraConfig {
    /// Rank of every update.
    pub rank: usize,
    /// Scale numerator: updates are multiplied by `alpha / rank`.
    pub alpha: f64,
    /// Projections that get an update, by the last part of their name.
    pub targets: Vec<String>,
    /// Weights the module is trained at: each step draws one of them. A module that will share a total weight
    /// with others should know smaller weights than 1, or it is at its best only alone.
    pub weights: Vec<f64>,
}

impl Default for LoraConfig {
    fn default() -> Self {
        let all = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"];
        Self { rank: 16, alpha: 16.0, targets: all.map(String::from).to_vec(), weights: vec![1.0] }
    }
}
