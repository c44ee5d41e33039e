//! A Llama-family decoder and its files.
//!
//! Files come in as a Hugging Face repository or a GGUF file ([`files::ModelFiles`]); a [`Decoder`] with
//! its weights on a device comes out, whose projections can carry low-rank updates.
//!
//! ```no_run
//! use lore_model::{Decoder, files::ModelFiles, generate::{Generation, generate}, sampling::Sampling};
//! use std::ops::ControlFlow;
//!
//! let files = ModelFiles::open("teacher.gguf".as_ref())?;
//! let decoder = Decoder::load(&files.config, &*files.weights, &burn::tensor::Device::flex())?;
//! let prompt = vec![504, 2443];
//! let how = Generation { max_tokens: 20, sampling: Sampling::greedy(), seed: 0, stop: vec![] };
//! let tokens = generate(&decoder, &[prompt], &how, |_, _| ControlFlow::Continue(()))?;
//! # Ok::<(), lore_model::Error>(())
//! ```

pub mod block;
pub mod cache;
pub mod cpu;
pub mod decoder;
pub mod device;
pub mod generate;
pub mod ops;
pub mod projection;
pub mod quantised;
pub mod rope;
pub mod sampling;
pub mod streamed;

pub use decoder::Decoder;

pub mod chat;
pub mod config;
pub mod error;
pub mod export;
pub mod files;
pub mod fingerprint;
pub mod publish;
pub mod save;
pub mod tokenizer;
pub mod weights;
pub mod whole;

pub use error::Error;
