//! Whether the result of a training can be believed: parts of it are computed again, from checkpoints that came with it
//! (the idea of Jia et al. 2021, "Proof-of-Learning: Definitions and Practice").
//!
//! What is computed again must be what was claimed, to rounding: another processor adds in another order. What is not
//! computed again is not vouched for; `--steps 0` computes everything.

mod accepted;
mod again;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

pub use accepted::Accepted;
use again::Again;
use lore_eval::verify::draw;
use lore_model::files::ModelFiles;
use lore_model::fingerprint::Fingerprint;
use lore_train::StepMetrics;

use super::outcome::Outcome;
use super::unit::{Job, Training};
use super::{Sampling, refused};
use crate::error::{Error, Result};
use crate::session::Session;
use crate::stages::{Finished, Manifest, Stage, manifest, outputs_of};

/// Where what the stage made is in a result.
pub const STAGE: &str = "stage";
/// Where its checkpoints are.
pub const CHECKPOINTS: &str = "checkpoints";
/// Figures of each step.
const METRICS: &str = "metrics.jsonl";
/// Checkpoints after which steps are computed again.
const DRAWN: usize = 2;

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
