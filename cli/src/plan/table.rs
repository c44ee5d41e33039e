//! A plan as a table.

use std::fmt;
use std::time::Duration;

use super::{Plan, PlannedStage};
use crate::quantity;
use crate::stages::State;

const HEADERS: [&str; 9] = ["stage", "state", "hash", "tokens", "parameters", "memory", "disk", "time", "needs"];

fn row(stage: &PlannedStage) -> [String; 9] {
    let state = match &stage.resolved.state {
        State::Finished(_) => "done",
        State::Interrupted => "goes on",
        State::Missing => "to run",
    };
    let hash = stage.resolved.key.as_ref().map_or("?".into(), |key| key[..12].to_owned());
    let estimate = &stage.estimate;
    let or_dash = |value: Option<String>| value.unwrap_or_else(|| "-".into());
    [
        stage.name.clone(),
        state.into(),
        hash,
        or_dash(estimate.tokens.map(quantity::count)),
        or_dash(estimate.parameters.map(quantity::count)),
        or_dash(estimate.memory.map(quantity::bytes)),
        or_dash(estimate.disk.map(quantity::bytes)),
        or_dash(estimate.seconds.map(|seconds| quantity::duration(Duration::from_secs(seconds)))),
        if stage.inputs.is_empty() { "-".into() } else { stage.inputs.join(" ") },
    ]
}

impl fmt::Display for Plan {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(out, "plan of `{}`\n\nsources", self.name)?;
        for (stage, source) in &self.sources {
            writeln!(out, "  {stage}  {source}")?;
        }
        let mut rows = vec![HEADERS.map(String::from)];
        rows.extend(self.stages.iter().map(row));
        let mut widths = [0; 9];
        for row in &rows {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = (*width).max(cell.chars().count());
            }
        }
        writeln!(out)?;
        for row in &rows {
            let mut line = String::new();
            for (column, (cell, width)) in row.iter().zip(widths).enumerate() {
                let padding = " ".repeat(width - cell.chars().count());
                // Text to the left, amounts to the right.
                match column {
                    3..=7 => line = format!("{line}{padding}{cell}  "),
                    _ => line = format!("{line}{cell}{padding}  "),
                }
            }
            writeln!(out, "{}", line.trim_end())?;
        }
        self.totals(out)
    }
}

impl Plan {
    fn totals(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let to_run = || self.stages.iter().filter(|stage| !matches!(stage.resolved.state, State::Finished(_)));
        if to_run().next().is_none() {
            return writeln!(out, "\nnothing to do: every stage is finished");
        }
        let memory = to_run().filter_map(|stage| stage.estimate.memory).max();
        let disk: u64 = to_run().filter_map(|stage| stage.estimate.disk).sum();
        let seconds: u64 = to_run().filter_map(|stage| stage.estimate.seconds).sum();
        if let Some(memory) = memory {
            writeln!(
                out,
                "\nto run: {} of {} stages, about {}, {} memory, {} disk (estimates; `-` is small or not known)",
                to_run().count(),
                self.stages.len(),
                quantity::duration(Duration::from_secs(seconds)),
                quantity::bytes(memory),
                quantity::bytes(disk),
            )?;
        } else {
            writeln!(
                out,
                "\nto run: {} of {} stages. Parameters, memory, disk and time are unknown until the teacher is fetched",
                to_run().count(),
                self.stages.len(),
            )?;
        }
        if to_run().any(|stage| stage.resolved.key.is_none()) {
            writeln!(out, "`?`: the hash is unknown until the sources are fetched")?;
        }
        Ok(())
    }
}
