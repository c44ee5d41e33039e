//! Files that are written whole or not at all: beside their place first, then under their name.

use std::io;
use std::path::Path;

use tempfile::{Builder, NamedTempFile};

/// A file in `folder` that is removed unless it is given a name. Unlike other temporary files, anyone may read it whom the
/// system lets read new files: it is to become one.
///
/// # Errors
/// What kept it from being made.
pub fn beside(folder: &Path) -> io::Result<NamedTempFile> {
    let mut builder = Builder::new();
    builder.prefix(".lore-writing-");
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    builder.tempfile_in(folder)
}

#[cfg(all(test, unix))]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::fs::{self, File};
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn it_is_as_readable_as_any_new_file() {
        let folder = tempfile::tempdir().unwrap();
        let [new, whole] = ["new", "whole"].map(|name| folder.path().join(name));
        File::create(&new).unwrap();
        beside(folder.path()).unwrap().persist(&whole).unwrap();
        let mode = |path| fs::metadata(path).unwrap().permissions().mode();
        assert_eq!(mode(&whole), mode(&new));
        drop(beside(folder.path()).unwrap());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
    }
}
