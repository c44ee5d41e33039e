//! Parts of a batch.

use lore_datasets::batches::Batch;
use lore_model::ops::sequences::Sequences;
use std::sync::Arc;

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

/// Cuts a batch between sequences into about equal micro-batches, in each of which the parts of the mixture
/// stand one after another.
pub(crate) fn split(step: u64, batch: &Batch, weights: &[f32], count: usize) -> Vec<Micro> {
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
