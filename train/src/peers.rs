//! Processes that train the same parameters, each on its part of every batch (synchronous data parallelism).

use crate::adamw::AdamW;
use crate::checkpoint::Position;
use crate::held_out::{Best, Measurement};
use crate::{Figures, Interruption, Parameters};
use burn::tensor::Tensor;
use lore_model::ops::host::{matrix, values};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Processes that train together. All of them begin with the same recipe, base and data.
pub trait Peers: Send + Sync {
    /// This process's number, from 0. The first one keeps checkpoints and figures.
    fn rank(&self) -> usize;

    /// How many processes there are.
    fn size(&self) -> usize;

    /// Adds `values` up over all processes, in place. Every process calls it, with as many values, and gets the same
    /// sums to the last bit.
    fn sum_f32(&self, values: &mut [f32]);

    /// As [`Peers::sum_f32`].
    fn sum_f64(&self, values: &mut [f64]);

    /// This process failed and will take no further part: ends the others, which would wait for it for ever.
    fn abandon(&self) {}
}

/// The only process.
#[derive(Debug, Clone, Copy, Default)]
pub struct Alone;

impl Peers for Alone {
    fn rank(&self) -> usize {
        0
    }

    fn size(&self) -> usize {
        1
    }

    fn sum_f32(&self, _values: &mut [f32]) {}

    fn sum_f64(&self, _values: &mut [f64]) {}
}

/// With whom a run trains, and how far; its result does not depend on either, but for rounding.
#[derive(Clone)]
pub struct Conditions {
    /// The processes that share the work.
    pub peers: Arc<dyn Peers>,
    /// The step after which the run stops with [`crate::Error::Stopped`] if it has not ended before.
    pub stop_after: Option<u64>,
    /// Ends the run earlier, with a checkpoint.
    pub interruption: Interruption,
}

impl Default for Conditions {
    fn default() -> Self {
        Self { peers: Arc::new(Alone), stop_after: None, interruption: Interruption::default() }
    }
}

/// Gives all processes the position, parameters and moments of the first, and what measured best there.
pub(crate) fn follow_first(
    peers: &dyn Peers,
    position: &mut Position,
    parameters: &mut Parameters,
    optimiser: &mut AdamW,
    best: &mut Option<Best>,
) {
    if peers.size() == 1 {
        return;
    }
    let first = peers.rank() == 0;
    // What the others add is nothing. Counts below 2⁵³ are exact.
    let mut counts =
        [position.step, position.tokens, optimiser.updates].map(|count| if first { count as f64 } else { 0.0 });
    peers.sum_f64(&mut counts);
    let [step, tokens, updates] = counts.map(|count| count as u64);
    (position.step, position.tokens, optimiser.updates) = (step, tokens, updates);
    let of_first = |tensor: &Tensor<2>| {
        let [rows, columns] = tensor.dims();
        let mut sum = if first { values(tensor) } else { vec![0.0; rows * columns] };
        peers.sum_f32(&mut sum);
        matrix(sum, rows, columns, &tensor.device())
    };
    for (name, weights) in parameters.iter_mut() {
        *weights = of_first(weights);
        for moment in optimiser.moments.get_mut(name).expect("moments were made for every parameter") {
            *moment = of_first(moment);
        }
    }
    let own = best.as_ref().filter(|_| first);
    let mut measured =
        own.map_or([0.0; 4], |best| [1.0, best.measured.step as f64, best.measured.value, best.since as f64]);
    peers.sum_f64(&mut measured);
    let [found, step, value, since] = measured;
    if found > 0.0 {
        let kept = best.take().map_or_else(|| parameters.clone(), |best| best.parameters);
        let kept = Parameters::new(kept.iter().map(|(name, tensor)| (name.to_owned(), of_first(tensor))));
        let measured = Measurement { step: step as u64, value };
        *best = Some(Best { measured, parameters: kept, since: since as u64 });
    }
}

/// The first process's number, in all of them, each of which calls this.
pub fn number_of_first(peers: &dyn Peers, own: f64) -> f64 {
    // What the others add is nothing.
    let mut number = [if peers.rank() == 0 { own } else { 0.0 }];
    peers.sum_f64(&mut number);
    number[0]
}

/// Adds up what the processes found on their parts of one step's batch. A parameter without a gradient anywhere stays
/// without one.
pub(crate) fn add_up(
    peers: &dyn Peers,
    parameters: &Parameters,
    gradients: BTreeMap<String, Tensor<2>>,
    figures: Figures,
) -> (BTreeMap<String, Tensor<2>>, Figures) {
    if peers.size() == 1 {
        return (gradients, figures);
    }
    let Figures { loss, target_entropy, agreement, overlap } = figures;
    let mut counts = vec![loss, target_entropy, agreement, overlap];
    let mut sums = Vec::with_capacity(parameters.count());
    for (name, weights) in parameters.iter() {
        match gradients.get(name) {
            Some(gradient) => sums.extend(values(gradient)),
            None => sums.resize(sums.len() + weights.dims().iter().product::<usize>(), 0.0),
        }
        counts.push(if gradients.contains_key(name) { 1.0 } else { 0.0 });
    }
    peers.sum_f64(&mut counts);
    peers.sum_f32(&mut sums);
    let (figures, found) = counts.split_at(4);
    let figures = Figures { loss: figures[0], target_entropy: figures[1], agreement: figures[2], overlap: figures[3] };
    let mut rest = sums.as_slice();
    let mut added = BTreeMap::new();
    for ((name, weights), found) in parameters.iter().zip(found) {
        let [rows, columns] = weights.dims();
        let (own, others) = rest.split_at(rows * columns);
        rest = others;
        if *found > 0.0 {
            added.insert(name.to_owned(), matrix(own.to_vec(), rows, columns, &weights.device()));
        }
    }
    (added, figures)
}
