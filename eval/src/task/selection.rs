//! Which items of a task are asked, and after how many examples.

use serde::{Deserialize, Serialize};

/// A choice of items. The default is all of them, without examples.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Selection {
    /// Only this subset.
    pub subset: Option<String>,
    /// Of each subset no more than this many.
    pub limit: Option<usize>,
    /// Draws items, examples and the distractors of glossaries. Without one, the first items are taken, examples
    /// are those of lm-evaluation-harness, and distractors those of the task's own seed.
    pub seed: Option<u64>,
    /// Solved examples before each question.
    pub shots: usize,
}
