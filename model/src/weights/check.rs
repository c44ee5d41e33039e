//! Whether a file holds exactly the tensors a configuration calls for, and finite numbers in them.

use std::collections::BTreeSet;

use rayon::prelude::*;

use super::WeightFile;
use crate::{Error, config::ModelConfig};

/// Compares names and shapes against [`ModelConfig::expected_tensors`].
///
/// Buffers that old exporters saved beside the weights (rotary frequencies, attention masks) and a head
/// stored although tied are ignored.
///
/// # Errors
/// [`Error::Tensors`] naming every missing, unexpected and wrongly shaped tensor.
pub fn check_tensors(config: &ModelConfig, file: &dyn WeightFile) -> Result<(), Error> {
    let expected = config.expected_tensors();
    let mut problems = Vec::new();
    for (name, shape) in &expected {
        match file.tensors().get(name) {
            None => problems.push(format!("`{name}` {shape:?} is missing")),
            Some(found) if found.shape != *shape => {
                problems.push(format!("`{name}` has shape {:?}; expected {shape:?}", found.shape));
            }
            Some(_) => {}
        }
    }
    let known: BTreeSet<&str> = expected.iter().map(|(name, _)| name.as_str()).collect();
    for (name, found) in file.tensors() {
        if !known.contains(name.as_str()) && !is_harmless(name, config) {
            problems.push(format!("`{name}` {:?} is not part of a {}", found.shape, config.architecture));
        }
    }
    if problems.is_empty() { Ok(()) } else { Err(Error::Tensors { path: file.path().to_owned(), problems }) }
}

fn is_harmless(name: &str, config: &ModelConfig) -> bool {
    const BUFFERS: [&str; 3] = ["rotary_emb.inv_freq", "self_attn.bias", "self_attn.masked_bias"];
    name == "rope_freqs.weight"
        || (name == "lm_head.weight" && config.tie_word_embeddings)
        || BUFFERS.iter().any(|buffer| name.ends_with(buffer))
}

/// Reads every tensor of the configuration and looks for NaN and infinity.
///
/// # Errors
/// [`Error::NotFinite`] naming every tensor concerned; errors of reading.
pub fn check_finite(config: &ModelConfig, file: &dyn WeightFile) -> Result<(), Error> {
    let outcomes: Result<Vec<Option<String>>, Error> =
        config.expected_tensors().par_iter().map(|(name, _)| Ok(not_finite(name, &file.read_f32(name)?))).collect();
    let problems: Vec<String> = outcomes?.into_iter().flatten().collect();
    if problems.is_empty() { Ok(()) } else { Err(Error::NotFinite { path: file.path().to_owned(), problems }) }
}

/// Says how many of a tensor's values are NaN or infinite, or nothing if all are finite.
///
/// For a loader that has the values in hand and would not read them twice.
pub fn not_finite(name: &str, values: &[f32]) -> Option<String> {
    let count: usize =
        values.par_chunks(1 << 16).map(|chunk| chunk.iter().filter(|value| !value.is_finite()).count()).sum();
    (count > 0).then(|| format!("`{name}`: {count} of {} values", values.len()))
}
