//! Knowledge modules trained from topic corpora.
//!
//! A [`LoraTraining`] puts fresh low-rank updates on a frozen base ([`LoraTraining::new`]), is trained by
//! [`lore_train::train`] like anything else, and comes out as an [`lore_modules::Adapter`].

pub mod config;
mod objective;

pub use config::LoraConfig;
pub use objective::{Error, LoraTraining};
