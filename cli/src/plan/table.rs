//! A plan as a table.

use std::fmt;
use std::time::Duration;

use super::{Plan, PlannedStage};
use crate::quantity;
use crate::stages::{State, elsewhere};

const HEADERS: [&str; 9] = ["stage", "state", "hash", "tokens", "parameters", "memory", "disk", "time", "needs"];

fn row(stage: &PlannedStage) -> [String; 9] {
    let state = match &stage.resolved.state {
        State::Finished(_) => "done".into(),
        State::Elsewhere(found) => format!("in `{}`", elsewhere::run_of(found)),
        State::Interrupted => "goes on".into(),
        State::Missing => "to run".into(),
    };
    let hash = stage.resolved.key.as_ref().map_or("?".into(), |key| key[..12].to_owned());
    let estimate = &stage.estimate;
    let or_dash = |value: Option<String>| value.unwrap_or_else(|| "-".into());
    [
        stage.name.clone(),
        state,
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
    fn to_run(&self) -> impl Iterator<Item = &PlannedStage> {
        self.stages.iter().filter(|stage| !matches!(stage.resolved.state, State::Finished(_) | State::Elsewhere(_)))
    }

    /// Modules do not need each other: as many are trained at once as there are devices. All else is one after another.
    fn seconds(&self) -> u64 {
        let (modules, others): (Vec<_>, Vec<_>) = self.to_run().partition(|stage| stage.name.starts_with("module:"));
        let sum = |stages: &[&PlannedStage]| stages.iter().filter_map(|stage| stage.estimate.seconds).sum::<u64>();
        let longest = modules.iter().filter_map(|stage| stage.estimate.seconds).max().unwrap_or_default();
        let devices = self.devices.map_or(1, |devices| devices.count);
        sum(&others) + longest.max(sum(&modules).div_ceil(devices))
    }

    fn totals(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.to_run().next().is_none() {
            return writeln!(out, "\nnothing to do: every stage is finished");
        }
        let (count, of) = (self.to_run().count(), self.stages.len());
        let disk: u64 = self.to_run().filter_map(|stage| stage.estimate.disk).sum();
        if let Some(memory) = self.to_run().filter_map(|stage| stage.estimate.memory).max() {
            writeln!(
                out,
                "\nto run: {count} of {of} stages, about {}, {} memory, {} disk (estimates; `-` is small or not known)",
                quantity::duration(Duration::from_secs(self.seconds())),
                quantity::bytes(memory),
                quantity::bytes(disk),
            )?;
            self.on_devices(out)?;
            if let Some(speed) = &self.speed {
                writeln!(out, "{speed}")?;
            }
            if self.questions && self.to_run().any(|stage| stage.name == "evaluate") {
                writeln!(
                    out,
                    "the questions of `[evaluate.tasks]` are not counted: how many there are is known when they are read"
                )?;
            }
        } else {
            writeln!(
                out,
                "\nto run: {count} of {of} stages. Parameters, memory, disk and time are unknown until the teacher is fetched, \
                 or its sizes are in `[teacher.shape]`",
            )?;
        }
        if self.to_run().any(|stage| stage.resolved.key.is_none()) {
            writeln!(out, "`?`: the hash is unknown until the sources are fetched")?;
        }
        Ok(())
    }

    /// What holds on the devices it is planned for: what is assumed, what does not fit, what it costs.
    fn on_devices(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(devices) = &self.devices else { return Ok(()) };
        writeln!(out, "on {devices}: modules side by side, every other stage on one device")?;
        writeln!(out, "{}", devices.assumptions())?;
        for stage in self.to_run() {
            let Some(memory) = stage.estimate.memory.filter(|&memory| memory > devices.memory()) else { continue };
            writeln!(
                out,
                "{} does not fit: {} of {}. Smaller, where the recipe has it not yet: `recompute = true`, a larger `accumulate`, \
                 `distil = {{ teacher = \"cached\" }}` with `stream_tokens`, fewer blocks or a `width`",
                stage.name,
                quantity::bytes(memory),
                quantity::bytes(devices.memory())
            )?;
        }
        if let Some(price) = self.hourly_price {
            let hours = self.seconds() as f64 / 3600.0;
            writeln!(
                out,
                "cost: {:.2} for {devices} in {hours:.1} hours at {price} an hour each, idle ones included",
                price * hours * devices.count as f64,
            )?;
        }
        Ok(())
    }
}
