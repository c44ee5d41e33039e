//! Where keys and installed modules are.

use std::env;
use std::path::PathBuf;

use lore_packs::{Keyring, Library};

use crate::session::Session;

/// Which keys.
#[derive(Debug, Clone, clap::Args)]
pub struct KeysOption {
    /// Folder of keys [default: $LORE_KEYS or ~/.config/lore/keys]
    #[arg(long = "keys", value_name = "DIR")]
    keys_folder: Option<PathBuf>,
}

impl KeysOption {
    /// The keys.
    pub fn keyring(&self) -> Keyring {
        Keyring::new(self.keys_folder.clone().unwrap_or_else(default_keys))
    }
}

/// Which library.
#[derive(Debug, Clone, clap::Args)]
pub struct LibraryOption {
    /// Folder of installed modules [default: $LORE_LIBRARY or `library` in the cache]
    #[arg(long = "library", value_name = "DIR")]
    library_folder: Option<PathBuf>,
}

impl LibraryOption {
    /// The library.
    pub fn library(&self, session: &Session) -> Library {
        let folder = self.library_folder.clone().or_else(|| variable("LORE_LIBRARY"));
        Library::new(folder.unwrap_or_else(|| session.fetcher.cache_dir().join("library")))
    }
}

fn variable(name: &str) -> Option<PathBuf> {
    env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from)
}

/// Not in the cache: a cache may be deleted, a key may not.
fn default_keys() -> PathBuf {
    variable("LORE_KEYS")
        .or_else(|| variable("XDG_CONFIG_HOME").map(|folder| folder.join("lore").join("keys")))
        .or_else(|| env::home_dir().map(|home| home.join(".config").join("lore").join("keys")))
        .unwrap_or_else(|| PathBuf::from(".lore-keys"))
}
