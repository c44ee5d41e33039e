//! `[teacher.shape]`: what a teacher is before it is fetched, so that a run can be planned.

use lore_model::config::{Architecture, ModelConfig};
use serde::{Deserialize, Serialize};

/// Sizes of a decoder, by their names in `config.json`. Checked against the teacher once that is fetched.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shape {
    /// Width of the residual stream.
    pub hidden_size: usize,
    /// Inner width of the feed-forward part.
    pub intermediate_size: usize,
    /// Blocks.
    pub num_hidden_layers: usize,
    /// Query heads.
    pub num_attention_heads: usize,
    /// Key and value heads.
    pub num_key_value_heads: usize,
    /// Width of a head; absent, the width of the residual stream shared out among the query heads.
    #[serde(default)]
    pub head_dim: Option<usize>,
    /// Tokens.
    pub vocab_size: usize,
    /// Whether the head is the embedding.
    #[serde(default)]
    pub tie_word_embeddings: bool,
}

impl Shape {
    /// The sizes with their names, in the order of the fields.
    fn sizes(&self) -> [(&'static str, usize); 8] {
        let head_dim = self.head_dim.or(self.hidden_size.checked_div(self.num_attention_heads)).unwrap_or_default();
        [
            ("hidden_size", self.hidden_size),
            ("intermediate_size", self.intermediate_size),
            ("num_hidden_layers", self.num_hidden_layers),
            ("num_attention_heads", self.num_attention_heads),
            ("num_key_value_heads", self.num_key_value_heads),
            ("head_dim", head_dim),
            ("vocab_size", self.vocab_size),
            ("tie_word_embeddings", usize::from(self.tie_word_embeddings)),
        ]
    }

    fn of(config: &ModelConfig) -> Self {
        Self {
            hidden_size: config.hidden_size,
            intermediate_size: config.intermediate_size,
            num_hidden_layers: config.num_hidden_layers,
            num_attention_heads: config.num_attention_heads,
            num_key_value_heads: config.num_key_value_heads,
            head_dim: Some(config.head_dim),
            vocab_size: config.vocab_size,
            tie_word_embeddings: config.tie_word_embeddings,
        }
    }

    /// What is zero and cannot be.
    pub fn zeros(&self) -> Vec<&'static str> {
        self.sizes()
            .into_iter()
            .filter(|&(name, size)| size == 0 && name != "tie_word_embeddings")
            .map(|s| s.0)
            .collect()
    }

    /// Where the model that was fetched is another one: a sentence for each size.
    pub fn differences(&self, fetched: &ModelConfig) -> Vec<String> {
        let pairs = self.sizes().into_iter().zip(Self::of(fetched).sizes());
        pairs
            .filter(|((_, said), (_, is))| said != is)
            .map(|((name, said), (_, is))| format!("{name} is {is}, not {said}"))
            .collect()
    }

    /// A decoder of these sizes; what no plan depends on is that of a Llama.
    pub fn config(&self) -> ModelConfig {
        ModelConfig {
            architecture: Architecture::Llama,
            hidden_size: self.hidden_size,
            intermediate_size: self.intermediate_size,
            num_hidden_layers: self.num_hidden_layers,
            num_attention_heads: self.num_attention_heads,
            num_key_value_heads: self.num_key_value_heads,
            head_dim: self.sizes()[5].1,
            vocab_size: self.vocab_size,
            rope_theta: 10_000.0,
            rope_scaling: None,
            rms_norm_eps: 1e-5,
            tie_word_embeddings: self.tie_word_embeddings,
            max_position_embeddings: 2048,
            attention_bias: false,
            qk_norm: false,
            bos_token_id: None,
            eos_token_ids: Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// SmolLM2-135M.
    fn shape() -> Shape {
        Shape {
            hidden_size: 576,
            intermediate_size: 1536,
            num_hidden_layers: 30,
            num_attention_heads: 9,
            num_key_value_heads: 3,
            head_dim: None,
            vocab_size: 49152,
            tie_word_embeddings: true,
        }
    }

    #[test]
    fn a_shape_has_the_parameters_of_the_model_it_describes() {
        assert_eq!(shape().config().parameter_count(), 134_515_008);
    }

    #[test]
    fn every_size_that_differs_is_named() {
        let other = Shape { num_hidden_layers: 24, head_dim: Some(32), ..shape() };
        let said = other.differences(&shape().config());
        assert_eq!(said, ["num_hidden_layers is 30, not 24", "head_dim is 64, not 32"]);
        assert_eq!(shape().differences(&shape().config()), Vec::<String>::new());
        assert_eq!(Shape { vocab_size: 0, ..shape() }.zeros(), ["vocab_size"]);
    }
}
