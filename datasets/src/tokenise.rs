//! Documents to token ids.

use std::path::Path;

use serde::{Deserialize, Serialize};
use tokenizers::Tokenizer;

use crate::documents::{Document, Documents};
use crate::error::{Error, Result};
use crate::progress::{Progress, Unit};
use crate::split::Split;
use crate::token_store::{Manifest, StoreWriter, TokenStore};

/// Bytes of text given to the tokenizer at once, so that memory stays flat.
const BATCH_BYTES: usize = 4 << 20;

/// Tokens put around every document. The tokenizer itself adds none.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Boundaries {
    /// Put before a document.
    pub bos: Option<u32>,
    /// Put after a document.
    pub eos: Option<u32>,
}

/// Tokenises the documents of a split into a new [`TokenStore`] in `folder`.
///
/// `tokenizer_hash` names the tokenizer in the manifest. What is written does not depend on the number
/// of threads. Text that looks like a special token is tokenised as ordinary text. A split without
/// documents makes an empty store.
///
/// # Errors
/// A document that the tokenizer refuses; a folder that cannot be written.
pub fn tokenise(
    documents: &Documents,
    split: Split,
    tokenizer: &Tokenizer,
    tokenizer_hash: &str,
    boundaries: Boundaries,
    folder: &Path,
    progress: &dyn Progress,
) -> Result<TokenStore> {
    let tokenizer = plain(tokenizer);
    let selected = documents.split(split);
    let total = selected.iter().map(|d| d.text.len() as u64).sum();
    let mut task = progress.task(&format!("tokenise {split}"), Some(total), Unit::Bytes);
    let mut writer = StoreWriter::create(folder)?;
    let mut rest = selected.as_slice();
    while !rest.is_empty() {
        let (batch, after) = rest.split_at(batch_length(rest));
        rest = after;
        for (document, ids) in batch.iter().zip(encode(&tokenizer, batch)?) {
            let tokens = boundaries.bos.into_iter().chain(ids).chain(boundaries.eos);
            writer.document(tokens, document.text.len() as u64)?;
        }
        task.advance(batch.iter().map(|d| d.text.len() as u64).sum());
    }
    let store = writer.finish(Manifest::new(split, boundaries, tokenizer_hash, &documents.hash()))?;
    task.finish(&format!("{} documents, {} tokens", store.documents(), store.tokens().len()));
    Ok(store)
}

/// A tokenizer that neither pads nor cuts, and reads special tokens in texts as ordinary text.
pub(crate) fn plain(tokenizer: &Tokenizer) -> Tokenizer {
    let mut tokenizer = tokenizer.clone();
    tokenizer.with_padding(None);
    tokenizer.with_truncation(None).expect("no truncation is always accepted");
    tokenizer.set_encode_special_tokens(true);
    tokenizer
}

fn batch_length(documents: &[Document<'_>]) -> usize {
    let mut bytes = 0;
    let fits = documents.iter().take_while(|document| {
        bytes += document.text.len();
        bytes <= BATCH_BYTES
    });
    fits.count().max(1)
}

fn encode(tokenizer: &Tokenizer, batch: &[Document<'_>]) -> Result<Vec<Vec<u32>>> {
    let texts: Vec<&str> = batch.iter().map(|document| document.text).collect();
    match tokenizer.encode_batch_fast(texts, false) {
        Ok(encodings) => Ok(encodings.into_iter().map(|encoding| encoding.get_ids().to_vec()).collect()),
        Err(_) => batch
            .iter()
            .map(|document| match tokenizer.encode_fast(document.text, false) {
                Ok(encoding) => Ok(encoding.get_ids().to_vec()),
                Err(e) => Err(Error::Tokenizer { document: document.id.to_owned(), problem: e.to_string() }),
            })
            .collect(),
    }
}
