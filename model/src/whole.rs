//! What is written whole or not at all: beside its place first, then under its name.
//!
//! Unlike other temporary files and folders, these may be read by whom the system lets read new ones: they are to become some.

use std::io;
use std::path::Path;

use tempfile::{Builder, NamedTempFile, TempDir};

/// How the name begins of what is being written. Where it ends so for good, a program was killed, and it may be removed.
pub const WRITING: &str = ".lore-writing-";

/// A file in `folder` that is removed unless it is given a name.
///
/// # Errors
/// What kept it from being made.
pub fn file_beside(folder: &Path) -> io::Result<NamedTempFile> {
    with_mode(0o666).tempfile_in(folder)
}

/// A folder in `folder` that is removed unless it is given a name.
///
/// # Errors
/// What kept it from being made.
pub fn folder_beside(folder: &Path) -> io::Result<TempDir> {
    with_mode(0o777).tempdir_in(folder)
}

/// The folder that holds `path`.
pub fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| *folder != Path::new("")).unwrap_or(Path::new("."))
}

/// What a new file or folder may be used for, before the system takes away what its owner lets nobody do.
fn with_mode(mode: u32) -> Builder<'static, 'static> {
    let mut builder = Builder::new();
    builder.prefix(WRITING);
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(mode));
    #[cfg(not(unix))]
    let _ = mode;
    builder
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::fs;

    use super::*;

    #[cfg(unix)]
    #[test]
    fn they_are_as_readable_as_anything_new() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let place = |name: &str| folder.path().join(name);
        fs::File::create(place("new")).unwrap();
        fs::create_dir(place("new-folder")).unwrap();
        file_beside(folder.path()).unwrap().persist(place("whole")).unwrap();
        fs::rename(folder_beside(folder.path()).unwrap().keep(), place("whole-folder")).unwrap();
        let mode = |name: &str| fs::metadata(place(name)).unwrap().permissions().mode();
        assert_eq!((mode("whole"), mode("whole-folder")), (mode("new"), mode("new-folder")));
    }

    #[test]
    fn what_gets_no_name_is_gone() {
        let folder = tempfile::tempdir().unwrap();
        let (file, inside) = (file_beside(folder.path()).unwrap(), folder_beside(folder.path()).unwrap());
        let names = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name());
        assert!(names.into_iter().all(|name| name.to_string_lossy().starts_with(WRITING)));
        drop((file, inside));
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_bare_name_is_in_the_folder_at_hand() {
        for (path, folder) in [("file", "."), ("a/file", "a"), ("/file", "/"), ("./file", ".")] {
            assert_eq!(folder_of(Path::new(path)), Path::new(folder));
        }
    }
}
