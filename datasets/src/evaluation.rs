//! Passages of held-out text with the bytes they cover, for bits per byte.

use tokenizers::Tokenizer;

use crate::documents::Documents;
use crate::error::{Error, Result};
use crate::split::{Split, point};
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
    if limits.max_tokens == 0 {
        return Err(Error::Declaration {
            what: "held-out passages".into(),
            problems: vec!["`max_tokens` is 0".into()],
        });
    }
    let tokenizer = plain(tokenizer);
    let mut selected = documents.split(split);
    selected.sort_by(|a, b| point(a.id).total_cmp(&point(b.id)).then(a.id.cmp(b.id)));
    let mut left = limits.max_total_tokens.unwrap_or(usize::MAX);
    let mut made = Vec::new();
    for document in selected {
        for (tokens, bytes) in cut(&tokenizer, document.id, document.text, limits.max_tokens)?
            .into_iter()
            .take(limits.max_per_document.unwrap_or(usize::MAX))
        {
            if tokens.len() > left {
                return Ok(made);
            }
            left -= tokens.len();
            made.push(EvalPassage { document: document.id.to_owned(), tokens, bytes });
        }
    }
    Ok(made)
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
