//! A library of modules beside a base, of which only what is asked for is in memory.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use lore_model::Decoder;
use lore_model::chat::{ChatTemplate, Message};
use lore_model::fingerprint::Fingerprint;
use lore_modules::on_demand::{ModuleSet, OnDemand};
use lore_packs::Library;
use lore_route::{ENTRY_FILE, Reader, Router};
use lore_serve::engine::Folders;
use lore_serve::{Base, Chooser, Engine, EngineConfig, Layout, Turn};

use crate::commands::pack::folders::LibraryOption;
use crate::error::{Error, Result};
use crate::models::LoadedModel;
use crate::quantity;
use crate::session::Session;

/// Modules that `auto` makes active at most, as `lore route ask` does.
const MOST_CHOSEN: usize = 1;
/// Positions used where a model has more and nobody asks for them.
const CONTEXT: usize = 2048;

/// Where modules are and how much of them may be in memory.
#[derive(Debug, Clone, clap::Args)]
pub struct LibraryOptions {
    #[command(flatten)]
    library: LibraryOption,
    /// Memory that modules of the library may take at once
    #[arg(long, value_name = "SIZE", default_value = "512MB", value_parser = quantity::parse_bytes)]
    memory: u64,
}

/// Reads `NAME[=WEIGHT]`s with commas between, or `auto`.
pub fn parse_modules(text: &str) -> Result<Modules, String> {
    if text == "auto" { Ok(Modules::Auto) } else { ModuleSet::parse(text, ',').map(Modules::Set) }
}

/// Modules of a library as named on the command line.
#[derive(Debug, Clone, PartialEq)]
pub enum Modules {
    /// These.
    Set(ModuleSet),
    /// Whichever the library's router chooses.
    Auto,
}

impl LibraryOptions {
    /// The library.
    pub fn library(&self, session: &Session) -> Library {
        self.library.library(session)
    }

    /// The library's modules for a base, none of them in memory yet.
    ///
    /// # Errors
    /// A library that cannot be read; a base whose fingerprint cannot be computed.
    pub fn open(&self, model: &LoadedModel, allow_mismatch: bool, session: &Session) -> Result<OnDemand> {
        let mut modules = OnDemand::new(model.decoder.clone(), model.fingerprint()?, self.memory);
        modules.set_folders(folders(&self.library(session))?);
        Ok(modules.allow_base_mismatch(allow_mismatch))
    }

    /// Starts an engine for a base and the library.
    ///
    /// # Errors
    /// As [`LibraryOptions::open`]; more context than the model has positions.
    pub fn engine(&self, model: LoadedModel, options: &EngineOptions, session: &Session) -> Result<Engine> {
        let modules = self.open(&model, options.allow_base_mismatch, session)?;
        let positions = model.decoder.max_positions();
        let context = options.context.map_or(CONTEXT.min(positions), |context| context as usize);
        if context > positions {
            let problem = format!("--context {context}: the model has only {positions} positions");
            return Err(Error::Usage(problem));
        }
        let library = self.library(session);
        let chooser = chooser(&library, modules.fingerprint(), &model.decoder)?;
        let config = EngineConfig { slots: options.parallel.into(), context, queue: options.queue.into() };
        let base = Arc::new(base(model, modules.fingerprint())?);
        let folders: Folders = Box::new(move || folders(&library).map_err(|error| crate::error::chain(&error)));
        Ok(Engine::start(base, modules, folders, chooser, config))
    }
}

/// How much is computed at once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EngineOptions {
    /// Texts written at the same time.
    pub parallel: u16,
    /// Tokens of a prompt and its answer.
    pub context: Option<u32>,
    /// Requests that may wait.
    pub queue: u16,
    /// Whether modules of another base are accepted.
    pub allow_base_mismatch: bool,
}

/// The folders of a library's modules, by name: what is installed, and plain folders of modules.
///
/// # Errors
/// A damaged library.
pub fn folders(library: &Library) -> Result<BTreeMap<String, PathBuf>> {
    let mut folders = lore_modules::on_demand::folders(library.root())?;
    // Where the system has no links.
    folders.extend(library.list()?.iter().map(|(name, installed)| (name.clone(), library.folder(name, installed))));
    Ok(folders)
}

/// Chooses by the router entries that modules of a library carry.
struct Routed {
    library: Library,
    base: Fingerprint,
    /// What the router was made of; it is made anew when modules come or go, or get another entry.
    entries: Entries,
    router: Router,
    reader: Option<Reader>,
}

/// Each module's folder, and when its router entry was written; no time for a module without one.
type Entries = BTreeMap<String, (PathBuf, Option<SystemTime>)>;

fn entries(folders: &BTreeMap<String, PathBuf>) -> Entries {
    let written = |folder: &PathBuf| std::fs::metadata(folder.join(ENTRY_FILE)).and_then(|file| file.modified()).ok();
    folders.iter().map(|(name, folder)| (name.clone(), (folder.clone(), written(folder)))).collect()
}

impl Routed {
    fn new(library: &Library, base: Fingerprint, decoder: &Decoder) -> Result<Self> {
        let folders = folders(library)?;
        let entries = entries(&folders);
        let router = Router::of_folders(&folders, &base)?;
        let reader = router.reader(decoder)?;
        Ok(Self { library: library.clone(), base, entries, router, reader })
    }
}

impl Chooser for Routed {
    fn choose(&mut self, base: &Decoder, prompt: &[u32]) -> Result<ModuleSet, String> {
        let told = |error: Error| crate::error::chain(&error);
        if entries(&folders(&self.library).map_err(told)?) != self.entries {
            *self = Self::new(&self.library, self.base, base).map_err(told)?;
        }
        match &self.reader {
            Some(reader) if !prompt.is_empty() => {
                let view = &reader.read(&[reader.window(prompt)])[0];
                ModuleSet::new(self.router.choose_for(view, MOST_CHOSEN).picks)
            }
            _ => Ok(ModuleSet::none()),
        }
    }
}

/// Who chooses modules for a prompt, if some module of the library has a router entry for this base.
///
/// # Errors
/// An entry that cannot be read, or does not fit the base.
pub fn chooser(library: &Library, base: Fingerprint, decoder: &Decoder) -> Result<Option<Box<dyn Chooser>>> {
    let routed = Routed::new(library, base, decoder)?;
    let empty = routed.router.is_empty();
    Ok((!empty).then(|| Box::new(routed) as Box<dyn Chooser>))
}

/// What is said where `auto` is asked for and nobody can choose.
pub fn no_router(library: &Library) -> Error {
    Error::Usage(format!(
        "`auto` needs a router, and no module of the library {} has a router entry for this base (`lore route build` makes \
         them); name the modules",
        library.root().display()
    ))
}

/// The model without what only loading needs.
fn base(model: LoadedModel, fingerprint: Fingerprint) -> Result<Base> {
    let settings = &model.files.tokenizer_settings;
    let layout = settings.chat_template.is_some().then(|| ChatTemplate::new(settings)).transpose()?.map(layout);
    let stop = [model.files.config.eos_token_ids.as_slice(), &[model.start]].concat();
    let LoadedModel { files, decoder, start, .. } = model;
    Ok(Base { decoder, tokenizer: files.tokenizer, start, stop, fingerprint: fingerprint.to_string(), layout })
}

fn layout(template: ChatTemplate) -> Layout {
    Box::new(move |turns: &[Turn]| {
        let messages: Vec<Message> =
            turns.iter().map(|turn| Message::new(turn.role.as_str(), turn.content.as_str())).collect();
        template.render(&messages, true).map_err(|error| error.to_string())
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn an_entry_that_comes_or_changes_is_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let folders = BTreeMap::from([("rivers".to_owned(), folder.path().to_owned())]);
        let without = entries(&folders);
        assert_eq!(without["rivers"].1, None);
        let path = folder.path().join(ENTRY_FILE);
        std::fs::write(&path, "one").unwrap();
        let with = entries(&folders);
        assert_ne!(with, without);
        assert_eq!(entries(&folders), with);
        let later = with["rivers"].1.unwrap() + std::time::Duration::from_secs(1);
        std::fs::File::options().append(true).open(&path).unwrap().set_modified(later).unwrap();
        assert_ne!(entries(&folders), with);
    }
}
