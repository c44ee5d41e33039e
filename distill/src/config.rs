//! How a student is made from a teacher.

use serde::{Deserialize, Serialize};

/// Which of the teacher's blocks the student starts from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Depth {
    /// Blocks kept from the input end.
    pub first: usize,
    /// Blocks kept from the output end.
    pub last: usize,
}
