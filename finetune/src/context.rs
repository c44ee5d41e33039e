//! Context distillation (Snell et al. 2022; Knowledge Modules, arXiv 2503.08727): the module learns, without a passage, what
//! the base says with the passage before its eyes.
//!
//! The first part of each sequence is the passage. The base reads the whole sequence; the model with the module reads only
//! what follows the passage, as a text of its own, and learns the base's distribution at each of its positions.

use burn::tensor::{Int, Tensor, TensorData};
use lore_datasets::batches::Batch;
use lore_model::Decoder;
use lore_model::ops::sequences::Sequences;
use lore_train::Micro;
use serde::{Deserialize, Serialize};
use std::ops::Range;
use std::sync::Arc;

/// How a module learns from passages.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ContextConfig {
    /// Share of each sequence that is the passage, in `(0, 1)`.
    pub passage: f64,
    /// Share of the loss that is cross-entropy on the next token instead, in `[0, 1)`.
    pub labels: f64,
}

impl Default for ContextConfig {
    fn default() -> Self {
        Self { passage: 0.5, labels: 0.0 }
    }
}

/// What the model with the module reads, and what the base said about it.
pub(crate) struct Told {
    /// The rows after the passages; rows of other parts as they were.
    pub(crate) micro: Micro,
    /// The base's final hidden states of the rows of topics, `[rows, hidden]`, if there are any.
    pub(crate) hidden: Option<Tensor<2>>,
}

impl ContextConfig {
    /// Tokens of a sequence that are the passage; there is always one after it.
    fn passage(&self, length: usize) -> usize {
        ((length as f64 * self.passage) as usize).min(length.saturating_sub(1))
    }

    /// 0 for rows of passages, else what `batch` says.
    pub(crate) fn mask(&self, batch: &Batch, topics: usize) -> Vec<f32> {
        let mut mask = batch.mask.clone();
        let mut start = 0;
        for (index, &length) in batch.lengths.iter().enumerate() {
            if batch.parts.get(index).copied().unwrap_or(0) < topics {
                mask[start..start + self.passage(length)].fill(0.0);
            }
            start += length;
        }
        mask
    }

    /// Cuts the passages off the first `topic_rows` rows and asks `base` about what follows them.
    pub(crate) fn split(&self, base: &Decoder, micro: &Micro, topic_rows: usize) -> Told {
        let spans: Vec<Range<usize>> = micro.sequences.spans().iter().map(|span| span.queries.clone()).collect();
        let (topic, others): (Vec<_>, Vec<_>) = spans.into_iter().partition(|span| span.start < topic_rows);
        let read: Vec<Range<usize>> =
            topic.iter().map(|span| span.start + self.passage(span.len())..span.end).chain(others).collect();
        let rows: Vec<usize> = read.iter().cloned().flatten().collect();
        let told_rows: Vec<usize> = rows.iter().copied().filter(|row| *row < topic_rows).collect();

        let hidden = (!topic.is_empty()).then(|| {
            let tokens = Arc::new(micro.tokens[..topic_rows].to_vec());
            let lengths: Vec<usize> = topic.iter().map(Range::len).collect();
            let hidden = base.hidden(tokens, Arc::new(Sequences::whole(&lengths)));
            let indices: Vec<i32> = told_rows.iter().map(|&row| row as i32).collect();
            let indices = TensorData::new(indices, [told_rows.len()]);
            let device = hidden.device();
            hidden.select(0, Tensor::<1, Int>::from_data(indices, &device))
        });

        let pick = |values: &[u32]| Arc::new(rows.iter().map(|&row| values[row]).collect());
        let lengths: Vec<usize> = read.iter().map(Range::len).collect();
        let micro = Micro {
            step: micro.step,
            tokens: pick(&micro.tokens),
            sequences: Arc::new(Sequences::whole(&lengths)),
            targets: pick(&micro.targets),
            weights: Arc::new(rows.iter().map(|&row| micro.weights[row]).collect()),
            rows_of_part: vec![told_rows.len(), rows.len() - told_rows.len()],
            batch_rows: Arc::new(rows.iter().map(|&row| micro.batch_rows[row]).collect()),
        };
        Told { micro, hidden }
    }
}
