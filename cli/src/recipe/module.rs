//! `[modules]`, `[topic.module]` and `[[joint]]`: how modules are trained.

use lore_finetune::{ContextConfig, LoraConfig};
use lore_model::quantised::Blocks;
use lore_train::TrainConfig;
use serde::{Deserialize, Serialize};

use super::{Recipe, Topic};

/// `[modules]`, and `[topic.module]` laid over it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ModuleConfig {
    /// Share of general text among the training sequences, against forgetting.
    pub replay: f64,
    /// What is learnt from that text.
    pub rehearse: Rehearse,
    /// How many times its positions count when a distribution is learnt.
    pub rehearse_weight: f64,
    /// Keeps the frozen base in blocks while the module is trained.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub quantise: Option<Blocks>,
    /// Tokens of validation text that `stopping` and `sweep` decide by, of each topic.
    #[serde(skip_serializing_if = "is_usual")]
    pub validation_tokens: u64,
    /// Learns from passages by context distillation instead of from next tokens.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub context: Option<ContextConfig>,
    /// Stops early.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stopping: Option<StoppingConfig>,
    /// Trains once for each learning rate and keeps the best.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sweep: Option<Sweep>,
    /// The adapter.
    pub lora: LoraConfig,
    /// How it is trained.
    pub train: TrainConfig,
}

impl Default for ModuleConfig {
    fn default() -> Self {
        Self {
            replay: 0.1,
            rehearse: Rehearse::default(),
            rehearse_weight: 1.0,
            context: None,
            quantise: None,
            stopping: None,
            sweep: None,
            validation_tokens: VALIDATION_TOKENS,
            lora: LoraConfig::default(),
            train: TrainConfig::default(),
        }
    }
}

const VALIDATION_TOKENS: u64 = 4096;

fn is_usual(tokens: &u64) -> bool {
    *tokens == VALIDATION_TOKENS
}

impl ModuleConfig {
    /// Whether validation text decides about anything.
    pub fn validates(&self) -> bool {
        self.stopping.is_some() || self.sweep.is_some()
    }
}

/// `[modules.stopping]`: bits per byte of validation text are measured on the way, and the best module is kept.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct StoppingConfig {
    /// Steps between two measurements.
    pub every: u64,
    /// Measurements in a row without a better one after which training ends.
    pub patience: u64,
}

impl Default for StoppingConfig {
    fn default() -> Self {
        Self { every: 10, patience: 3 }
    }
}

/// `[modules.sweep]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Sweep {
    /// Peak learning rates, in place of the one of `train`.
    pub lr: Vec<f64>,
}

/// `[[joint]]`: one module trained on several topics, a control for what composing their own modules does.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Joint {
    /// Names the module.
    pub name: String,
    /// The topics, in equal shares; absent, all of them.
    #[serde(default)]
    pub topics: Vec<String>,
    /// The module: `[modules]` with changes.
    #[serde(default)]
    pub module: ModuleConfig,
}

/// What a module learns from replayed general text.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Rehearse {
    /// The next token, as from the topic's text.
    Text,
    /// The base's own distribution: to stay as it is.
    #[default]
    Base,
    /// The teacher's distribution: to stay and to become better.
    Teacher,
}

impl Joint {
    /// The topics it is trained on, in the order of the recipe.
    pub fn topics_of<'a>(&self, recipe: &'a Recipe) -> Vec<&'a Topic> {
        let named = |topic: &&Topic| self.topics.is_empty() || self.topics.contains(&topic.name);
        recipe.topics.iter().filter(named).collect()
    }
}
