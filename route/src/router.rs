//! A router: the entries of several modules, and the choice among them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use lore_model::Decoder;
use lore_model::fingerprint::Fingerprint;

use crate::discriminant::Discriminant;
use crate::entry::{self, ENTRY_FILE, ENTRY_LIMIT, Entry, MODULES};
use crate::error::Error;
use crate::reader::{Reader, View};
use crate::words;

/// What the states say, against what the tokens say.
const STATES: f64 = 0.5;
/// Scores this far below the best one have a weight of `1/e` of its: a tenth of what a topic's own text has.
const TEMPERATURE: f64 = 0.1;

/// A router over some modules.
#[derive(Clone, Debug, Default)]
pub struct Router {
    entries: BTreeMap<String, Entry>,
    /// Of the entries, in their order; absent while there are none.
    discriminant: Option<Discriminant>,
    /// What a topic's own text has of log odds, on average over the entries.
    own_words: f64,
}

/// What a router chose.
#[derive(Clone, Debug, PartialEq)]
pub struct Choice {
    /// The modules to use, the best first, with weights that sum to 1. Empty: the base alone.
    pub picks: Vec<(String, f32)>,
    /// How each module did, the best first.
    pub scored: Vec<Scored>,
}

/// How a module did.
#[derive(Clone, Debug, PartialEq)]
pub struct Scored {
    /// Its name.
    pub module: String,
    /// About 1 for text of its topic and below 0 for general English.
    pub score: f64,
    /// What the score must reach.
    pub threshold: f64,
}

impl Router {
    /// A router of these entries.
    ///
    /// # Panics
    /// When they are not all of one base and one width; [`Router::insert`] checks.
    pub(crate) fn of(entries: BTreeMap<String, Entry>) -> Self {
        let mut router = Self { entries, discriminant: None, own_words: 1.0 };
        router.prepare();
        router
    }

    /// Reads the file of several modules that [`Router::write`] wrote.
    ///
    /// # Errors
    /// [`Error::Malformed`]; [`Error::OtherBase`] and [`Error::Shape`] where entries do not belong together; errors of
    /// reading.
    pub fn read(path: &Path) -> Result<Self, Error> {
        Self::parse(path, &entry::read_limited(path, ENTRY_LIMIT * MODULES as u64)?)
    }

    /// Reads the bytes of such a file; `path` is only named in errors.
    ///
    /// # Errors
    /// As [`Router::read`].
    pub fn parse(path: &Path, bytes: &[u8]) -> Result<Self, Error> {
        let mut router = Self::default();
        for (module, entry) in entry::parse(path, bytes, true)? {
            router.add(module, entry)?;
        }
        router.prepare();
        Ok(router)
    }

    /// Collects the entries of modules from their folders. Modules without one are left out, and so are those whose entry
    /// was made with another base than `base`: they could not be loaded onto it either.
    ///
    /// # Errors
    /// As [`Router::read`].
    pub fn of_folders<'a>(
        folders: impl IntoIterator<Item = (&'a String, &'a PathBuf)>,
        base: &Fingerprint,
    ) -> Result<Self, Error> {
        let mut router = Self::default();
        for (module, folder) in folders {
            let path = folder.join(ENTRY_FILE);
            if !path.is_file() {
                continue;
            }
            let entry = Entry::read(&path)?;
            if entry.base == *base {
                router.add(module.clone(), entry)?;
            }
        }
        router.prepare();
        Ok(router)
    }

    /// Writes all entries as one file, whole or not at all.
    ///
    /// # Errors
    /// [`Error::TooLittle`] if there are no entries; errors of writing.
    pub fn write(&self, path: &Path) -> Result<(), Error> {
        if self.entries.is_empty() {
            return Err(Error::TooLittle("a router without modules is not written".to_owned()));
        }
        let prefixes: Vec<String> = self.entries.keys().map(|name| format!("{name}/")).collect();
        let entries: Vec<(&str, &Entry)> = prefixes.iter().map(String::as_str).zip(self.entries.values()).collect();
        entry::write(path, &entries)
    }

    /// Adds a module, or replaces its entry. The entries of the others stay as they are.
    ///
    /// # Errors
    /// [`Error::OtherBase`] and [`Error::Shape`] if it does not belong to the others.
    pub fn insert(&mut self, module: impl Into<String>, entry: Entry) -> Result<(), Error> {
        self.add(module.into(), entry)?;
        self.prepare();
        Ok(())
    }

    /// The same router over some of its modules.
    ///
    /// # Errors
    /// [`Error::Unknown`].
    pub fn only<'a>(&self, modules: impl IntoIterator<Item = &'a str>) -> Result<Self, Error> {
        let mut entries = BTreeMap::new();
        for module in modules {
            let Some((name, entry)) = self.entries.get_key_value(module) else {
                let known = self.entries.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
                return Err(Error::Unknown { module: module.to_owned(), known });
            };
            entries.insert(name.clone(), entry.clone());
        }
        Ok(Self::of(entries))
    }

    /// The entries by module.
    pub fn entries(&self) -> &BTreeMap<String, Entry> {
        &self.entries
    }

    /// Whether it knows no module.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// What reads passages for it; nothing if there are no entries.
    ///
    /// # Errors
    /// [`Error::Shape`] if the base has not as many blocks, positions or channels as the entries ask for;
    /// [`Error::InBlocks`] if its matrices are in blocks.
    pub fn reader(&self, base: &Decoder) -> Result<Option<Reader>, Error> {
        let Some((module, entry)) = self.entries.first_key_value() else { return Ok(None) };
        let refused = |problem: String| Err(Error::Shape { module: module.clone(), problem });
        let (width, blocks) = (base.config.hidden_size, base.blocks.len());
        if entry.centroid.len() != width {
            return refused(format!("its states have {} channels, those of the base {width}", entry.centroid.len()));
        }
        if entry.layer > blocks || entry.tokens >= base.max_positions() {
            let positions = base.max_positions();
            return refused(format!(
                "it looks at {} tokens after {} blocks; the base has {positions} positions and {blocks} blocks",
                entry.tokens, entry.layer
            ));
        }
        let reader = Reader::new(base, entry.layer, entry.tokens);
        reader.check()?;
        Ok(Some(reader))
    }

    /// Chooses at most `most` modules for a prompt, which begins with the token that begins a text; of a long one by its
    /// [`Reader::window`]. Updates that are active on `base` are left out. For several texts make a [`Router::reader`]
    /// once, and ask [`Router::choose_for`].
    ///
    /// # Errors
    /// As [`Router::reader`].
    pub fn choose(&self, base: &Decoder, text: &[u32], most: usize) -> Result<Choice, Error> {
        match self.reader(base)? {
            Some(reader) if !text.is_empty() => Ok(self.choose_for(&reader.read(&[reader.window(text)])[0], most)),
            _ => Ok(Choice { picks: Vec::new(), scored: Vec::new() }),
        }
    }

    /// Chooses at most `most` modules for a passage that was read.
    pub fn choose_for(&self, view: &View, most: usize) -> Choice {
        let modules = self.entries.iter().zip(self.scores(view));
        let mut scored: Vec<Scored> = modules
            .map(|((module, entry), score)| Scored { module: module.clone(), score, threshold: entry.threshold })
            .collect();
        scored.sort_by(|a, b| b.score.total_cmp(&a.score));
        let reached: Vec<&Scored> = scored.iter().filter(|one| one.score >= one.threshold).take(most).collect();
        let best = reached.first().map_or(0.0, |one| one.score);
        // The best module must be wanted itself: another that is easily satisfied does not stand in for it.
        let wanted = scored.first().is_some_and(|one| one.score >= one.threshold);
        let reached = if wanted { reached } else { Vec::new() };
        let weights: Vec<f64> = reached.iter().map(|one| ((one.score - best) / TEMPERATURE).exp()).collect();
        let all: f64 = weights.iter().sum();
        let picks = reached.iter().zip(weights).map(|(one, weight)| (one.module.clone(), (weight / all) as f32));
        Choice { picks: picks.collect(), scored }
    }

    /// What each module scores on a passage, in the order of [`Router::entries`].
    pub fn scores(&self, view: &View) -> Vec<f64> {
        let Some(discriminant) = &self.discriminant else { return Vec::new() };
        let cut = &view.tokens[..view.tokens.len().min(self.tokens())];
        let words = self.entries.values().map(|entry| words::mean(&entry.words, cut) / self.own_words);
        words.zip(discriminant.scores(&view.state)).map(|(w, s)| (1.0 - STATES) * w + STATES * s).collect()
    }

    fn tokens(&self) -> usize {
        self.entries.values().map(|entry| entry.tokens).max().unwrap_or_default()
    }

    /// Adds an entry that belongs to the others.
    fn add(&mut self, module: String, entry: Entry) -> Result<(), Error> {
        if let Some((_, other)) = self.entries.iter().find(|(name, _)| **name != module) {
            if other.base != entry.base {
                return Err(Error::OtherBase { module, made_with: entry.base, found: other.base });
            }
            let sizes = |entry: &Entry| (entry.centroid.len(), entry.layer, entry.tokens, entry.words.len());
            if sizes(other) != sizes(&entry) {
                let problem = format!(
                    "channels, blocks, tokens and places of words are {:?}; the others' are {:?}",
                    sizes(&entry),
                    sizes(other)
                );
                return Err(Error::Shape { module, problem });
            }
        }
        if !entry::is_name(&module) {
            return Err(Error::Shape {
                problem: "the name is not one that a router's file can hold".to_owned(),
                module,
            });
        }
        self.entries.insert(module, entry);
        Ok(())
    }

    /// What follows from all entries together.
    fn prepare(&mut self) {
        let entries: Vec<&Entry> = self.entries.values().collect();
        let widths: BTreeSet<usize> = entries.iter().map(|entry| entry.centroid.len()).collect();
        assert!(widths.len() <= 1, "entries of one width");
        let count = entries.len().max(1) as f64;
        self.own_words = entries.iter().map(|entry| entry.own_words).sum::<f64>() / count;
        self.discriminant = (!entries.is_empty()).then(|| Discriminant::new(&entries));
    }
}
