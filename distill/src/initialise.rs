//! A student made of some of the teacher's blocks.

use crate::Depth;
use lore_model::Decoder;

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
