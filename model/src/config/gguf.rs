//! The configuration in the metadata of a GGUF file.

use super::{Architecture, ModelConfig, RopeScaling};
use crate::Error;
use crate::weights::gguf::GgufFile;
use crate::weights::{WeightFile, gguf_metadata::Metadata};

impl ModelConfig {
    /// Reads the metadata of a GGUF model, following the key names of the GGUF specification.
    ///
    /// Whether the head is tied is told by the absence of `output.weight`. Llama 3.1 scaling, which GGUF
    /// stores as a tensor of divisors, is recognised by its values.
    ///
    /// # Errors
    /// [`Error::Config`] naming everything this crate does not implement and every impossible value.
    pub fn from_gguf(file: &GgufFile) -> Result<Self, Error> {
        let metadata = file.metadata();
        let fail = |problems| Error::Config { path: file.path().to_owned(), problems };
        let name = metadata.string("general.architecture").unwrap_or("(none named)");
        let Some(architecture) = Architecture::ALL.into_iter().find(|known| known.model_type() == name) else {
            let known = Architecture::ALL.map(Architecture::model_type).join(", ");
            return Err(fail(vec![format!("`general.architecture` is `{name}`; supported are {known}")]));
        };
        let mut read = Keys { metadata, prefix: architecture.model_type(), problems: Vec::new() };
        let hidden_size = read.required("embedding_length");
        let num_attention_heads = read.required("attention.head_count");
        let head_dim = read
            .integer("attention.key_length")
            .unwrap_or_else(|| hidden_size.checked_div(num_attention_heads).unwrap_or(0));
        if let Some(rotated) = read.integer("rope.dimension_count")
            && rotated != head_dim
        {
            read.problems
                .push(format!("rotary embedding of {rotated} of {head_dim} dimensions per head is not supported"));
        }
        if read.integer("expert_count").is_some_and(|experts| experts > 1) {
            read.problems.push("mixtures of experts are not supported".to_owned());
        }
        if read.integer("attention.value_length").is_some_and(|width| width != head_dim) {
            read.problems.push("value heads narrower or wider than key heads are not supported".to_owned());
        }
        let rope_theta = read.number("rope.freq_base").unwrap_or(10_000.0);
        let max_position_embeddings = read.required("context_length");
        let rope_scaling = match read.scaling() {
            None => read.problem_or_none(llama3_scaling(file, rope_theta, head_dim)),
            some => some,
        };
        let tensors = file.tensors();
        let embeddings = tensors.get("model.embed_tokens.weight").and_then(|tensor| tensor.shape.first().copied());
        let mut eos_token_ids = Vec::new();
        for key in ["tokenizer.ggml.eos_token_id", "tokenizer.ggml.eot_token_id"] {
            if let Some(id) = metadata.integer(key).and_then(|id| u32::try_from(id).ok())
                && !eos_token_ids.contains(&id)
            {
                eos_token_ids.push(id);
            }
        }
        let config = Self {
            architecture,
            hidden_size,
            intermediate_size: read.required("feed_forward_length"),
            num_hidden_layers: read.required("block_count"),
            num_attention_heads,
            num_key_value_heads: read.integer("attention.head_count_kv").unwrap_or(num_attention_heads),
            head_dim,
            // The tensor decides: `vocab_size` is absent from many files.
            vocab_size: embeddings.or_else(|| read.integer("vocab_size")).unwrap_or(0),
            rope_theta,
            rope_scaling,
            rms_norm_eps: read.number("attention.layer_norm_rms_epsilon").unwrap_or(1e-6),
            tie_word_embeddings: !tensors.contains_key("lm_head.weight"),
            max_position_embeddings,
            attention_bias: architecture == Architecture::Qwen2,
            qk_norm: architecture == Architecture::Qwen3,
            bos_token_id: metadata.integer("tokenizer.ggml.bos_token_id").and_then(|id| u32::try_from(id).ok()),
            eos_token_ids,
        };
        let mut problems = read.problems;
        if problems.is_empty() {
            problems = config.size_problems();
        }
        if problems.is_empty() { Ok(config) } else { Err(fail(problems)) }
    }
}

/// The keys below one architecture's prefix, collecting problems instead of stopping at the first.
struct Keys<'a> {
    metadata: &'a Metadata,
    prefix: &'static str,
    problems: Vec<String>,
}

impl Keys<'_> {
    fn integer(&mut self, key: &str) -> Option<usize> {
        let key = format!("{}.{key}", self.prefix);
        if !self.metadata.contains(&key) {
            return None;
        }
        let number = self.metadata.integer(&key).and_then(|number| usize::try_from(number).ok());
        if number.is_none() {
            self.problems.push(format!("`{key}` is not one whole number for all layers"));
        }
        number
    }

    fn required(&mut self, key: &str) -> usize {
        if !self.metadata.contains(&format!("{}.{key}", self.prefix)) {
            self.problems.push(format!("`{}.{key}` is missing", self.prefix));
        }
        self.integer(key).unwrap_or(0)
    }

    fn number(&mut self, key: &str) -> Option<f64> {
        let key = format!("{}.{key}", self.prefix);
        if !self.metadata.contains(&key) {
            return None;
        }
        let number = self.metadata.float(&key);
        if number.is_none() {
            self.problems.push(format!("`{key}` is not a number"));
        }
        number
    }

    fn scaling(&mut self) -> Option<RopeScaling> {
        let kind = self.metadata.string(&format!("{}.rope.scaling.type", self.prefix)).unwrap_or("none");
        match kind {
            "none" => None,
            "linear" => match self.number("rope.scaling.factor") {
                Some(factor) if factor.is_finite() && factor > 0.0 => Some(RopeScaling::Linear { factor }),
                _ => {
                    self.problems.push("linear rotary scaling without a positive `rope.scaling.factor`".to_owned());
                    None
                }
            },
            other => {
                self.problems.push(format!("rotary scaling `{other}` is not supported; supported are none, linear"));
                None
            }
        }
    }

    fn problem_or_none<T>(&mut self, outcome: Result<Option<T>, String>) -> Option<T> {
        outcome.unwrap_or_else(|problem| {
            self.problems.push(problem);
            None
        })
    }
}

/// Recognises the divisors llama.cpp stores for Llama 3.1 (factor 8) and 3.2 (factor 32).
fn llama3_scaling(file: &GgufFile, theta: f64, head_dim: usize) -> Result<Option<RopeScaling>, String> {
    const NAME: &str = "rope_freqs.weight";
    if !file.tensors().contains_key(NAME) {
        return Ok(None);
    }
    let divisors = file.read_f32(NAME).map_err(|error| error.to_string())?;
    if divisors.len() != head_dim / 2 {
        return Err(format!("`{NAME}` has {} values; expected {}", divisors.len(), head_dim / 2));
    }
    if divisors.iter().all(|&divisor| divisor == 1.0) {
        return Ok(None);
    }
    const ORIGINAL: usize = 8192;
    let (low, high) = (1.0, 4.0);
    for factor in [8.0, 32.0] {
        let matches = divisors.iter().enumerate().all(|(pair, &divisor)| {
            let frequency = theta.powf(-2.0 * pair as f64 / head_dim as f64);
            let wavelength = std::f64::consts::TAU / frequency;
            let expected = if wavelength < ORIGINAL as f64 / high {
                1.0
            } else if wavelength > ORIGINAL as f64 / low {
                factor
            } else {
                let smooth = (ORIGINAL as f64 / wavelength - low) / (high - low);
                1.0 / ((1.0 - smooth) / factor + smooth)
            };
            (f64::from(divisor) / expected - 1.0).abs() < 1e-3
        });
        if matches {
            return Ok(Some(RopeScaling::Llama3 {
                factor,
                low_freq_factor: low,
                high_freq_factor: high,
                original_max_position_embeddings: ORIGINAL,
            }));
        }
    }
    Err(format!("the rotary divisors in `{NAME}` are not those of Llama 3.1 or 3.2"))
}
