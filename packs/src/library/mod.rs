//! The modules installed on a machine.
//!
//! ```text
//! LIBRARY/installed.json     what is installed: the one truth, replaced by renaming
//! LIBRARY/store/NAME-VERSION-HASH/   the content of a pack, never changed once it has its name
//! LIBRARY/modules/NAME       a link to the folder of the installed version (where the system has links)
//! LIBRARY/lock, LIBRARY/tmp/
//! ```
//!
//! Whoever changes the library holds its lock. A new version is written and flushed under `tmp/`, moved into
//! `store/`, named in `installed.json`, linked, and only then is the old one removed; so a process that dies
//! at any point leaves the old or the new version, and the next one clears what is left over.

mod change;
mod rules;
mod tidy;

use std::collections::BTreeMap;
use std::fs::{self, File, TryLockError};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use lore_model::fingerprint::Fingerprint;
use semver::Version;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::verify::Verified;

const STATE: &str = "installed.json";

/// A folder of installed modules.
#[derive(Debug, Clone)]
pub struct Library {
    root: PathBuf,
}

/// One installed module.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Installed {
    /// Its version.
    pub version: Version,
    /// Its folder, below `store/`.
    folder: String,
    /// sha256 of its manifest.
    pub manifest_sha256: String,
    /// The base it belongs to.
    pub base: Fingerprint,
    /// Its licence.
    pub license: String,
    /// What it knows about.
    pub topic: String,
    /// The file or index it came from, as it was named.
    pub origin: String,
}

#[derive(Debug, Default, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct State {
    modules: BTreeMap<String, Installed>,
}

/// What is allowed although it is usually refused.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Policy {
    /// Modules whose licences do not go together.
    pub accept_licenses: bool,
    /// A lower version in place of a higher one.
    pub allow_downgrade: bool,
}

/// The library, while nobody else changes it.
pub struct Held<'a> {
    library: &'a Library,
    state: State,
    _lock: File,
}

/// A pack that was checked and waits under `tmp/`.
pub struct Staged {
    folder: tempfile::TempDir,
    origin: String,
    /// What it is.
    pub verified: Verified,
}

impl Staged {
    /// Where it waits, as PEFT opens it; gone when this is dropped.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }
}

impl Library {
    /// The library in `root`, which need not exist.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// Its folder.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// What is installed, by name.
    ///
    /// # Errors
    /// A damaged list.
    pub fn list(&self) -> Result<BTreeMap<String, Installed>> {
        Ok(self.read()?.modules)
    }

    /// The folder of an installed module, which PEFT and `lore generate --module` open.
    pub fn folder(&self, name: &str, installed: &Installed) -> PathBuf {
        let link = self.root.join("modules").join(name);
        if link.is_symlink() { link } else { self.store().join(&installed.folder) }
    }

    /// Keeps others from changing the library until the result is dropped, also by death; `waiting` is
    /// called once if it has to be waited for.
    ///
    /// # Errors
    /// When the folder cannot be written; a damaged list.
    pub fn lock(&self, waiting: &dyn Fn()) -> Result<Held<'_>> {
        for folder in [self.store(), self.root.join("tmp"), self.root.join("modules")] {
            fs::create_dir_all(&folder).map_err(Error::io(folder))?;
        }
        let lock = wait_for_lock(&self.root.join("lock"), waiting)?;
        let held = Held { library: self, state: self.read()?, _lock: lock };
        held.tidy()?;
        Ok(held)
    }

    fn store(&self) -> PathBuf {
        self.root.join("store")
    }

    fn read(&self) -> Result<State> {
        let path = self.root.join(STATE);
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(State::default()),
            Err(error) => return Err(Error::io(path)(error)),
        };
        serde_json::from_slice(&bytes).map_err(|error| {
            let problem = format!("it is damaged ({error}); move it away and install the modules in `store` again");
            Error::Refused { path, problem }
        })
    }
}

/// Waits for a lock file.
pub(crate) fn wait_for_lock(path: &Path, waiting: &dyn Fn()) -> Result<File> {
    let mut options = File::options();
    let file = options.create(true).truncate(false).write(true).open(path).map_err(Error::io(path))?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            waiting();
            file.lock().map_err(Error::io(path))?;
        }
        // Some network file systems have no locks.
        Err(TryLockError::Error(error)) if error.kind() == ErrorKind::Unsupported => {}
        Err(TryLockError::Error(error)) => return Err(Error::io(path)(error)),
    }
    Ok(file)
}
