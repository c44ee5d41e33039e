//! What a model is: sizes, position encoding and variant, independent of where it was read from.
//!
//! [`ModelConfig`] is read from Hugging Face's `config.json` ([`ModelConfig::from_json`]) or from GGUF
//! metadata ([`ModelConfig::from_gguf`](crate::config::ModelConfig::from_gguf)), and written as
//! `config.json` ([`ModelConfig::to_json`]).

mod gguf;
mod json;

use std::fmt;

/// Variants of the Llama decoder this crate implements.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Architecture {
    /// `LlamaForCausalLM`: no biases.
    Llama,
    /// `Qwen2ForCausalLM`: biases on the query, key and value projections.
    Qwen2,
    /// `Qwen3ForCausalLM`: RMS norms on each head's queries and keys, no biases.
    Qwen3,
}

impl Architecture {
    /// Every variant, in the order they are listed to users.
    pub const ALL: [Self; 3] = [Self::Llama, Self::Qwen2, Self::Qwen3];

    /// The class name in `config.json`'s `architectures`.
    pub fn class_name(self) -> &'static str {
        match self {
            Self::Llama => "LlamaForCausalLM",
            Self::Qwen2 => "Qwen2ForCausalLM",
            Self::Qwen3 => "Qwen3ForCausalLM",
        }
    }

    /// `model_type` in `config.json`, which is also `general.architecture` in GGUF.
    pub fn model_type(self) -> &'static str {
        match self {
            Self::Llama => "llama",
            Self::Qwen2 => "qwen2",
            Self::Qwen3 => "qwen3",
        }
    }
}

impl fmt::Display for Architecture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.class_name())
    }
}

/// How rotary frequencies are stretched for contexts longer than those pre-trained on.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum RopeScaling {
    /// Every frequency is divided by `factor`.
    Linear {
        /// The divisor, at least 1.
        factor: f64,
    },
    /// Llama 3.1: low frequencies are divided by `factor`, high ones kept, those between interpolated.
    Llama3 {
        /// The divisor of low frequencies.
        factor: f64,
        /// Wavelengths above `original_max_position_embeddings / low_freq_factor` are low frequencies.
        low_freq_factor: f64,
        /// Wavelengths below `original_max_position_embeddings / high_freq_factor` are high frequencies.
        high_freq_factor: f64,
        /// The context length in tokens before stretching.
        original_max_position_embeddings: usize,
    },
}

/// The configuration of one decoder. Field names are those of `config.json`.
#[derive(Debug, Clone, PartialEq)]
pub struct ModelConfig {
    /// The variant.
    pub architecture: Architecture,
    /// Width of the residual stream.
    pub hidden_size: usize,
    /// Inner width of the gated feed-forward block.
    pub intermediate_size: usize,
    /// Number of blocks.
    pub num_hidden_layers: usize,
    /// Number of query heads.
    pub num_attention_heads: usize,
    /// Number of key and value heads; divides `num_attention_heads`.
    pub num_key_value_heads: usize,
    /// Width of one head; even. Not always `hidden_size / num_attention_heads`.
    pub head_dim: usize,
    /// Rows of the embedding matrix; at least the tokenizer's number of tokens.
    pub vocab_size: usize,
    /// Base of the rotary frequencies.
    pub rope_theta: f64,
    /// Stretching of the rotary frequencies, if any.
    pub rope_scaling: Option<RopeScaling>,
    /// Added to the mean square inside every RMS norm.
    pub rms_norm_eps: f64,
    /// Whether the head is the embedding matrix; if so there is no `lm_head.weight`.
    pub tie_word_embeddings: bool,
    /// The longest context in tokens the model was made for.
    pub max_position_embeddings: usize,
    /// Whether the query, key and value projections have biases.
    pub attention_bias: bool,
    /// Whether queries and keys are RMS-normalised per head.
    pub qk_norm: bool,
    /// The token a text begins with, if the model has one.
    pub bos_token_id: Option<u32>,
    /// Tokens that end a generation; may be empty.
    pub eos_token_ids: Vec<u32>,
}

impl ModelConfig {
    /// Every tensor of a model with this configuration, Hugging Face name and shape (`[out, in]` for
    /// matrices), in the order of the forward pass.
    pub fn expected_tensors(&self) -> Vec<(String, Vec<usize>)> {
        let hidden = self.hidden_size;
        let queries = self.num_attention_heads * self.head_dim;
        let keys = self.num_key_value_heads * self.head_dim;
        let mut tensors = vec![("model.embed_tokens.weight".to_owned(), vec![self.vocab_size, hidden])];
        for layer in 0..self.num_hidden_layers {
            let mut add =
                |name: &str, shape: &[usize]| tensors.push((format!("model.layers.{layer}.{name}"), shape.to_vec()));
            add("input_layernorm.weight", &[hidden]);
            for (name, rows) in [("q_proj", queries), ("k_proj", keys), ("v_proj", keys)] {
                add(&format!("self_attn.{name}.weight"), &[rows, hidden]);
                if self.attention_bias {
                    add(&format!("self_attn.{name}.bias"), &[rows]);
                }
            }
            if self.qk_norm {
                add("self_attn.q_norm.weight", &[self.head_dim]);
                add("self_attn.k_norm.weight", &[self.head_dim]);
            }
            add("self_attn.o_proj.weight", &[hidden, queries]);
            add("post_attention_layernorm.weight", &[hidden]);
            add("mlp.gate_proj.weight", &[self.intermediate_size, hidden]);
            add("mlp.up_proj.weight", &[self.intermediate_size, hidden]);
            add("mlp.down_proj.weight", &[hidden, self.intermediate_size]);
        }
        tensors.push(("model.norm.weight".to_owned(), vec![hidden]));
        if !self.tie_word_embeddings {
            tensors.push(("lm_head.weight".to_owned(), vec![self.vocab_size, hidden]));
        }
        tensors
    }

    /// Number of weights of a model with this configuration, tied embeddings counted once.
    pub fn parameter_count(&self) -> usize {
        self.expected_tensors().iter().map(|(_, shape)| shape.iter().product::<usize>()).sum()
    }

    /// Problems that make the sizes impossible, one sentence each; empty if there are none.
    fn size_problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        // Above these a file is damaged, not large; they also keep products of sizes inside usize.
        for (key, value, most) in [
            ("hidden_size", self.hidden_size, 1 << 20),
            ("intermediate_size", self.intermediate_size, 1 << 22),
            ("num_hidden_layers", self.num_hidden_layers, 10_000),
            ("num_attention_heads", self.num_attention_heads, 1 << 16),
            ("num_key_value_heads", self.num_key_value_heads, 1 << 16),
            ("head_dim", self.head_dim, 1 << 16),
            ("vocab_size", self.vocab_size, 1 << 24),
            ("max_position_embeddings", self.max_position_embeddings, 1 << 30),
        ] {
            if value == 0 || value > most {
                problems.push(format!("`{key}` is {value}; expected 1 to {most}"));
            }
        }
        if self.num_key_value_heads > 0 && !self.num_attention_heads.is_multiple_of(self.num_key_value_heads) {
            problems.push(format!(
                "`num_attention_heads` {} is not a multiple of `num_key_value_heads` {}",
                self.num_attention_heads, self.num_key_value_heads
            ));
        }
        if !self.head_dim.is_multiple_of(2) {
            problems.push(format!("`head_dim` {} is odd; rotary embedding needs pairs", self.head_dim));
        }
        if !(self.rope_theta.is_finite() && self.rope_theta > 0.0) {
            problems.push(format!("`rope_theta` is {}; expected a positive number", self.rope_theta));
        }
        if !(self.rms_norm_eps.is_finite() && self.rms_norm_eps >= 0.0) {
            problems.push(format!("`rms_norm_eps` is {}; expected a small number, not negative", self.rms_norm_eps));
        }
        problems
    }
}
