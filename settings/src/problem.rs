//! What is wrong with a file, as a person reads it.

use std::collections::BTreeSet;
use std::fmt;
use std::path::{Path, PathBuf};

/// One thing to correct.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Line, counted from 1.
    pub line: usize,
    /// Column in characters, counted from 1.
    pub column: usize,
    /// Dotted key, such as `base.train.steps`; empty for the file as a whole.
    pub key: String,
    /// What is wrong.
    pub message: String,
    /// What was probably meant.
    pub hint: Option<String>,
}

/// Said of a key that must be there.
pub const MISSING: &str = "is missing";

impl Problem {
    /// Whether this says that `key`, or a table around it, is missing.
    pub fn covers(&self, key: &str) -> bool {
        let inside = |rest: &str| rest.is_empty() || rest.starts_with(['.', '[']);
        self.message == MISSING && key.strip_prefix(self.key.as_str()).is_some_and(inside)
    }
}

/// Everything that is wrong with one file, in the order of the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problems {
    path: PathBuf,
    problems: Vec<Problem>,
}

impl std::error::Error for Problems {}

impl Problems {
    /// Sorts the problems. What `[modules]` sets is read once for every topic; it is told once.
    pub fn new(path: &Path, mut problems: Vec<Problem>) -> Self {
        problems.sort_by_key(|problem| (problem.line, problem.column));
        let mut seen = BTreeSet::new();
        problems.retain(|problem| {
            let last = problem.key.rsplit('.').next().unwrap_or_default().to_owned();
            seen.insert((problem.line, problem.column, last, problem.message.clone()))
        });
        Self { path: path.to_owned(), problems }
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.path.display();
        match self.problems.len() {
            1 => write!(out, "{path} has a problem:")?,
            count => write!(out, "{path} has {count} problems:")?,
        }
        for Problem { line, column, key, message, hint } in &self.problems {
            write!(out, "\n  {path}:{line}:{column}: ")?;
            if !key.is_empty() {
                write!(out, "`{key}` ")?;
            }
            write!(out, "{message}")?;
            if let Some(hint) = hint {
                write!(out, "; {hint}")?;
            }
        }
        Ok(())
    }
}
