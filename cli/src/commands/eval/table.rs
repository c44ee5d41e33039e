//! Results and comparisons as tables.

use lore_eval::comparison::{Row, Verdict};
use lore_eval::metrics::metrics;
use lore_eval::result::{Subset, TaskResult};
use lore_eval::statistics::Estimate;

/// Subsets that are listed; more are only counted.
const LISTED: usize = 16;

/// The figures of a task, with a heading before the first.
pub fn result(result: &TaskResult, first: bool) -> String {
    let mut text = String::new();
    if first {
        text.push_str(&line("task", "items", "metric", "value", "± error"));
    }
    let kind = &result.task.kind;
    let shown = |figures: &std::collections::BTreeMap<String, Estimate>, tested: bool| -> Vec<(&str, Estimate)> {
        let wanted = metrics(kind).iter().filter(|metric| metric.tested || !tested);
        wanted.filter_map(|metric| Some((metric.name, *figures.get(metric.name)?))).collect()
    };
    let items = result.items.count.to_string();
    rows(&mut text, &result.name(), &items, &shown(&result.metrics, false));
    // Without the question is among the figures, with its standard error.
    for (name, value) in result.controls.iter().filter(|(name, _)| *name != "answer_only") {
        text.push_str(&line("", "", &format!("  {name}"), &format!("{value:.4}"), ""));
    }
    for (name, part) in result.contamination.iter().flat_map(|split| [("clean", &split.clean), ("dirty", &split.dirty)])
    {
        match part.items {
            0 => text.push_str(&line(&format!("  {name}"), "0", "", "", "")),
            items => rows(&mut text, &format!("  {name}"), &items.to_string(), &shown(&part.metrics, true)),
        }
    }
    match result.subsets.len() {
        0 => {}
        1..=LISTED => {
            for (name, Subset { items, metrics }) in &result.subsets {
                rows(&mut text, &format!("  {name}"), &items.to_string(), &shown(metrics, true));
            }
        }
        more => text.push_str(&format!("  {more} subsets: see the result file\n")),
    }
    text
}

fn rows(text: &mut String, name: &str, items: &str, figures: &[(&str, Estimate)]) {
    for (index, (metric, estimate)) in figures.iter().enumerate() {
        let (name, items) = if index == 0 { (name, items) } else { ("", "") };
        let error = estimate.standard_error.map_or_else(String::new, |error| format!("{error:.4}"));
        text.push_str(&line(name, items, metric, &format!("{:.4}", estimate.value), &error));
    }
}

fn line(task: &str, items: &str, metric: &str, value: &str, error: &str) -> String {
    let text = format!("{task:<36} {items:>6}  {metric:<16} {value:>10} {error:>8}");
    format!("{}\n", text.trim_end())
}

/// Both models on every task.
pub fn comparison(rows: &[Row]) -> String {
    let heading = ["task", "metric", "A", "B", "B − A", "95 % interval", "p (Holm)", "detectable", ""];
    let mut cells: Vec<[String; 9]> = vec![heading.map(str::to_owned)];
    for row in rows {
        let [low, high] = row.paired.interval;
        cells.push([
            row.task.clone(),
            row.metric.clone(),
            format!("{:.4}", row.a.value),
            format!("{:.4}", row.b.value),
            format!("{:+.4}", row.paired.difference),
            format!("{low:+.4} … {high:+.4}"),
            if row.adjusted_p_value < 0.0001 { "< 0.0001".into() } else { format!("{:.4}", row.adjusted_p_value) },
            row.detectable.map_or_else(String::new, |effect| format!("{effect:.4}")),
            match row.verdict {
                Verdict::A => "A better".into(),
                Verdict::B => "B better".into(),
                Verdict::Tie => "tie".into(),
            },
        ]);
    }
    let width = |column: usize| cells.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..9).map(width).collect();
    let mut text = String::new();
    for row in &cells {
        let padded = row.iter().zip(&widths).enumerate().map(|(column, (cell, width))| {
            if matches!(column, 0 | 1 | 8) { format!("{cell:<width$}") } else { format!("{cell:>width$}") }
        });
        text.push_str(padded.collect::<Vec<_>>().join("  ").trim_end());
        text.push('\n');
    }
    text
}
