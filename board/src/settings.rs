//! `board.toml`: what a board asks, and of which base. It never changes: its hash is in the first entry of the log.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use lore_eval::task::Selection;
use lore_settings::syntax::{line_and_column, steps};
use lore_settings::{Problem, Problems};
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// Fewer seeds would say nothing about luck.
pub const FEWEST_SEEDS: usize = 3;

/// The settings of a board.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Settings {
    /// Name for people.
    pub name: String,
    /// What it compares, in a sentence or two.
    #[serde(default)]
    pub about: String,
    /// The only base whose modules take part.
    pub base: BaseSettings,
    /// Each draws items, examples and distractors; all modules get the same.
    pub seeds: Vec<u64>,
    /// Resamples of the bootstrap.
    #[serde(default = "ten_thousand")]
    pub resamples: usize,
    /// The public tasks.
    #[serde(rename = "task")]
    pub tasks: Vec<TaskSettings>,
    /// Tasks whose items are not published.
    #[serde(rename = "holdout", default, skip_serializing_if = "Vec::is_empty")]
    pub holdouts: Vec<HoldoutSettings>,
}

/// `[base]`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BaseSettings {
    /// Name for people.
    pub name: String,
    /// Its identity.
    pub fingerprint: String,
}

/// `[[task]]`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskSettings {
    /// The task file, inside the board.
    pub file: String,
    /// Only this subset.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subset: Option<String>,
    /// Items of each subset that each seed draws; by default all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub items: Option<usize>,
    /// Solved examples before each question.
    #[serde(default)]
    pub shots: usize,
}

/// `[[holdout]]`: what the operator promises to ask, by hashes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HoldoutSettings {
    /// Its name; the task file `NAME.toml` is the operator's.
    pub name: String,
    /// The public task that it should agree with.
    pub of: String,
    /// Hash of the task file.
    pub sha256: String,
    /// Hash over its items.
    pub items_sha256: String,
}

fn ten_thousand() -> usize {
    10_000
}

impl TaskSettings {
    /// What one seed asks.
    pub fn selection(&self, seed: u64) -> Selection {
        Selection { subset: self.subset.clone(), limit: self.items, seed: Some(seed), shots: self.shots }
    }
}

impl Settings {
    /// Reads `board.toml`.
    ///
    /// # Errors
    /// When it cannot be read, and everything that is wrong with it, at once.
    pub fn open(path: &Path) -> Result<Self> {
        let text = fs::read_to_string(path).map_err(Error::io(path))?;
        let refuse = |problems| Error::Settings(Problems::new(path, problems));
        let (settings, tree) = lore_settings::from_toml::<Self>(&text).map_err(refuse)?;
        let problems: Vec<Problem> = settings
            .problems()
            .into_iter()
            .map(|(key, message)| {
                let (line, column) = line_and_column(&text, tree.nearest(&steps(key)).place.start);
                Problem { line, column, key: key.into(), message, hint: None }
            })
            .collect();
        if problems.is_empty() { Ok(settings) } else { Err(refuse(problems)) }
    }

    /// What is wrong, by key.
    pub fn problems(&self) -> Vec<(&'static str, String)> {
        let mut problems = Vec::new();
        let seeds: BTreeSet<u64> = self.seeds.iter().copied().collect();
        if seeds.len() < FEWEST_SEEDS || seeds.len() != self.seeds.len() {
            problems.push(("seeds", format!("must be at least {FEWEST_SEEDS} different numbers")));
        }
        if self.resamples < 1000 {
            problems.push(("resamples", "must be at least 1000".into()));
        }
        if self.tasks.is_empty() {
            problems.push(("task", "is missing: a board asks at least one task".into()));
        }
        for task in &self.tasks {
            let name = task.file.strip_prefix("tasks/");
            if !name.is_some_and(|name| name.ends_with(".toml") && !name.contains(['/', '\\'])) {
                problems.push(("task", format!("`file` is \"{}\", not `tasks/NAME.toml`", task.file)));
            }
            if task.items == Some(0) {
                problems.push(("task", "`items` must be at least 1".into()));
            }
        }
        if self.name.trim().is_empty() {
            problems.push(("name", "must not be empty".into()));
        }
        problems
    }
}
