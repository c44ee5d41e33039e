//! A model as found on disk: a Hugging Face folder or one GGUF file.

use std::path::{Path, PathBuf};

use serde_json::Value;
use tokenizers::Tokenizer;

use crate::Error;
use crate::config::ModelConfig;
use crate::tokenizer::{self, TokenizerSettings, tokenizer_error};
use crate::weights::check::check_tensors;
use crate::weights::gguf::GgufFile;
use crate::weights::{self, WeightFile};

/// Everything needed to run a model, opened and checked; weights are read on demand.
pub struct ModelFiles {
    /// What the model is.
    pub config: ModelConfig,
    /// Its tensors, which are exactly those of the configuration.
    pub weights: Box<dyn WeightFile>,
    /// How text becomes tokens.
    pub tokenizer: Tokenizer,
    /// Special tokens by role, and the chat template.
    pub tokenizer_settings: TokenizerSettings,
}

impl ModelFiles {
    /// Opens a folder with `config.json`, `tokenizer.json` and safetensors, or a `.gguf` file.
    ///
    /// Names and shapes of all tensors are checked; for values see
    /// [`check_finite`](crate::weights::check::check_finite).
    ///
    /// # Errors
    /// Everything of [`Error`]: what is missing, unsupported, damaged or contradictory, with its file.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let kind = std::fs::metadata(path).map_err(|error| Error::io("read", path, error))?;
        let files = if kind.is_dir() { Self::open_folder(path)? } else { Self::open_gguf(path)? };
        check_tensors(&files.config, &*files.weights)?;
        let last = files.tokenizer.get_vocab(true).into_values().max();
        if let Some(last) = last
            && last as usize >= files.config.vocab_size
        {
            let reason = format!("has token {last}, but the model only {} embeddings", files.config.vocab_size);
            return Err(tokenizer_error(path, reason));
        }
        Ok(files)
    }

    /// The token that begins a text in training and scoring: `<|endoftext|>` where the vocabulary has it
    /// (models of that family separate documents with it), else the configuration's first token, else its end.
    pub fn document_start(&self) -> u32 {
        let separator = self.tokenizer.token_to_id("<|endoftext|>");
        separator.or(self.config.bos_token_id).or(self.config.eos_token_ids.first().copied()).unwrap_or(0)
    }

    fn open_gguf(path: &Path) -> Result<Self, Error> {
        if path.extension().is_none_or(|extension| !extension.eq_ignore_ascii_case("gguf")) {
            let reason = "expected a folder holding config.json, or a .gguf file".to_owned();
            return Err(Error::NotAModel { path: path.to_owned(), reason });
        }
        let file = GgufFile::open(path)?;
        let config = ModelConfig::from_gguf(&file)?;
        let (tokenizer, tokenizer_settings) = tokenizer::from_gguf(&file)?;
        Ok(Self { config, weights: Box::new(file), tokenizer, tokenizer_settings })
    }

    fn open_folder(folder: &Path) -> Result<Self, Error> {
        let config_path = folder.join("config.json");
        let weights_path = weights_path(folder);
        let tokenizer_path = folder.join("tokenizer.json");
        let mut missing = Vec::new();
        if !config_path.is_file() {
            missing.push("config.json");
        }
        if weights_path.is_none() {
            missing
                .push("model.safetensors or model.safetensors.index.json (pickled .bin and .pt files are never read)");
        }
        if !tokenizer_path.is_file() {
            missing.push("tokenizer.json");
        }
        let Some(weights_path) = weights_path.filter(|_| missing.is_empty()) else {
            return Err(Error::NotAModel {
                path: folder.to_owned(),
                reason: format!("it lacks {}", missing.join("; ")),
            });
        };
        let text = std::fs::read(&config_path).map_err(|error| Error::io("read", &config_path, error))?;
        let text = String::from_utf8(text).map_err(|error| {
            let problem = format!("not UTF-8 text at byte {}", error.utf8_error().valid_up_to());
            Error::Config { path: config_path.clone(), problems: vec![problem] }
        })?;
        let mut config = ModelConfig::from_json(&config_path, &text)?;
        for id in generation_ends(folder) {
            if !config.eos_token_ids.contains(&id) {
                config.eos_token_ids.push(id);
            }
        }
        Ok(Self {
            config,
            weights: weights::open(&weights_path)?,
            tokenizer: tokenizer::load(&tokenizer_path)?,
            tokenizer_settings: tokenizer::load_settings(folder)?,
        })
    }
}

fn weights_path(folder: &Path) -> Option<PathBuf> {
    ["model.safetensors.index.json", "model.safetensors"]
        .map(|name| folder.join(name))
        .into_iter()
        .find(|path| path.is_file())
}

/// End tokens that only `generation_config.json` names, as instruction-tuned models do.
fn generation_ends(folder: &Path) -> Vec<u32> {
    let read = || -> Option<Vec<u32>> {
        let text = std::fs::read_to_string(folder.join("generation_config.json")).ok()?;
        let keys: Value = serde_json::from_str(&text).ok()?;
        let id = |value: &Value| value.as_u64().and_then(|id| u32::try_from(id).ok());
        match keys.get("eos_token_id")? {
            Value::Array(list) => list.iter().map(id).collect(),
            one => Some(vec![id(one)?]),
        }
    };
    read().unwrap_or_default()
}
