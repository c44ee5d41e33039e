//! The base of a board, alone and with a pack.

use std::time::Instant;

use lore_board::rerun::Asked;
use lore_eval::cache::ScoreCache;
use lore_eval::result::ModelIdentity;
use lore_model::Decoder;
use lore_packs::{Base as PackBase, Library};
use tempfile::TempDir;

use crate::commands::eval::asked::{identify, name_of};
use crate::commands::eval::asking::scores_of;
use crate::error::{Error, Result};
use crate::location::{Location, WeightedModule};
use crate::models::{LoadedModel, load_model};
use crate::session::Session;

/// The base, loaded.
pub struct Base {
    model: LoadedModel,
    name: String,
    fingerprint: lore_model::fingerprint::Fingerprint,
}

/// The base with a module, or alone.
pub struct Ready {
    decoder: Decoder,
    /// What it is.
    pub identity: ModelIdentity,
    /// Scores that are known.
    cache: ScoreCache,
    /// Milliseconds to read the module and put it beside the base.
    pub load_ms: f64,
    _unpacked: Option<TempDir>,
}

impl Base {
    /// Loads it.
    ///
    /// # Errors
    /// Whatever is wrong with its files.
    pub fn load(location: &Location, session: &Session) -> Result<Self> {
        let path = location.resolve(session)?;
        let model = load_model(&path, &session.device.device()?)?;
        let fingerprint = model.fingerprint()?;
        Ok(Self { name: name_of(&path), model, fingerprint })
    }

    /// Without a module.
    ///
    /// # Errors
    /// Scores that cannot be kept.
    pub fn alone(&self, fresh: bool, session: &Session) -> Result<Ready> {
        self.ready(self.model.decoder.clone(), Vec::new(), None, 0.0, fresh, session)
    }

    /// With the module in a pack, which is unpacked into a folder of its own and checked as for an installation.
    ///
    /// # Errors
    /// A pack that is refused, or is for another base.
    pub fn with_pack(&self, pack: &std::path::Path, fresh: bool, session: &Session) -> Result<Ready> {
        let folder = tempfile::tempdir().map_err(Error::io(std::env::temp_dir()))?;
        let library = Library::new(folder.path());
        let base = PackBase { config: self.model.files.config.clone(), fingerprint: self.fingerprint };
        let held = library.lock(&|| ())?;
        let staged = held.stage(pack, "board", Some(&base))?;
        // A module's companions are not there: on a board it stands for itself.
        let path = staged.folder().to_owned();
        let began = Instant::now();
        let module = WeightedModule { path, weight: 1.0 };
        let mut identity = identify(&module)?;
        identity.name = staged.verified.manifest.name.clone();
        let decoder = self.model.with_modules(std::slice::from_ref(&module), false)?;
        let load_ms = began.elapsed().as_secs_f64() * 1e3;
        drop((staged, held));
        self.ready(decoder, vec![identity], Some(folder), load_ms, fresh, session)
    }

    fn ready(
        &self,
        decoder: Decoder,
        modules: Vec<lore_eval::result::ModuleIdentity>,
        unpacked: Option<TempDir>,
        load_ms: f64,
        fresh: bool,
        session: &Session,
    ) -> Result<Ready> {
        let (base, fingerprint) = (self.name.clone(), self.fingerprint.to_string());
        let identity = ModelIdentity { base, fingerprint, blocks: None, modules };
        let cache = scores_of(&identity, fresh, session)?;
        Ok(Ready { decoder, identity, cache, load_ms, _unpacked: unpacked })
    }

    /// To put questions to.
    pub fn asked<'a>(&'a self, ready: &'a mut Ready, session: &'a Session) -> Asked<'a> {
        Asked {
            subject: self.model.subject(&ready.decoder),
            identity: ready.identity.clone(),
            device: session.device.to_string(),
            cache: &mut ready.cache,
            progress: session.progress.as_ref(),
        }
    }
}
