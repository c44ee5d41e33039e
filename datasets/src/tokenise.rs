//! Documents to token ids.

use std::path::Path;

use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use tokenizers::Tokenizer;

use crate::byte_pairs::BytePairs;
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

/// Makes ids of plain text: nothing is padded or cut, no special token is added, and text that looks like one is
/// ordinary text.
///
/// The ids are those of the `tokenizers` crate. Byte-level vocabularies cut as GPT-2's or SmolLM's are encoded by a
/// faster implementation of the same rules.
pub struct Encoder {
    fast: Option<BytePairs>,
    plain: Tokenizer,
}

impl Encoder {
    /// The encoder of a tokenizer.
    pub fn new(tokenizer: &Tokenizer) -> Self {
        let plain = plain(tokenizer);
        Self { fast: BytePairs::of(&plain), plain }
    }

    /// As [`new`](Self::new), by the `tokenizers` crate whatever the tokenizer is.
    pub fn reference(tokenizer: &Tokenizer) -> Self {
        Self { fast: None, plain: plain(tokenizer) }
    }

    /// Whether the faster implementation is used.
    pub fn is_fast(&self) -> bool {
        self.fast.is_some()
    }

    /// The ids of a text; `id` names it in the error.
    ///
    /// # Errors
    /// What the tokenizer says about the text.
    pub fn encode(&self, id: &str, text: &str) -> Result<Vec<u32>> {
        if let Some(fast) = &self.fast {
            return Ok(fast.encode(text));
        }
        match self.plain.encode_fast(text, false) {
            Ok(encoding) => Ok(encoding.get_ids().to_vec()),
            Err(e) => Err(Error::Tokenizer { document: id.to_owned(), problem: e.to_string() }),
        }
    }
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
    let encoder = Encoder::new(tokenizer);
    let selected = documents.split(split);
    let total = selected.iter().map(|d| d.text.len() as u64).sum();
    let mut task = progress.task(&format!("tokenise {split}"), Some(total), Unit::Bytes);
    let mut writer = SplitWriter::create(split, boundaries, folder)?;
    let mut rest = selected.as_slice();
    while !rest.is_empty() {
        let (batch, after) = rest.split_at(batch_length(rest));
        rest = after;
        let encoded: Vec<Vec<u32>> =
            batch.par_iter().map(|document| encoder.encode(document.id, document.text)).collect::<Result<_>>()?;
        for (document, ids) in batch.iter().zip(encoded) {
            writer.document(&ids, document.text.len() as u64)?;
        }
        task.advance(batch.iter().map(|d| d.text.len() as u64).sum());
    }
    let store = writer.finish(tokenizer_hash, &documents.hash())?;
    task.finish(&format!("{} documents, {} tokens", store.documents(), store.tokens().len()));
    Ok(store)
}

/// Writes the store of a split, document by document.
pub struct SplitWriter {
    split: Split,
    boundaries: Boundaries,
    writer: StoreWriter,
}

impl SplitWriter {
    /// Starts a store in `folder`; one that stands there is no longer valid.
    ///
    /// # Errors
    /// A folder that cannot be written.
    pub fn create(split: Split, boundaries: Boundaries, folder: &Path) -> Result<Self> {
        Ok(Self { split, boundaries, writer: StoreWriter::create(folder)? })
    }

    /// Appends a document of which `ids` are made of `text_bytes` bytes of text.
    ///
    /// # Errors
    /// A file that cannot be written.
    pub fn document(&mut self, ids: &[u32], text_bytes: u64) -> Result<()> {
        let tokens = self.boundaries.bos.into_iter().chain(ids.iter().copied()).chain(self.boundaries.eos);
        self.writer.document(tokens, text_bytes)
    }

    /// Completes the store; the hashes name the tokenizer and the table of documents.
    ///
    /// # Errors
    /// Files that cannot be written.
    pub fn finish(self, tokenizer_hash: &str, documents_hash: &str) -> Result<TokenStore> {
        self.writer.finish(Manifest::new(self.split, self.boundaries, tokenizer_hash, documents_hash))
    }
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
