//! Computing parts of a training again, and what must be as it is claimed.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use lore_datasets::progress::Silent;
use lore_train::StepMetrics;
use tempfile::TempDir;

use super::{CHECKPOINTS, METRICS, Side, read_metrics};
use crate::error::{Error, Result};
use crate::session::Session;
use crate::stages::{Finished, Manifest, Stage, run_in};
use crate::work::comparison::{different_fact, step_apart, tensors_apart};
use crate::work::unit::Training;
use crate::work::{Outcome, files, refused};

/// Computes parts of a training again.
pub(super) struct Again<'a> {
    pub(super) unit: &'a Training,
    pub(super) stage: &'a dyn Stage,
    pub(super) inputs: &'a BTreeMap<String, Finished>,
    pub(super) outcome: &'a Outcome,
    pub(super) claimed: &'a Side,
    pub(super) session: &'a Session,
}

impl Again<'_> {
    /// A folder as a run leaves it that was interrupted after step `start`.
    fn interrupted(&self, start: u64) -> Result<TempDir> {
        let folder = tempfile::tempdir().map_err(Error::while_doing("making a temporary folder"))?;
        if start > 0 {
            let name = format!("checkpoint-{start:08}");
            files::copy_all(&self.outcome.folder.join(CHECKPOINTS).join(&name), &folder.path().join(&name))?;
        }
        // Nothing of what follows: whatever is found there afterwards was computed here.
        let from = self.claimed.folder.join(METRICS);
        let text = fs::read_to_string(&from).map_err(Error::io(&from))?;
        let lines = text.lines().zip(&self.claimed.metrics).filter(|(_, metrics)| metrics.step <= start);
        let kept: String = lines.map(|(line, _)| format!("{line}\n")).collect();
        let to = folder.path().join(METRICS);
        fs::write(&to, kept).map_err(Error::io(to))?;
        Ok(folder)
    }

    fn session(&self, stop_after: Option<u64>) -> Session {
        let mut session = self.session.clone();
        session.training.stop_after = stop_after;
        if stop_after.is_some() {
            session.progress = Arc::new(Silent);
        }
        session
    }

    /// Some steps after a checkpoint must have the losses that are claimed; the largest difference.
    pub(super) fn some_steps(&self, start: u64, count: u64) -> Result<f64> {
        let end = start.saturating_add(count).min(self.unit.steps);
        let folder = self.interrupted(start)?;
        let session = self.session(Some(end));
        let outcome = run_in(folder.path(), self.stage, &self.unit.key, self.inputs, &session);
        let metrics = read_metrics(folder.path()).unwrap_or_default();
        if metrics.last().is_none_or(|line| line.step < end) {
            return Err(match outcome {
                Err(error) => refused(self.outcome, &[format!("after step {start}: {}", crate::error::chain(&error))]),
                Ok(_) => Error::Failed(format!("the training from step {start} to {end} left no figures")),
            });
        }
        self.same_steps(start, &metrics)
    }

    /// The training from a checkpoint to its end must give the weights, files and facts that are claimed.
    pub(super) fn to_the_end(&self, start: u64) -> Result<(Manifest, f64)> {
        let folder = self.interrupted(start)?;
        let manifest =
            run_in(folder.path(), self.stage, &self.unit.key, self.inputs, &self.session(None)).map_err(|error| {
                refused(self.outcome, &[format!("after step {start}: {}", crate::error::chain(&error))])
            })?;
        let metrics = read_metrics(folder.path()).map_err(Error::Failed)?;
        let (found, claimed) = (metrics.len(), self.claimed.metrics.len());
        if found != claimed {
            let problem = format!("it ends after {claimed} steps, computed again after {found}");
            return Err(refused(self.outcome, &[problem]));
        }
        let worst = self.same_steps(start, &metrics)?;
        let found = Side { folder: folder.path().to_owned(), manifest, metrics };
        let problems = self.same_result(&found)?;
        if problems.is_empty() { Ok((found.manifest, worst)) } else { Err(refused(self.outcome, &problems)) }
    }

    fn same_steps(&self, start: u64, found: &[StepMetrics]) -> Result<f64> {
        let mut worst = 0.0f64;
        let after = |lines: &[StepMetrics]| lines.iter().filter(|line| line.step > start).cloned().collect::<Vec<_>>();
        for (claimed, found) in after(&self.claimed.metrics).iter().zip(&after(found)) {
            worst = worst.max(step_apart(claimed, found).map_err(|problem| refused(self.outcome, &[problem]))?);
        }
        Ok(worst)
    }

    /// Files and facts, to rounding.
    fn same_result(&self, found: &Side) -> Result<Vec<String>> {
        let paths = |side: &Side| side.manifest.outputs.iter().map(|output| output.path.clone()).collect::<Vec<_>>();
        if paths(self.claimed) != paths(found) {
            return Ok(vec!["its files are not those that the stage makes".into()]);
        }
        let mut problems = Vec::new();
        // Other weights, to rounding, have another fingerprint; that it is theirs was checked.
        let renamed = |text: &str| text.replace(&found.manifest.identity, &self.claimed.manifest.identity);
        for path in paths(found) {
            let [claimed, ours] = [&self.claimed.folder, &found.folder].map(|folder| folder.join(&path));
            let shown = path.display();
            if path.extension().is_some_and(|extension| extension == "safetensors") {
                problems
                    .extend(tensors_apart(&claimed, &ours)?.into_iter().map(|problem| format!("`{shown}`: {problem}")));
            } else if path != Path::new(METRICS) {
                let [claimed, ours] =
                    [fs::read(&claimed).map_err(Error::io(claimed))?, fs::read(&ours).map_err(Error::io(ours))?];
                let same =
                    claimed == ours || std::str::from_utf8(&ours).is_ok_and(|ours| renamed(ours).as_bytes() == claimed);
                if !same {
                    problems.push(format!("`{shown}` is not what the stage writes"));
                }
            }
        }
        let ours = renamed(&found.manifest.facts.to_string());
        let ours = serde_json::from_str(&ours).map_err(Error::while_doing("comparing facts"))?;
        different_fact(&self.claimed.manifest.facts, &ours, "facts", &mut problems);
        Ok(problems)
    }
}
