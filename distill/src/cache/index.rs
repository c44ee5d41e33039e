//! What a capture is bound to, and the line of each of its steps.

use super::error::{Error, io};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::fs;
use std::path::Path;

const SCHEMA: u32 = 2;
pub(super) const SEGMENTS: &str = "targets.bin";
pub(super) const INDEX: &str = "targets.jsonl";

/// What a capture is bound to: the same hash of teacher, tokens, packing and order, or it is refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Binding {
    /// Layout of the files.
    pub(super) schema: u32,
    /// Hash over the teacher and over everything that decides which tokens stand in which step.
    pub identity: String,
    /// Tokens in the vocabulary.
    pub vocabulary: usize,
    /// Tokens drawn at each position, 1 to 255.
    pub samples: usize,
    /// Everything random follows from it.
    pub seed: u64,
}

impl Binding {
    /// Binds a capture of `samples` tokens a position.
    pub fn new(identity: String, vocabulary: usize, samples: usize, seed: u64) -> Self {
        Self { schema: SCHEMA, identity, vocabulary, samples, seed }
    }

    pub(super) fn id_bytes(&self) -> usize {
        if self.vocabulary <= 1 << 16 { 2 } else { 4 }
    }
}

/// A step's line of the index.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Entry {
    pub(super) step: u64,
    pub(super) rows: usize,
    /// First byte of the segment.
    pub(super) offset: u64,
    pub(super) bytes: u64,
    /// sha256 of the segment.
    pub(super) sha256: String,
    /// sha256 of the step's token ids, each as four bytes.
    pub(super) tokens: String,
}

pub(super) fn line<T: Serialize>(value: &T) -> String {
    let mut line = serde_json::to_string(value).expect("plain data");
    line.push('\n');
    line
}

pub(super) fn hex(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

pub(super) fn hash_of_tokens(tokens: &[u32]) -> String {
    let bytes: Vec<u8> = tokens.iter().flat_map(|token| token.to_le_bytes()).collect();
    hex(&bytes)
}

/// Reads an index up to its first line that is not whole; `None` when there is none. Its first step is `first`, if that is
/// known.
pub(super) fn read_index(path: &Path, first: Option<u64>) -> Result<Option<(Binding, Vec<Entry>)>, Error> {
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(io("read", path)(error)),
    };
    let mut lines = text.split_inclusive('\n').filter(|line| line.ends_with('\n'));
    let Some(binding) = lines.next().and_then(|line| serde_json::from_str(line).ok()) else { return Ok(None) };
    let (mut entries, mut next) = (Vec::<Entry>::new(), first);
    for line in lines {
        let end = entries.last().map_or(0, |entry| entry.offset + entry.bytes);
        match serde_json::from_str::<Entry>(line) {
            Ok(entry) if entry.step == next.unwrap_or(entry.step) && entry.offset == end => {
                next = Some(entry.step + 1);
                entries.push(entry);
            }
            _ => break,
        }
    }
    Ok(Some((binding, entries)))
}
