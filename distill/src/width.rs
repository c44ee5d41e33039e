//! A student narrower than its teacher: of hidden dimensions, feed-forward channels and heads those are kept that carry
//! the most on calibration text (Minitron, Muralidharan et al. 2024, arXiv 2407.14679).

use burn::tensor::Tensor;
use lore_datasets::batches::Batch;
use lore_model::Decoder;
use lore_model::block::{Block, Place};
use lore_model::config::ModelConfig;
use lore_model::ops::host::{matrix, values};
use lore_model::ops::sequences::Sequences;
use lore_model::projection::Weight;
use serde::{Deserialize, Serialize};
use std::ops::Range;
use std::sync::Arc;

/// Sizes of a student; absent ones are the teacher's.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Width {
    /// Width of the residual stream.
    pub hidden_size: Option<usize>,
    /// Inner width of the feed-forward part.
    pub intermediate_size: Option<usize>,
    /// Key and value heads; each keeps the query heads that look at it.
    pub key_value_heads: Option<usize>,
}

/// The width asked for does not fit the teacher: a sentence for each size.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("cannot make the student this narrow: {}", .0.join("; "))]
pub struct WidthError(Vec<String>);

impl Width {
    /// The teacher's configuration with the sizes of the student.
    ///
    /// # Errors
    /// Every size that is zero or larger than the teacher's.
    pub fn of(&self, teacher: &ModelConfig) -> Result<ModelConfig, WidthError> {
        let mut problems = Vec::new();
        let mut size = |name: &str, wanted: Option<usize>, available: usize| {
            let wanted = wanted.unwrap_or(available);
            if !(1..=available).contains(&wanted) {
                problems.push(format!("{name} = {wanted}, where the teacher has {available}: give 1 to {available}"));
            }
            wanted
        };
        let hidden_size = size("hidden_size", self.hidden_size, teacher.hidden_size);
        let intermediate_size = size("intermediate_size", self.intermediate_size, teacher.intermediate_size);
        let groups = size("key_value_heads", self.key_value_heads, teacher.num_key_value_heads);
        if !problems.is_empty() {
            return Err(WidthError(problems));
        }
        Ok(ModelConfig {
            hidden_size,
            intermediate_size,
            num_attention_heads: groups * (teacher.num_attention_heads / teacher.num_key_value_heads),
            num_key_value_heads: groups,
            ..teacher.clone()
        })
    }
}

/// How much each part of a decoder carries.
#[derive(Clone, Debug, PartialEq)]
pub struct Importance {
    /// Of each hidden dimension: over all norms of all blocks.
    pub hidden: Vec<f64>,
    /// Of each block's feed-forward channels.
    pub channels: Vec<Vec<f64>>,
    /// Of each block's key-value heads, with the query heads that look at them.
    pub heads: Vec<Vec<f64>>,
}

/// Measures a decoder on `batches`: for each part the mean over a sequence's positions of its size, and the square root
/// of the sum of squares over sequences. The size of a dimension or channel is its absolute value, that of a head the
/// length of what it gives.
pub fn importance(decoder: &Decoder, batches: &[Batch]) -> Importance {
    let config = &decoder.config;
    let layers = config.num_hidden_layers;
    let mut hidden = vec![0.0; config.hidden_size];
    let mut channels = vec![vec![0.0; config.intermediate_size]; layers];
    let mut heads = vec![vec![0.0; config.num_key_value_heads]; layers];
    for batch in batches {
        let sequences = Arc::new(Sequences::whole(&batch.lengths));
        let rows: Vec<Range<usize>> = sequences.spans().iter().map(|span| span.queries.clone()).collect();
        let mut watch = |layer: usize, place: Place, tensor: &Tensor<2>| {
            let [_, width] = tensor.dims();
            let values = values(tensor);
            match place {
                Place::AttentionInput | Place::FeedForwardInput => add(&mut hidden, &values, width, &rows, 1),
                Place::Channels => add(&mut channels[layer], &values, width, &rows, 1),
                // Query heads of one group lie beside each other.
                Place::Heads => add(&mut heads[layer], &values, width, &rows, width / config.num_key_value_heads),
            }
        };
        decoder.watched(Arc::new(batch.tokens.clone()), sequences, &mut watch);
    }
    let rooted = |sums: Vec<f64>| sums.into_iter().map(f64::sqrt).collect::<Vec<_>>();
    Importance {
        hidden: rooted(hidden),
        channels: channels.into_iter().map(rooted).collect(),
        heads: heads.into_iter().map(rooted).collect(),
    }
}

/// Adds the squared mean size over each sequence of every part, `part` values wide.
fn add(sums: &mut [f64], values: &[f32], width: usize, sequences: &[Range<usize>], part: usize) {
    for rows in sequences {
        let mut means = vec![0.0; sums.len()];
        for row in values[rows.start * width..rows.end * width].chunks_exact(width) {
            for (mean, part) in means.iter_mut().zip(row.chunks_exact(part)) {
                *mean += part.iter().map(|&value| f64::from(value).powi(2)).sum::<f64>().sqrt();
            }
        }
        for (sum, mean) in sums.iter_mut().zip(means) {
            *sum += (mean / rows.len().max(1) as f64).powi(2);
        }
    }
}

/// The decoder with only its most important parts, in their order. Keeping all of them gives the same values.
///
/// # Errors
/// A width that does not fit.
///
/// # Panics
/// When `importance` is that of a decoder of other sizes.
pub fn narrowed(decoder: &Decoder, width: &Width, importance: &Importance) -> Result<Decoder, WidthError> {
    let from = &decoder.config;
    let config = width.of(from)?;
    let hidden = largest(&importance.hidden, config.hidden_size);
    let mut student = decoder.clone();
    student.config = config.clone();
    student.embedding = select(&decoder.embedding, None, Some(&hidden));
    student.norm = select(&decoder.norm, None, Some(&hidden));
    student.lm_head = decoder.lm_head.as_ref().map(|head| select(head, None, Some(&hidden)));
    let queries = from.head_dim * from.num_attention_heads / from.num_key_value_heads;
    for (layer, block) in student.blocks.iter_mut().enumerate() {
        let groups = largest(&importance.heads[layer], config.num_key_value_heads);
        let channels = largest(&importance.channels[layer], config.intermediate_size);
        let wide = |group: usize, each: usize| group * each..(group + 1) * each;
        let queries: Vec<usize> = groups.iter().flat_map(|&group| wide(group, queries)).collect();
        let keys: Vec<usize> = groups.iter().flat_map(|&group| wide(group, from.head_dim)).collect();
        narrow(block, &hidden, &queries, &keys, &channels);
    }
    Ok(student)
}

fn narrow(block: &mut Block, hidden: &[usize], queries: &[usize], keys: &[usize], channels: &[usize]) {
    block.input_norm = select(&block.input_norm, None, Some(hidden));
    block.post_attention_norm = select(&block.post_attention_norm, None, Some(hidden));
    for (name, projection) in block.projections_mut() {
        let (rows, columns) = match name {
            "self_attn.q_proj" => (queries, hidden),
            "self_attn.k_proj" | "self_attn.v_proj" => (keys, hidden),
            "self_attn.o_proj" => (hidden, queries),
            "mlp.down_proj" => (hidden, channels),
            _ => (channels, hidden),
        };
        projection.weight = Weight::Dense(select(&projection.weight.dense(), Some(rows), Some(columns)));
        projection.bias = projection.bias.as_ref().map(|bias| select(bias, None, Some(rows)));
    }
}

/// The indices of the `count` largest, in ascending order; of equals the earlier ones.
fn largest(importance: &[f64], count: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..importance.len()).collect();
    order.sort_by(|&a, &b| importance[b].total_cmp(&importance[a]));
    order.truncate(count);
    order.sort_unstable();
    order
}

/// Some rows and columns of a matrix; `None` is all of them.
fn select(tensor: &Tensor<2>, rows: Option<&[usize]>, columns: Option<&[usize]>) -> Tensor<2> {
    let [height, width] = tensor.dims();
    let values = values(tensor);
    let every_row: Vec<usize> = (0..height).collect();
    let every_column: Vec<usize> = (0..width).collect();
    let (rows, columns) = (rows.unwrap_or(&every_row), columns.unwrap_or(&every_column));
    let picked = rows.iter().flat_map(|&row| columns.iter().map(move |&column| row * width + column));
    matrix(picked.map(|index| values[index]).collect(), rows.len(), columns.len(), &tensor.device())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_means_over_positions_and_lengths_over_sequences() {
        // Two sequences of two rows and one; two parts of two values.
        let values = [3.0, 4.0, 0.0, 1.0, 0.0, 0.0, 0.0, -3.0, 6.0, 8.0, 0.0, 0.0];
        let mut sums = vec![0.0; 2];
        add(&mut sums, &values, 4, &[0..2, 2..3], 2);
        // (5 + 0) / 2 and 10; (1 + 3) / 2 and 0.
        assert_eq!(sums, [2.5f64.powi(2) + 100.0, 4.0]);
        assert_eq!(largest(&[1.0, 3.0, 2.0, 3.0], 2), [1, 3]);
        assert_eq!(largest(&[2.0, 2.0, 2.0], 2), [0, 1]);
    }
}
