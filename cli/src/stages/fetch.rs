//! `fetch:<what>`: brings a source onto this machine.

use std::fs;
use std::path::Path;
use std::time::UNIX_EPOCH;

use lore_datasets::fetch::{files_of, sha256_of_file};
use lore_datasets::source::{SourceRequest, SourceUri};
use serde_json::{Value, json};

use super::{Outcome, Stage, StageContext, sha256_of};
use crate::error::Result;
use crate::plan::estimate::{Estimate, Facts};
use crate::quantity;

/// Fetches one source.
pub struct Fetch {
    name: String,
    request: SourceRequest,
}

impl Fetch {
    /// Of the source of `owner`: `teacher`, `general` or a topic.
    pub fn new(owner: &str, request: SourceRequest) -> Self {
        Self { name: format!("fetch:{owner}"), request }
    }

    /// From the content: of a wheel for a `pypi:` source, of which a part may be meant.
    fn identity(&self, content: Value) -> String {
        let inside = match &self.request.uri {
            SourceUri::Pypi { path, .. } => path.as_deref(),
            _ => None,
        };
        sha256_of(&json!([content, inside]))
    }
}

impl Stage for Fetch {
    fn name(&self) -> &str {
        &self.name
    }

    fn inputs(&self) -> Vec<String> {
        Vec::new()
    }

    fn config(&self) -> Value {
        let SourceRequest { uri, sha256, pip_args } = &self.request;
        let local = match uri {
            SourceUri::File(path) => local_stamps(path),
            _ => Value::Null,
        };
        json!({ "source": uri, "sha256": sha256, "pip_args": pip_args, "local": local })
    }

    fn expected_identity(&self, _key: &str) -> Option<String> {
        let pinned = self.request.sha256.as_ref()?.trim().to_ascii_lowercase();
        Some(self.identity(pinned.into()))
    }

    fn estimate(&self, _facts: &Facts) -> Estimate {
        Estimate::default()
    }

    fn run(&self, context: &StageContext<'_>) -> Result<Outcome> {
        let progress = context.session.progress.as_ref();
        let fetched = context.session.fetcher.fetch(&self.request, progress)?;
        let content = match &fetched.sha256 {
            Some(sha256) => Value::from(sha256.as_str()),
            None => content_of(&fetched.path)?,
        };
        let from = if fetched.from_cache { "already here" } else { "fetched" };
        Ok(Outcome {
            summary: format!("{} {from}, {}", self.request.uri, quantity::bytes(fetched.bytes)),
            facts: json!({ "source": self.request.uri, "bytes": fetched.bytes, "sha256": fetched.sha256 }),
            identity: Some(self.identity(content)),
            external: vec![fetched.path],
        })
    }
}

/// Names, sizes and times of local files, so that a changed file is fetched again.
fn local_stamps(path: &Path) -> Value {
    let stamp = |file: &Path| {
        let metadata = fs::metadata(file).ok()?;
        let modified = metadata.modified().ok()?.duration_since(UNIX_EPOCH).ok()?;
        // As text: JSON numbers do not hold nanoseconds.
        Some(json!([file, metadata.len(), modified.as_nanos().to_string()]))
    };
    // A source that cannot be listed has no stamps; fetching it says why.
    files_of(path).map_or(Value::Null, |files| files.iter().filter_map(|file| stamp(file)).collect())
}

/// Names and hashes of all files of a folder or pattern, or the hash of the one file.
fn content_of(path: &Path) -> Result<Value> {
    if path.is_file() {
        return Ok(Value::from(sha256_of_file(path)?));
    }
    let mut files = Vec::new();
    for file in files_of(path)? {
        let name = file.strip_prefix(path).unwrap_or(&file);
        files.push(json!([name, sha256_of_file(&file)?]));
    }
    Ok(Value::Array(files))
}
