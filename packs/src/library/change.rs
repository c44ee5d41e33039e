//! Putting modules in and taking them out, all of a request or nothing.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use lore_model::whole::folder_beside;

use super::{Held, Installed, Policy, Staged, rules};
use crate::error::{Error, Result};
use crate::format::MANIFEST;
use crate::keyring::sync_folder;
use crate::manifest::Manifest;
use crate::verify::{Base, Verified, unpack, verify_folder};

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
        let folder = folder_beside(&tmp).map_err(Error::io(&tmp))?;
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
        let outcome = self.put(staged);
        if outcome.is_err() {
            // What was moved into the store for nothing; the error that matters is the first.
            let _ = self.tidy();
        }
        let names = outcome?;
        Ok(names.iter().map(|name| self.library.folder(name, &self.state.modules[name])).collect())
    }

    /// Moves what was staged into the store and names it in the list; returns the names of the modules.
    fn put(&mut self, staged: Vec<Staged>) -> Result<Vec<String>> {
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
        Ok(names)
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
}
