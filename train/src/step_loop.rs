//! The loop itself.

use crate::adamw::{AdamW, global_norm};
use crate::checkpoint::{self, Position};
use crate::held_out::Best;
use crate::metrics::MetricsFile;
use crate::peers::{Conditions, add_up, follow_first};
use crate::schedule::learning_rate;
use crate::{Error, Measurement, Parameters, StepMetrics, Stopping, Tracked, TrainConfig};
use burn::tensor::Tensor;
use lore_datasets::batches::Batch;
use lore_datasets::mixture::Mixture;
use lore_datasets::progress::{Progress, Unit};
use lore_model::ops::head::Sums;
use lore_model::ops::sequences::Sequences;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

/// A part of a batch that is computed at once.
#[derive(Clone, Debug)]
pub struct Micro {
    /// The step it belongs to, from 0.
    pub step: u64,
    /// Token ids, `[rows]`.
    pub tokens: Arc<Vec<u32>>,
    /// Where each sequence is.
    pub sequences: Arc<Sequences>,
    /// What each row is to predict.
    pub targets: Arc<Vec<u32>>,
    /// Share of each row in the mean over the whole batch; they sum to 1 over all micro-batches.
    pub weights: Arc<Vec<f32>>,
    /// How many rows come from each part of the mixture: the rows of part 0 come first, then those of part 1.
    pub rows_of_part: Vec<usize>,
    /// Which row of the step's batch each row is.
    pub batch_rows: Arc<Vec<usize>>,
}

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

/// As [`train_until`], together with other processes or no further than some step. Each process computes a part of every
/// batch and has a folder of its own; only the first one's holds checkpoints, and the others go on from where it goes on.
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
    let is_over = |best: &Option<Best>| stopping.is_some_and(|stopping| stopping.is_over(best.as_ref()));
    while position.step < config.steps && !is_over(&best) {
        let start = Instant::now();
        let step = position.step;
        if conditions.stop_after.is_some_and(|last| step >= last) {
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
        let mut gradients = loss.backward();
        for (name, tensor) in tracked.iter() {
            if let Some(gradient) = tensor.grad_remove(&mut gradients) {
                let sum = match sums.remove(name) {
                    Some(sum) => sum + gradient,
                    None => gradient,
                };
                sums.insert(name.to_owned(), sum);
            }
        }
    }
    Some((sums, figures))
}

/// Cuts a batch between sequences into about equal micro-batches, in each of which the parts of the mixture
/// stand one after another.
fn split(step: u64, batch: &Batch, weights: &[f32], count: usize) -> Vec<Micro> {
    let wanted = batch.tokens.len().div_ceil(count.max(1));
    let mut sequences = Vec::new();
    let mut start = 0;
    for (index, &length) in batch.lengths.iter().enumerate() {
        sequences.push((batch.parts.get(index).copied().unwrap_or(0), start..start + length));
        start += length;
    }
    let mut micros = Vec::new();
    let mut rest = sequences.as_mut_slice();
    while !rest.is_empty() {
        let mut rows = 0;
        let taken = rest.iter().take_while(|(_, range)| {
            let fits = rows < wanted;
            rows += range.len();
            fits
        });
        let (now, later) = rest.split_at_mut(taken.count());
        rest = later;
        now.sort_by_key(|(part, range)| (*part, range.start));
        let mut rows_of_part = Vec::new();
        for (part, range) in now.iter() {
            rows_of_part.resize(rows_of_part.len().max(part + 1), 0);
            rows_of_part[*part] += range.len();
        }
        let lengths: Vec<usize> = now.iter().map(|(_, range)| range.len()).collect();
        let pick = |values: &[u32]| now.iter().flat_map(|(_, range)| values[range.clone()].iter().copied()).collect();
        micros.push(Micro {
            step,
            tokens: Arc::new(pick(&batch.tokens)),
            sequences: Arc::new(Sequences::whole(&lengths)),
            targets: Arc::new(pick(&batch.targets)),
            weights: Arc::new(now.iter().flat_map(|(_, range)| weights[range.clone()].iter().copied()).collect()),
            rows_of_part,
            batch_rows: Arc::new(now.iter().flat_map(|(_, range)| range.clone()).collect()),
        });
    }
    micros
}
