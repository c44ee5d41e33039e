//! `config.json` of Hugging Face's transformers, in the keys of its fourth and fifth generation.

use std::path::Path;

use serde_json::{Map, Value, json};

use super::{Architecture, ModelConfig, RopeScaling};
use crate::Error;

impl ModelConfig {
    /// Reads the text of a `config.json`; `path` is only named in errors.
    ///
    /// Rotary settings are accepted as `rope_theta` and `rope_scaling` or as `rope_parameters`. Missing
    /// keys take the defaults of transformers' class for the architecture.
    ///
    /// # Errors
    /// [`Error::Config`] naming everything this crate does not implement and every impossible value.
    pub fn from_json(path: &Path, text: &str) -> Result<Self, Error> {
        let fail = |problems| Error::Config { path: path.to_owned(), problems };
        let root: Value = serde_json::from_str(text).map_err(|error| fail(vec![format!("not JSON: {error}")]))?;
        let Value::Object(keys) = root else {
            return Err(fail(vec!["not a JSON object".to_owned()]));
        };
        let mut read = Keys { keys: &keys, problems: Vec::new() };
        let architecture = read.architecture();
        read.refuse_unsupported(architecture);

        let hidden_size = read.required("hidden_size");
        let num_attention_heads = read.required("num_attention_heads");
        let llama = architecture == Architecture::Llama;
        let head_dim = read.integer("head_dim").unwrap_or_else(|| match architecture {
            Architecture::Qwen3 => 128,
            _ => hidden_size.checked_div(num_attention_heads).unwrap_or(0),
        });
        let (rope_theta, rope_scaling) = read.rope();
        let config = Self {
            architecture,
            hidden_size,
            intermediate_size: read.required("intermediate_size"),
            num_hidden_layers: read.required("num_hidden_layers"),
            num_attention_heads,
            num_key_value_heads: read.integer("num_key_value_heads").unwrap_or(num_attention_heads),
            head_dim,
            vocab_size: read.required("vocab_size"),
            rope_theta,
            rope_scaling,
            rms_norm_eps: read.number("rms_norm_eps").unwrap_or(1e-6),
            tie_word_embeddings: read.flag("tie_word_embeddings"),
            max_position_embeddings: read.integer("max_position_embeddings").unwrap_or(if llama {
                2048
            } else {
                32768
            }),
            attention_bias: architecture == Architecture::Qwen2,
            qk_norm: architecture == Architecture::Qwen3,
            bos_token_id: read.token_ids("bos_token_id").first().copied(),
            eos_token_ids: read.token_ids("eos_token_id"),
        };
        let mut problems = read.problems;
        if problems.is_empty() {
            problems = config.size_problems();
        }
        if problems.is_empty() { Ok(config) } else { Err(fail(problems)) }
    }

    /// The `config.json` of this model, with the keys of both transformers 4 and 5.
    ///
    /// `dtype` is the name of the stored weights' type: `float32` or `bfloat16`.
    pub fn to_json(&self, dtype: &str) -> Value {
        let mut rope = match self.rope_scaling {
            None => json!({"rope_type": "default"}),
            Some(RopeScaling::Linear { factor }) => json!({"rope_type": "linear", "factor": factor}),
            Some(RopeScaling::Llama3 {
                factor,
                low_freq_factor,
                high_freq_factor,
                original_max_position_embeddings,
            }) => json!({
                "rope_type": "llama3",
                "factor": factor,
                "low_freq_factor": low_freq_factor,
                "high_freq_factor": high_freq_factor,
                "original_max_position_embeddings": original_max_position_embeddings,
            }),
        };
        let rope_scaling = if self.rope_scaling.is_some() { rope.clone() } else { Value::Null };
        rope["rope_theta"] = json!(self.rope_theta);
        let eos = match self.eos_token_ids.as_slice() {
            [] => Value::Null,
            [one] => json!(one),
            several => json!(several),
        };
        let mut config = json!({
            "architectures": [self.architecture.class_name()],
            "model_type": self.architecture.model_type(),
            "attention_dropout": 0.0,
            "bos_token_id": self.bos_token_id,
            "eos_token_id": eos,
            "dtype": dtype,
            "torch_dtype": dtype,
            "head_dim": self.head_dim,
            "hidden_act": "silu",
            "hidden_size": self.hidden_size,
            "initializer_range": 0.02,
            "intermediate_size": self.intermediate_size,
            "max_position_embeddings": self.max_position_embeddings,
            "num_attention_heads": self.num_attention_heads,
            "num_hidden_layers": self.num_hidden_layers,
            "num_key_value_heads": self.num_key_value_heads,
            "rms_norm_eps": self.rms_norm_eps,
            "rope_parameters": rope,
            "rope_scaling": rope_scaling,
            "rope_theta": self.rope_theta,
            "tie_word_embeddings": self.tie_word_embeddings,
            "use_cache": true,
            "vocab_size": self.vocab_size,
        });
        match self.architecture {
            Architecture::Llama => {
                config["attention_bias"] = json!(false);
                config["mlp_bias"] = json!(false);
            }
            Architecture::Qwen2 => config["use_sliding_window"] = json!(false),
            Architecture::Qwen3 => {
                config["attention_bias"] = json!(false);
                config["use_sliding_window"] = json!(false);
            }
        }
        config
    }
}

/// The keys of a `config.json`, collecting problems instead of stopping at the first.
struct Keys<'a> {
    keys: &'a Map<String, Value>,
    problems: Vec<String>,
}

impl<'a> Keys<'a> {
    /// The value under `key`, where `null` counts as absent.
    fn get(&self, key: &str) -> Option<&'a Value> {
        self.keys.get(key).filter(|value| !value.is_null())
    }

    fn wrong(&mut self, key: &str, value: &Value, expected: &str) {
        self.problems.push(format!("`{key}` is {value}; expected {expected}"));
    }

    fn integer(&mut self, key: &str) -> Option<usize> {
        let value = self.get(key)?;
        let number = value.as_u64().and_then(|number| usize::try_from(number).ok());
        if number.is_none() {
            self.wrong(key, value, "a whole number");
        }
        number
    }

    fn required(&mut self, key: &str) -> usize {
        if self.get(key).is_none() {
            self.problems.push(format!("`{key}` is missing"));
        }
        self.integer(key).unwrap_or(0)
    }

    fn number(&mut self, key: &str) -> Option<f64> {
        let value = self.get(key)?;
        if !value.is_number() {
            self.wrong(key, value, "a number");
        }
        value.as_f64()
    }

    /// A boolean; absent is false.
    fn flag(&mut self, key: &str) -> bool {
        let Some(value) = self.get(key) else { return false };
        if !value.is_boolean() {
            self.wrong(key, value, "true or false");
        }
        value.as_bool().unwrap_or(false)
    }

    /// One token id, a list of them, or nothing.
    fn token_ids(&mut self, key: &str) -> Vec<u32> {
        let Some(value) = self.get(key) else { return Vec::new() };
        let list = match value {
            Value::Array(list) => list.clone(),
            one => vec![one.clone()],
        };
        let ids: Option<Vec<u32>> = list.iter().map(|id| id.as_u64().and_then(|id| u32::try_from(id).ok())).collect();
        ids.unwrap_or_else(|| {
            self.wrong(key, value, "a token id or a list of token ids");
            Vec::new()
        })
    }

    fn architecture(&mut self) -> Architecture {
        let class = self.get("architectures").and_then(|list| list.get(0)).and_then(Value::as_str);
        let model_type = self.get("model_type").and_then(Value::as_str);
        let found = Architecture::ALL.into_iter().find(|known| match (class, model_type) {
            (Some(class), _) => class == known.class_name(),
            (None, Some(model_type)) => model_type == known.model_type(),
            (None, None) => false,
        });
        found.unwrap_or_else(|| {
            let named = class.or(model_type).unwrap_or("(none named)");
            self.problems.push(format!(
                "architecture `{named}` is not supported; supported are {}",
                Architecture::ALL.map(Architecture::class_name).join(", ")
            ));
            Architecture::Llama
        })
    }

    fn refuse_unsupported(&mut self, architecture: Architecture) {
        let supported = [
            ("hidden_act", json!("silu")),
            ("mlp_bias", json!(false)),
            ("use_sliding_window", json!(false)),
            ("partial_rotary_factor", json!(1.0)),
        ];
        for (key, only) in supported {
            if let Some(value) = self.get(key)
                && *value != only
                && value.as_f64().is_none_or(|number| only.as_f64() != Some(number))
            {
                self.problems.push(format!("`{key}`: {value} is not supported; only {only} is"));
            }
        }
        // Qwen2's own biases are not governed by this key.
        if architecture != Architecture::Qwen2 && self.get("attention_bias") == Some(&Value::Bool(true)) {
            self.problems.push(format!("`attention_bias`: true is not supported for {architecture}"));
        }
        // Qwen writes `sliding_window` even when `use_sliding_window` turns it off.
        if architecture == Architecture::Llama && self.get("sliding_window").is_some() {
            self.problems.push("`sliding_window` attention is not supported".to_owned());
        }
        if let Some(Value::Array(kinds)) = self.get("layer_types")
            && let Some(kind) = kinds.iter().find(|kind| *kind != "full_attention")
        {
            self.problems.push(format!("`layer_types` holds {kind}; only \"full_attention\" is supported"));
        }
        for key in ["num_experts", "num_local_experts", "n_routed_experts"] {
            if self.get(key).and_then(Value::as_u64).is_some_and(|experts| experts > 1) {
                self.problems.push(format!("`{key}`: mixtures of experts are not supported"));
            }
        }
        if let Some(quantization) = self.get("quantization_config") {
            let method = quantization.get("quant_method").unwrap_or(&Value::Null);
            self.problems.push(format!(
                "`quantization_config` ({method}): quantised safetensors are not supported; use GGUF or full weights"
            ));
        }
    }

    /// Base and scaling of the rotary frequencies.
    fn rope(&mut self) -> (f64, Option<RopeScaling>) {
        let top = self.number("rope_theta");
        let (name, settings) = match (self.get("rope_parameters"), self.get("rope_scaling")) {
            (Some(settings), _) => ("rope_parameters", settings),
            (None, Some(settings)) => ("rope_scaling", settings),
            (None, None) => return (top.unwrap_or(10_000.0), None),
        };
        let Value::Object(map) = settings else {
            self.wrong(name, settings, "an object");
            return (top.unwrap_or(10_000.0), None);
        };
        let mut inner = Keys { keys: map, problems: Vec::new() };
        let theta = inner.number("rope_theta").or(top).unwrap_or(10_000.0);
        // Older files say `type` where newer ones say `rope_type`.
        let kind = inner.get("rope_type").or_else(|| inner.get("type")).and_then(Value::as_str).unwrap_or("default");
        let scaling = match kind {
            "default" => None,
            "linear" => Some(RopeScaling::Linear { factor: inner.factor("factor") }),
            "llama3" => {
                let original = inner.required("original_max_position_embeddings");
                Some(RopeScaling::Llama3 {
                    factor: inner.factor("factor"),
                    low_freq_factor: inner.factor("low_freq_factor"),
                    high_freq_factor: inner.factor("high_freq_factor"),
                    original_max_position_embeddings: original,
                })
            }
            other => {
                inner
                    .problems
                    .push(format!("rotary scaling `{other}` is not supported; supported are default, linear, llama3"));
                None
            }
        };
        if let Some(RopeScaling::Llama3 { low_freq_factor, high_freq_factor, .. }) = scaling
            && low_freq_factor >= high_freq_factor
        {
            inner.problems.push("`low_freq_factor` must be below `high_freq_factor`".to_owned());
        }
        self.problems.extend(inner.problems.into_iter().map(|problem| format!("{name}: {problem}")));
        (theta, scaling)
    }

    /// A required positive number.
    fn factor(&mut self, key: &str) -> f64 {
        match self.number(key) {
            Some(factor) if factor.is_finite() && factor > 0.0 => factor,
            Some(factor) => {
                self.problems.push(format!("`{key}` is {factor}; expected a positive number"));
                1.0
            }
            None => {
                self.problems.push(format!("`{key}` is missing"));
                1.0
            }
        }
    }
}
