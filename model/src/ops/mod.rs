//! The operations of a decoder, each with its own gradient.
//!
//! All of them work on matrices: the rows are the tokens of all sequences of a batch, one after
//! another, and [`sequences::Sequences`] says where each begins. Nothing is padded.

pub mod attention;
pub mod embedding;
mod function;
pub mod head;
pub mod host;
pub mod precision;
mod product;
pub mod profile;
pub mod projection;
pub mod recompute;
pub mod rms_norm;
pub mod rotary;
pub mod row_updates;
pub mod sequences;
pub mod swiglu;

pub use function::{Function, apply};
