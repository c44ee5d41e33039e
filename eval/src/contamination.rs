//! Items of tasks whose words stand in the texts that a module learnt from, and figures without them.
//!
//! An item counts as dirty if any run of 8 of its words (13 for long ones) stands in a training document; see
//! [`lore_datasets::decontaminate`]. A paraphrase is not found.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use lore_datasets::Error;
use lore_datasets::decontaminate::{EvaluationSet, Remove, decontaminate};
use lore_datasets::documents::Documents;
use lore_datasets::extract::Extracted;
use lore_datasets::fetch::sha256_of_file;
use lore_datasets::progress::Silent;
use lore_datasets::split::Split;
use serde::{Deserialize, Serialize};

use crate::metrics::summarise;
use crate::result::Subset;
use crate::sample::Sample;
use crate::task::{Form, Item};

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
    pub fn open(path: &Path) -> Result<Self, Error> {
        Ok(Self { path: path.to_owned(), sha256: sha256_of_file(path)?, documents: Documents::read(path)? })
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// sha256 of the file, as corpus manifests name it.
    pub fn sha256(&self) -> &str {
        &self.sha256
    }
}

/// The name of an item within its task: `subset/id`.
pub fn item_key(subset: &str, id: &str) -> String {
    if subset.is_empty() { id.to_owned() } else { format!("{subset}/{id}") }
}

/// The dirty ones of some items, given with the name of their task, by task and [name](item_key). Items are those
/// without examples before them: that an example was seen is not held against anyone.
///
/// # Errors
/// Temporary files that cannot be written.
pub fn dirty_items<'a>(
    items: impl Iterator<Item = (String, &'a [Item])>,
    texts: &[&TrainingText],
) -> Result<BTreeMap<String, BTreeSet<String>>, Error> {
    let extracted = |id: &str, text: String| Extracted { id: id.into(), group: id.into(), title: String::new(), text };
    let mut sets: BTreeMap<String, BTreeMap<String, Extracted>> = BTreeMap::new();
    for (task, items) in items {
        let set = sets.entry(task).or_default();
        for item in items {
            let key = item_key(&item.subset, &item.id);
            set.insert(key.clone(), extracted(&key, words(item)));
        }
    }
    let sets: Vec<EvaluationSet> = sets
        .into_iter()
        .map(|(name, items)| EvaluationSet { name, items: items.into_values().collect(), ngram: None })
        .collect();
    let documents = texts
        .iter()
        .flat_map(|text| text.documents.split(Split::Train))
        .map(|document| (extracted(document.id, document.text.to_owned()), Split::Train))
        .collect();
    let mut found: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for item in decontaminate(documents, &sets, Remove::Nothing, &Silent)?.items {
        found.entry(item.set).or_default().insert(item.item);
    }
    Ok(found)
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

/// A result's figures without the dirty items, and with them alone.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CleanAndDirty {
    /// sha256 of the tables of documents that were searched.
    pub searched: BTreeSet<String>,
    /// The dirty items, as [`item_key`] names them.
    pub items: BTreeSet<String>,
    /// Figures of the others.
    pub clean: Subset,
    /// Figures of the dirty ones.
    pub dirty: Subset,
}

impl CleanAndDirty {
    /// Splits the samples of a task of this kind; dirty items that have no sample are left out.
    pub fn of(kind: &str, samples: &[Sample], searched: BTreeSet<String>, dirty: &BTreeSet<String>) -> Self {
        let (of_dirty, of_clean): (Vec<&Sample>, Vec<&Sample>) =
            samples.iter().partition(|sample| dirty.contains(&item_key(&sample.subset, &sample.id)));
        let figures = |samples: &[&Sample]| Subset { items: samples.len(), metrics: summarise(kind, samples) };
        Self {
            searched,
            items: of_dirty.iter().map(|sample| item_key(&sample.subset, &sample.id)).collect(),
            clean: figures(&of_clean),
            dirty: figures(&of_dirty),
        }
    }

    /// Whether the figures are those of samples of a task of this kind.
    pub fn follows(&self, kind: &str, samples: &[Sample]) -> bool {
        *self == Self::of(kind, samples, self.searched.clone(), &self.items)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::engine::Scored;

    fn samples() -> Vec<Sample> {
        let sample = |id: usize| {
            let choices = vec!["up".to_owned(), "down".to_owned()];
            let form = Form::Choice { context: "q".into(), delimiter: " ".into(), choices, gold: 0, pair: false };
            let subset = if id == 3 { String::new() } else { "hard".into() };
            let item = Item { id: id.to_string(), subset, form, record: serde_json::Value::Null };
            // 0 and 1 are answered right.
            let right = if id < 2 { -1.0 } else { -3.0 };
            let scores = [right, -2.0].map(|x| Scored { log_likelihood: x, tokens: 1, greedy: false });
            Sample::of_scores(&item, &scores, &[], 0)
        };
        (0..4).map(sample).collect()
    }

    #[test]
    fn figures_are_split_by_hand() {
        let samples = samples();
        let dirty = ["hard/0", "3", "hard/77"].map(str::to_owned).into();
        let split = CleanAndDirty::of("multiple_choice", &samples, BTreeSet::new(), &dirty);
        assert_eq!((split.clean.items, split.dirty.items), (2, 2));
        assert_eq!((split.clean.metrics["acc"].value, split.dirty.metrics["acc"].value), (0.5, 0.5));
        assert_eq!(split.items.iter().collect::<Vec<_>>(), ["3", "hard/0"]);
        assert!(split.follows("multiple_choice", &samples));
        let mut nicer = split.clone();
        nicer.items.remove("hard/0");
        assert!(!nicer.follows("multiple_choice", &samples));
        let none = CleanAndDirty::of("multiple_choice", &samples, BTreeSet::new(), &BTreeSet::new());
        assert_eq!((none.clean.items, none.dirty.items, none.dirty.metrics.len()), (4, 0, 0));
    }
}
