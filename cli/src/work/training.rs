//! Whether the result of a training can be believed: parts of it are computed again, from checkpoints that came with it
//! (the idea of Jia et al. 2021, "Proof-of-Learning: Definitions and Practice").
//!
//! What is computed again must be what was claimed, to rounding: another processor adds in another order. What is not
//! computed again is not vouched for; `--steps 0` computes everything.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use lore_datasets::progress::Silent;
use lore_eval::verify::draw;
use lore_model::files::ModelFiles;
use lore_model::fingerprint::Fingerprint;
use lore_train::StepMetrics;
use tempfile::TempDir;

use super::comparison::{different_fact, step_apart, tensors_apart};
use super::outcome::Outcome;
use super::unit::{Job, Training};
use super::{Sampling, files, refused};
use crate::error::{Error, Result};
use crate::plan;
use crate::recipe::Recipe;
use crate::session::Session;
use crate::stages::{Finished, Manifest, RunFolder, Stage, key_of, manifest, outputs_of, run_in};

/// Where what the stage made is in a result.
pub const STAGE: &str = "stage";
/// Where its checkpoints are.
pub const CHECKPOINTS: &str = "checkpoints";
/// Figures of each step.
const METRICS: &str = "metrics.jsonl";
/// Checkpoints after which steps are computed again.
const DRAWN: usize = 2;

/// A result that was accepted.
pub struct Accepted {
    /// What the stage made, as the result has it.
    folder: PathBuf,
    manifest: Manifest,
    /// What was computed again, in words.
    pub summary: String,
}

/// One side of a comparison: claimed, or found here.
struct Side {
    folder: PathBuf,
    manifest: Manifest,
    metrics: Vec<StepMetrics>,
}

/// Checks a result, computing parts of it again.
///
/// # Errors
/// Everything that is wrong with it.
pub fn verify(
    job: &Job,
    unit: &Training,
    outcome: &Outcome,
    sampling: &Sampling,
    session: &Session,
) -> Result<Accepted> {
    let (stage, inputs) = job.stage(unit)?;
    let claimed = claimed(unit, stage.as_ref(), &inputs, outcome)?;
    let again = Again { unit, stage: stage.as_ref(), inputs: &inputs, outcome, claimed: &claimed, session };
    let last = unit.checkpoints.last().copied().unwrap_or(0);
    let (mut worst, mut summary) = (0.0f64, String::new());
    // A training that may stop early has no checkpoints to begin at.
    let drawn = sampling.steps > 0 && !unit.checkpoints.is_empty();
    if drawn {
        let starts: Vec<u64> =
            std::iter::once(0).chain(unit.checkpoints.iter().copied().filter(|&step| step != last)).collect();
        let places = draw(starts.len(), DRAWN, sampling.seed()).into_iter().map(|place| starts[place]);
        let after: Vec<u64> = places.collect();
        for &start in &after {
            worst = worst.max(again.some_steps(start, sampling.steps)?);
        }
        let after = after.iter().map(u64::to_string).collect::<Vec<_>>().join(" and ");
        summary = format!("{} steps after {after} and ", sampling.steps);
    }
    let start = if drawn { last } else { 0 };
    let (found, further) = again.to_the_end(start)?;
    worst = worst.max(further);
    summary += &match start {
        0 => "the whole training".to_owned(),
        _ => format!("the last {} of {} steps", unit.steps - start, unit.steps),
    };
    let summary = format!("{summary} computed again; losses differ by {worst:.1e} at most");
    // What is shown to people is what was found here.
    let manifest = Manifest { summary: found.summary, ..claimed.manifest };
    Ok(Accepted { folder: claimed.folder, manifest, summary })
}

/// Reads what a result claims, and finds what contradicts the job or itself.
fn claimed(unit: &Training, stage: &dyn Stage, inputs: &BTreeMap<String, Finished>, outcome: &Outcome) -> Result<Side> {
    let refuse = |problem: String| refused(outcome, &[problem]);
    let folder = outcome.folder.join(STAGE);
    let text = fs::read(folder.join(manifest::NAME))
        .map_err(|_| refuse(format!("`{STAGE}/{}` is missing", manifest::NAME)))?;
    let manifest: Manifest =
        serde_json::from_slice(&text).map_err(|error| refuse(format!("`{STAGE}/{}`: {error}", manifest::NAME)))?;
    let metrics = read_metrics(&folder).map_err(refuse)?;
    let identities: BTreeMap<String, String> =
        inputs.iter().map(|(name, input)| (name.clone(), input.manifest.identity.clone())).collect();
    let mut problems = Vec::new();
    let mut that = |good: bool, problem: &str| {
        if !good {
            problems.push(problem.to_owned());
        }
    };
    that(manifest.stage == unit.stage && manifest.key == unit.key, "it is the result of another stage");
    that(manifest.inputs == identities, "it was made from other inputs");
    that(manifest.config == stage.config(), "it was made with another part of the recipe");
    that(manifest.program == env!("CARGO_PKG_VERSION"), "another version of the program made it");
    that(manifest.external.is_empty(), "it names files outside itself");
    that(manifest.outputs == outputs_of(&folder)?, "its list of files is not that of its files");
    that(manifest.seconds.is_finite() && manifest.seconds >= 0.0, "its duration is no time");
    let last = metrics.len() as u64;
    let whole = last == unit.steps || (unit.stops && last < unit.steps);
    let steps = metrics.iter().map(|line| line.step);
    that(whole && steps.eq(1..=last), "its figures are not one line for each step");
    let curve = serde_json::to_value(&metrics).map_err(Error::while_doing("comparing figures"))?;
    that(manifest.facts["curve"] == curve, "the curve is not that of its figures");
    for step in &unit.checkpoints {
        let checkpoint = format!("{CHECKPOINTS}/checkpoint-{step:08}");
        that(outcome.folder.join(&checkpoint).is_dir(), &format!("`{checkpoint}` is missing"));
    }
    that(manifest.identity == identity(unit, &folder)?, "its identity is not that of its weights");
    if problems.is_empty() { Ok(Side { folder, manifest, metrics }) } else { Err(refused(outcome, &problems)) }
}

/// What stands for the result in the keys of later stages: a base by its weights, a module by what it was made from.
fn identity(unit: &Training, folder: &Path) -> Result<String> {
    if unit.stage != "base" {
        return Ok(unit.key.clone());
    }
    let files = ModelFiles::open(&folder.join("base"))?;
    Ok(Fingerprint::of(&files.config, &*files.weights, &files.tokenizer)?.to_string())
}

fn read_metrics(folder: &Path) -> Result<Vec<StepMetrics>, String> {
    let text = fs::read_to_string(folder.join(METRICS)).map_err(|error| format!("`{STAGE}/{METRICS}`: {error}"))?;
    let line = |line: &str| serde_json::from_str(line).map_err(|error| format!("`{STAGE}/{METRICS}`: {error}"));
    text.lines().map(line).collect()
}

/// Computes parts of a training again.
struct Again<'a> {
    unit: &'a Training,
    stage: &'a dyn Stage,
    inputs: &'a BTreeMap<String, Finished>,
    outcome: &'a Outcome,
    claimed: &'a Side,
    session: &'a Session,
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
    fn some_steps(&self, start: u64, count: u64) -> Result<f64> {
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
    fn to_the_end(&self, start: u64) -> Result<(Manifest, f64)> {
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

impl Accepted {
    /// Which stage it is.
    pub fn stage(&self) -> &str {
        &self.manifest.stage
    }

    /// Puts the result where `lore run` finds the stage finished; whether it was not there before.
    ///
    /// # Errors
    /// A run with other inputs, or in use.
    pub fn install(&self, recipe: &Recipe, folder: &RunFolder) -> Result<bool> {
        let name = &self.manifest.stage;
        let stages = plan::needed_for(plan::stages(recipe), name)?;
        let stage = stages.last().expect("`needed_for` gives the wanted stage last");
        let _locks = folder.lock_stage(name)?;
        let changed = || {
            Error::Failed(format!(
                "{}: `{name}` has another key there: the recipe or what it is made from has changed since the job was made",
                folder.root().display()
            ))
        };
        // By what is finished there and not by where the recipe says it comes from: its path may be spelled otherwise.
        let there = finished_in(folder)?;
        let same =
            self.manifest.inputs.iter().all(|(input, identity)| there.contains(&(input.clone(), identity.clone())));
        if !same || key_of(stage.as_ref(), &self.manifest.inputs) != self.manifest.key {
            return Err(changed());
        }
        if Manifest::of_intact(&folder.finished(name, &self.manifest.key)).is_some() {
            return Ok(false);
        }
        let partial = folder.partial(name, &self.manifest.key);
        if partial.exists() {
            fs::remove_dir_all(&partial).map_err(Error::io(&partial))?;
        }
        files::copy_all(&self.folder, &partial)?;
        self.manifest.write(&partial)?;
        let finished = folder.commit(name, &self.manifest.key)?;
        folder.publish(&finished, &stage.publications())?;
        Ok(true)
    }
}

/// Names and identities of the stages that are finished in a run's folder.
fn finished_in(folder: &RunFolder) -> Result<BTreeSet<(String, String)>> {
    let stages = folder.root().join("stages");
    let mut found = BTreeSet::new();
    for entry in fs::read_dir(&stages).map_err(Error::io(&stages))? {
        let path = entry.map_err(Error::io(&stages))?.path();
        if let Some(manifest) = Manifest::of_intact(&path) {
            found.insert((manifest.stage, manifest.identity));
        }
    }
    Ok(found)
}
