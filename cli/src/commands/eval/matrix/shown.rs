//! The matrix as tables.

use std::fmt::Write as _;

use lore_board::scores::oriented;
use lore_eval::comparison::{Row, Verdict};
use lore_eval::frontier::frontier;
use lore_eval::metrics::{Metric, metrics, primary};
use lore_eval::report::CONTROLS;
use serde::Serialize;

use super::Measured;
use crate::quantity;
use crate::table;

/// What a row gains over the first in the mean of all tasks: percentage points of right answers, percent of other figures.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(super) struct Gain {
    /// Positive is better.
    pub(super) value: f64,
    /// Its standard error, if every task has two items at least.
    pub(super) standard_error: Option<f64>,
    /// Whether nothing that needs less memory gains as much.
    pub(super) frontier: bool,
}

/// Gains of all rows, the first of which gains nothing. `compared` are the comparisons of the others with it.
pub(super) fn gains(rows: &[Measured], compared: &[Row]) -> Vec<Gain> {
    let mut gains = vec![(0.0, Some(0.0))];
    for row in 1..rows.len() {
        let (mut values, mut squares) = (Vec::new(), Some(0.0));
        for (result, _) in &rows[0].results {
            let Some(metric) = primary(&result.task.kind) else { continue };
            let Some(found) = of_row(compared, row, &result.name(), metric.name) else { continue };
            let (sign, scale) = oriented(metric, found.a.value);
            values.push(100.0 * sign * found.paired.difference / scale);
            let square = found.paired.standard_error.map(|error| (100.0 * error / scale).powi(2));
            squares = squares.zip(square).map(|(sum, square): (f64, f64)| sum + square);
        }
        let count = values.len().max(1) as f64;
        gains.push((values.iter().sum::<f64>() / count, squares.map(|sum| sum.sqrt() / count)));
    }
    let points: Vec<(f64, f64)> =
        rows.iter().zip(&gains).map(|(row, gain)| (row.cost.resident_bytes as f64, gain.0)).collect();
    let marks = frontier(&points);
    let gain = |((value, standard_error), frontier)| Gain { value, standard_error, frontier };
    gains.into_iter().zip(marks).map(gain).collect()
}

/// The comparison of a row with the first.
fn of_row<'a>(compared: &'a [Row], row: usize, task: &str, metric: &str) -> Option<&'a Row> {
    // Comparisons of a task stand in the order of the rows after the first.
    compared.iter().filter(|one| one.task == task && one.metric == metric).nth(row.checked_sub(1)?)
}

/// Tables as Markdown: for each task its metrics, the most telling first, then what everything costs.
pub(super) fn tables(rows: &[Measured], compared: &[Row], gains: &[Gain]) -> String {
    let mut text = String::new();
    for (place, (first, _)) in rows[0].results.iter().enumerate() {
        for metric in metrics(&first.task.kind).iter().filter(|metric| metric.tested) {
            writeln!(text, "{}, {} ({} items)\n", first.name(), metric.name, first.items.count).expect("a String");
            text.push_str(&of_task(rows, compared, place, metric));
            text.push('\n');
        }
    }
    text.push_str("What it costs, and what it gains over the base in the mean of all tasks (points or percent)\n\n");
    text.push_str(&costs(rows, gains));
    text
}

fn of_task(rows: &[Measured], compared: &[Row], place: usize, metric: &Metric) -> String {
    let first = &rows[0].results[place].0;
    let clean = first.contamination.as_ref().filter(|split| split.dirty.items > 0);
    let choices = metric.name == "acc" && !first.controls.is_empty();
    let clean_heading = clean.map(|split| format!("clean ({})", split.clean.items));
    let mut headers = vec!["loaded", metric.name, "change", "95 % interval", ""];
    headers.extend(clean_heading.as_deref());
    if choices {
        headers.extend(["labels shuffled", "without question"]);
    }
    let mut cells = Vec::new();
    for (number, row) in rows.iter().enumerate() {
        let result = &row.results[place].0;
        let Some(figure) = result.metrics.get(metric.name) else { continue };
        let mut line = vec![row.name.clone(), format!("{:.4}", figure.value)];
        line.extend(change(of_row(compared, number, &result.name(), metric.name)));
        if clean.is_some() {
            let split = result.contamination.as_ref();
            let figure = split.and_then(|split| split.clean.metrics.get(metric.name));
            line.push(figure.map_or_else(String::new, |figure| format!("{:.4}", figure.value)));
        }
        if choices {
            let control = |name: &str| result.controls.get(name).map_or_else(String::new, |acc| format!("{acc:.4}"));
            line.extend([control("shuffled"), control("answer_only")]);
        }
        cells.push(line);
    }
    if choices {
        for (control, name) in CONTROLS {
            if let Some(acc) = first.controls.get(control) {
                let mut line = vec![format!("({name})"), format!("{acc:.4}")];
                line.resize(headers.len(), String::new());
                cells.push(line);
            }
        }
    }
    table::lines(&headers, &cells, 1)
}

/// Change, interval and verdict.
fn change(row: Option<&Row>) -> [String; 3] {
    let Some(row) = row else { return Default::default() };
    let [low, high] = row.paired.interval;
    let verdict = match row.verdict {
        Verdict::A => "worse",
        Verdict::B => "better",
        Verdict::Tie => "",
    };
    [format!("{:+.4}", row.paired.difference), format!("{low:+.4} … {high:+.4}"), verdict.into()]
}

fn costs(rows: &[Measured], gains: &[Gain]) -> String {
    let headers =
        ["loaded", "gain", "± error", "modules", "in memory", "peak", "load ms", "tokens/s", "on the frontier"];
    let line = |(row, gain): (&Measured, &Gain)| {
        let cost = &row.cost;
        vec![
            row.name.clone(),
            format!("{:+.2}", gain.value),
            gain.standard_error.map_or_else(String::new, |error| format!("{error:.2}")),
            quantity::bytes(cost.module_bytes),
            quantity::bytes(cost.resident_bytes),
            cost.peak_bytes.map_or_else(String::new, quantity::bytes),
            format!("{:.1}", cost.load_ms),
            format!("{:.0}", cost.tokens_per_second),
            if gain.frontier { "yes".into() } else { String::new() },
        ]
    };
    table::lines(&headers, &rows.iter().zip(gains).map(line).collect::<Vec<_>>(), 1)
}
