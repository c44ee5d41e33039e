//! Task files of lm-evaluation-harness, as far as they are declarative.
//!
//! What is code (`!function`), or would change what is counted, is refused by name. Data is not fetched: a task of
//! the hub's `owner/set` (`config`) reads `owner/set/config/SPLIT.jsonl` below the data folder, and one of
//! `dataset_path: json` the file that `data_files` names.

mod convert;
mod document;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use super::{Error, Task, hex};

/// Includes within includes.
const DEEPEST: usize = 8;

/// Whether a file is meant as one of these.
pub(super) fn is_harness_file(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "yaml" || extension == "yml")
}

/// Reads a task with everything it includes.
///
/// # Errors
/// Files that cannot be read, and everything in them that is not declarative, at once.
pub(super) fn open(path: &Path) -> Result<Task, Error> {
    let refuse = |problems: Vec<String>| Error::Harness { path: path.to_owned(), problem: problems.join("; ") };
    let mut functions = BTreeSet::new();
    let merged = merged(path, &mut functions, DEEPEST)?;
    let mut problems: Vec<String> =
        functions.into_iter().map(|(key, function)| format!("`{key}` is the code `{function}`")).collect();
    if !problems.is_empty() {
        problems.push("only tasks without code can be read; write its items to a file and a task file for that".into());
        return Err(refuse(problems));
    }
    let text = Value::Object(merged.clone()).to_string();
    convert::task(merged, hex(&Sha256::digest(text))).map_err(refuse)
}

/// A key and the code that stands there.
type Functions = BTreeSet<(String, String)>;

/// The keys of a file over those of what it includes.
fn merged(path: &Path, functions: &mut Functions, depth: usize) -> Result<Map<String, Value>, Error> {
    let wrong = |problem: String| Error::Harness { path: path.to_owned(), problem };
    let text = std::fs::read_to_string(path).map_err(|source| Error::Unreadable { path: path.to_owned(), source })?;
    let (mut keys, own) = document::read(&text).map_err(wrong)?;
    let included = match keys.remove("include") {
        None => Vec::new(),
        Some(Value::String(file)) => vec![file],
        Some(Value::Array(files)) => files.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
        Some(other) => return Err(wrong(format!("`include` is {other}, no file"))),
    };
    let mut all = Map::new();
    for file in included {
        if depth == 0 {
            return Err(wrong(format!("more than {DEEPEST} files include each other")));
        }
        let beside: PathBuf = path.parent().unwrap_or(Path::new("")).join(&file);
        all.extend(merged(&beside, functions, depth - 1)?);
    }
    // What a file sets anew is not asked of what it includes.
    functions.retain(|(key, _)| !keys.contains_key(key));
    functions.extend(own);
    all.extend(keys);
    Ok(all)
}
