//! Models and modules on the chosen device.

use std::path::Path;

use burn::tensor::Device;
use lore_eval::engine::Subject;
use lore_model::Decoder;
use lore_model::config::ModelConfig;
use lore_model::files::ModelFiles;
use lore_model::fingerprint::Fingerprint;
use lore_model::quantised::Blocks;
use lore_modules::{Adapter, LoadedModule, activate, peft};

use crate::error::{Error, Result};
use crate::location::WeightedModule;

/// A model, ready to run, and the files it came from.
pub struct LoadedModel {
    /// Configuration, tokenizer, weights on disk.
    pub files: ModelFiles,
    /// Weights on the device.
    pub decoder: Decoder,
    /// How the matrices of its projections are kept, if not as their own values.
    pub blocks: Option<Blocks>,
    /// The token that begins a text.
    pub start: u32,
}

/// Loads a Hugging Face folder or a GGUF file.
///
/// # Errors
/// Whatever is wrong with its files.
pub fn load_model(path: &Path, device: &Device) -> Result<LoadedModel> {
    load_model_in(path, device, None)
}

/// Loads a Hugging Face folder or a GGUF file, with the matrices of its projections in blocks if that is asked for.
///
/// # Errors
/// Whatever is wrong with its files.
pub fn load_model_in(path: &Path, device: &Device, blocks: Option<Blocks>) -> Result<LoadedModel> {
    let files = ModelFiles::open(path)?;
    let decoder = match blocks {
        None => Decoder::load(&files.config, &*files.weights, device)?,
        Some(kind) => Decoder::load_quantised(&files.config, &*files.weights, device, kind)?,
    };
    let start = files.document_start();
    Ok(LoadedModel { files, decoder, blocks, start })
}

impl LoadedModel {
    /// What an empty context stands for, as in lm-evaluation-harness: the configuration's first token,
    /// else its end token.
    pub fn prefix(&self) -> u32 {
        let config = &self.files.config;
        config.bos_token_id.or(config.eos_token_ids.first().copied()).unwrap_or(self.start)
    }

    /// To put questions to; `decoder` is this model's, with or without modules.
    pub fn subject<'a>(&'a self, decoder: &'a Decoder) -> Subject<'a> {
        Subject {
            decoder,
            tokenizer: &self.files.tokenizer,
            start: self.prefix(),
            stop: &self.files.config.eos_token_ids,
        }
    }

    /// Checks that a sequence of `tokens` tokens, the one that begins a text included, fits the model's
    /// positions; `what` names it.
    ///
    /// # Errors
    /// When it does not.
    pub fn check_length(&self, what: &str, tokens: usize) -> Result<()> {
        let limit = self.decoder.max_positions();
        if tokens <= limit {
            return Ok(());
        }
        Err(Error::Failed(format!(
            "{what} makes sequences of {tokens} tokens, but the model has only {limit} positions; make it shorter"
        )))
    }

    /// Identity of the model, computed from its weights.
    ///
    /// # Errors
    /// When the weights cannot be read.
    pub fn fingerprint(&self) -> Result<Fingerprint> {
        Ok(Fingerprint::of(&self.files.config, &*self.files.weights, &self.files.tokenizer)?)
    }

    /// The model with modules active; each must have been trained on it, unless `allow_mismatch`.
    ///
    /// # Errors
    /// A module that cannot be read or belongs to another base.
    pub fn with_modules(&self, modules: &[WeightedModule], allow_mismatch: bool) -> Result<Decoder> {
        if modules.is_empty() {
            return Ok(self.decoder.clone());
        }
        let fingerprint = self.fingerprint()?;
        let device = self.decoder.embedding.device();
        let adapters = read_modules(modules, &self.files.config, &fingerprint, allow_mismatch)?;
        let loaded: Vec<(LoadedModule, f32)> =
            adapters.iter().map(|(adapter, weight)| (LoadedModule::new(adapter, &device), *weight)).collect();
        let weighted: Vec<(&LoadedModule, f32)> = loaded.iter().map(|(module, weight)| (module, *weight)).collect();
        Ok(activate(&self.decoder, &weighted))
    }
}

/// Reads modules with their weights; each must have been trained on this base, unless `allow_mismatch`.
///
/// # Errors
/// A module that cannot be read or belongs to another base.
pub fn read_modules(
    modules: &[WeightedModule],
    config: &ModelConfig,
    fingerprint: &Fingerprint,
    allow_mismatch: bool,
) -> Result<Vec<(Adapter, f32)>> {
    let read = |module: &WeightedModule| {
        let adapter = peft::read(&module.path)?;
        adapter
            .check_base(config, fingerprint, allow_mismatch)
            .map_err(Error::while_doing(format!("module {}", module.path.display())))?;
        Ok((adapter, module.weight))
    };
    modules.iter().map(read).collect()
}
