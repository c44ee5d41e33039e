//! Data that is never part of the project; its folder is given by LORE_DATA, else it is `../shared/data`.

use std::path::{Path, PathBuf};

/// A file of it; `None`, with a word on stderr, where it is absent.
pub fn shared(path: &str) -> Option<PathBuf> {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the crate is in a workspace");
    let root = std::env::var_os("LORE_DATA").map_or_else(|| workspace.join("../shared/data"), PathBuf::from);
    let path = root.join(path);
    if !path.exists() {
        eprintln!("skipped: {} is absent; set LORE_DATA to the folder of the data", path.display());
        return None;
    }
    Some(path)
}
