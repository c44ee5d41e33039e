//! What a base *is*, in 64 hexadecimal digits.
//!
//! Modules record the fingerprint of the base they were trained on. It depends on what the model computes:
//! weights as `f32` values, the configuration's sizes and constants, and how text becomes tokens. It does not
//! depend on how files are split or named, on the stored type where the values are the same, on settings of
//! generation, or on chat templates.

use std::fmt;
use std::str::FromStr;

use rayon::prelude::*;
use serde_json::Value;
use sha2::{Digest, Sha256};
use tokenizers::Tokenizer;

use crate::config::{ModelConfig, RopeScaling};
use crate::weights::WeightFile;
use crate::{Error, tokenizer::tokenizer_error};

/// What a fingerprint's text begins with; the number changes when its definition does.
pub const PREFIX: &str = "lore-base-v1:";

/// Identity of a base: SHA-256 over its canonical configuration, tokenizer and weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Fingerprint([u8; 32]);

impl Fingerprint {
    /// Computes the fingerprint of a model, reading all its weights.
    ///
    /// # Errors
    /// Those of reading the weights.
    pub fn of(config: &ModelConfig, weights: &dyn WeightFile, tokenizer: &Tokenizer) -> Result<Self, Error> {
        let hashes: Result<Vec<TensorHash>, Error> = config
            .expected_tensors()
            .into_par_iter()
            .map(|(name, shape)| Ok(TensorHash::of(&name, &shape, &weights.read_f32(&name)?)))
            .collect();
        Self::from_hashes(config, tokenizer, hashes?)
    }

    /// Computes the fingerprint from the hashes of all tensors of the configuration, in any order.
    ///
    /// # Errors
    /// [`Error::Tokenizer`] if the tokenizer cannot be serialised.
    pub fn from_hashes(
        config: &ModelConfig,
        tokenizer: &Tokenizer,
        mut tensors: Vec<TensorHash>,
    ) -> Result<Self, Error> {
        tensors.sort_by(|a, b| a.name.cmp(&b.name));
        let mut hash = Sha256::new();
        hash.update(PREFIX);
        hash.update(Sha256::digest(canonical_config(config)));
        hash.update(Sha256::digest(canonical_tokenizer(tokenizer)?));
        for tensor in &tensors {
            hash.update(tensor.digest);
        }
        Ok(Self(hash.finalize().into()))
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(PREFIX)?;
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl FromStr for Fingerprint {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let parse = || {
            let digits = text.strip_prefix(PREFIX)?.as_bytes();
            let mut bytes = [0; 32];
            if digits.len() != 64 || !digits.iter().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f')) {
                return None;
            }
            for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
                *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
            }
            Some(Self(bytes))
        };
        parse().ok_or_else(|| Error::Fingerprint { text: text.to_owned() })
    }
}

impl serde::Serialize for Fingerprint {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> serde::Deserialize<'de> for Fingerprint {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// Hash of one tensor's name, shape and values.
#[derive(Debug, Clone)]
pub struct TensorHash {
    name: String,
    digest: [u8; 32],
}

impl TensorHash {
    /// Hashes one tensor.
    pub fn of(name: &str, shape: &[usize], values: &[f32]) -> Self {
        let mut hash = Sha256::new();
        hash.update((name.len() as u64).to_le_bytes());
        hash.update(name);
        hash.update((shape.len() as u64).to_le_bytes());
        for &size in shape {
            hash.update((size as u64).to_le_bytes());
        }
        let mut bytes = Vec::with_capacity(4 << 12);
        for chunk in values.chunks(1 << 12) {
            bytes.clear();
            bytes.extend(chunk.iter().flat_map(|value| value.to_le_bytes()));
            hash.update(&bytes);
        }
        Self { name: name.to_owned(), digest: hash.finalize().into() }
    }
}

/// The parts of a configuration that change what is computed. Floats by their bits.
fn canonical_config(config: &ModelConfig) -> String {
    let scaling = match config.rope_scaling {
        None => "none".to_owned(),
        Some(RopeScaling::Linear { factor }) => format!("linear {:x}", factor.to_bits()),
        Some(RopeScaling::Llama3 { factor, low_freq_factor, high_freq_factor, original_max_position_embeddings }) => {
            format!(
                "llama3 {:x} {:x} {:x} {original_max_position_embeddings}",
                factor.to_bits(),
                low_freq_factor.to_bits(),
                high_freq_factor.to_bits()
            )
        }
    };
    format!(
        "{} hidden {} ffn {} layers {} heads {} kv {} head {} vocab {} theta {:x} scaling {scaling} eps {:x} tied {} bias {} qk_norm {}",
        config.architecture.model_type(),
        config.hidden_size,
        config.intermediate_size,
        config.num_hidden_layers,
        config.num_attention_heads,
        config.num_key_value_heads,
        config.head_dim,
        config.vocab_size,
        config.rope_theta.to_bits(),
        config.rms_norm_eps.to_bits(),
        config.tie_word_embeddings,
        config.attention_bias,
        config.qk_norm,
    )
}

/// The tokenizer's own JSON without what does not change tokens: truncation and padding (set by callers),
/// offsets, steps that do nothing, absent values; keys sorted.
fn canonical_tokenizer(tokenizer: &Tokenizer) -> Result<String, Error> {
    let problem = |reason: String| tokenizer_error(std::path::Path::new("tokenizer.json"), reason);
    let json = tokenizer.to_string(false).map_err(|error| problem(error.to_string()))?;
    let value: Value = serde_json::from_str(&json).map_err(|error| problem(error.to_string()))?;
    let mut text = String::with_capacity(json.len());
    if let Value::Object(map) = &value {
        let changing = map.iter().filter(|(key, value)| match key.as_str() {
            "version" | "truncation" | "padding" => false,
            "post_processor" => adds_tokens(value),
            _ => true,
        });
        write_object(changing, &mut text);
    }
    Ok(text)
}

/// Whether a post-processor does more than adjust offsets. transformers writes a template that adds nothing
/// where there was none.
fn adds_tokens(post_processor: &Value) -> bool {
    let empty_template =
        post_processor.get("special_tokens").and_then(Value::as_object).is_some_and(|tokens| tokens.is_empty());
    !empty_template && post_processor.get("type").and_then(Value::as_str) != Some("ByteLevel")
}

fn write_object<'a>(map: impl Iterator<Item = (&'a String, &'a Value)>, text: &mut String) {
    // The flag moves offsets, not tokens. In a vocabulary the word is a number's key, and stays.
    let is_offset_flag = |key: &str, value: &Value| key == "trim_offsets" && value.is_boolean();
    let mut keys: Vec<(&String, &Value)> =
        map.filter(|(key, value)| !value.is_null() && !is_offset_flag(key, value)).collect();
    keys.sort_by_key(|(key, _)| *key);
    text.push('{');
    for (key, value) in keys {
        text.push_str(&Value::from(key.as_str()).to_string());
        text.push(':');
        write_canonical(value, text);
        text.push(',');
    }
    text.push('}');
}

fn write_canonical(value: &Value, text: &mut String) {
    match value {
        Value::Object(map) => write_object(map.iter(), text),
        Value::Array(list) => {
            text.push('[');
            for value in list {
                write_canonical(value, text);
                text.push(',');
            }
            text.push(']');
        }
        scalar => text.push_str(&scalar.to_string()),
    }
}
