//! Byte-level byte-pair encoding (Sennrich et al. 2016; Radford et al. 2019) of whole corpora, for tokenizers that cut
//! text as GPT-2 or SmolLM does. The ids are those of the `tokenizers` crate, which stays the reference and does the
//! work for every other kind of tokenizer.
//!
//! Three things make it fast: text is cut by a table of character classes instead of a regular expression; only ids
//! are made, no offsets and no token texts; and each thread remembers the ids of short words without allocating.

mod classes;
mod memory;
mod merges;
mod pieces;

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use serde_json::Value;
use tokenizers::Tokenizer;

use classes::Classes;
use memory::Memory;
use merges::Merges;
use pieces::Pieces;

/// An encoder of the ids that a [`Tokenizer`] gives to plain text.
pub(crate) struct BytePairs {
    classes: Classes,
    merges: Merges,
    /// Whole tokens by their bytes, where a piece that is a token is taken whole before any merge is tried.
    whole: Option<HashMap<Vec<u8>, u32>>,
    /// What threads remember, while none uses it.
    memories: Mutex<Vec<Memory>>,
}

impl BytePairs {
    /// The encoder of a tokenizer that neither pads nor cuts and reads special tokens as ordinary text; `None` if it
    /// is of another kind.
    pub fn of(tokenizer: &Tokenizer) -> Option<Self> {
        let json: Value = serde_json::from_str(&tokenizer.to_string(false).ok()?).ok()?;
        let single_digits = cutting(&json)?;
        let model = &json["model"];
        let absent = |key: &str| matches!(&model[key], Value::Null) || model[key] == "" || model[key] == false;
        let plain = ["dropout", "continuing_subword_prefix", "end_of_word_suffix", "byte_fallback", "unk_token"];
        // A token that is always taken out of the text would cut it in another way.
        let taken_out = json["added_tokens"].as_array()?.iter().any(|token| token["special"] != true);
        if model["type"] != "BPE" || !plain.into_iter().all(absent) || taken_out {
            return None;
        }
        let vocabulary: HashMap<&str, u32> = model["vocab"]
            .as_object()?
            .iter()
            .map(|(token, id)| Some((token.as_str(), u32::try_from(id.as_u64()?).ok()?)))
            .collect::<Option<_>>()?;
        let merges = Merges::new(&vocabulary, model["merges"].as_array()?)?;
        let whole = (model["ignore_merges"] == true).then(|| by_bytes(&vocabulary));
        Some(Self { classes: Classes::new(single_digits)?, merges, whole, memories: Mutex::new(Vec::new()) })
    }

    /// The ids of a text, without any special token.
    pub fn encode(&self, text: &str) -> Vec<u32> {
        let memory = self.memories.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let mut memory = memory.unwrap_or_default();
        // English has about four bytes in a token.
        let mut ids = Vec::with_capacity(text.len() / 4 + 8);
        for piece in Pieces::new(text, &self.classes) {
            memory.encode(piece, &mut ids, |piece, scratch| self.piece(piece, scratch));
        }
        self.memories.lock().unwrap_or_else(PoisonError::into_inner).push(memory);
        ids
    }

    fn piece(&self, piece: &[u8], scratch: &mut merges::Scratch) {
        match self.whole.as_ref().and_then(|whole| whole.get(piece)) {
            Some(&id) => scratch.only(id),
            None => self.merges.encode(piece, scratch),
        }
    }
}

/// Whether digits stand alone, for a tokenizer that cuts text as GPT-2 does; `None` for any other.
fn cutting(json: &Value) -> Option<bool> {
    if !json["normalizer"].is_null() {
        return None;
    }
    let byte_level =
        |step: &Value| step["type"] == "ByteLevel" && step["add_prefix_space"] == false && step["use_regex"] != false;
    let single_digits = |step: &Value| step["type"] == "Digits" && step["individual_digits"] == true;
    let cut = &json["pre_tokenizer"];
    if byte_level(cut) {
        return Some(false);
    }
    match cut["pretokenizers"].as_array()?.as_slice() {
        [one] if byte_level(one) => Some(false),
        [first, second] if single_digits(first) && byte_level(second) => Some(true),
        _ => None,
    }
}

/// The character that stands for a byte in tokens (Radford et al. 2019): printable ones for themselves, the others
/// by the characters from U+0100.
fn character_of(byte: u8) -> char {
    let printable = |byte: u8| matches!(byte, b'!'..=b'~' | 0xa1..=0xac | 0xae..=0xff);
    if printable(byte) {
        return char::from(byte);
    }
    let before = (0..byte).filter(|&other| !printable(other)).count() as u32;
    char::from_u32(256 + before).expect("below U+0144")
}

/// Tokens that are made of bytes, by those.
fn by_bytes(vocabulary: &HashMap<&str, u32>) -> HashMap<Vec<u8>, u32> {
    let bytes: HashMap<char, u8> = (0..=255).map(|byte| (character_of(byte), byte)).collect();
    let of = |token: &str| token.chars().map(|c| bytes.get(&c).copied()).collect::<Option<Vec<u8>>>();
    vocabulary.iter().filter_map(|(token, id)| Some((of(token)?, *id))).collect()
}
