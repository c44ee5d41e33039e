//! `file:` sources: a file, a folder, or a pattern.

use std::fs;
use std::io::ErrorKind;
use std::path::{Component, Path, PathBuf};

use super::Fetched;
use super::cache::Cache;
use crate::error::{Error, Result};
use crate::extract::Glob;

/// How deep folders are followed.
const MAX_DEPTH: usize = 64;

pub(super) fn fetch(uri: &str, path: &Path, expected: Option<&str>, cache: &Cache) -> Result<Fetched> {
    let files = files_of(path)?;
    let bytes = files.iter().map(|file| fs::metadata(file).map_or(0, |m| m.len())).sum();
    let mut sha256 = None;
    if let Some(expected) = expected {
        if !path.is_file() {
            return Err(Error::BadHashRequest {
                uri: uri.into(),
                problem: "a sha256 was given, but the source is not one file. Leave it out, or name one file".into(),
            });
        }
        let found = cache.sha256(path)?;
        if found != expected {
            return Err(Error::WrongHash { uri: uri.into(), expected: expected.into(), found });
        }
        sha256 = Some(found);
    }
    Ok(Fetched { path: path.into(), bytes, sha256, from_cache: true })
}

/// The files meant by a path: the file itself, all files below a folder, or all that match a pattern.
/// Sorted; hidden files are left out unless named.
///
/// # Errors
/// [`Error::NotFound`] when there is none; [`Error::Io`] when a folder cannot be read.
pub fn files_of(path: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    let metadata = fs::metadata(path);
    match metadata {
        Ok(metadata) if metadata.is_file() => files.push(path.to_owned()),
        Ok(metadata) if metadata.is_dir() => walk(path, 0, &mut |file| files.push(file))?,
        Ok(_) => {
            return Err(missing(path, "a file or folder (this is a device, pipe or socket)"));
        }
        Err(error) => match path.to_str() {
            Some(text) if is_pattern(text) => files = matching(path)?,
            _ if error.kind() == ErrorKind::NotFound => {
                return Err(missing(path, "this file or folder"));
            }
            _ => return Err(Error::io(path, error)),
        },
    }
    if files.is_empty() {
        let what = if path.is_dir() { "any file in this folder" } else { "any file that matches this pattern" };
        return Err(missing(path, what));
    }
    files.sort();
    Ok(files)
}

fn is_pattern(text: &str) -> bool {
    text.contains(['*', '?', '{'])
}

fn missing(path: &Path, what: &str) -> Error {
    Error::NotFound {
        uri: format!("file:{}", path.display()),
        what: what.into(),
        advice: "Check the spelling; a relative path in a recipe starts at the recipe's folder".into(),
    }
}

/// The folder that a pattern such as `texts/*.md` starts in, and the pattern inside it; `None` for a path
/// without wildcards or with unusable ones.
pub(crate) fn pattern(path: &Path) -> Option<(PathBuf, Glob)> {
    path.to_str().filter(|text| is_pattern(text))?;
    let (root, rest) = parts(path);
    Some((root, Glob::new(&rest).ok()?))
}

fn parts(pattern: &Path) -> (PathBuf, String) {
    let mut root = PathBuf::new();
    let mut rest: Vec<String> = Vec::new();
    for component in pattern.components() {
        match component {
            Component::Normal(part) if !rest.is_empty() || is_pattern(&part.to_string_lossy()) => {
                rest.push(part.to_string_lossy().into_owned());
            }
            other => root.push(other),
        }
    }
    if root.as_os_str().is_empty() {
        root.push(".");
    }
    (root, rest.join("/"))
}

fn matching(pattern: &Path) -> Result<Vec<PathBuf>> {
    let (root, rest) = parts(pattern);
    if !root.is_dir() {
        return Err(missing(&root, "the folder this pattern starts in"));
    }
    let glob =
        Glob::new(&rest).map_err(|problem| missing(pattern, &format!("a usable pattern ({problem}), so any file")))?;
    let mut files = Vec::new();
    walk(&root, 0, &mut |file| {
        let relative = file.strip_prefix(&root).unwrap_or(&file).to_string_lossy().replace('\\', "/");
        if glob.matches(&relative) {
            files.push(file);
        }
    })?;
    Ok(files)
}

fn walk(folder: &Path, depth: usize, found: &mut dyn FnMut(PathBuf)) -> Result<()> {
    if depth > MAX_DEPTH {
        return Err(Error::io(folder, std::io::Error::other("folders are nested too deeply")));
    }
    for entry in fs::read_dir(folder).map_err(|e| Error::io(folder, e))? {
        let entry = entry.map_err(|e| Error::io(folder, e))?;
        if entry.file_name().to_string_lossy().starts_with('.') {
            continue;
        }
        let path = entry.path();
        // Extraction follows no links; what cannot be followed is no reason to stop.
        let link = entry.file_type().map_err(|e| Error::io(&path, e))?.is_symlink();
        let metadata = match fs::metadata(&path) {
            Ok(metadata) => metadata,
            Err(_) if link => continue,
            Err(error) => return Err(Error::io(&path, error)),
        };
        if link && metadata.is_dir() {
            continue;
        }
        if metadata.is_dir() {
            walk(&path, depth + 1, found)?;
        } else if metadata.is_file() {
            found(path);
        }
    }
    Ok(())
}
