//! Items that are not published: what a module gains on them, against what it gains on the public ones.
//!
//! The board names task file and items by hash when it opens, so that the operator cannot choose them afterwards. What
//! is published of them is one figure with its standard error.

use std::path::Path;

use lore_eval::comparison::{self, LEVEL};
use lore_eval::metrics::primary;
use lore_eval::result::TaskResult;
use lore_eval::sample::Sample;
use lore_eval::statistics::Bootstrap;
use lore_eval::task::{Item, Task, hash_of_items};
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::folder::Board;
use crate::scores::{Gain, oriented};
use crate::settings::HoldoutSettings;

/// A module on a private task.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HeldOut {
    /// The private task's name.
    pub name: String,
    /// The public task that it should agree with.
    pub of: String,
    /// Its items.
    pub items: usize,
    /// Gain over the base, in the units of the board.
    pub gain: f64,
    /// Its standard error.
    pub standard_error: f64,
}

/// Public less private gain.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Gap {
    /// How much better the module does on what is public.
    pub value: f64,
    /// Its standard error.
    pub standard_error: f64,
}

impl Gap {
    /// Of two gains on different items.
    pub fn new(public: &Gain, private: &HeldOut) -> Self {
        Self { value: public.value - private.gain, standard_error: public.standard_error.hypot(private.standard_error) }
    }

    /// Whether chance alone makes such a gap in fewer than one of twenty boards with `modules` modules.
    pub fn is_suspicious(&self, modules: usize) -> bool {
        let p = crate::ranking::normal_tail(self.value / self.standard_error.max(f64::MIN_POSITIVE));
        self.value > 0.0 && p * modules.max(1) as f64 <= LEVEL / 2.0
    }
}

impl HeldOut {
    /// Compares base and module, which were asked the same.
    ///
    /// # Errors
    /// Results of other items.
    pub fn of(
        settings: &HoldoutSettings,
        base: &(TaskResult, Vec<Sample>),
        module: &(TaskResult, Vec<Sample>),
    ) -> Result<Self> {
        let bootstrap = Bootstrap { resamples: 1000, seed: 0 };
        let rows = comparison::compare(&[(base, module)], &bootstrap).map_err(|e| Error::Request(e.to_string()))?;
        let metric = primary(&base.0.task.kind);
        let row = rows.iter().find(|row| metric.is_some_and(|metric| metric.name == row.metric));
        let Some((row, metric)) = row.zip(metric) else {
            return Error::request(format!("the private task `{}` has no figure to compare", settings.name));
        };
        let (sign, scale) = oriented(metric, row.a.value);
        Ok(Self {
            name: settings.name.clone(),
            of: settings.of.clone(),
            items: row.items,
            gain: sign * row.paired.difference / scale,
            standard_error: row.paired.standard_error.unwrap_or(f64::INFINITY) / scale,
        })
    }
}

impl Board {
    /// The private tasks with their items; they must be those that the board promised.
    ///
    /// # Errors
    /// Files that are missing, or others than the board was opened with.
    pub fn holdout_tasks(&self, folder: &Path) -> Result<Vec<(&HoldoutSettings, Task, Vec<Item>)>> {
        let mut tasks = Vec::new();
        for settings in &self.settings.holdouts {
            let path = folder.join(format!("{}.toml", settings.name));
            let task = Task::open(&path)?;
            if task.sha256 != settings.sha256 {
                return Error::altered(path, "it is not the task file that the board was opened with");
            }
            let items = task.items(folder, None, None)?;
            if items_hash(&items) != settings.items_sha256 {
                return Error::altered(path, "its data gives other items than the board was opened with");
            }
            tasks.push((settings, task, items));
        }
        Ok(tasks)
    }
}

/// Hash over items, as a board promises them.
pub fn items_hash(items: &[Item]) -> String {
    let hashes: Vec<String> = items.iter().map(Item::sha256).collect();
    hash_of_items(hashes.iter().map(String::as_str))
}
