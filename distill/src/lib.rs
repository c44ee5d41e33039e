//! A small base distilled from a large teacher.
//!
//! The student starts as the teacher without a middle stretch of its blocks ([`initialise`]), narrower if asked for
//! ([`Width`]), learns the
//! teacher's whole distribution over the next token ([`Distillation`]: forward KL or another divergence, live or from
//! a [`cache`] of drawn tokens), on general English that the teacher wrote itself ([`general`]). A teacher also writes
//! questions, paraphrases, summaries and cloze facts from the passages of a topic ([`synth`]).

pub mod cache;
pub mod config;
pub mod general;
mod hidden_states;
mod initialise;
mod objective;
pub mod synth;
mod width;

pub use config::{Depth, DepthChoice, DistilConfig, Loss, TeacherSource};
pub use initialise::{Error as InitialiseError, measured_depth, student_from_teacher};
pub use objective::{Distillation, NextToken};
pub use width::{Importance, Width, WidthError, importance, narrowed};
