//! A byte-level BPE tokenizer rebuilt from a GGUF file's metadata.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};
use tokenizers::Tokenizer;

use super::{TokenizerSettings, tokenizer_error};
use crate::Error;
use crate::config::ModelConfig;
use crate::weights::WeightFile;
use crate::weights::gguf::GgufFile;
use crate::weights::gguf_metadata::Value as GgufValue;

/// Kinds in `tokenizer.ggml.token_type`.
const NORMAL: i64 = 1;
const CONTROL: i64 = 3;
const USER_DEFINED: i64 = 4;
const UNUSED: i64 = 5;

/// How text is cut before merging, by the name GGUF gives it.
struct Cutting {
    normalizer: Value,
    pre_tokenizer: Value,
    /// Whether a piece that is a token is taken whole before any merge is tried.
    ignore_merges: bool,
}

/// Rebuilds the tokenizer from `tokenizer.ggml.*`.
///
/// # Errors
/// [`Error::Tokenizer`] if the metadata is missing or contradictory, or names a model or a way of cutting
/// text that is not supported.
pub fn from_gguf(file: &GgufFile) -> Result<(Tokenizer, TokenizerSettings), Error> {
    let json = describe(file).map_err(|reason| tokenizer_error(file.path(), reason))?;
    let tokenizer: Tokenizer = serde_json::from_value(json)
        .map_err(|error| tokenizer_error(file.path(), format!("cannot be rebuilt: {error}")))?;
    let token = |key: &str| {
        let id = file.metadata().integer(&format!("tokenizer.ggml.{key}_token_id"))?;
        tokenizer.id_to_token(u32::try_from(id).ok()?)
    };
    let settings = TokenizerSettings {
        bos_token: token("bos"),
        eos_token: token("eos"),
        unk_token: token("unknown"),
        pad_token: token("padding"),
        chat_template: file.metadata().string("tokenizer.chat_template").map(str::to_owned),
    };
    Ok((tokenizer, settings))
}

/// The equivalent `tokenizer.json`.
fn describe(file: &GgufFile) -> Result<Value, String> {
    let metadata = file.metadata();
    match metadata.string("tokenizer.ggml.model") {
        Some("gpt2") => {}
        Some(other) => return Err(format!("model `{other}` is not supported; only `gpt2` (byte-level BPE) is")),
        None => return Err("`tokenizer.ggml.model` is missing".to_owned()),
    }
    let missing = |key: &str| format!("`tokenizer.ggml.{key}` is missing or of the wrong type");
    let tokens = metadata.strings("tokenizer.ggml.tokens").ok_or_else(|| missing("tokens"))?;
    let merges = metadata.strings("tokenizer.ggml.merges").ok_or_else(|| missing("merges"))?;
    let kinds = metadata.integers("tokenizer.ggml.token_type").ok_or_else(|| missing("token_type"))?;
    if kinds.len() != tokens.len() {
        return Err(format!("{} tokens have {} types", tokens.len(), kinds.len()));
    }
    let cutting = cutting(metadata.string("tokenizer.ggml.pre").unwrap_or("default"))?;

    let mut vocabulary = Map::new();
    let mut added = Vec::new();
    for (id, (token, kind)) in tokens.iter().zip(kinds).enumerate() {
        if vocabulary.insert(token.clone(), json!(id)).is_some() {
            return Err(format!("token {id}, `{token}`, occurs twice"));
        }
        if matches!(*kind, CONTROL | USER_DEFINED) {
            added.push(json!({
                "id": id,
                "content": token,
                "single_word": false,
                "lstrip": false,
                "rstrip": false,
                "normalized": false,
                "special": *kind == CONTROL,
            }));
        }
    }
    let known: BTreeSet<&str> = tokens.iter().map(String::as_str).collect();
    let pair = |(rank, merge): (usize, &String)| match merge.split_once(' ') {
        Some((left, right)) if [left, right, &format!("{left}{right}")].iter().all(|part| known.contains(*part)) => {
            Ok(json!([left, right]))
        }
        _ => Err(format!("merge {rank}, `{merge}`, is not of two tokens that make a third")),
    };
    let pairs: Vec<Value> = merges.iter().enumerate().map(pair).collect::<Result<_, _>>()?;

    let byte_level = json!({"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true});
    let post_processor = if metadata.bool("tokenizer.ggml.add_bos_token") == Some(true) {
        let id = metadata.integer("tokenizer.ggml.bos_token_id").and_then(|id| usize::try_from(id).ok());
        let (id, bos) = id
            .and_then(|id| Some((id, tokens.get(id)?)))
            .ok_or("a text is said to begin with a token that does not exist")?;
        let first = json!({"SpecialToken": {"id": bos, "type_id": 0}});
        let text = |id: &str, kind: u8| json!({"Sequence": {"id": id, "type_id": kind}});
        json!({
            "type": "TemplateProcessing",
            "single": [first, text("A", 0)],
            "pair": [first, text("A", 0), {"SpecialToken": {"id": bos, "type_id": 1}}, text("B", 1)],
            "special_tokens": {bos: {"id": bos, "ids": [id], "tokens": [bos]}},
        })
    } else {
        Value::Null
    };
    Ok(json!({
        "version": "1.0",
        "truncation": null,
        "padding": null,
        "added_tokens": added,
        "normalizer": cutting.normalizer,
        "pre_tokenizer": cutting.pre_tokenizer,
        "post_processor": post_processor,
        "decoder": byte_level,
        "model": {
            "type": "BPE",
            "dropout": null,
            "unk_token": null,
            "continuing_subword_prefix": null,
            "end_of_word_suffix": null,
            "fuse_unk": false,
            "byte_fallback": false,
            "ignore_merges": cutting.ignore_merges,
            "vocab": vocabulary,
            "merges": pairs,
        },
    }))
}

/// The `tokenizer.ggml.*` metadata that [`from_gguf`] and llama.cpp make the same tokenizer of.
///
/// # Errors
/// A sentence about what GGUF cannot say.
pub(crate) fn to_gguf(
    tokenizer: &Tokenizer,
    settings: &TokenizerSettings,
    config: &ModelConfig,
) -> Result<Vec<(String, GgufValue)>, String> {
    let text = tokenizer.to_string(false).map_err(|error| error.to_string())?;
    let json: Value = serde_json::from_str(&text).map_err(|error| error.to_string())?;
    let model = &json["model"];
    if model["type"] != "BPE" {
        return Err(format!("the tokenizer's model is {}, not BPE", model["type"]));
    }
    let named = CUTTINGS.into_iter().find(|name| {
        cutting(name).is_ok_and(|known| {
            known.normalizer == json["normalizer"]
                && known.pre_tokenizer == json["pre_tokenizer"]
                && json!(known.ignore_merges) == model["ignore_merges"]
        })
    });
    let Some(pre) = named else {
        return Err(format!("the tokenizer cuts text in none of the known ways ({})", CUTTINGS.join(", ")));
    };
    // Rows of the embeddings that no token has.
    let mut tokens: Vec<String> = (0..config.vocab_size).map(|id| format!("[PAD{id}]")).collect();
    let mut kinds = vec![UNUSED; config.vocab_size];
    let mut put = |token: &str, id: Option<u64>, kind: i64| -> Result<(), String> {
        let place = id.and_then(|id| usize::try_from(id).ok()).filter(|id| *id < config.vocab_size);
        let place = place.ok_or_else(|| format!("token `{token}` has no embedding"))?;
        tokens[place] = token.to_owned();
        kinds[place] = kind;
        Ok(())
    };
    for (token, id) in model["vocab"].as_object().into_iter().flatten() {
        put(token, id.as_u64(), NORMAL)?;
    }
    for added in json["added_tokens"].as_array().into_iter().flatten() {
        let kind = if added["special"] == true { CONTROL } else { USER_DEFINED };
        put(added["content"].as_str().unwrap_or_default(), added["id"].as_u64(), kind)?;
    }
    let merges = model["merges"].as_array().into_iter().flatten().map(|merge| match merge {
        Value::String(pair) => Ok(pair.clone()),
        Value::Array(pair) => match pair.as_slice() {
            [Value::String(left), Value::String(right)] => Ok(format!("{left} {right}")),
            _ => Err(format!("the merge {merge} is not a pair")),
        },
        _ => Err(format!("the merge {merge} is not a pair")),
    });
    let mut metadata = vec![
        ("tokenizer.ggml.model".to_owned(), GgufValue::String("gpt2".into())),
        ("tokenizer.ggml.pre".to_owned(), GgufValue::String(pre.into())),
        ("tokenizer.ggml.tokens".to_owned(), GgufValue::Strings(tokens)),
        ("tokenizer.ggml.token_type".to_owned(), GgufValue::Integers(kinds)),
        ("tokenizer.ggml.merges".to_owned(), GgufValue::Strings(merges.collect::<Result<_, _>>()?)),
        // A template that begins texts with a token is the only one that is read back.
        (
            "tokenizer.ggml.add_bos_token".to_owned(),
            GgufValue::Bool(json["post_processor"]["type"] == "TemplateProcessing"),
        ),
    ];
    let roles = [
        ("bos", &settings.bos_token, config.bos_token_id),
        ("eos", &settings.eos_token, config.eos_token_ids.first().copied()),
        ("unknown", &settings.unk_token, None),
        ("padding", &settings.pad_token, None),
    ];
    for (role, token, otherwise) in roles {
        let id = token.as_ref().and_then(|token| tokenizer.token_to_id(token)).or(otherwise);
        if let Some(id) = id {
            metadata.push((format!("tokenizer.ggml.{role}_token_id"), GgufValue::Integer(id.into())));
        }
    }
    if let Some(template) = &settings.chat_template {
        metadata.push(("tokenizer.chat_template".to_owned(), GgufValue::String(template.clone())));
    }
    Ok(metadata)
}

/// Names of the known ways of cutting text.
const CUTTINGS: [&str; 4] = ["gpt-2", "smollm", "llama-bpe", "qwen2"];

/// The known ways of cutting text, as the models' own `tokenizer.json` describe them.
fn cutting(name: &str) -> Result<Cutting, String> {
    let byte_level = |use_regex: bool| json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": use_regex});
    // Words and numbers as OpenAI's cl100k cuts them, with runs of at most `digits` digits.
    let cl100k = |digits: &str| {
        let pattern = format!(
            r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{{L}}\p{{N}}]?\p{{L}}+|{digits}| ?[^\s\p{{L}}\p{{N}}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
        );
        let split = json!({"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": false});
        json!({"type": "Sequence", "pretokenizers": [split, byte_level(false)]})
    };
    match name {
        "gpt-2" => Ok(Cutting { normalizer: Value::Null, pre_tokenizer: byte_level(true), ignore_merges: false }),
        "smollm" => Ok(Cutting {
            normalizer: Value::Null,
            pre_tokenizer: json!({
                "type": "Sequence",
                "pretokenizers": [{"type": "Digits", "individual_digits": true}, byte_level(true)],
            }),
            ignore_merges: false,
        }),
        "llama-bpe" => {
            Ok(Cutting { normalizer: Value::Null, pre_tokenizer: cl100k(r"\p{N}{1,3}"), ignore_merges: true })
        }
        "qwen2" => {
            Ok(Cutting { normalizer: json!({"type": "NFC"}), pre_tokenizer: cl100k(r"\p{N}"), ignore_merges: false })
        }
        other => Err(format!("pre-tokenizer `{other}` is not supported; supported are {}", CUTTINGS.join(", "))),
    }
}
