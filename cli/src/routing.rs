//! Text for router entries, and what a router is worth on held-out text.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use lore_datasets::evaluation::EvalPassage;
use lore_datasets::split::Split;
use lore_eval::statistics::{Measured, bits_per_byte};
use lore_model::fingerprint::Fingerprint;
use lore_modules::Adapter;
use lore_route::build::{General, Settings, TopicText, entry, evenly, some_of};
use lore_route::{Entry, Reader, arrow};
use serde::{Deserialize, Serialize};
use tokenizers::Tokenizer;

use crate::error::{Error, Result};
use crate::models::LoadedModel;
use crate::stages::prepared::passages_of;

/// Tokens of a topic, and of general English, that are counted at most.
pub const COUNTED: u64 = 1_000_000;
/// Passages that a threshold is found with, of which no more are needed.
const VALIDATED: usize = 24;
/// With fewer validation passages, some of the training text is kept to find the threshold with.
const ENOUGH: usize = 8;

/// Passages with the token that begins a text before each.
pub fn begun(passages: &[EvalPassage], start: u32) -> Vec<Vec<u32>> {
    passages.iter().map(|passage| [&[start], passage.tokens.as_slice()].concat()).collect()
}

/// A base, and the folder of its prepared general English.
type EnglishOf = (Fingerprint, PathBuf);

/// General English as routers of a base see it: read with the first module of a run, and kept for the others.
#[derive(Clone, Default)]
pub struct SharedEnglish(Arc<Mutex<Option<(EnglishOf, General)>>>);

impl SharedEnglish {
    /// What was read for this base and folder, or what `read` reads now.
    ///
    /// # Errors
    /// Those of `read`.
    pub fn of(&self, base: Fingerprint, folder: &Path, read: impl FnOnce() -> Result<General>) -> Result<General> {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (base, folder.to_owned());
        if let Some((_, general)) = kept.as_ref().filter(|(known, _)| *known == key) {
            return Ok(general.clone());
        }
        let general = read()?;
        *kept = Some((key, general.clone()));
        Ok(general)
    }
}

/// Makes entries for modules of one base.
pub struct EntryMaker {
    /// The base's lower blocks.
    pub reader: Reader,
    /// General English as they see it.
    pub general: General,
    /// The base's name.
    pub base: Fingerprint,
}

impl EntryMaker {
    /// The entry of a module for text of its topic. Some of the text to learn from is kept for the threshold, where there
    /// is too little validation text.
    ///
    /// # Errors
    /// Too little text; a module whose singular values cannot be found.
    pub fn entry(&self, module: &Adapter, learn: &[Vec<u32>], validate: &[Vec<u32>]) -> Result<Entry> {
        let (mut learn, mut kept) = (learn.to_vec(), Vec::new());
        if validate.len() < ENOUGH {
            let places = evenly(learn.len(), VALIDATED.min(learn.len() / 4));
            kept = places.iter().rev().map(|&place| learn.remove(place)).collect();
        }
        let validate = some_of(&[validate, &kept].concat(), VALIDATED);
        let text = TopicText { learn: &learn, validate: &validate };
        Ok(entry(&self.reader, self.base, &self.general, &text, arrow::prototypes(module)?)?)
    }
}

/// Training and validation passages of a prepared corpus, as long as a router of `model` looks at.
///
/// # Errors
/// Documents that cannot be read.
pub fn corpus(folder: &Path, model: &LoadedModel) -> Result<[Vec<Vec<u32>>; 2]> {
    let Settings { tokens, .. } = Settings::of(&model.decoder);
    let read = |split| -> Result<Vec<Vec<u32>>> {
        let passages = passages_of(folder, split, &model.files.tokenizer, COUNTED, tokens, None)?;
        Ok(begun(&passages, model.start))
    };
    Ok([read(Split::Train)?, read(Split::Validation)?])
}

/// Passages of plain text, as long as a router of `model` looks at.
///
/// # Errors
/// Text that the tokenizer refuses.
pub fn passages_of_text(text: &str, tokenizer: &Tokenizer, start: u32, tokens: usize) -> Result<Vec<Vec<u32>>> {
    let refused = |error| Error::Failed(format!("the tokenizer: {error}"));
    let ids = tokenizer.encode(text, false).map_err(refused)?;
    Ok(ids.get_ids().chunks(tokens).map(|chunk| [&[start], chunk].concat()).collect())
}

/// What a router is worth on held-out passages of the topics and of general English.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Worth {
    /// Passages of topics.
    pub passages: usize,
    /// Those for which their own module scores best, whether it reaches its threshold or not.
    pub best: usize,
    /// Those that get their own module.
    pub used: usize,
    /// Passages of general English.
    pub general: usize,
    /// Those left to the base.
    pub left: usize,
    /// How many more bits per byte all passages need than with the best choice for each, in parts of 1, where that was
    /// measured.
    pub regret: Option<f64>,
}

/// What was chosen for a passage, and what each choice costs.
#[derive(Clone, Debug)]
pub struct Routed {
    /// The module of its own topic, from 0; nothing for general English.
    pub own: Option<usize>,
    /// The module that scores best.
    pub best: Option<usize>,
    /// The module that was chosen; nothing is the base.
    pub chosen: Option<usize>,
    /// Nats under the base and each module; nothing where it was not measured.
    pub nats: Option<Vec<f64>>,
    /// Bytes of the passage.
    pub bytes: f64,
}

impl Worth {
    /// Adds passages up.
    pub fn of(routed: &[Routed]) -> Self {
        let mut worth = Self::default();
        for passage in routed {
            match passage.own {
                Some(own) => {
                    worth.passages += 1;
                    worth.best += usize::from(passage.best == Some(own));
                    worth.used += usize::from(passage.chosen == Some(own));
                }
                None => {
                    worth.general += 1;
                    worth.left += usize::from(passage.chosen.is_none());
                }
            }
        }
        worth.regret = Self::regret(routed);
        worth
    }

    /// Above the best choice for each passage; nothing unless all were measured.
    fn regret(routed: &[Routed]) -> Option<f64> {
        let bits = |nats: &dyn Fn(&Routed, &[f64]) -> f64| {
            let measured: Option<Vec<Measured>> = routed
                .iter()
                .map(|one| Some(Measured { nats: nats(one, one.nats.as_deref()?), bytes: one.bytes }))
                .collect();
            measured.map(|measured| bits_per_byte(&measured).value)
        };
        let chosen = bits(&|one, nats| nats[one.chosen.map_or(0, |module| module + 1)])?;
        let oracle = bits(&|_, nats| nats.iter().copied().fold(f64::INFINITY, f64::min))?;
        Some(chosen / oracle - 1.0)
    }

    /// Share of topics' passages whose own module scores best.
    pub fn top1(&self) -> Option<f64> {
        (self.passages > 0).then(|| self.best as f64 / self.passages as f64)
    }

    /// Share of topics' passages that get their own module.
    pub fn used(&self) -> Option<f64> {
        (self.passages > 0).then(|| self.used as f64 / self.passages as f64)
    }

    /// Share of general passages that are left to the base.
    pub fn abstained(&self) -> Option<f64> {
        (self.general > 0).then(|| self.left as f64 / self.general as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hand_worked_case() {
        let one =
            |own, best, chosen, nats: [f64; 3]| Routed { own, best, chosen, nats: Some(nats.to_vec()), bytes: 10.0 };
        let mut routed = [
            one(Some(0), Some(0), Some(0), [4.0, 2.0, 5.0]),
            one(Some(1), Some(1), None, [3.0, 6.0, 2.0]),
            one(Some(1), Some(0), Some(0), [4.0, 5.0, 3.0]),
            one(None, Some(1), None, [1.0, 2.0, 2.0]),
        ];
        let worth = Worth::of(&routed);
        let shares = [worth.top1(), worth.used(), worth.abstained()];
        assert_eq!(shares, [Some(2.0 / 3.0), Some(1.0 / 3.0), Some(1.0)]);
        // 2 + 3 + 5 + 1 against 2 + 2 + 3 + 1.
        assert!(worth.regret.is_some_and(|regret| (regret - (11.0 / 8.0 - 1.0)).abs() < 1e-12), "{worth:?}");
        // What one choice costs is not known, and so what all do.
        routed[3].nats = None;
        assert_eq!(Worth::of(&routed), Worth { regret: None, ..worth });
    }
}
