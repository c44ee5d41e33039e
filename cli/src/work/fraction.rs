//! How far a job is, in files that the programs around it read: `fraction_done`, a number from 0 to 1, and `checkpoint`,
//! which changes when killing it would lose nothing.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use lore_datasets::progress::{Progress, Task, Unit};

use super::files;
use crate::error::Result;

/// Its name in the working folder.
pub const FRACTION: &str = "fraction_done";
/// Its name in the working folder.
pub const CHECKPOINT: &str = "checkpoint";
/// Where checkpoints that come with the result are collected.
pub const COLLECTED: &str = "checkpoints";

/// Passes progress on, and keeps the files.
pub struct Fraction {
    shown: Arc<dyn Progress>,
    state: Arc<Mutex<State>>,
}

struct State {
    working: PathBuf,
    /// The folder of the training, with its checkpoints.
    training: PathBuf,
    /// Steps whose checkpoints are collected.
    wanted: Vec<u64>,
    /// What was done before this process started.
    before: f64,
    done: u64,
    total: u64,
    written: f64,
    seen: Option<PathBuf>,
}

impl Fraction {
    /// For a job in `working`, whose training writes to `training`.
    pub fn new(shown: Arc<dyn Progress>, working: &Path, training: &Path, wanted: &[u64]) -> Self {
        let before = fs::read_to_string(working.join(FRACTION)).ok().and_then(|text| text.trim().parse().ok());
        let before = before.filter(|fraction| (0.0..1.0).contains(fraction)).unwrap_or(0.0);
        let state = State {
            working: working.to_owned(),
            training: training.to_owned(),
            wanted: wanted.to_vec(),
            before,
            done: 0,
            total: 0,
            written: 0.0,
            seen: None,
        };
        Self { shown, state: Arc::new(Mutex::new(state)) }
    }
}

impl State {
    fn advance(&mut self, by: u64) {
        self.done += by;
        self.look();
        // What follows the last known task is not known yet: never quite 1.
        let part = 0.99 * self.done as f64 / self.total.max(1) as f64;
        let fraction = (self.before + (1.0 - self.before) * part).clamp(self.written, 0.99);
        if fraction >= self.written + 0.001 {
            self.written = fraction;
            // For whoever watches: the work does not depend on it.
            let _ = replace(&self.working.join(FRACTION), &format!("{fraction:.6}\n"));
        }
    }

    /// Collects the newest checkpoint if it is wanted, and tells of it. It stays until the next one is whole, and the next
    /// one is made only after this returned.
    fn look(&mut self) {
        let newest = fs::read_dir(&self.training).into_iter().flatten().flatten().map(|entry| entry.path());
        let step = |path: &PathBuf| path.file_name()?.to_str()?.strip_prefix("checkpoint-")?.parse::<u64>().ok();
        let Some((step, newest)) = newest.filter_map(|path| Some((step(&path)?, path))).max() else {
            // An evaluation keeps every score it has: each is as good as a checkpoint.
            let _ = replace(&self.working.join(CHECKPOINT), &format!("{} tokens\n", self.done));
            return;
        };
        if self.seen.as_ref() == Some(&newest) {
            return;
        }
        if self.wanted.contains(&step) && collect(&newest, &self.working.join(COLLECTED)).is_err() {
            return;
        }
        let _ = replace(&self.working.join(CHECKPOINT), &format!("step {step}\n"));
        self.seen = Some(newest);
    }
}

/// Copies a checkpoint whole or not at all.
fn collect(checkpoint: &Path, to: &Path) -> Result<()> {
    let name = checkpoint.file_name().unwrap_or_default();
    let (partial, whole) = (to.join("partial"), to.join(name));
    if whole.exists() {
        return Ok(());
    }
    let _ = fs::remove_dir_all(&partial);
    files::copy_all(checkpoint, &partial)?;
    fs::rename(&partial, &whole).map_err(crate::error::Error::io(whole))
}

fn replace(path: &Path, text: &str) -> std::io::Result<()> {
    let partial = path.with_extension("partial");
    fs::write(&partial, text)?;
    fs::rename(&partial, path)
}

impl Progress for Fraction {
    fn task(&self, label: &str, total: Option<u64>, unit: Unit) -> Box<dyn Task> {
        let counted = unit == Unit::Tokens;
        if let (true, Some(total)) = (counted, total) {
            self.state.lock().expect("no panic while it was held").total += total;
        }
        Box::new(FractionTask { shown: self.shown.task(label, total, unit), state: self.state.clone(), counted })
    }

    fn note(&self, message: &str) {
        self.shown.note(message);
    }
}

struct FractionTask {
    shown: Box<dyn Task>,
    state: Arc<Mutex<State>>,
    counted: bool,
}

impl Task for FractionTask {
    fn advance(&mut self, by: u64) {
        self.shown.advance(by);
        if self.counted {
            self.state.lock().expect("no panic while it was held").advance(by);
        }
    }

    fn message(&mut self, text: &str) {
        self.shown.message(text);
    }

    fn finish(self: Box<Self>, summary: &str) {
        self.shown.finish(summary);
    }
}

/// Says that everything is done.
///
/// # Errors
/// A file that cannot be written.
pub fn finish(working: &Path) -> Result<()> {
    let path = working.join(FRACTION);
    replace(&path, "1.000000\n").map_err(crate::error::Error::io(path))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use lore_datasets::progress::Silent;

    use super::*;

    #[test]
    fn the_fraction_rises_and_goes_on_where_it_was() {
        let working = tempfile::tempdir().unwrap();
        let read = || fs::read_to_string(working.path().join(FRACTION)).unwrap().trim().parse::<f64>().unwrap();
        let training = working.path().join("stage");
        let start = |wanted: &[u64]| Fraction::new(Arc::new(Silent), working.path(), &training, wanted);
        let fraction = start(&[]);
        let mut task = fraction.task("train", Some(100), Unit::Tokens);
        task.advance(50);
        assert!((read() - 0.495).abs() < 1e-6);
        // Another task makes the whole longer; what was said is not taken back.
        let mut more = fraction.task("score", Some(100), Unit::Tokens);
        more.advance(10);
        assert!((read() - 0.495).abs() < 1e-6);
        fraction.task("files", Some(3), Unit::Items).advance(3);
        assert!((read() - 0.495).abs() < 1e-6);
        let again = start(&[]);
        again.task("train", Some(50), Unit::Tokens).advance(25);
        assert!((read() - (0.495 + 0.505 * 0.495)).abs() < 1e-5, "{}", read());
        finish(working.path()).unwrap();
        assert_eq!(read(), 1.0);
    }

    #[test]
    fn wanted_checkpoints_are_collected() {
        let working = tempfile::tempdir().unwrap();
        let training = working.path().join("stage");
        let fraction = Fraction::new(Arc::new(Silent), working.path(), &training, &[4, 8]);
        let mut task = fraction.task("train", Some(100), Unit::Tokens);
        for step in [2u64, 4, 6, 8] {
            let _ = fs::remove_dir_all(&training);
            let folder = training.join(format!("checkpoint-{step:08}"));
            fs::create_dir_all(&folder).unwrap();
            fs::write(folder.join("state"), step.to_string()).unwrap();
            task.advance(1);
            assert_eq!(fs::read_to_string(working.path().join(CHECKPOINT)).unwrap(), format!("step {step}\n"));
        }
        let collected = working.path().join(COLLECTED);
        let mut names: Vec<_> = fs::read_dir(&collected).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        assert_eq!(names, ["checkpoint-00000004", "checkpoint-00000008"]);
        assert_eq!(fs::read_to_string(collected.join("checkpoint-00000004/state")).unwrap(), "4");
    }
}
