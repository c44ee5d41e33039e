//! Writing a model as a Hugging Face repository that transformers loads.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::{Value, json};
use tokenizers::Tokenizer;

use crate::Error;
use crate::config::ModelConfig;
use crate::fingerprint::{Fingerprint, TensorHash};
use crate::publish::{MARKER, write_folder};
use crate::tokenizer::{self, TokenizerSettings};
use crate::weights::check::not_finite;
use crate::weights::safetensors_writer::SafetensorsWriter;

pub use crate::weights::safetensors_writer::StoredType;

/// Weight files larger than this many bytes are split, as transformers does.
pub const SHARD_BYTES: u64 = 5_000_000_000;

/// What a repository holds beside its weights.
pub struct Repository<'a> {
    /// What the model is.
    pub config: &'a ModelConfig,
    /// Its tokenizer.
    pub tokenizer: &'a Tokenizer,
    /// Special tokens by role, and the chat template.
    pub tokenizer_settings: &'a TokenizerSettings,
    /// The type weights are stored as.
    pub dtype: StoredType,
    /// The most bytes of weights in one file; usually [`SHARD_BYTES`]. A single larger tensor has its own.
    pub shard_bytes: u64,
    /// Text of `README.md`, front matter included.
    pub readme: Option<&'a str>,
}

/// Writes the repository to `folder`, all or nothing, and returns its fingerprint, which also stands in the
/// folder's `lore.json`.
///
/// `read` is asked for each tensor of [`ModelConfig::expected_tensors`] once, in that order, so only one
/// need be in memory: `&mut |name| weights.read_f32(name)`.
///
/// # Errors
/// [`Error::Occupied`] if the folder holds files of another origin; [`Error::NotFinite`] and
/// [`Error::Tensors`] for unusable values; [`Error::Io`]; errors of `read`.
pub fn save_repository(
    folder: &Path,
    repository: &Repository<'_>,
    read: &mut dyn FnMut(&str) -> Result<Vec<f32>, Error>,
) -> Result<Fingerprint, Error> {
    write_folder(folder, |temporary| {
        let Repository { config, tokenizer, dtype, .. } = *repository;
        let hashes = write_weights(temporary, repository, read)?;
        let fingerprint = Fingerprint::from_hashes(config, tokenizer, hashes)?;
        write_json(&temporary.join("config.json"), &config.to_json(dtype.torch_name()))?;
        tokenizer::save(temporary, tokenizer, repository.tokenizer_settings, config)?;
        if let Some(readme) = repository.readme {
            write(&temporary.join("README.md"), readme)?;
        }
        let marker = json!({
            "lore": "base",
            "fingerprint": fingerprint,
            "parameters": config.parameter_count(),
            "version": env!("CARGO_PKG_VERSION"),
        });
        write_json(&temporary.join(MARKER), &marker)?;
        Ok(fingerprint)
    })
}

fn write_weights(
    folder: &Path,
    repository: &Repository<'_>,
    read: &mut dyn FnMut(&str) -> Result<Vec<f32>, Error>,
) -> Result<Vec<TensorHash>, Error> {
    let dtype = repository.dtype;
    let tensors = repository.config.expected_tensors();
    let bytes = |shape: &[usize]| (shape.iter().product::<usize>() * dtype.bytes()) as u64;
    let mut shards: Vec<Vec<(String, Vec<usize>)>> = Vec::new();
    let (mut filled, mut total) = (0, 0);
    for (name, shape) in tensors {
        let size = bytes(&shape);
        total += size;
        if shards.is_empty() || filled + size > repository.shard_bytes {
            shards.push(Vec::new());
            filled = 0;
        }
        filled += size;
        shards.last_mut().expect("pushed when empty").push((name, shape));
    }
    let file_name = |shard: usize| match shards.len() {
        1 => "model.safetensors".to_owned(),
        count => format!("model-{:05}-of-{count:05}.safetensors", shard + 1),
    };
    let metadata = BTreeMap::from([("format".to_owned(), "pt".to_owned())]);
    let mut weight_map = BTreeMap::new();
    let mut hashes = Vec::new();
    for (shard, tensors) in shards.iter().enumerate() {
        let path = folder.join(file_name(shard));
        let mut writer = SafetensorsWriter::create(&path, dtype, tensors, &metadata)?;
        for (name, shape) in tensors {
            let mut values = read(name)?;
            dtype.round(&mut values);
            if let Some(problem) = not_finite(name, &values) {
                return Err(Error::NotFinite { path, problems: vec![problem] });
            }
            hashes.push(TensorHash::of(name, shape, &values));
            writer.write(name, &values)?;
            weight_map.insert(name.clone(), file_name(shard));
        }
        writer.finish()?;
    }
    if shards.len() > 1 {
        let index = json!({"metadata": {"total_size": total}, "weight_map": weight_map});
        write_json(&folder.join("model.safetensors.index.json"), &index)?;
    }
    Ok(hashes)
}

fn write_json(path: &Path, value: &Value) -> Result<(), Error> {
    write(path, &format!("{value:#}\n"))
}

fn write(path: &Path, text: &str) -> Result<(), Error> {
    std::fs::write(path, text).map_err(|error| Error::io("write", path, error))
}
