//! A prepared corpus: `documents.parquet` and a token store per split.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use lore_datasets::evaluation::{EvalPassage, PassageLimits, passages_of_table};
use lore_datasets::prepare::Prepared as PreparedTexts;
use lore_datasets::progress::Unit;
use lore_datasets::split::Split;
use lore_datasets::token_store::TokenStore;
use lore_datasets::tokenise::{Boundaries, Encoder, SplitWriter};
use lore_model::files::ModelFiles;
use rayon::prelude::*;
use tokenizers::Tokenizer;

use super::sha256_of;
use crate::error::{Error, Result};
use crate::session::Session;

/// The table of documents.
pub const DOCUMENTS: &str = "documents.parquet";

/// What was written.
pub struct Prepared {
    /// Tokens by split.
    pub tokens: BTreeMap<String, u64>,
}

/// Writes documents and tokens to `folder`, in one pass over the documents; `teacher` gives the tokenizer.
///
/// # Errors
/// A model without a usable tokenizer, nothing to train on or nothing held out, files that cannot be written.
pub fn write_prepared(prepared: &PreparedTexts, teacher: &Path, folder: &Path, session: &Session) -> Result<Prepared> {
    check_splits(prepared)?;
    let files = ModelFiles::open(teacher)?;
    let serialised =
        files.tokenizer.to_string(false).map_err(|error| Error::Failed(format!("the tokenizer: {error}")))?;
    let hash = sha256_of(&serialised.into());
    let encoder = Encoder::new(&files.tokenizer);
    let boundaries = Boundaries { bos: Some(files.document_start()), eos: None };
    let mut writers = BTreeMap::new();
    for split in Split::ALL {
        let target = folder.join("tokens").join(split.name());
        std::fs::create_dir_all(&target).map_err(Error::io(&target))?;
        writers.insert(split, SplitWriter::create(split, boundaries, &target)?);
    }
    let mut task = session.progress.task("tokenise", Some(prepared.text_bytes()), Unit::Bytes);
    let documents = prepared.write_table(&folder.join(DOCUMENTS), |rows| {
        let encoded: Vec<Vec<u32>> =
            rows.par_iter().map(|row| encoder.encode(&row.id, &row.text)).collect::<Result<_, _>>()?;
        for (row, ids) in rows.iter().zip(encoded) {
            let writer = writers.get_mut(&row.split).expect("a writer for every split");
            writer.document(&ids, row.text.len() as u64)?;
            task.advance(row.text.len() as u64);
        }
        Ok(())
    })?;
    let mut tokens = BTreeMap::new();
    for (split, writer) in writers {
        let store = writer.finish(&hash, &documents)?;
        tokens.insert(split.name().to_owned(), store.tokens().len() as u64);
    }
    task.finish(&format!("{} documents, {} tokens", prepared.documents(), tokens.values().sum::<u64>()));
    Ok(Prepared { tokens })
}

/// Training and the report each need a document at least; found out before anything is trained.
fn check_splits(prepared: &PreparedTexts) -> Result<()> {
    for (split, purpose) in [(Split::Train, "train on"), (Split::Test, "score at the end (held-out text)")] {
        if prepared.documents_of(split) == 0 {
            return Err(Error::Failed(format!(
                "of {} document(s) none falls to the split `{split}`, so there is nothing to {purpose}; give it more documents, or change `split`",
                prepared.documents(),
            )));
        }
    }
    Ok(())
}

/// The token store of a split of a prepared corpus.
///
/// # Errors
/// When it is damaged.
pub fn open_tokens(folder: &Path, split: Split) -> Result<Arc<TokenStore>> {
    Ok(Arc::new(TokenStore::open(&folder.join("tokens").join(split.name()))?))
}

/// Held-out passages of a prepared corpus.
///
/// # Errors
/// When its documents cannot be read.
pub fn held_out(folder: &Path, tokenizer: &Tokenizer, tokens: u64, passage: usize) -> Result<Vec<EvalPassage>> {
    // Of a long document only its first passages, so that many documents are heard.
    passages_of(folder, Split::Test, tokenizer, tokens, passage, Some(2))
}

/// Passages of one split of a prepared corpus: `tokens` tokens in all at most, `passage` each, and `per_document` of a
/// document.
///
/// # Errors
/// When its documents cannot be read.
pub fn passages_of(
    folder: &Path,
    split: Split,
    tokenizer: &Tokenizer,
    tokens: u64,
    passage: usize,
    per_document: Option<usize>,
) -> Result<Vec<EvalPassage>> {
    let limits = PassageLimits {
        max_tokens: passage,
        max_per_document: per_document,
        max_total_tokens: usize::try_from(tokens).ok(),
    };
    Ok(passages_of_table(&folder.join(DOCUMENTS), split, tokenizer, &limits)?)
}
