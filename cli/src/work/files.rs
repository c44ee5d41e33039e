//! The files of a job or result, with their hashes.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Component, Path};

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::stages::sha256_of_file;
use crate::walk::walk;

/// A file, exactly.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pinned {
    /// Relative, with `/` between its parts.
    pub path: String,
    /// Its size.
    pub bytes: u64,
    /// Its hash, 64 hexadecimal digits.
    pub sha256: String,
}

/// Every file below `folder` but those at its top that are named in `except`, in order of path.
///
/// # Errors
/// Anything that is neither a file nor a folder, or has a name that not every system can hold.
pub fn list(folder: &Path, except: &[&str]) -> Result<Vec<Pinned>> {
    let mut found = Vec::new();
    for (path, bytes) in sizes(folder)? {
        if except.contains(&path.as_str()) {
            continue;
        }
        let sha256 = sha256_of_file(&folder.join(&path))?;
        found.push(Pinned { path, bytes, sha256 });
    }
    Ok(found)
}

/// What differs between the files below `folder`, but for those named in `except`, and those that should be there.
///
/// # Errors
/// As [`list`].
pub fn differences(folder: &Path, pinned: &[Pinned], except: &[&str]) -> Result<Vec<String>> {
    let mut found = sizes(folder)?;
    for name in except {
        found.remove(*name);
    }
    let mut problems = Vec::new();
    for Pinned { path, bytes, sha256 } in pinned {
        match found.remove(path) {
            None => problems.push(format!("`{path}` is missing")),
            Some(size) if size != *bytes => problems.push(format!("`{path}` has {size} bytes instead of {bytes}")),
            Some(_) if sha256_of_file(&folder.join(path))? != *sha256 => {
                problems.push(format!("`{path}` was altered: it has another sha256"));
            }
            Some(_) => {}
        }
    }
    problems.extend(found.keys().map(|path| format!("`{path}` does not belong there")));
    Ok(problems)
}

/// Files with their sizes, by relative path.
fn sizes(folder: &Path) -> Result<BTreeMap<String, u64>> {
    let mut found = BTreeMap::new();
    for (relative, metadata) in walk(folder)? {
        let parts: Option<Vec<&str>> = relative.iter().map(|part| part.to_str()).collect();
        let name = parts.map(|parts| parts.join("/")).filter(|name| metadata.is_file() && is_plain(name));
        let name = name.ok_or_else(|| {
            Error::Failed(format!(
                "{}: not a plain file with a plain name",
                folder.join(&relative).display().to_string().escape_debug()
            ))
        })?;
        found.insert(name, metadata.len());
    }
    Ok(found)
}

/// Whether a relative path stays below its folder and means the same everywhere.
pub fn is_plain(path: &str) -> bool {
    let parts = || Path::new(path).components();
    !path.is_empty()
        && path.len() <= 240
        && stays_below(Path::new(path))
        && parts().map(|part| part.as_os_str().to_string_lossy()).collect::<Vec<_>>().join("/") == path
        && !path.contains(|c: char| c.is_control() || matches!(c, '\\' | ':'))
}

/// Whether a path leads nowhere but down from where it starts.
pub fn stays_below(path: &Path) -> bool {
    path.components().all(|part| matches!(part, Component::Normal(_)))
}

/// Copies a file, making its folder.
///
/// # Errors
/// Either path.
pub fn copy(from: &Path, to: &Path) -> Result<()> {
    if let Some(parent) = to.parent() {
        fs::create_dir_all(parent).map_err(Error::io(parent))?;
    }
    fs::copy(from, to).map_err(Error::io(from))?;
    Ok(())
}

/// Copies all files below a folder.
///
/// # Errors
/// As [`list`] and [`copy`].
pub fn copy_all(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to).map_err(Error::io(to))?;
    sizes(from)?.keys().try_for_each(|path| copy(&from.join(path), &to.join(path)))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn only_paths_that_stay_below_are_plain() {
        for good in ["a", "a/b.c", "inputs/base-0123/model.safetensors", "ä"] {
            assert!(is_plain(good), "{good}");
        }
        for bad in ["", "/a", "../a", "a/../b", "a//b", "./a", "a/", "a\\b", "c:a", "a\nb", "a\0b", &"x".repeat(300)] {
            assert!(!is_plain(bad), "{bad:?}");
        }
    }

    #[test]
    fn every_difference_is_found() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        write("top.json", "{}");
        write("a/one", "1");
        write("a/two", "22");
        write("three", "333");
        let pinned = list(folder.path(), &["top.json"]).unwrap();
        assert_eq!(pinned.iter().map(|file| file.path.as_str()).collect::<Vec<_>>(), ["a/one", "a/two", "three"]);
        assert!(differences(folder.path(), &pinned, &["top.json"]).unwrap().is_empty());
        write("a/one", "2");
        write("a/two", "2");
        fs::remove_file(folder.path().join("three")).unwrap();
        write("a/four", "4");
        let found = differences(folder.path(), &pinned, &["top.json"]).unwrap();
        assert_eq!(
            found,
            [
                "`a/one` was altered: it has another sha256",
                "`a/two` has 1 bytes instead of 2",
                "`three` is missing",
                "`a/four` does not belong there"
            ]
        );
        #[cfg(unix)]
        {
            std::os::unix::fs::symlink("/etc/passwd", folder.path().join("link")).unwrap();
            assert!(list(folder.path(), &[]).unwrap_err().to_string().contains("not a plain file"));
        }
    }
}
