//! Configurations: both generations of keys, defaults, and what is refused.
#![allow(clippy::unwrap_used)]

use std::path::Path;

use lore_model::Error;
use lore_model::config::{Architecture, ModelConfig, RopeScaling};
use serde_json::{Value, json};

fn llama() -> Value {
    json!({
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 64, "intermediate_size": 96,
        "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 100,
        "rope_theta": 5e5, "rms_norm_eps": 1e-5, "max_position_embeddings": 256, "tie_word_embeddings": true,
        "bos_token_id": 1, "eos_token_id": 2, "hidden_act": "silu"
    })
}

fn with(changes: Value) -> Value {
    let mut config = llama();
    for (key, value) in changes.as_object().unwrap() {
        config[key] = value.clone();
    }
    config
}

fn read(config: &Value) -> Result<ModelConfig, Error> {
    ModelConfig::from_json(Path::new("config.json"), &config.to_string())
}

#[test]
fn both_generations_say_the_same() {
    let old = with(json!({"rope_scaling": {"type": "linear", "factor": 2.0}, "torch_dtype": "float32"}));
    let mut new =
        with(json!({"rope_parameters": {"rope_type": "linear", "factor": 2.0, "rope_theta": 5e5}, "dtype": "float32"}));
    new.as_object_mut().unwrap().remove("rope_theta");
    let config = read(&old).unwrap();
    assert_eq!(config, read(&new).unwrap());
    assert_eq!(config.rope_theta, 5e5);
    assert_eq!(config.rope_scaling, Some(RopeScaling::Linear { factor: 2.0 }));
    assert_eq!(config.head_dim, 16);
    assert_eq!(config.eos_token_ids, [2]);
}

#[test]
fn what_is_written_is_read_back() {
    let scaling = json!({"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 128});
    for config in [
        llama(),
        with(json!({"rope_scaling": scaling, "eos_token_id": [2, 7], "head_dim": 20})),
        with(
            json!({"architectures": ["Qwen2ForCausalLM"], "model_type": "qwen2", "bos_token_id": null, "eos_token_id": null}),
        ),
        with(json!({"architectures": ["Qwen3ForCausalLM"], "model_type": "qwen3", "sliding_window": null})),
    ] {
        let read_once = read(&config).unwrap();
        let written = read_once.to_json("bfloat16");
        assert_eq!(read(&written).unwrap(), read_once);
        assert_eq!(written["dtype"], written["torch_dtype"]);
        assert_eq!(written["rope_theta"], written["rope_parameters"]["rope_theta"]);
        // Each generation of keys suffices alone.
        let without = |keys: &[&str]| {
            let mut part = written.clone();
            keys.iter().for_each(|key| drop(part.as_object_mut().unwrap().remove(*key)));
            read(&part).unwrap()
        };
        assert_eq!(without(&["rope_parameters", "dtype"]), read_once);
        assert_eq!(without(&["rope_theta", "rope_scaling", "torch_dtype"]), read_once);
    }
}

#[test]
fn missing_keys_take_transformers_defaults() {
    let mut config = llama();
    for key in ["num_key_value_heads", "rope_theta", "rms_norm_eps", "max_position_embeddings", "tie_word_embeddings"] {
        config.as_object_mut().unwrap().remove(key);
    }
    let read_llama = read(&config).unwrap();
    assert_eq!(read_llama.num_key_value_heads, 4);
    assert_eq!((read_llama.rope_theta, read_llama.rms_norm_eps), (10_000.0, 1e-6));
    assert_eq!((read_llama.max_position_embeddings, read_llama.tie_word_embeddings), (2048, false));
    config["architectures"] = json!(["Qwen3ForCausalLM"]);
    assert_eq!(read(&config).unwrap().head_dim, 128);
}

#[test]
fn tensors_follow_the_variant() {
    let names = |config: &Value| -> Vec<String> {
        read(config).unwrap().expected_tensors().into_iter().map(|(name, _)| name).collect()
    };
    let tied = names(&llama());
    assert_eq!(tied.len(), 2 + 2 * 9);
    assert!(names(&with(json!({"tie_word_embeddings": false}))).contains(&"lm_head.weight".to_owned()));
    let qwen2 = read(&with(json!({"architectures": ["Qwen2ForCausalLM"]}))).unwrap();
    assert_eq!(qwen2.architecture, Architecture::Qwen2);
    assert!(qwen2.expected_tensors().contains(&("model.layers.1.self_attn.k_proj.bias".to_owned(), vec![32])));
    let qwen3 = read(&with(json!({"architectures": ["Qwen3ForCausalLM"], "head_dim": 24}))).unwrap();
    let tensors = qwen3.expected_tensors();
    assert!(tensors.contains(&("model.layers.0.self_attn.q_norm.weight".to_owned(), vec![24])));
    assert!(tensors.contains(&("model.layers.0.self_attn.o_proj.weight".to_owned(), vec![64, 96])));
    // By hand: 100·64 + 2·(64·64·2 + 32·64·2 + 3·96·64 + 2·64) + 64.
    assert_eq!(read(&llama()).unwrap().parameter_count(), 6400 + 2 * (8192 + 4096 + 18432 + 128) + 64);
}

#[test]
fn everything_unsupported_is_named_at_once() {
    let config = with(json!({
        "architectures": ["MixtralForCausalLM"], "hidden_act": "gelu", "mlp_bias": true, "attention_bias": true,
        "sliding_window": 4096, "num_local_experts": 8, "quantization_config": {"quant_method": "gptq"},
        "rope_scaling": {"rope_type": "yarn", "factor": 4.0}, "hidden_size": "wide",
        "layer_types": ["full_attention", "sliding_attention"], "partial_rotary_factor": 0.5
    }));
    let Err(Error::Config { problems, .. }) = read(&config) else { panic!("must be refused") };
    for expected in [
        "MixtralForCausalLM",
        "gelu",
        "mlp_bias",
        "attention_bias",
        "sliding_window",
        "experts",
        "gptq",
        "yarn",
        "\"wide\"",
        "sliding_attention",
        "partial_rotary_factor",
    ] {
        assert!(problems.iter().any(|problem| problem.contains(expected)), "no `{expected}` in {problems:#?}");
    }
    assert_eq!(problems.len(), 11);
}

#[test]
fn impossible_sizes_are_named() {
    for (change, expected) in [
        (json!({"num_key_value_heads": 3}), "not a multiple"),
        (json!({"head_dim": 15}), "odd"),
        (json!({"num_attention_heads": 0, "num_key_value_heads": 0}), "num_attention_heads"),
        (json!({"hidden_size": u64::MAX}), "hidden_size"),
        (json!({"rope_theta": 0.0}), "rope_theta"),
        (json!({"eos_token_id": [-1]}), "eos_token_id"),
        (json!({"vocab_size": null}), "`vocab_size` is missing"),
        (json!({"rope_parameters": {"rope_type": "llama3", "factor": 8.0}}), "low_freq_factor"),
    ] {
        let error = read(&with(change)).unwrap_err().to_string();
        assert!(error.contains(expected), "expected `{expected}` in: {error}");
    }
    assert!(ModelConfig::from_json(Path::new("c"), "[]").is_err());
    assert!(ModelConfig::from_json(Path::new("c"), "{").is_err());
}
