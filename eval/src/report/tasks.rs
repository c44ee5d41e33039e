//! What everything that is measured answered, task by task.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::comparison::{self, Evaluated, Verdict, compare};
use crate::metrics::primary;
use crate::statistics::Bootstrap;

/// One task, and how each row of the report does on it, by the most telling metric of its kind.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct TaskColumn {
    /// The task, with its subset where only that was asked.
    pub name: String,
    /// The metric.
    pub metric: String,
    /// Whether more is better.
    pub higher_is_better: bool,
    /// Whether the metric is a share of right answers.
    pub share: bool,
    /// Items asked.
    pub items: u64,
    /// Of these, items that stand in the texts that were learnt from.
    pub dirty: u64,
    /// Accuracies that need no knowledge, by name; see [`crate::controls`].
    pub controls: BTreeMap<String, f64>,
    /// Rows, the first of which is what the others are compared with.
    pub rows: Vec<TaskCell>,
}

/// One row's figure.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct TaskCell {
    /// The row, as in the matrix.
    pub row: String,
    /// The metric over all items.
    pub value: f64,
    /// Its standard error.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub standard_error: Option<f64>,
    /// The metric over the items that do not stand in the texts that were learnt from; absent where all are such.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clean: Option<f64>,
    /// How it differs from the first row; absent for that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub change: Option<TaskChange>,
}

/// A difference from the first row, paired item by item.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct TaskChange {
    /// This row less the first.
    pub difference: f64,
    /// 95 % interval.
    pub interval: [f64; 2],
    /// Corrected for all tasks and rows by Holm's method.
    pub adjusted_p_value: f64,
    /// Whether the two differ, and this one is the better.
    pub better: bool,
    /// Whether the two differ, and this one is the worse.
    pub worse: bool,
}

/// Columns of what some models answered to the same questions, each given with its name.
///
/// # Errors
/// Results of different tasks or items.
pub fn task_columns(rows: &[(String, Vec<Evaluated>)]) -> Result<Vec<TaskColumn>, comparison::Error> {
    let Some((_, first)) = rows.first() else { return Ok(Vec::new()) };
    let pairs: Vec<(&Evaluated, &Evaluated)> =
        rows[1..].iter().flat_map(|(_, results)| first.iter().zip(results)).collect();
    let compared = compare(&pairs, &Bootstrap::default())?;
    let mut columns = Vec::new();
    for (place, (of_first, _)) in first.iter().enumerate() {
        let Some(metric) = primary(&of_first.task.kind) else { continue };
        // They stand in the order of the rows.
        let name = of_first.name();
        let mut changes = compared.iter().filter(|row| row.task == name && row.metric == metric.name);
        let mut cells = Vec::new();
        for (number, (row, results)) in rows.iter().enumerate() {
            let result = &results[place].0;
            let change = if number == 0 { None } else { changes.next() };
            let Some(figure) = result.metrics.get(metric.name) else { continue };
            let clean = result.contamination.as_ref().and_then(|split| split.clean.metrics.get(metric.name));
            cells.push(TaskCell {
                row: row.clone(),
                value: figure.value,
                standard_error: figure.standard_error,
                clean: clean.map(|figure| figure.value),
                change: change.map(|row| TaskChange {
                    difference: row.paired.difference,
                    interval: row.paired.interval,
                    adjusted_p_value: row.adjusted_p_value,
                    better: row.verdict == Verdict::B,
                    worse: row.verdict == Verdict::A,
                }),
            });
        }
        columns.push(TaskColumn {
            name,
            metric: metric.name.to_owned(),
            higher_is_better: metric.higher_is_better,
            share: metric.counts_answers(),
            items: of_first.items.count as u64,
            dirty: of_first.contamination.as_ref().map_or(0, |split| split.dirty.items as u64),
            controls: of_first.controls.clone(),
            rows: cells,
        });
    }
    Ok(columns)
}

/// Controls that do not depend on the model, and as people are told them.
pub const CONTROLS: [(&str, &str); 3] =
    [("chance", "a die"), ("majority", "the most frequent place"), ("longest", "the longest answer")];

impl TaskColumn {
    /// Over the column: its name.
    pub(super) fn heading(&self) -> String {
        self.name.clone()
    }

    /// Below that: the metric, and the items where there is room.
    pub(super) fn subheading(&self) -> String {
        let metric = self.metric.replace('_', " ");
        if metric.len() > 5 { metric } else { format!("{metric}, {}", super::quantity::grouped(self.items)) }
    }

    /// A figure of this task: a share in percent, anything else with three digits.
    pub fn shown(&self, value: f64) -> String {
        if self.share {
            format!("{} %", super::quantity::fixed(100.0 * value, 1))
        } else {
            super::quantity::fixed(value, 3)
        }
    }

    /// A difference of figures of this task, in percentage points or as it is.
    pub fn shown_change(&self, difference: f64) -> String {
        let (value, digits) = if self.share { (100.0 * difference, 1) } else { (difference, 3) };
        let text = super::quantity::fixed(value, digits);
        let positive = value > 0.0 && text.chars().any(|c| ('1'..='9').contains(&c));
        format!("{}{text}", if positive { "+" } else { "" })
    }

    /// The figure of a row.
    pub fn cell(&self, row: &str) -> Option<&TaskCell> {
        self.rows.iter().find(|cell| cell.row == row)
    }
}
