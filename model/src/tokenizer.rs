//! Tokenizers: read from `tokenizer.json`, rebuilt from GGUF metadata, and written beside a model.

mod gguf;
mod trim;

pub use gguf::from_gguf;
pub(crate) use gguf::to_gguf;
pub use trim::{TrimError, Trimmed, trim};

use std::path::Path;

use serde_json::{Map, Value, json};
use tokenizers::Tokenizer;

use crate::Error;
use crate::config::ModelConfig;

/// What other tools keep beside the tokenizer proper, in `tokenizer_config.json`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TokenizerSettings {
    /// The token a text begins with.
    pub bos_token: Option<String>,
    /// The token a text ends with.
    pub eos_token: Option<String>,
    /// The token for what cannot be encoded.
    pub unk_token: Option<String>,
    /// The token that fills shorter rows of a batch.
    pub pad_token: Option<String>,
    /// How a conversation is laid out as text, a Jinja template.
    pub chat_template: Option<String>,
}

/// Reads a `tokenizer.json`. Truncation and padding saved in it are switched off, since callers decide
/// about lengths.
///
/// # Errors
/// [`Error::Io`]; [`Error::Tokenizer`] if it is not a valid tokenizer.
pub fn load(path: &Path) -> Result<Tokenizer, Error> {
    let bytes = std::fs::read(path).map_err(|error| Error::io("read", path, error))?;
    let mut tokenizer = Tokenizer::from_bytes(&bytes).map_err(|error| {
        tokenizer_error(path, format!("it is not a valid tokenizer.json ({error}); fetch it again"))
    })?;
    tokenizer.with_truncation(None).map_err(|error| tokenizer_error(path, error.to_string()))?;
    tokenizer.with_padding(None);
    Ok(tokenizer)
}

/// Reads the settings of a model's folder from `tokenizer_config.json`, `special_tokens_map.json` and
/// `chat_template.jinja`, where they exist.
///
/// # Errors
/// [`Error::Io`]; [`Error::Tokenizer`] for invalid JSON.
pub fn load_settings(folder: &Path) -> Result<TokenizerSettings, Error> {
    let mut settings = TokenizerSettings::default();
    // What is read first wins.
    for name in ["tokenizer_config.json", "special_tokens_map.json"] {
        let path = folder.join(name);
        let Some(text) = read_if_present(&path)? else { continue };
        let keys: Map<String, Value> = serde_json::from_str(&text)
            .map_err(|error| tokenizer_error(&path, format!("it is not valid JSON ({error}); fetch it again")))?;
        for (key, token) in settings.tokens_mut() {
            if token.is_none() {
                *token = keys.get(key).and_then(token_content);
            }
        }
        if settings.chat_template.is_none() {
            settings.chat_template = keys.get("chat_template").and_then(default_template);
        }
    }
    if let Some(template) = read_if_present(&folder.join("chat_template.jinja"))? {
        settings.chat_template = Some(template);
    }
    Ok(settings)
}

/// Writes `tokenizer.json`, `tokenizer_config.json`, `special_tokens_map.json` and
/// `generation_config.json` into an existing folder.
///
/// # Errors
/// [`Error::Io`]; [`Error::Tokenizer`] if the tokenizer cannot be serialised.
pub fn save(
    folder: &Path,
    tokenizer: &Tokenizer,
    settings: &TokenizerSettings,
    config: &ModelConfig,
) -> Result<(), Error> {
    let path = folder.join("tokenizer.json");
    let text = tokenizer.to_string(true).map_err(|error| tokenizer_error(&path, error.to_string()))?;
    write(&path, &text)?;

    let mut tokens = Map::new();
    for (key, token) in settings.clone().tokens_mut() {
        if let Some(token) = token.take() {
            tokens.insert(key.to_owned(), Value::String(token));
        }
    }
    write_json(&folder.join("special_tokens_map.json"), &Value::Object(tokens.clone()))?;

    let mut keys = tokens;
    keys.insert("clean_up_tokenization_spaces".to_owned(), json!(false));
    keys.insert("model_max_length".to_owned(), json!(config.max_position_embeddings));
    // The one class that takes `tokenizer.json` as it is, in every version of transformers.
    keys.insert("tokenizer_class".to_owned(), json!("PreTrainedTokenizerFast"));
    if let Some(template) = &settings.chat_template {
        keys.insert("chat_template".to_owned(), json!(template));
    }
    write_json(&folder.join("tokenizer_config.json"), &Value::Object(keys))?;

    let mut generation = Map::new();
    if let Some(bos) = config.bos_token_id {
        generation.insert("bos_token_id".to_owned(), json!(bos));
    }
    match config.eos_token_ids.as_slice() {
        [] => {}
        [one] => drop(generation.insert("eos_token_id".to_owned(), json!(one))),
        several => drop(generation.insert("eos_token_id".to_owned(), json!(several))),
    }
    if let Some(pad) = settings.pad_token.as_deref().and_then(|token| tokenizer.token_to_id(token)) {
        generation.insert("pad_token_id".to_owned(), json!(pad));
    }
    write_json(&folder.join("generation_config.json"), &Value::Object(generation))
}

impl TokenizerSettings {
    fn tokens_mut(&mut self) -> [(&'static str, &mut Option<String>); 4] {
        [
            ("bos_token", &mut self.bos_token),
            ("eos_token", &mut self.eos_token),
            ("unk_token", &mut self.unk_token),
            ("pad_token", &mut self.pad_token),
        ]
    }
}

pub(crate) fn tokenizer_error(path: &Path, reason: String) -> Error {
    Error::Tokenizer { path: path.to_owned(), reason }
}

/// A token stored as text or as an object describing it.
fn token_content(value: &Value) -> Option<String> {
    value.as_str().or_else(|| value.get("content")?.as_str()).map(str::to_owned)
}

/// A template stored as text, or the one called `default` of several.
fn default_template(value: &Value) -> Option<String> {
    if let Some(template) = value.as_str() {
        return Some(template.to_owned());
    }
    let named = value.as_array()?.iter().find(|entry| entry.get("name").and_then(Value::as_str) == Some("default"))?;
    named.get("template")?.as_str().map(str::to_owned)
}

fn read_if_present(path: &Path) -> Result<Option<String>, Error> {
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Error::io("read", path, error)),
    }
}

fn write_json(path: &Path, value: &Value) -> Result<(), Error> {
    write(path, &format!("{value:#}\n"))
}

fn write(path: &Path, text: &str) -> Result<(), Error> {
    std::fs::write(path, text).map_err(|error| Error::io("write", path, error))
}
