//! What a teacher would say at every position of a run's batches, drawn once and kept: so that training needs no teacher
//! in memory, and several students can learn from one capture.
//!
//! A folder holds `targets.bin`, one segment a step, and `targets.jsonl`: first what the capture is bound to, then a
//! line a step. A line is written when its segment is on disk, so that an interrupted capture goes on after the last.
//!
//! Processes side by side may capture shares of the steps into folders of their own; whoever captures the whole takes what is
//! found there. Every step is drawn by itself, so that the bytes do not depend on who drew it.
//!
//! A segment has a record for every row of the step's batch: the number of distinct tokens drawn (one byte), the
//! number of those that were drawn more than once (one byte), the entropy of the whole distribution in nats (`f16`), then
//! the ids of all (two bytes each, or four where the vocabulary is larger than 65,536), those drawn more than once first,
//! and how many times each of those was drawn (one byte each), all little-endian.

mod capture;
mod error;
mod index;
mod read;
mod shares;

pub use capture::{CHUNK, Captured, Teacher, capture, capture_share};
pub use error::Error;
pub use index::Binding;
pub use read::TargetCache;
