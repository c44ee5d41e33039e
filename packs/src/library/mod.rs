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

mod rules;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, TryLockError};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use lore_model::fingerprint::Fingerprint;
use semver::Version;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::format::MANIFEST;
use crate::keyring::{sync_folder, write_whole};
use crate::manifest::{Manifest, canonical_json};
use crate::verify::{Base, Verified, unpack, verify_folder};

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

impl Held<'_> {
    /// What is installed, by name.
    pub fn list(&self) -> &BTreeMap<String, Installed> {
        &self.state.modules
    }

    /// Checks a pack and unpacks it beside the installed ones; `origin` is remembered for updates.
    ///
    /// # Errors
    /// Those of verifying, and of writing; nothing is left behind.
    pub fn stage(&self, pack: &Path, origin: &str, base: Option<&Base>) -> Result<Staged> {
        let tmp = self.library.root.join("tmp");
        let mut builder = tempfile::Builder::new();
        builder.prefix("install-");
        #[cfg(unix)]
        builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o755));
        let folder = builder.tempdir_in(&tmp).map_err(Error::io(&tmp))?;
        let verified = unpack(pack, folder.path(), base)?;
        sync_folder(folder.path()).map_err(Error::io(folder.path()))?;
        Ok(Staged { folder, origin: origin.to_owned(), verified })
    }

    /// Installs what was staged, all of it or nothing, and returns the folders.
    ///
    /// # Errors
    /// [`Error::Conflict`] naming every dependency, conflict and licence that stands against it; writing.
    pub fn commit(&mut self, staged: Vec<Staged>, policy: &Policy) -> Result<Vec<PathBuf>> {
        let mut manifests = self.manifests()?;
        for new in &staged {
            let manifest = &new.verified.manifest;
            let old = self.state.modules.get(&manifest.name);
            if let Some(old) = old
                && !policy.allow_downgrade
                && old.version > manifest.version
            {
                let problem = format!(
                    "version {} is installed, which is higher; --allow-downgrade installs this one all the same",
                    old.version
                );
                let (name, version) = (manifest.name.clone(), manifest.version.clone());
                return Err(Error::Conflict { name, version, problems: vec![problem] });
            }
            manifests.insert(manifest.name.clone(), manifest.clone());
        }
        for new in &staged {
            rules::check(&new.verified.manifest, &manifests, policy)?;
        }
        let mut state = self.state.clone();
        let mut names = Vec::new();
        for Staged { folder, origin, verified } in staged {
            let Verified { manifest, manifest_sha256, .. } = verified;
            let stored = self.store(&manifest, &manifest_sha256, folder)?;
            let installed = Installed {
                version: manifest.version,
                folder: stored,
                manifest_sha256,
                base: manifest.base.fingerprint,
                license: manifest.license,
                topic: manifest.topic,
                origin,
            };
            state.modules.insert(manifest.name.clone(), installed);
            names.push(manifest.name);
        }
        self.replace(state)?;
        Ok(names.iter().map(|name| self.library.folder(name, &self.state.modules[name])).collect())
    }

    /// Removes a module.
    ///
    /// # Errors
    /// [`Error::Request`] if it is not installed, or others need it.
    pub fn remove(&mut self, name: &str) -> Result<Installed> {
        let mut manifests = self.manifests()?;
        let mut state = self.state.clone();
        let Some(removed) = state.modules.remove(name) else {
            let known: Vec<&str> = self.state.modules.keys().map(String::as_str).collect();
            let known =
                if known.is_empty() { "nothing is".to_owned() } else { format!("installed are {}", known.join(", ")) };
            return Err(Error::Request(format!("`{}` is not installed; {known}", name.escape_debug())));
        };
        manifests.remove(name);
        let needed = |manifest: &&Manifest| manifest.dependencies.iter().any(|dependency| dependency.name == name);
        let users: Vec<&str> = manifests.values().filter(needed).map(|manifest| manifest.name.as_str()).collect();
        if !users.is_empty() {
            return Err(Error::Request(format!("`{name}` is needed by {}; remove them first", users.join(", "))));
        }
        self.replace(state)?;
        Ok(removed)
    }

    /// The manifests of everything installed.
    fn manifests(&self) -> Result<BTreeMap<String, Manifest>> {
        let read = |(name, installed): (&String, &Installed)| {
            let path = self.library.store().join(&installed.folder).join(MANIFEST);
            let bytes = fs::read(&path).map_err(Error::io(&path))?;
            let manifest = Manifest::parse(MANIFEST, &bytes).map_err(crate::error::Problem::of(&path))?;
            Ok((name.clone(), manifest))
        };
        self.state.modules.iter().map(read).collect()
    }

    /// Moves a staged folder into the store and returns its name there.
    fn store(&self, manifest: &Manifest, sha256: &str, staged: tempfile::TempDir) -> Result<String> {
        let store = self.library.store();
        let name = format!("{}-{}-{}", manifest.name, manifest.version, &sha256[..12]);
        for attempt in 0_u32.. {
            let name = if attempt == 0 { name.clone() } else { format!("{name}-{attempt}") };
            let target = store.join(&name);
            if !target.exists() {
                fs::rename(staged.path(), &target).map_err(Error::io(&target))?;
                // Nothing is left at the temporary name.
                let _moved = staged.keep();
                sync_folder(&store).map_err(Error::io(&store))?;
                return Ok(name);
            }
            // The same pack, installed before: used again unless it was damaged or signed differently since.
            let same = |file: &str| fs::read(target.join(file)).ok() == fs::read(staged.path().join(file)).ok();
            if verify_folder(&target, None).is_ok_and(|there| there.manifest_sha256 == sha256)
                && same(crate::format::SIGNATURE)
                && same(crate::format::SIGNER)
            {
                return Ok(name);
            }
        }
        unreachable!("some number is free")
    }

    /// Makes `state` the truth, then everything else follow it.
    fn replace(&mut self, state: State) -> Result<()> {
        write_whole(&self.library.root.join(STATE), &canonical_json(&state))?;
        self.state = state;
        self.tidy()
    }

    /// Makes links follow the truth and clears what nothing needs.
    fn tidy(&self) -> Result<()> {
        let (root, store) = (&self.library.root, self.library.store());
        let modules = root.join("modules");
        #[cfg(unix)]
        for (name, installed) in &self.state.modules {
            let (link, target) = (modules.join(name), Path::new("..").join("store").join(&installed.folder));
            if fs::read_link(&link).is_ok_and(|current| current == target) {
                continue;
            }
            let scratch = tempfile::tempdir_in(root.join("tmp")).map_err(Error::io(&link))?;
            let new = scratch.path().join("link");
            std::os::unix::fs::symlink(&target, &new).map_err(Error::io(&link))?;
            fs::rename(&new, &link).map_err(Error::io(&link))?;
        }
        for name in names_in(&modules)? {
            if !self.state.modules.contains_key(&name) && modules.join(&name).is_symlink() {
                let path = modules.join(name);
                fs::remove_file(&path).map_err(Error::io(path))?;
            }
        }
        let used: BTreeSet<&str> = self.state.modules.values().map(|installed| installed.folder.as_str()).collect();
        for name in names_in(&store)?.into_iter().filter(|name| !used.contains(name.as_str())) {
            remove_folder(&store.join(name))?;
        }
        // Whoever wrote there held the lock, and is gone.
        let tmp = root.join("tmp");
        for name in names_in(&tmp)? {
            remove_folder(&tmp.join(name))?;
        }
        Ok(())
    }
}

fn names_in(folder: &Path) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(folder).map_err(Error::io(folder))? {
        names.push(entry.map_err(Error::io(folder))?.file_name().to_string_lossy().into_owned());
    }
    Ok(names)
}

fn remove_folder(path: &Path) -> Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() == ErrorKind::NotADirectory => fs::remove_file(path).map_err(Error::io(path)),
        Err(error) if error.kind() != ErrorKind::NotFound => Err(Error::io(path)(error)),
        _ => Ok(()),
    }
}
