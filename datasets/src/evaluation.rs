//! Passages of held-out text with the bytes they cover, for bits per byte.

use std::collections::HashMap;
use std::path::Path;

use tokenizers::Tokenizer;

use crate::documents::Documents;
use crate::error::{Error, Result};
use crate::split::{Split, point};
use crate::table::read_rows;
use crate::tokenise::plain;

/// A run of tokens to score.
///
/// It holds no special tokens. To score all of it, put a beginning-of-sequence token before it: then every
/// token, the first included, is predicted once, and `bytes` are the bytes they stand for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EvalPassage {
    /// The id of its document.
    pub document: String,
    /// Token ids, at most `max_tokens`.
    pub tokens: Vec<u32>,
    /// Bytes of text that these tokens cover. A document's passages add up to its text.
    pub bytes: u64,
}

/// How much held-out text is scored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PassageLimits {
    /// Tokens in a passage, at most.
    pub max_tokens: usize,
    /// Passages per document, at most; the rest of a longer document is left out.
    pub max_per_document: Option<usize>,
    /// Tokens in all, at most; passages are taken whole, so the total may be smaller.
    pub max_total_tokens: Option<usize>,
}

/// Cuts the documents of a split into passages.
///
/// Documents come in the order of a hash of their ids, so that a limited number is a fair sample and
/// stays the same while documents are added behind it.
///
/// # Errors
/// A document that the tokenizer refuses; a `max_tokens` of 0.
pub fn passages(
    documents: &Documents,
    split: Split,
    tokenizer: &Tokenizer,
    limits: &PassageLimits,
) -> Result<Vec<EvalPassage>> {
    let mut taken = Taken::new(tokenizer, limits)?;
    let mut selected = documents.split(split);
    selected.sort_by(|a, b| point(a.id).total_cmp(&point(b.id)).then(a.id.cmp(b.id)));
    for document in selected {
        if !taken.document(document.id, document.text)? {
            break;
        }
    }
    Ok(taken.passages)
}

/// As [`passages`], from the table at `path`, of which only some documents are in memory at a time.
///
/// # Errors
/// As there; a table that cannot be read.
pub fn passages_of_table(
    path: &Path,
    split: Split,
    tokenizer: &Tokenizer,
    limits: &PassageLimits,
) -> Result<Vec<EvalPassage>> {
    let mut taken = Taken::new(tokenizer, limits)?;
    let mut order = Vec::new();
    read_rows(path, ["id", "split"], |row, [id, of]| {
        if of == split.name() {
            order.push((point(id), row));
        }
    })?;
    order.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
    // Few are enough as a rule; each turn reads the table once.
    let (mut rest, mut some) = (order.as_slice(), 64);
    while !rest.is_empty() {
        let (now, later) = rest.split_at(some.min(rest.len()));
        let wanted: HashMap<u64, usize> = now.iter().enumerate().map(|(at, (_, row))| (*row, at)).collect();
        let mut documents = vec![(String::new(), String::new()); now.len()];
        read_rows(path, ["id", "text"], |row, [id, text]| {
            if let Some(&at) = wanted.get(&row) {
                documents[at] = (id.to_owned(), text.to_owned());
            }
        })?;
        for (id, text) in &documents {
            if !taken.document(id, text)? {
                return Ok(taken.passages);
            }
        }
        (rest, some) = (later, (2 * some).min(4096));
    }
    Ok(taken.passages)
}

/// Passages taken so far.
struct Taken<'a> {
    tokenizer: Tokenizer,
    limits: &'a PassageLimits,
    left: usize,
    passages: Vec<EvalPassage>,
}

impl<'a> Taken<'a> {
    fn new(tokenizer: &Tokenizer, limits: &'a PassageLimits) -> Result<Self> {
        if limits.max_tokens == 0 {
            return Err(Error::Declaration {
                what: "held-out passages".into(),
                problems: vec!["`max_tokens` is 0".into()],
            });
        }
        let left = limits.max_total_tokens.unwrap_or(usize::MAX);
        Ok(Self { tokenizer: plain(tokenizer), limits, left, passages: Vec::new() })
    }

    /// Takes the passages of a document; whether there is room for more.
    fn document(&mut self, id: &str, text: &str) -> Result<bool> {
        let passages = cut(&self.tokenizer, id, text, self.limits.max_tokens)?;
        for (tokens, bytes) in passages.into_iter().take(self.limits.max_per_document.unwrap_or(usize::MAX)) {
            if tokens.len() > self.left {
                return Ok(false);
            }
            self.left -= tokens.len();
            self.passages.push(EvalPassage { document: id.to_owned(), tokens, bytes });
        }
        Ok(true)
    }
}

/// Runs of at most `max_tokens` tokens with the bytes each covers. A cut inside a character, as byte-level
/// vocabularies allow, gives the whole character to the run in which it starts.
fn cut(tokenizer: &Tokenizer, id: &str, text: &str, max_tokens: usize) -> Result<Vec<(Vec<u32>, u64)>> {
    let encoding = tokenizer
        .encode(text, false)
        .map_err(|e| Error::Tokenizer { document: id.to_owned(), problem: e.to_string() })?;
    let (ids, offsets) = (encoding.get_ids(), encoding.get_offsets());
    let mut runs = Vec::new();
    let mut covered = 0;
    for start in (0..ids.len()).step_by(max_tokens) {
        let end = (start + max_tokens).min(ids.len());
        let upto = if end == ids.len() { text.len() } else { offsets[end - 1].1.clamp(covered, text.len()) };
        runs.push((ids[start..end].to_vec(), (upto - covered) as u64));
        covered = upto;
    }
    Ok(runs)
}
