//! Which items stand in the texts that a module learnt from.
//!
//! The pack's corpus manifest names its tables of documents by hash; whoever has those tables can look, as
//! [`lore_eval::contamination`] does. For the ranking, dirty items count as if the base had answered them: what was seen
//! before is worth nothing, and every module is compared on the same items.

use std::collections::{BTreeMap, BTreeSet};

use lore_eval::contamination::dirty_items;
pub use lore_eval::contamination::{TrainingText, item_key};
use lore_eval::task::Item;
use lore_packs::documents::Corpus;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// `contamination.json`
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Contamination {
    /// sha256 of the tables of documents that were searched.
    pub searched: BTreeSet<String>,
    /// sha256 of those that the corpus manifest names and nobody showed.
    pub unseen: BTreeSet<String>,
    /// Dirty items by task, as `subset/id`.
    pub items: BTreeMap<String, BTreeSet<String>>,
}

impl Contamination {
    /// Looks for items, given with the name of their task.
    ///
    /// # Errors
    /// A text that the corpus manifest does not name.
    pub fn find<'a>(
        corpus: &Corpus,
        items: impl Iterator<Item = (String, &'a [Item])>,
        texts: &[&TrainingText],
    ) -> Result<Self> {
        let named: BTreeSet<String> = corpus.texts.iter().map(|text| text.documents_sha256.clone()).collect();
        let mut found = Self { unseen: named.clone(), ..Self::default() };
        for text in texts {
            if !named.contains(text.sha256()) {
                return Error::request(format!(
                    "{} has the sha256 {}, which is none of the tables that the pack was made from: {}",
                    text.path().display(),
                    text.sha256(),
                    named.iter().cloned().collect::<Vec<_>>().join(", ")
                ));
            }
            found.unseen.remove(text.sha256());
            found.searched.insert(text.sha256().to_owned());
        }
        found.items = dirty_items(items, texts)?;
        Ok(found)
    }

    /// Whether every table that the pack was made from was searched.
    pub fn is_complete(&self) -> bool {
        self.unseen.is_empty() && !self.searched.is_empty()
    }
}
