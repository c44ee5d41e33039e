//! `file:` sources.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::PathBuf;

use lore_datasets::Error;
use lore_datasets::fetch::{Fetched, Fetcher, SourceRequest, files_of, sha256_of_file};
use lore_datasets::progress::Silent;
use lore_datasets::source::SourceUri;
use tempfile::TempDir;

fn tree() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in
        [("a.md", "one"), ("b.txt", "two"), ("deep/c.md", "three"), ("deep/er/d.md", "four!"), (".hidden", "x")]
    {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    folder
}

fn fetch(folder: &TempDir, path: &str, sha256: Option<String>) -> Result<Fetched, Error> {
    let uri = SourceUri::File(path.into()).resolve_relative_to(folder.path());
    let fetcher = Fetcher::new(folder.path().join(".cache")).offline(true);
    fetcher.fetch(&SourceRequest { uri, sha256, pip_args: vec![] }, &Silent)
}

#[test]
fn a_file_a_folder_and_patterns() {
    let folder = tree();
    let names = |path: &str| -> Vec<PathBuf> {
        let files = files_of(&folder.path().join(path)).unwrap();
        files.iter().map(|file| file.strip_prefix(folder.path()).unwrap().to_owned()).collect()
    };
    let paths = |names: &[&str]| -> Vec<PathBuf> { names.iter().map(PathBuf::from).collect() };
    assert_eq!(names("a.md"), paths(&["a.md"]));
    assert_eq!(names(""), paths(&["a.md", "b.txt", "deep/c.md", "deep/er/d.md"]));
    assert_eq!(names("*.md"), paths(&["a.md"]));
    assert_eq!(names("**/*.md"), paths(&["a.md", "deep/c.md", "deep/er/d.md"]));
    assert_eq!(names("d*/{c,d}.md"), paths(&["deep/c.md"]));

    assert_eq!(fetch(&folder, "deep", None).unwrap().bytes, 10);
    assert_eq!(fetch(&folder, "**/*.md", None).unwrap().bytes, 13);
    assert_eq!(fetch(&folder, "b.txt", None).unwrap().bytes, 3);
}

#[test]
fn a_pinned_file_is_verified_each_time() {
    let folder = tree();
    let file = folder.path().join("a.md");
    let hash = sha256_of_file(&file).unwrap();
    assert_eq!(fetch(&folder, "a.md", Some(hash.clone())).unwrap().sha256, Some(hash.clone()));
    fs::write(&file, "changed").unwrap();
    let error = fetch(&folder, "a.md", Some(hash.clone())).unwrap_err();
    assert!(matches!(error, Error::WrongHash { .. }), "{error}");
    assert!(file.exists(), "a person's own file is never removed");
    let error = fetch(&folder, "deep", Some(hash)).unwrap_err();
    assert!(matches!(error, Error::BadHashRequest { .. }), "{error}");
}

#[test]
fn what_is_missing_is_named() {
    let folder = tree();
    fs::create_dir(folder.path().join("empty")).unwrap();
    for (path, what) in [
        ("nothing.md", "this file or folder"),
        ("*.csv", "any file that matches"),
        ("nowhere/*.md", "the folder this pattern starts in"),
        ("empty", "any file in this folder"),
        ("*.{md", "a usable pattern"),
    ] {
        let message = fetch(&folder, path, None).unwrap_err().to_string();
        assert!(message.contains(what) && message.contains("recipe's folder"), "{message}");
    }
}
