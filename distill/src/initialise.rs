//! A student made of some of the teacher's blocks.

use crate::Depth;
use lore_datasets::batches::Batch;
use lore_model::Decoder;
use lore_model::ops::head::{Target, head_loss};
use lore_model::ops::sequences::Sequences;
use std::sync::Arc;

/// The depth asked for does not fit the teacher.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "cannot keep the first {first} and the last {last} blocks of a teacher with {available}; keep at least 1 and at most {available} in all"
)]
pub struct Error {
    first: usize,
    last: usize,
    available: usize,
}

/// The teacher with only its first and last blocks; everything else is shared with it. Keeping all
/// blocks gives the teacher itself.
///
/// Dropping one contiguous middle stretch starts far better than dropping every other block: the
/// blocks that remain still see inputs like those they were trained on.
///
/// # Errors
/// When there are not as many blocks.
pub fn student_from_teacher(teacher: &Decoder, depth: &Depth) -> Result<Decoder, Error> {
    let available = teacher.blocks.len();
    let kept = depth.first + depth.last;
    if kept == 0 || kept > available {
        return Err(Error { first: depth.first, last: depth.last, available });
    }
    let mut student = teacher.clone();
    student.blocks.drain(depth.first..available - depth.last);
    student.config.num_hidden_layers = kept;
    Ok(student)
}

/// Which `keep` blocks to start from: of all ways to drop one contiguous stretch, the one whose student predicts the next
/// tokens of `batches` best; the second value is its loss in nats a token. All ways are tried, so this takes as many
/// forward passes of a student as there are blocks to keep, and one.
///
/// # Errors
/// When there are not as many blocks.
///
/// # Panics
/// When nothing in the batches has a next token.
pub fn measured_depth(
    teacher: &Decoder,
    keep: usize,
    batches: &[Batch],
    mut tried: impl FnMut(&Depth, f64),
) -> Result<(Depth, f64), Error> {
    let mut best: Option<(Depth, f64)> = None;
    for first in (0..=keep).rev() {
        let depth = Depth { first, last: keep - first };
        let student = student_from_teacher(teacher, &depth)?;
        let loss = next_token_loss(&student, batches);
        tried(&depth, loss);
        if best.as_ref().is_none_or(|(_, least)| loss < *least) {
            best = Some((depth, loss));
        }
    }
    Ok(best.expect("at least one way was tried"))
}

/// Mean cross-entropy in nats over all positions that have a next token.
fn next_token_loss(decoder: &Decoder, batches: &[Batch]) -> f64 {
    let counted: usize = batches.iter().map(Batch::target_count).sum();
    assert!(counted > 0, "texts to measure by");
    let sum: f64 = batches
        .iter()
        .map(|batch| {
            let sequences = Arc::new(Sequences::whole(&batch.lengths));
            let hidden = decoder.hidden(Arc::new(batch.tokens.clone()), sequences);
            let target = Target::Labels(Arc::new(batch.targets.clone()));
            head_loss(hidden, decoder.head(), target, Arc::new(batch.mask.clone())).1.loss
        })
        .sum();
    sum / counted as f64
}
