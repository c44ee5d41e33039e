//! What lies below a folder.

use std::fs::{self, Metadata};
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};

/// Everything below `folder` but the folders themselves, each by its path relative to `folder`, in no order that can be
/// relied on. Symbolic links are given and not followed.
///
/// # Errors
/// A folder that cannot be read.
pub fn walk(folder: &Path) -> Result<Vec<(PathBuf, Metadata)>> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(current) = folders.pop() {
        for entry in fs::read_dir(&current).map_err(Error::io(&current))? {
            let path = entry.map_err(Error::io(&current))?.path();
            let metadata = fs::symlink_metadata(&path).map_err(Error::io(&path))?;
            if metadata.is_dir() {
                folders.push(path);
            } else {
                found.push((path.strip_prefix(folder).unwrap_or(&path).to_owned(), metadata));
            }
        }
    }
    Ok(found)
}
