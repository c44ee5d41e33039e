//! The cache folder: locks, files that appear whole or not at all, and hashes that are remembered.

use std::env;
use std::fs::{self, File, TryLockError};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::sha256::{sha256_of_file, sha256_of_text};
use crate::error::{Error, Result};
use crate::progress::Progress;

const ABANDONED_AFTER: Duration = Duration::from_secs(24 * 60 * 60);

/// `$LORE_CACHE`, else `$XDG_CACHE_HOME/lore`, else `~/.cache/lore`; without a home, `.lore-cache` here.
pub fn default_cache_dir() -> PathBuf {
    let folder = |name: &str| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    folder("LORE_CACHE")
        .or_else(|| folder("XDG_CACHE_HOME").map(|dir| dir.join("lore")))
        .or_else(|| env::home_dir().map(|home| home.join(".cache").join("lore")))
        .unwrap_or_else(|| PathBuf::from(".lore-cache"))
}

#[derive(Debug, Clone)]
pub(super) struct Cache {
    folder: PathBuf,
}

/// What tells a changed file from an unchanged one without reading it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Stamp {
    size: u64,
    modified_ns: u64,
}

impl Stamp {
    pub(super) fn of(path: &Path) -> Result<Self> {
        let metadata = fs::metadata(path).map_err(|e| Error::io(path, e))?;
        let modified = metadata.modified().map_err(|e| Error::io(path, e))?;
        let modified_ns = modified.duration_since(UNIX_EPOCH).map_or(0, |d| d.as_nanos() as u64);
        Ok(Self { size: metadata.len(), modified_ns })
    }
}

#[derive(Serialize, Deserialize)]
struct RememberedHash {
    path: PathBuf,
    stamp: Stamp,
    sha256: String,
}

impl Cache {
    pub(super) fn new(folder: PathBuf) -> Self {
        // Hashes are remembered, and hub files linked, by absolute path.
        let folder = std::path::absolute(&folder).unwrap_or(folder);
        Self { folder }
    }

    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// A folder inside the cache, created.
    pub(super) fn subfolder(&self, relative: &str) -> Result<PathBuf> {
        let folder = self.folder.join(relative);
        create_folder(&folder)?;
        Ok(folder)
    }

    /// A new empty folder on the cache's disk, removed when dropped.
    pub(super) fn scratch(&self) -> Result<tempfile::TempDir> {
        let folder = self.subfolder("partial")?;
        remove_abandoned(&folder);
        tempfile::Builder::new().prefix("fetch-").tempdir_in(&folder).map_err(|e| Error::io(folder, e))
    }

    /// Waits until no other process fetches `key`, and keeps others waiting until the result is dropped.
    pub(super) fn lock(&self, key: &str, progress: &dyn Progress) -> Result<File> {
        let path = self.subfolder("locks")?.join(format!("{}.lock", &sha256_of_text(key)[..32]));
        let file =
            File::options().create(true).truncate(false).write(true).open(&path).map_err(|e| Error::io(&path, e))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                progress.note(&format!("waiting for another process that is fetching {key}"));
                file.lock().map_err(|e| Error::io(&path, e))?;
            }
            // Some network file systems have no locks; two processes then at worst download twice.
            Err(TryLockError::Error(e)) if e.kind() == ErrorKind::Unsupported => {}
            Err(TryLockError::Error(e)) => return Err(Error::io(path, e)),
        }
        Ok(file)
    }

    /// sha256 of a file, computed again only when its size or time of change differ from last time.
    pub(super) fn sha256(&self, path: &Path) -> Result<String> {
        let path = fs::canonicalize(path).map_err(|e| Error::io(path, e))?;
        let stamp = Stamp::of(&path)?;
        let memory = self.memory_of(&path)?;
        if let Some(known) = read_json::<RememberedHash>(&memory)
            && known.path == path
            && known.stamp == stamp
        {
            return Ok(known.sha256);
        }
        let sha256 = sha256_of_file(&path)?;
        if Stamp::of(&path)? == stamp {
            write_json(&memory, &RememberedHash { path, stamp, sha256: sha256.clone() })?;
        }
        Ok(sha256)
    }

    /// Remembers a hash that was computed while the file was written.
    pub(super) fn remember_sha256(&self, path: &Path, sha256: &str) -> Result<()> {
        let path = fs::canonicalize(path).map_err(|e| Error::io(path, e))?;
        let stamp = Stamp::of(&path)?;
        write_json(&self.memory_of(&path)?, &RememberedHash { path, stamp, sha256: sha256.into() })
    }

    fn memory_of(&self, path: &Path) -> Result<PathBuf> {
        let key = sha256_of_text(&path.to_string_lossy());
        Ok(self.subfolder("hashes")?.join(format!("{}.json", &key[..32])))
    }
}

/// Removes what runs that were killed left behind more than a day ago.
fn remove_abandoned(folder: &Path) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let modified = entry.metadata().and_then(|metadata| metadata.modified());
        let age = modified.ok().and_then(|modified| modified.elapsed().ok());
        if age.is_some_and(|age| age > ABANDONED_AFTER) {
            // Another process may be removing it too; what stays is tried again next time.
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

pub(super) fn create_folder(folder: &Path) -> Result<()> {
    fs::create_dir_all(folder).map_err(|e| Error::io(folder, e))
}

/// Reads JSON that this program wrote; what is missing or damaged counts as absent.
pub(super) fn read_json<T: DeserializeOwned>(path: &Path) -> Option<T> {
    serde_json::from_slice(&fs::read(path).ok()?).ok()
}

pub(super) fn write_json(path: &Path, value: &impl Serialize) -> Result<()> {
    let bytes = serde_json::to_vec_pretty(value).map_err(|e| Error::io(path, e.into()))?;
    write_atomically(path, &bytes)
}

pub(super) fn write_atomically(path: &Path, bytes: &[u8]) -> Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    create_folder(folder)?;
    let write = || -> std::io::Result<()> {
        let mut file = crate::whole::beside(folder)?;
        file.write_all(bytes)?;
        file.as_file().sync_all()?;
        file.persist(path).map_err(|e| e.error)?;
        Ok(())
    };
    write().map_err(|e| Error::io(path, e))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::time::{Duration, SystemTime};

    use super::*;

    #[test]
    fn a_hash_is_remembered_until_the_file_changes() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::new(folder.path().join("cache"));
        let file = folder.path().join("a");
        fs::write(&file, "abc").unwrap();
        let first = cache.sha256(&file).unwrap();
        assert_eq!(first, sha256_of_text("abc"));

        // What is remembered is used: a planted value comes back as long as the stamp fits.
        cache.remember_sha256(&file, "planted").unwrap();
        assert_eq!(cache.sha256(&file).unwrap(), "planted");

        fs::write(&file, "abd").unwrap();
        let later = SystemTime::now() + Duration::from_secs(5);
        File::options().write(true).open(&file).unwrap().set_modified(later).unwrap();
        assert_eq!(cache.sha256(&file).unwrap(), sha256_of_text("abd"));
    }

    #[test]
    fn only_old_leftovers_are_removed() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::new(folder.path().into());
        let (old, new) = (cache.scratch().unwrap(), cache.scratch().unwrap());
        let long_ago = SystemTime::now() - Duration::from_secs(3 * 24 * 60 * 60);
        File::open(old.path()).unwrap().set_modified(long_ago).unwrap();
        let _third = cache.scratch().unwrap();
        assert!(!old.path().exists() && new.path().exists());
    }

    #[test]
    fn a_lock_keeps_others_waiting() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::new(folder.path().into());
        let held = cache.lock("key", &crate::progress::Silent).unwrap();
        let (sender, receiver) = std::sync::mpsc::channel();
        let other = cache.clone();
        let waiting = std::thread::spawn(move || {
            let _lock = other.lock("key", &crate::progress::Silent).unwrap();
            sender.send(()).unwrap();
        });
        assert!(receiver.recv_timeout(Duration::from_millis(150)).is_err());
        drop(held);
        receiver.recv_timeout(Duration::from_secs(10)).unwrap();
        waiting.join().unwrap();
    }
}
