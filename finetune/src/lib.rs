//! Knowledge modules trained from topic corpora.
//!
//! A [`LoraTraining`] puts fresh low-rank updates on a frozen base ([`LoraTraining::new`]), is trained by
//! [`lore_train::train`] like anything else, and comes out as an [`lore_modules::Adapter`]
//! ([`LoraTraining::adapter`]).

pub mod config;
pub mod context;
mod dropout;
mod export;
mod objective;
pub mod pattern;
mod start;
mod training;

pub use config::{Init, LoraConfig};
pub use context::ContextConfig;
pub use training::{Error, LoraTraining};
