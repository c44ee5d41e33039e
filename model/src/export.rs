//! Writing a model as one GGUF file that llama.cpp loads.

use std::path::Path;

use crate::Error;
use crate::config::{Architecture, ModelConfig, RopeScaling};
use crate::tokenizer::{TokenizerSettings, to_gguf, tokenizer_error};
use crate::weights::check::not_finite;
use crate::weights::dequantise::BlockFormat;
use crate::weights::gguf_metadata::Value;
use crate::weights::gguf_names::{gguf_name, interleaved_row};
use crate::weights::gguf_writer::{GgufTensor, GgufWriter};
use tokenizers::Tokenizer;

/// What a GGUF file holds beside its weights.
pub struct GgufModel<'a> {
    /// What the model is.
    pub config: &'a ModelConfig,
    /// Its tokenizer: byte-level BPE that cuts text in a way llama.cpp has a name for.
    pub tokenizer: &'a Tokenizer,
    /// Special tokens by role, and the chat template.
    pub settings: &'a TokenizerSettings,
    /// How matrices are stored: `F32`, `F16`, `BF16` or `Q8_0`. Vectors are `F32`.
    pub format: BlockFormat,
    /// What it is called.
    pub name: &'a str,
}

/// Writes the file, all or nothing. `read` is asked for each tensor of [`ModelConfig::expected_tensors`] once.
///
/// # Errors
/// [`Error::Tokenizer`] for tokenizers that GGUF has no name for; [`Error::Config`] for what it cannot say;
/// [`Error::NotFinite`]; [`Error::Io`]; errors of `read`.
pub fn save_gguf(
    path: &Path,
    model: &GgufModel<'_>,
    read: &mut dyn FnMut(&str) -> Result<Vec<f32>, Error>,
) -> Result<(), Error> {
    let config = model.config;
    let architecture = config.architecture.model_type();
    let of_tokenizer = to_gguf(model.tokenizer, model.settings, config)
        .map_err(|reason| tokenizer_error(path, format!("{reason}, so it cannot be written as GGUF")))?;
    let integer = |value: usize| Value::Integer(value as i128);
    let mut metadata: Vec<(String, Value)> = vec![
        ("general.architecture".into(), Value::String(architecture.into())),
        ("general.type".into(), Value::String("model".into())),
        ("general.name".into(), Value::String(model.name.into())),
        ("general.file_type".into(), Value::Integer(file_type(model.format))),
        ("general.quantization_version".into(), Value::Integer(2)),
    ];
    let mut add = |key: &str, value: Value| metadata.push((format!("{architecture}.{key}"), value));
    add("context_length", integer(config.max_position_embeddings));
    add("embedding_length", integer(config.hidden_size));
    add("block_count", integer(config.num_hidden_layers));
    add("feed_forward_length", integer(config.intermediate_size));
    add("attention.head_count", integer(config.num_attention_heads));
    add("attention.head_count_kv", integer(config.num_key_value_heads));
    add("attention.key_length", integer(config.head_dim));
    add("attention.value_length", integer(config.head_dim));
    add("attention.layer_norm_rms_epsilon", Value::Float(config.rms_norm_eps));
    add("rope.dimension_count", integer(config.head_dim));
    add("rope.freq_base", Value::Float(config.rope_theta));
    add("vocab_size", integer(config.vocab_size));
    match config.rope_scaling {
        None => {}
        Some(RopeScaling::Linear { factor }) => {
            add("rope.scaling.type", Value::String("linear".into()));
            add("rope.scaling.factor", Value::Float(factor));
        }
        Some(RopeScaling::Llama3 { .. }) => {
            let problems = vec!["the rotary scaling of Llama 3.1 is not written to GGUF".to_owned()];
            return Err(Error::Config { path: path.to_owned(), problems });
        }
    }
    metadata.extend(of_tokenizer);

    let name_of = |name: &str| match name {
        "model.embed_tokens.weight" => "token_embd.weight".to_owned(),
        "model.norm.weight" => "output_norm.weight".to_owned(),
        "lm_head.weight" => "output.weight".to_owned(),
        inside => gguf_name(inside).expect("every tensor of a block has a GGUF name"),
    };
    let expected = config.expected_tensors();
    let tensors: Vec<GgufTensor> = expected
        .iter()
        .map(|(name, shape)| {
            // Rows that are no whole number of blocks, and vectors, stay as they are.
            let whole = shape.last().is_some_and(|width| width.is_multiple_of(model.format.block_values()));
            let format = if shape.len() > 1 && whole { model.format } else { BlockFormat::F32 };
            GgufTensor { name: name_of(name), shape: shape.clone(), format }
        })
        .collect();
    let metadata: Vec<(&str, Value)> = metadata.iter().map(|(key, value)| (key.as_str(), value.clone())).collect();
    let mut writer = GgufWriter::create(path, &metadata, &tensors)?;
    for ((name, shape), tensor) in expected.iter().zip(&tensors) {
        let values = read(name)?;
        if let Some(problem) = not_finite(name, &values) {
            return Err(Error::NotFinite { path: path.to_owned(), problems: vec![problem] });
        }
        writer.write(&tensor.name, &in_order(name, shape, values, config))?;
    }
    writer.finish()
}

/// Queries and keys of the llama architecture with the rows of each head interleaved, as llama.cpp rotates them.
fn in_order(name: &str, shape: &[usize], values: Vec<f32>, config: &ModelConfig) -> Vec<f32> {
    let turned = [".q_proj.weight", ".k_proj.weight", ".q_proj.bias", ".k_proj.bias"];
    if config.architecture != Architecture::Llama || !turned.iter().any(|end| name.ends_with(end)) {
        return values;
    }
    let width = if shape.len() > 1 { shape[1] } else { 1 };
    let mut ordered = vec![0.0; values.len()];
    for (row, values) in values.chunks_exact(width).enumerate() {
        ordered[interleaved_row(row, config.head_dim) * width..][..width].copy_from_slice(values);
    }
    ordered
}

/// llama.cpp's number for what most tensors are stored as.
fn file_type(format: BlockFormat) -> i128 {
    match format {
        BlockFormat::F16 => 1,
        BlockFormat::Q8_0 => 7,
        BlockFormat::BF16 => 32,
        _ => 0,
    }
}
