//! Configurations in GGUF metadata.
#![allow(clippy::unwrap_used)]

use lore_model::Error;
use lore_model::config::{Architecture, ModelConfig, RopeScaling};
use lore_model::weights::gguf::GgufFile;

/// A metadata value.
#[derive(Clone)]
enum Meta {
    Integer(u32),
    Float(f32),
    Text(&'static str),
}
use Meta::{Float, Integer, Text};

/// The metadata of a small model, under this architecture's prefix.
fn metadata(architecture: &'static str) -> Vec<(String, Meta)> {
    let mut pairs = vec![("general.architecture".to_owned(), Text(architecture))];
    for (key, value) in [
        ("embedding_length", Integer(32)),
        ("attention.head_count", Integer(4)),
        ("attention.head_count_kv", Integer(2)),
        ("feed_forward_length", Integer(48)),
        ("block_count", Integer(2)),
        ("context_length", Integer(131_072)),
        ("rope.freq_base", Float(500_000.0)),
        ("attention.layer_norm_rms_epsilon", Float(1e-5)),
    ] {
        pairs.push((format!("{architecture}.{key}"), value));
    }
    pairs
}

/// Reads the configuration of a file with this metadata, an embedding of 10 rows, and possibly rotary divisors.
fn read(pairs: &[(String, Meta)], divisors: Option<&[f32]>) -> Result<ModelConfig, Error> {
    let mut bytes = b"GGUF".to_vec();
    let text = |bytes: &mut Vec<u8>, text: &str| {
        bytes.extend((text.len() as u64).to_le_bytes());
        bytes.extend(text.as_bytes());
    };
    bytes.extend(3_u32.to_le_bytes());
    bytes.extend((1 + u64::from(divisors.is_some())).to_le_bytes());
    bytes.extend((pairs.len() as u64).to_le_bytes());
    for (key, value) in pairs {
        text(&mut bytes, key);
        match value {
            Integer(number) => bytes.extend([4_u32.to_le_bytes(), number.to_le_bytes()].concat()),
            Float(number) => bytes.extend([6_u32.to_le_bytes(), number.to_le_bytes()].concat()),
            Text(content) => {
                bytes.extend(8_u32.to_le_bytes());
                text(&mut bytes, content);
            }
        }
    }
    let mut tensor = |name: &str, shape: &[u64], offset: u64| {
        text(&mut bytes, name);
        bytes.extend((shape.len() as u32).to_le_bytes());
        bytes.extend(shape.iter().flat_map(|size| size.to_le_bytes()));
        bytes.extend(0_u32.to_le_bytes());
        bytes.extend(offset.to_le_bytes());
    };
    tensor("token_embd.weight", &[32, 10], 0);
    if let Some(divisors) = divisors {
        tensor("rope_freqs.weight", &[divisors.len() as u64], 32 * 10 * 4);
    }
    bytes.resize(bytes.len().next_multiple_of(32) + 32 * 10 * 4, 0);
    bytes.extend(divisors.unwrap_or_default().iter().flat_map(|value| value.to_le_bytes()));
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.gguf");
    std::fs::write(&path, bytes).unwrap();
    ModelConfig::from_gguf(&GgufFile::open(&path)?)
}

#[test]
fn every_architecture_is_read() {
    for (name, architecture, biases, norms) in [
        ("llama", Architecture::Llama, false, false),
        ("qwen2", Architecture::Qwen2, true, false),
        ("qwen3", Architecture::Qwen3, false, true),
    ] {
        let mut pairs = metadata(name);
        pairs.push((format!("{name}.attention.key_length"), Integer(12)));
        pairs.push(("tokenizer.ggml.eos_token_id".to_owned(), Integer(7)));
        pairs.push(("tokenizer.ggml.eot_token_id".to_owned(), Integer(9)));
        let config = read(&pairs, None).unwrap();
        assert_eq!(config.architecture, architecture);
        assert_eq!((config.attention_bias, config.qk_norm), (biases, norms));
        assert_eq!((config.head_dim, config.vocab_size, config.num_key_value_heads), (12, 10, 2));
        assert_eq!((config.rope_theta, config.rms_norm_eps), (500_000.0, 1e-5));
        assert!(config.tie_word_embeddings);
        assert_eq!((config.bos_token_id, config.eos_token_ids), (None, vec![7, 9]));
    }
}

#[test]
fn llama_3_scaling_is_recognised_by_its_divisors() {
    // Wavelengths 2π·500000^(i/4) for a head of 8: 6.3, 167, 4443, 118143 positions. The third lies between 8192 / 4
    // and 8192 / 1: its share is (8192 / 4442.9 − 1) / 3 = 0.28126, so 1 / (0.71874 / 8 + 0.28126) = 2.69426.
    let divisors = [1.0, 1.0, 2.694_26, 8.0];
    let config = read(&metadata("llama"), Some(&divisors)).unwrap();
    let expected = RopeScaling::Llama3 {
        factor: 8.0,
        low_freq_factor: 1.0,
        high_freq_factor: 4.0,
        original_max_position_embeddings: 8192,
    };
    assert_eq!(config.rope_scaling, Some(expected));
    assert_eq!(read(&metadata("llama"), Some(&[1.0; 4])).unwrap().rope_scaling, None);
    let error = read(&metadata("llama"), Some(&[1.0, 1.0, 3.0, 8.0])).unwrap_err().to_string();
    assert!(error.contains("not those of Llama 3.1 or 3.2"), "{error}");
    assert!(read(&metadata("llama"), Some(&[1.0; 3])).unwrap_err().to_string().contains("expected 4"));
}

#[test]
fn linear_scaling_is_read() {
    let mut pairs = metadata("llama");
    pairs.push(("llama.rope.scaling.type".to_owned(), Text("linear")));
    assert!(read(&pairs, None).unwrap_err().to_string().contains("rope.scaling.factor"));
    pairs.push(("llama.rope.scaling.factor".to_owned(), Float(4.0)));
    assert_eq!(read(&pairs, None).unwrap().rope_scaling, Some(RopeScaling::Linear { factor: 4.0 }));
}

#[test]
fn everything_unsupported_is_named_at_once() {
    let mut pairs = metadata("llama");
    pairs.retain(|(key, _)| key != "llama.block_count");
    pairs.push(("llama.expert_count".to_owned(), Integer(8)));
    pairs.push(("llama.rope.dimension_count".to_owned(), Integer(4)));
    pairs.push(("llama.rope.scaling.type".to_owned(), Text("yarn")));
    pairs.push(("llama.attention.value_length".to_owned(), Text("wide")));
    let Err(Error::Config { problems, .. }) = read(&pairs, None) else { panic!("must be refused") };
    for expected in ["block_count` is missing", "experts", "4 of 8 dimensions", "`yarn`", "value_length"] {
        assert!(problems.iter().any(|problem| problem.contains(expected)), "no `{expected}` in {problems:#?}");
    }
    assert_eq!(problems.len(), 5);
    assert!(
        read(&metadata("gemma3"), None)
            .unwrap_err()
            .to_string()
            .contains("`gemma3`; supported are llama, qwen2, qwen3")
    );
    assert!(read(&[], None).unwrap_err().to_string().contains("(none named)"));
}
