//! `[evaluate]`: what is measured.

use serde::{Deserialize, Serialize};

/// `[evaluate]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Evaluate {
    /// Held-out tokens scored of each topic and of general English.
    pub tokens_per_text: u64,
    /// Tokens of one scored passage.
    pub passage_tokens: usize,
    /// Ways of using all modules together that are compared.
    pub combine: Vec<Combine>,
    /// Weights at which all modules together are compared beside those ways, each a row of its own.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub weights: Vec<f32>,
    /// Tokens at a passage's start that `routed` looks at.
    pub probe_tokens: usize,
    /// Tokens of each sample in the report.
    pub sample_tokens: usize,
}

impl Default for Evaluate {
    fn default() -> Self {
        Self {
            tokens_per_text: 8192,
            passage_tokens: 256,
            combine: vec![Combine::Sum, Combine::Mean, Combine::Routed],
            weights: Vec::new(),
            probe_tokens: 64,
            sample_tokens: 60,
        }
    }
}

/// A way of using several modules together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Combine {
    /// Every module at weight 1.
    Sum,
    /// Every module at weight 1/n.
    Mean,
    /// For each passage the module that predicts its first tokens best.
    Routed,
}
