//! A prepared corpus: `documents.parquet` and a token store per split.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use lore_datasets::documents::Documents;
use lore_datasets::evaluation::{EvalPassage, PassageLimits, passages};
use lore_datasets::split::Split;
use lore_datasets::token_store::TokenStore;
use lore_datasets::tokenise::{Boundaries, tokenise};
use lore_model::files::ModelFiles;
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

/// Writes documents and tokens to `folder`; `teacher` gives the tokenizer.
///
/// # Errors
/// A model without a usable tokenizer, nothing to train on or nothing held out, files that cannot be written.
pub fn write_prepared(documents: &Documents, teacher: &Path, folder: &Path, session: &Session) -> Result<Prepared> {
    check_splits(documents)?;
    let files = ModelFiles::open(teacher)?;
    let serialised =
        files.tokenizer.to_string(false).map_err(|error| Error::Failed(format!("the tokenizer: {error}")))?;
    let hash = sha256_of(&serialised.into());
    documents.write(&folder.join(DOCUMENTS))?;
    let boundaries = Boundaries { bos: Some(files.document_start()), eos: None };
    let mut tokens = BTreeMap::new();
    for split in Split::ALL {
        let target = folder.join("tokens").join(split.name());
        std::fs::create_dir_all(&target).map_err(Error::io(&target))?;
        let store = tokenise(documents, split, &files.tokenizer, &hash, boundaries, &target, &*session.progress)?;
        tokens.insert(split.name().to_owned(), store.tokens().len() as u64);
    }
    Ok(Prepared { tokens })
}

/// Training and the report each need a document at least; found out before anything is trained.
fn check_splits(documents: &Documents) -> Result<()> {
    for (split, purpose) in [(Split::Train, "train on"), (Split::Test, "score at the end (held-out text)")] {
        if documents.split(split).is_empty() {
            return Err(Error::Failed(format!(
                "of {} document(s) none falls to the split `{split}`, so there is nothing to {purpose}; give it more documents, or change `split`",
                documents.len(),
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
    passages_of(folder, Split::Test, tokenizer, tokens, passage)
}

/// Passages of a split of a prepared corpus.
///
/// # Errors
/// When its documents cannot be read.
pub fn passages_of(
    folder: &Path,
    split: Split,
    tokenizer: &Tokenizer,
    tokens: u64,
    passage: usize,
) -> Result<Vec<EvalPassage>> {
    let documents = Documents::read(&folder.join(DOCUMENTS))?;
    let limits = PassageLimits {
        max_tokens: passage,
        // Of a long document only its first passages, so that many documents are heard.
        max_per_document: Some(2),
        max_total_tokens: usize::try_from(tokens).ok(),
    };
    Ok(passages(&documents, split, tokenizer, &limits)?)
}
