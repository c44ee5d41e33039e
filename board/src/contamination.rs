//! Which items stand in the texts that a module learnt from.
//!
//! The pack's corpus manifest names its tables of documents by hash; whoever has those tables can look. An item counts as
//! dirty if any run of 8 of its words (13 for long ones) stands in a training document. For the ranking, dirty items
//! count as if the base had answered them: what was seen before is worth nothing, and every module is compared on the
//! same items.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use lore_datasets::decontaminate::{EvaluationSet, Remove, decontaminate};
use lore_datasets::documents::Documents;
use lore_datasets::extract::Extracted;
use lore_datasets::fetch::sha256_of_file;
use lore_datasets::progress::Silent;
use lore_datasets::split::Split;
use lore_eval::task::{Form, Item};
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

/// A table of documents that a module learnt from.
pub struct TrainingText {
    path: PathBuf,
    sha256: String,
    documents: Documents,
}

impl TrainingText {
    /// Reads a `documents.parquet`.
    ///
    /// # Errors
    /// A file that is none.
    pub fn open(path: &Path) -> Result<Self> {
        Ok(Self { path: path.to_owned(), sha256: sha256_of_file(path)?, documents: Documents::read(path)? })
    }

    /// sha256 of the file, as corpus manifests name it.
    pub fn sha256(&self) -> &str {
        &self.sha256
    }
}

/// The name of an item on a board.
pub fn item_key(subset: &str, id: &str) -> String {
    if subset.is_empty() { id.to_owned() } else { format!("{subset}/{id}") }
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
            if !named.contains(&text.sha256) {
                return Error::request(format!(
                    "{} has the sha256 {}, which is none of the tables that the pack was made from: {}",
                    text.path.display(),
                    text.sha256,
                    named.iter().cloned().collect::<Vec<_>>().join(", ")
                ));
            }
            found.unseen.remove(&text.sha256);
            found.searched.insert(text.sha256.clone());
        }
        let mut sets: BTreeMap<String, BTreeMap<String, Extracted>> = BTreeMap::new();
        for (task, items) in items {
            let set = sets.entry(task).or_default();
            for item in items {
                let id = item_key(&item.subset, &item.id);
                let text = Extracted { id: id.clone(), group: id.clone(), title: String::new(), text: words(item) };
                set.insert(id, text);
            }
        }
        let sets: Vec<EvaluationSet> = sets
            .into_iter()
            .map(|(name, items)| EvaluationSet { name, items: items.into_values().collect(), ngram: None })
            .collect();
        let documents: Vec<(Extracted, Split)> = texts
            .iter()
            .flat_map(|text| text.documents.split(Split::Train))
            .map(|document| {
                let text = Extracted {
                    id: document.id.to_owned(),
                    group: document.group.to_owned(),
                    title: document.title.to_owned(),
                    text: document.text.to_owned(),
                };
                (text, Split::Train)
            })
            .collect();
        for item in decontaminate(documents, &sets, Remove::Nothing, &Silent)?.items {
            found.items.entry(item.set).or_default().insert(item.item);
        }
        Ok(found)
    }

    /// Whether every table that the pack was made from was searched.
    pub fn is_complete(&self) -> bool {
        self.unseen.is_empty() && !self.searched.is_empty()
    }
}

/// What may not stand in a training text: the question with its right answer.
fn words(item: &Item) -> String {
    match &item.form {
        Form::Rolling { text, .. } => text.clone(),
        Form::Choice { context, choices, gold, .. } => format!("{context} {}", choices[*gold]),
        Form::Cloze { context, target } => format!("{context} {target}"),
        Form::Generate { context, answers, .. } => format!("{context} {}", answers[0]),
    }
}
