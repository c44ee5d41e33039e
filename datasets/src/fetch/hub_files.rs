//! Which files of a repository are fetched.

use std::path::Path;

use crate::error::{Error, Result};
use crate::extract::Glob;
use crate::source::check_relative;

/// Files that can run code when loaded, or are code.
const REFUSED: [&str; 9] = ["bin", "pt", "pth", "ckpt", "pkl", "pickle", "py", "pyc", "so"];

const MODEL_FILES: [&str; 15] = [
    "config.json",
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "tokenizer.model",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "chat_template.jinja",
    "adapter_config.json",
    "*.safetensors",
    "*.safetensors.index.json",
    "README.md",
    "LICENSE*",
];

const DATASET_FILES: [&str; 9] =
    ["**/*.parquet", "**/*.jsonl", "**/*.json", "**/*.csv", "**/*.txt", "**/*.md", "**/*.gz", "**/*.zst", "LICENSE*"];

/// The names of a repository's files that are wanted: those that match `allow`, or without it the usual
/// files of a model or dataset. One unsafe name refuses the repository.
pub(super) fn choose(uri: &str, names: &[String], allow: Option<&[String]>, is_dataset: bool) -> Result<Vec<String>> {
    let refused = |problem: String| Error::Refused { uri: uri.into(), problem };
    let unsafe_names: Vec<String> = names
        .iter()
        .filter(|name| check_relative(name).is_err())
        .map(|name| format!("`{}`", name.escape_debug()))
        .collect();
    if !unsafe_names.is_empty() {
        return Err(refused(format!(
            "the hub lists file names that would be written outside the repository's folder or cannot be written: {}. Nothing was fetched",
            unsafe_names.join(", ")
        )));
    }
    let patterns: Vec<&str> = match &allow {
        Some(patterns) => patterns.iter().map(String::as_str).collect(),
        None if is_dataset => DATASET_FILES.to_vec(),
        None => MODEL_FILES.to_vec(),
    };
    let globs: Vec<Glob> =
        patterns.iter().map(|pattern| Glob::new(pattern)).collect::<Result<_, _>>().map_err(refused)?;
    let mut chosen: Vec<String> =
        names.iter().filter(|name| !is_refused(name) && globs.iter().any(|glob| glob.matches(name))).cloned().collect();
    // Some repositories hold the same weights twice, as `consolidated.safetensors` too.
    let is_weights = |name: &str| name.ends_with(".safetensors");
    if allow.is_none() && chosen.iter().any(|name| is_weights(name) && name.starts_with("model")) {
        chosen.retain(|name| !is_weights(name) || name.starts_with("model") || name.starts_with("adapter"));
    }
    chosen.sort();
    chosen.dedup();
    let has_content = match (&allow, is_dataset) {
        (None, false) => chosen.iter().any(|name| is_weights(name)),
        _ => !chosen.is_empty(),
    };
    if has_content {
        return Ok(chosen);
    }
    let gguf: Vec<&String> = names.iter().filter(|name| name.ends_with(".gguf")).take(5).collect();
    let advice = if let Some(first) = gguf.first() {
        let gguf: Vec<String> = gguf.iter().map(|name| format!("`{name}`")).collect();
        format!("It holds GGUF files ({}): name one, as in `{}/{first}`", gguf.join(", "), uri)
    } else if names.iter().any(|name| is_refused(name)) {
        "Its weights are pickled (`.bin`, `.pt`), which can run code when loaded and is not accepted: \
         look for a revision or a copy with safetensors"
            .into()
    } else {
        format!("It holds {} files; name the one you mean, as in `{}/path`", names.len(), uri)
    };
    Err(Error::NotFound { uri: uri.into(), what: format!("any file that is wanted ({})", patterns.join(", ")), advice })
}

/// Whether a file can run code when it is loaded.
pub(super) fn is_refused(name: &str) -> bool {
    let extension = Path::new(name).extension().map(|extension| extension.to_string_lossy().to_ascii_lowercase());
    extension.is_some_and(|extension| REFUSED.contains(&extension.as_str()))
}
