//! The loop itself.

use crate::adamw::{AdamW, global_norm};
use crate::checkpoint::{self, Position};
use crate::held_out::Best;
use crate::metrics::MetricsFile;
use crate::micro::split;
use crate::peers::{Conditions, add_up, follow_first, number_of_first};
use crate::schedule::learning_rate;
use crate::{Error, Measurement, Micro, Parameters, StepMetrics, Stopping, Tracked, TrainConfig};
use burn::tensor::Tensor;
use lore_datasets::batches::Batch;
use lore_datasets::mixture::Mixture;
use lore_datasets::progress::{Progress, Unit};
use lore_model::ops::head::Sums;
use std::collections::BTreeMap;
use std::path::Path;
use std::time::Instant;

/// Figures of a part beside its loss: weighted sums that add up to means over the batch.
pub type Figures = Sums;

/// What is learnt.
pub trait Objective {
    /// Which rows of a batch count, 1 or 0 each. Unless it says otherwise: those with a target.
    fn mask(&self, batch: &Batch) -> Vec<f32> {
        batch.mask.clone()
    }

    /// How many times the learning rate of the schedule a parameter learns at.
    fn rate_factor(&self, _name: &str) -> f64 {
        1.0
    }

    /// The weighted sum of row losses as a tracked `[1, 1]` tensor, and the figures beside it.
    fn loss(&self, parameters: &Tracked, micro: &Micro) -> (Tensor<2>, Figures);
}

/// Where a run lives and what it is called.
pub struct Run<'a> {
    /// Steps, batch, optimiser, schedule.
    pub config: &'a TrainConfig,
    /// A hash over everything that decides the result; a checkpoint of another run is refused.
    pub identity: &'a str,
    /// Folder for checkpoints and `metrics.jsonl`.
    pub directory: &'a Path,
    /// What progress calls it.
    pub label: &'a str,
}

/// What a run leaves.
pub struct Trained {
    /// The trained tensors.
    pub parameters: Parameters,
    /// Every step's figures.
    pub metrics: Vec<StepMetrics>,
    /// When these parameters were measured on held-out text, and what was measured, if anything was.
    pub best: Option<Measurement>,
}

/// Trains `parameters` on `mixture`, from the newest checkpoint in the run's folder if there is one.
/// Checkpoints are removed at the end; metrics stay.
///
/// # Errors
/// Files that cannot be read or written, a checkpoint of another run, a loss that is not a number.
pub fn train(
    run: &Run<'_>,
    parameters: Parameters,
    mixture: &Mixture,
    objective: &dyn Objective,
    progress: &dyn Progress,
) -> Result<Trained, Error> {
    train_until(run, parameters, mixture, objective, None, progress)
}

/// [`train`], measuring on held-out text on the way. What it leaves are the parameters that measured best; an interrupted
/// run remembers them.
///
/// # Errors
/// Those of [`train`], and of measuring.
pub fn train_until(
    run: &Run<'_>,
    parameters: Parameters,
    mixture: &Mixture,
    objective: &dyn Objective,
    stopping: Option<Stopping<'_>>,
    progress: &dyn Progress,
) -> Result<Trained, Error> {
    train_under(&Conditions::default(), run, parameters, mixture, objective, stopping, progress)
}

/// As [`train_until`], together with other processes or no further than some step or an interruption. Each process
/// computes a part of every batch and has a folder of its own; only the first one's holds checkpoints, and the others go on
/// from where it goes on.
///
/// # Errors
/// As [`train_until`]; [`Error::Stopped`].
pub fn train_under(
    conditions: &Conditions,
    run: &Run<'_>,
    mut parameters: Parameters,
    mixture: &Mixture,
    objective: &dyn Objective,
    stopping: Option<Stopping<'_>>,
    progress: &dyn Progress,
) -> Result<Trained, Error> {
    let config = run.config;
    let peers = &*conditions.peers;
    let first = peers.rank() == 0;
    std::fs::create_dir_all(run.directory).map_err(Error::io("create", run.directory))?;
    let mut optimiser = AdamW::new(&parameters);
    let mut best = None;
    let resumed = match first {
        true => checkpoint::load(run.directory, run.identity, &mut parameters, &mut optimiser, &mut best)?,
        false => None,
    };
    // A run that measures nothing has no best; a checkpoint with one did not come from such a run.
    if stopping.is_none() {
        best = None;
    }
    let mut position = resumed.unwrap_or(Position { step: 0, tokens: 0 });
    follow_first(peers, &mut position, &mut parameters, &mut optimiser, &mut best);
    if position.step > 0 {
        progress.note(&format!("{}: going on after step {}", run.label, position.step));
    }
    let (mut file, mut metrics) = MetricsFile::resume(&run.directory.join("metrics.jsonl"), position.step)?;
    let per_step = (config.batch_sequences * config.sequence_length) as u64;
    let mut task =
        progress.task(run.label, Some((config.steps - position.step.min(config.steps)) * per_step), Unit::Tokens);
    let _heeded = conditions.interruption.heed();
    let mut kept = position.step;
    let is_over = |best: &Option<Best>| stopping.is_some_and(|stopping| stopping.is_over(best.as_ref()));
    while position.step < config.steps && !is_over(&best) {
        let start = Instant::now();
        let step = position.step;
        if conditions.stop_after.is_some_and(|last| step >= last) {
            return Err(Error::Stopped { step });
        }
        if conditions.interruption.anywhere(peers) {
            if first && step != kept {
                checkpoint::save(run.directory, run.identity, &position, &parameters, &optimiser, best.as_ref())?;
            }
            // Whoever ends first may end all: the others wait until it is whole.
            number_of_first(peers, 0.0);
            return Err(Error::Stopped { step });
        }
        let batch = mixture.batch(step);
        let share = Share { rank: peers.rank(), size: peers.size() };
        let work = || gradients_of(share, &parameters, step, &batch, config.accumulate, objective);
        let (gradients, figures) = config.precision.during(work).ok_or(Error::EmptyBatch { step })?;
        let (gradients, figures) = add_up(peers, &parameters, gradients, figures);
        let norm = global_norm(gradients.values());
        if !(figures.loss.is_finite() && norm.is_finite()) {
            let learning_rate = config.learning_rate;
            return Err(Error::Diverged { step, loss: figures.loss, gradient_norm: norm, learning_rate });
        }
        let scale = config.clip_norm.map_or(1.0, |limit| (limit / (norm + 1e-6)).min(1.0));
        let rate = learning_rate(config, step);
        optimiser.step(&mut parameters, gradients, config, |name| rate * objective.rate_factor(name), scale);
        position.step += 1;
        position.tokens += batch.tokens.len() as u64;
        let seconds = start.elapsed().as_secs_f64();
        let held_out = match &stopping {
            Some(stopping) => stopping.after(peers, position.step, config.steps, &parameters, &mut best)?,
            None => None,
        };
        let figures = StepMetrics {
            step: position.step,
            tokens: position.tokens,
            loss: figures.loss,
            target_entropy: figures.target_entropy,
            agreement: figures.agreement,
            gradient_norm: norm,
            learning_rate: rate,
            held_out,
            seconds,
        };
        file.append(&figures)?;
        let measured = held_out.map(|value| format!(", held out {value:.4}")).unwrap_or_default();
        task.message(&format!("step {}/{}, loss {:.3}{measured}", figures.step, config.steps, figures.loss));
        metrics.push(figures);
        task.advance(batch.tokens.len() as u64);
        if first && position.step.is_multiple_of(config.checkpoint_every.max(1)) && position.step < config.steps {
            checkpoint::save(run.directory, run.identity, &position, &parameters, &optimiser, best.as_ref())?;
            kept = position.step;
        }
    }
    let (steps, tokens) = (position.step, position.tokens);
    let Some(best) = best else {
        task.finish(&format!("{steps} steps, {tokens} tokens"));
        return Ok(Trained { parameters, metrics, best: None });
    };
    let Best { measured, parameters, .. } = best;
    task.finish(&format!("{steps} steps, {tokens} tokens, best {:.4} after step {}", measured.value, measured.step));
    Ok(Trained { parameters, metrics, best: Some(measured) })
}

/// Removes what [`train`] kept for going on; call it when the result is safely stored.
///
/// # Errors
/// Files that cannot be removed.
pub fn clear_checkpoints(directory: &Path) -> Result<(), Error> {
    checkpoint::clear(directory)
}

/// The gradient of the mean loss over a step's batch, by parameter name, and the means of its figures;
/// `None` when nothing in the batch counts. The number of parts changes neither.
pub fn gradients(
    parameters: &Parameters,
    step: u64,
    batch: &Batch,
    parts: usize,
    objective: &dyn Objective,
) -> Option<(BTreeMap<String, Tensor<2>>, Figures)> {
    gradients_of(Share { rank: 0, size: 1 }, parameters, step, batch, parts, objective)
}

/// Which of the parts of a batch a process computes.
#[derive(Clone, Copy)]
struct Share {
    rank: usize,
    size: usize,
}

/// The part of [`gradients`] that is a process's own; over all processes they add up to the whole.
fn gradients_of(
    share: Share,
    parameters: &Parameters,
    step: u64,
    batch: &Batch,
    parts: usize,
    objective: &dyn Objective,
) -> Option<(BTreeMap<String, Tensor<2>>, Figures)> {
    let mask = objective.mask(batch);
    let counted: f64 = mask.iter().map(|&m| f64::from(m)).sum();
    if counted == 0.0 {
        return None;
    }
    let weights: Vec<f32> = mask.iter().map(|&m| (f64::from(m) / counted) as f32).collect();
    let mut sums = BTreeMap::<String, Tensor<2>>::new();
    let mut figures = Figures::default();
    let parts = parts.max(1).next_multiple_of(share.size);
    for micro in split(step, batch, &weights, parts).into_iter().skip(share.rank).step_by(share.size) {
        let tracked = parameters.track();
        let (loss, part) = objective.loss(&tracked, &micro);
        figures.add(part);
        for (name, gradient) in tracked.gradients(loss.backward()) {
            let sum = match sums.remove(&name) {
                Some(sum) => sum + gradient,
                None => gradient,
            };
            sums.insert(name, sum);
        }
    }
    Some((sums, figures))
}
