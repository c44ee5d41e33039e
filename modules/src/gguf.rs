//! A module as a GGUF file that llama.cpp and Ollama load beside the base's GGUF.
//!
//! The format is llama.cpp's: `general.type` "adapter", `adapter.type` "lora", `adapter.lora.alpha`, and for each
//! projection `blk.N.part.weight.lora_a` (`[rank, in]`) and `.lora_b` (`[out, rank]`). llama.cpp scales by alpha
//! over the rank of each tensor. For the Llama architecture its rotary embedding turns neighbouring pairs, so that
//! rows of query and key matrices, and of their `B`, are stored in another order than Hugging Face's.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use lore_model::config::{Architecture, ModelConfig};
use lore_model::weights::WeightFile;
use lore_model::weights::dequantise::BlockFormat;
use lore_model::weights::gguf::GgufFile;
use lore_model::weights::gguf_metadata::Value;
use lore_model::weights::gguf_names::{gguf_name, hugging_face_name, interleaved_row};
use lore_model::weights::gguf_writer::{GgufTensor, GgufWriter};

use crate::Error;
use crate::adapter::{Adapter, LowRank};
use crate::config::AdapterConfig;

/// The key under which the base's fingerprint stands; other programs ignore it.
const BASE: &str = "lore.base";

/// Writes the module for a base of this configuration, whole or not at all.
///
/// Where scale times rank is the same for every update, as with one alpha for all, it is stored as alpha and the
/// factors stay as they are. Otherwise (alpha patterns, rank-stabilised LoRA with several ranks) the scales are
/// multiplied into `B`.
///
/// # Errors
/// [`Error::Shapes`] naming every update that is not one of the base's projections; [`Error::NeedsBase`] for a module
/// with magnitudes (DoRA), which llama.cpp does not have; errors of writing.
pub fn write(path: &Path, adapter: &Adapter, base: &ModelConfig, format: BlockFormat) -> Result<(), Error> {
    let problems = adapter.shape_problems(base);
    if !problems.is_empty() {
        return Err(Error::Shapes { problems });
    }
    if let Some(problem) = adapter.without_base() {
        return Err(Error::NeedsBase { what: "a GGUF file", problem });
    }
    let alpha_of = |update: &LowRank| f64::from(update.scale) * update.rank as f64;
    let alphas: Vec<f64> = adapter.updates.values().map(alpha_of).collect();
    let first = alphas.first().copied().unwrap_or(1.0);
    let uniform = first != 0.0 && alphas.iter().all(|alpha| (alpha - first).abs() <= 1e-6 * first.abs());
    let largest = adapter.updates.values().map(|update| update.rank).max().unwrap_or(1);
    let alpha = if uniform { first } else { largest as f64 };

    let mut metadata = vec![
        ("general.architecture", Value::String(base.architecture.model_type().to_owned())),
        ("general.type", Value::String("adapter".to_owned())),
        ("adapter.type", Value::String("lora".to_owned())),
        ("adapter.lora.alpha", Value::Float(alpha)),
    ];
    if let Some(name) = adapter.metadata.get("topic") {
        metadata.push(("general.name", Value::String(name.clone())));
    }
    if let Some(base) = adapter.base {
        metadata.push((BASE, Value::String(base.to_string())));
    }
    let mut tensors = Vec::new();
    for (name, update) in &adapter.updates {
        let stem = gguf_name(&format!("{name}.weight")).expect("every projection of a base has a GGUF name");
        let mut add = |letter: char, shape: [usize; 2]| {
            tensors.push(GgufTensor { name: format!("{stem}.lora_{letter}"), shape: shape.to_vec(), format });
        };
        add('a', [update.rank, update.in_features]);
        add('b', [update.out_features, update.rank]);
    }
    let mut writer = GgufWriter::create(path, &metadata, &tensors)?;
    for ((name, update), names) in adapter.updates.iter().zip(tensors.chunks_exact(2)) {
        let mut b = update.b.clone();
        if !uniform {
            // What llama.cpp will multiply by.
            let factor = f64::from(update.scale) * update.rank as f64 / alpha;
            b.iter_mut().for_each(|value| *value = (f64::from(*value) * factor) as f32);
        }
        if is_interleaved(name, base) {
            b = reordered(&b, update.rank, |row| (interleaved_row(row, base.head_dim), row));
        }
        writer.write(&names[0].name, &update.a)?;
        writer.write(&names[1].name, &b)?;
    }
    Ok(writer.finish()?)
}

/// Reads a GGUF LoRA module for a base of this configuration, which says how rows of queries and keys are ordered.
///
/// # Errors
/// [`Error::Import`] naming everything that is not a LoRA module for this architecture: other types, tensors
/// without their other half, unknown tensors; [`Error::Shapes`] for updates that do not fit the base;
/// [`lore_model::Error`] for a file that is not GGUF.
pub fn read(path: &Path, base: &ModelConfig) -> Result<Adapter, Error> {
    let file = GgufFile::open(path)?;
    let metadata = file.metadata();
    let mut problems = Vec::new();
    for (key, expected) in [
        ("general.type", "adapter"),
        ("adapter.type", "lora"),
        ("general.architecture", base.architecture.model_type()),
    ] {
        let found = metadata.string(key);
        if found != Some(expected) {
            problems.push(format!("`{key}` is {}; expected `{expected}`", found.unwrap_or("absent")));
        }
    }
    let mut modules = BTreeSet::new();
    for name in file.tensors().keys() {
        let stem = name.strip_suffix(".lora_a").or_else(|| name.strip_suffix(".lora_b"));
        let module = stem.map(hugging_face_name).and_then(|name| name.strip_suffix("_proj.weight").map(str::to_owned));
        match (stem, module) {
            (Some(stem), Some(module)) => drop(modules.insert((format!("{module}_proj"), stem.to_owned()))),
            _ => problems.push(format!("`{name}` is not a low-rank factor of a projection")),
        }
    }
    let mut updates = BTreeMap::new();
    for (module, stem) in modules {
        let shape = |letter: &str| file.tensors().get(&format!("{stem}.lora_{letter}")).map(|t| t.shape.as_slice());
        match (shape("a"), shape("b")) {
            (Some(&[rank, in_features]), Some(&[out_features, columns])) if rank == columns => {
                let a = file.read_f32(&format!("{stem}.lora_a"))?;
                let b = file.read_f32(&format!("{stem}.lora_b"))?;
                updates.insert(module, LowRank { a, b, rank, in_features, out_features, scale: 1.0, magnitude: None });
            }
            (a, b) => problems.push(format!(
                "`{stem}`: lora_a {} and lora_b {} are not [rank, in] and [out, rank]",
                a.map_or("is absent".to_owned(), |shape| format!("{shape:?}")),
                b.map_or("is absent".to_owned(), |shape| format!("{shape:?}"))
            )),
        }
    }
    let stated = metadata.string(BASE).map(|text| text.parse()).transpose()?;
    let alpha = metadata.float("adapter.lora.alpha").unwrap_or(0.0);
    // llama.cpp takes no alpha, or 0, for a scale of 1.
    let config =
        if alpha == 0.0 { AdapterConfig::of_scale_one(&updates) } else { AdapterConfig::of_ranks(&updates, alpha) };
    let topic = metadata.string("general.name").map(|name| ("topic".to_owned(), name.to_owned()));
    let mut adapter = Adapter { config, updates, base: stated, metadata: topic.into_iter().collect() };
    for (name, update) in &mut adapter.updates {
        update.scale = adapter.config.scale_of(name);
    }
    problems.extend(adapter.problems());
    if !problems.is_empty() {
        return Err(Error::Import { path: path.to_owned(), problems });
    }
    let problems = adapter.shape_problems(base);
    if !problems.is_empty() {
        return Err(Error::Shapes { problems });
    }
    for (name, update) in &mut adapter.updates {
        if is_interleaved(name, base) {
            update.b = reordered(&update.b, update.rank, |row| (row, interleaved_row(row, base.head_dim)));
        }
    }
    Ok(adapter)
}

fn is_interleaved(module: &str, base: &ModelConfig) -> bool {
    base.architecture == Architecture::Llama
        && (module.ends_with(".self_attn.q_proj") || module.ends_with(".self_attn.k_proj"))
}

/// Rows moved: `places(i)` says where to, and from where.
fn reordered(values: &[f32], width: usize, places: impl Fn(usize) -> (usize, usize)) -> Vec<f32> {
    let mut moved = vec![0.0; values.len()];
    for row in 0..values.len() / width {
        let (to, from) = places(row);
        moved[to * width..][..width].copy_from_slice(&values[from * width..][..width]);
    }
    moved
}
