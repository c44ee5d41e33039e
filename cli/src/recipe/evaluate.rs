//! `[evaluate]`: what is measured.

use lore_datasets::source::SourceUri;
use lore_modules::compose::Method;
use serde::{Deserialize, Serialize};

use crate::composing::MethodName;

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
    /// Ways of making one module of all of them that are compared beside those, each a row of its own.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub composed: Vec<Composed>,
    /// Tokens at a passage's start that `routed` looks at.
    pub probe_tokens: usize,
    /// Tokens of each sample in the report.
    pub sample_tokens: usize,
    /// Beginnings that base and teacher continue, for the report.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub prompts: Vec<String>,
    /// Questions that everything in the report is asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tasks: Option<Tasks>,
}

/// `[evaluate.tasks]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Tasks {
    /// Tasks by name (`lore eval tasks`) or file, each with `/SUBSET` behind it where only that is wanted. Files are
    /// relative to the recipe.
    pub ask: Vec<String>,
    /// The folder that the tasks' data is relative to: a `file:` source. Not needed for data on a hub.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<SourceUri>,
    /// Of each subset only so many items, the first ones; absent, all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub items: Option<usize>,
    /// Solved examples before each question.
    #[serde(default)]
    pub shots: usize,
}

impl Default for Evaluate {
    fn default() -> Self {
        Self {
            tokens_per_text: 8192,
            passage_tokens: 256,
            combine: vec![Combine::Sum, Combine::Mean, Combine::Routed],
            weights: Vec::new(),
            composed: Vec::new(),
            probe_tokens: 64,
            sample_tokens: 60,
            prompts: Vec::new(),
            tasks: None,
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

/// All modules at weight 1 as one module, as `lore compose` makes it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Composed {
    /// How: any way but the exact sum, which [`Combine::Sum`] is.
    pub method: MethodName,
    /// Part of the values kept; absent, the usual one of the method.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub density: Option<f64>,
    /// Rank of the one module; absent, the largest of the modules.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rank: Option<usize>,
}

impl Composed {
    /// The method with its settings; what it leaves out at random follows from `seed`.
    pub fn method(&self, seed: u64) -> Method {
        self.method.with(self.density, self.rank, seed)
    }

    /// What its row is called: the method, and what is said of it beside that.
    pub fn label(&self) -> String {
        let mut label = self.method.name().to_owned();
        if let Some(density) = self.density {
            label += &format!(", density {density}");
        }
        if let Some(rank) = self.rank {
            label += &format!(", rank {rank}");
        }
        label
    }
}
