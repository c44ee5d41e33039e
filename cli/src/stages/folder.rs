//! The folder of one run: `stages/`, a lock, and links to what people look for.

use std::fs::{self, File, TryLockError};
use std::io::{ErrorKind, Read, Write};
use std::path::{Path, PathBuf};

use super::{Publication, manifest};
use crate::error::{Error, Result};

/// Ends the name of a stage's folder while it is not finished.
const PARTIAL: &str = ".partial";

/// `<runs-dir>/<recipe name>/`.
#[derive(Debug, Clone)]
pub struct RunFolder {
    root: PathBuf,
}

impl RunFolder {
    /// The folder of the run called `name`; nothing is created.
    pub fn new(runs: &Path, name: &str) -> Self {
        Self { root: runs.join(name) }
    }

    /// The folder itself.
    pub fn root(&self) -> &Path {
        &self.root
    }

    fn stages(&self) -> PathBuf {
        self.root.join("stages")
    }

    /// Where a finished stage stands.
    pub fn finished(&self, stage: &str, key: &str) -> PathBuf {
        self.stages().join(folder_name(stage, key))
    }

    /// Where an unfinished stage stands.
    pub fn partial(&self, stage: &str, key: &str) -> PathBuf {
        self.stages().join(folder_name(stage, key) + PARTIAL)
    }

    /// Creates the folder and keeps other runs out of it until the result is dropped, also by death.
    pub fn lock(&self) -> Result<File> {
        fs::create_dir_all(self.stages()).map_err(Error::io(self.stages()))?;
        let mut file = open_lock(&self.root.join("lock"))?;
        let taken = file.try_lock();
        self.taken(&mut file, taken, &self.root)?;
        file.set_len(0).map_err(Error::io(&self.root))?;
        writeln!(file, "{}", std::process::id()).map_err(Error::io(&self.root))?;
        Ok(file)
    }

    /// Creates the folder and keeps runs of all stages out of it, and others out of one stage, until the result is
    /// dropped.
    pub fn lock_stage(&self, stage: &str) -> Result<[File; 2]> {
        fs::create_dir_all(self.stages()).map_err(Error::io(self.stages()))?;
        let mut whole = open_lock(&self.root.join("lock"))?;
        let taken = whole.try_lock_shared();
        self.taken(&mut whole, taken, &self.root)?;
        let locks = self.root.join("locks");
        fs::create_dir_all(&locks).map_err(Error::io(&locks))?;
        let path = locks.join(stage.replace(':', "-"));
        let mut one = open_lock(&path)?;
        let taken = one.try_lock();
        self.taken(&mut one, taken, &path)?;
        one.set_len(0).map_err(Error::io(&path))?;
        writeln!(one, "{}", std::process::id()).map_err(Error::io(&path))?;
        Ok([whole, one])
    }

    /// Says who has a lock that could not be taken.
    fn taken(&self, file: &mut File, outcome: Result<(), TryLockError>, what: &Path) -> Result<()> {
        match outcome {
            Ok(()) => Ok(()),
            Err(TryLockError::WouldBlock) => {
                let mut holder = String::new();
                // Only for the message: without it the lock is still held.
                let _ = file.read_to_string(&mut holder);
                let holder = if holder.is_empty() { "?" } else { holder.trim() };
                Err(Error::Failed(format!(
                    "{} is in use by another `lore run` (process {holder}). Wait for it, or give --runs-dir another folder",
                    what.display()
                )))
            }
            // Some network file systems have no locks.
            Err(TryLockError::Error(error)) if error.kind() == ErrorKind::Unsupported => Ok(()),
            Err(TryLockError::Error(error)) => Err(Error::io(what)(error)),
        }
    }

    /// Makes a stage unfinished, whatever its key, and drops what interrupted runs of it left.
    pub fn forget(&self, stage: &str) -> Result<()> {
        for (path, name) in self.entries()? {
            if !is_of(&name, stage) {
                continue;
            }
            if name.ends_with(PARTIAL) {
                remove_folder(&path)?;
            } else {
                let manifest = path.join(manifest::NAME);
                match fs::remove_file(&manifest) {
                    Err(error) if error.kind() != ErrorKind::NotFound => return Err(Error::io(manifest)(error)),
                    _ => {}
                }
            }
        }
        Ok(())
    }

    /// Gives a finished stage its final name.
    pub fn commit(&self, stage: &str, key: &str) -> Result<PathBuf> {
        let (from, to) = (self.partial(stage, key), self.finished(stage, key));
        remove_folder(&to)?;
        fs::rename(&from, &to).map_err(Error::io(&from))?;
        sync_folder(&self.stages())?;
        Ok(to)
    }

    /// Drops every stage folder except `current`.
    pub fn keep_only(&self, current: &[PathBuf]) -> Result<()> {
        for (path, _) in self.entries()? {
            if !current.contains(&path) {
                remove_folder(&path)?;
            }
        }
        Ok(())
    }

    fn entries(&self) -> Result<Vec<(PathBuf, String)>> {
        let stages = self.stages();
        let mut entries = Vec::new();
        for entry in fs::read_dir(&stages).map_err(Error::io(&stages))? {
            let entry = entry.map_err(Error::io(&stages))?;
            entries.push((entry.path(), entry.file_name().to_string_lossy().into_owned()));
        }
        Ok(entries)
    }

    /// Links to what a finished stage publishes.
    pub fn publish(&self, stage: &Path, publications: &[Publication]) -> Result<()> {
        for publication in publications {
            let target = stage.join(&publication.target);
            if target.exists() {
                link(&self.root, &publication.link, &target)?;
            }
        }
        Ok(())
    }

    /// Drops links to stages that are gone.
    pub fn drop_broken_links(&self) -> Result<()> {
        for folder in [self.root.clone(), self.root.join("modules")] {
            let Ok(entries) = fs::read_dir(&folder) else { continue };
            for entry in entries {
                let path = entry.map_err(Error::io(&folder))?.path();
                if path.is_symlink() && !path.exists() {
                    fs::remove_file(&path).map_err(Error::io(&path))?;
                }
            }
        }
        Ok(())
    }
}

fn open_lock(path: &Path) -> Result<File> {
    let mut options = File::options();
    options.read(true).write(true).create(true).truncate(false).open(path).map_err(Error::io(path))
}

/// `module-geography-0123456789ab`.
fn folder_name(stage: &str, key: &str) -> String {
    format!("{}-{}", stage.replace(':', "-"), &key[..key.len().min(12)])
}

fn is_of(folder: &str, stage: &str) -> bool {
    let folder = folder.strip_suffix(PARTIAL).unwrap_or(folder);
    folder.rsplit_once('-').is_some_and(|(name, _)| name == stage.replace(':', "-"))
}

/// Removes a folder or file that may be gone already.
pub(super) fn remove_folder(path: &Path) -> Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() == ErrorKind::NotADirectory => fs::remove_file(path).map_err(Error::io(path)),
        Err(error) if error.kind() != ErrorKind::NotFound => Err(Error::io(path)(error)),
        _ => Ok(()),
    }
}

/// Makes a rename outlast a power failure, where the system can.
fn sync_folder(path: &Path) -> Result<()> {
    if cfg!(unix) {
        File::open(path).and_then(|folder| folder.sync_all()).map_err(Error::io(path))?;
    }
    Ok(())
}

#[cfg(unix)]
fn link(root: &Path, link: &Path, target: &Path) -> Result<()> {
    let place = root.join(link);
    let parent = place.parent().unwrap_or(root);
    fs::create_dir_all(parent).map_err(Error::io(parent))?;
    let up: PathBuf = link.components().skip(1).map(|_| "..").collect();
    let relative = up.join(target.strip_prefix(root).unwrap_or(target));
    if fs::read_link(&place).is_ok_and(|current| current == relative) {
        return Ok(());
    }
    if place.is_dir() && !place.is_symlink() {
        remove_folder(&place)?;
    }
    let scratch = tempfile::tempdir_in(parent).map_err(Error::io(parent))?;
    let new = scratch.path().join("link");
    std::os::unix::fs::symlink(&relative, &new).map_err(Error::io(&place))?;
    fs::rename(&new, &place).map_err(Error::io(&place))
}

/// Symbolic links need privileges elsewhere: copies.
#[cfg(not(unix))]
fn link(root: &Path, link: &Path, target: &Path) -> Result<()> {
    let place = root.join(link);
    remove_folder(&place)?;
    let mut pairs = vec![(target.to_owned(), place)];
    while let Some((from, to)) = pairs.pop() {
        if from.is_dir() {
            fs::create_dir_all(&to).map_err(Error::io(&to))?;
            for entry in fs::read_dir(&from).map_err(Error::io(&from))? {
                let entry = entry.map_err(Error::io(&from))?;
                pairs.push((entry.path(), to.join(entry.file_name())));
            }
        } else {
            let parent = to.parent().unwrap_or(root);
            fs::create_dir_all(parent).map_err(Error::io(parent))?;
            fs::copy(&from, &to).map_err(Error::io(&to))?;
        }
    }
    Ok(())
}
