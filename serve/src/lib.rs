//! An OpenAI-compatible server in which the model name chooses the modules.
//!
//! A base and a library of modules come in; requests to `/v1/completions`, `/v1/chat/completions` and `/v1/models`
//! are answered. `base` is the base alone, `base+geography=0.5+history` the base with two modules, `auto` whatever a
//! [`Chooser`] picks. One [`Engine`] computes for all requests, those with other modules in the same batch.
//!
//! ```no_run
//! use std::sync::Arc;
//! use std::sync::atomic::AtomicBool;
//! use lore_model::{Decoder, files::ModelFiles, fingerprint::Fingerprint};
//! use lore_modules::on_demand::{OnDemand, folders};
//! use lore_serve::{Base, Engine, EngineConfig, Server, ServerConfig, Service};
//!
//! let files = ModelFiles::open("base".as_ref())?;
//! let decoder = Decoder::load(&files.config, &*files.weights, &burn::tensor::Device::flex())?;
//! let fingerprint = Fingerprint::of(&files.config, &*files.weights, &files.tokenizer)?;
//! let mut library = OnDemand::new(decoder.clone(), fingerprint, 512_000_000);
//! library.set_folders(folders("library".as_ref())?);
//! let base = Base {
//!     decoder,
//!     start: files.document_start(),
//!     stop: files.config.eos_token_ids.clone(),
//!     tokenizer: files.tokenizer,
//!     fingerprint: fingerprint.to_string(),
//!     layout: None,
//! };
//! let there_now = || folders("library".as_ref()).map_err(|error| error.to_string());
//! let config = EngineConfig { slots: 4, context: 2048, queue: 64 };
//! let engine = Engine::start(Arc::new(base), library, Box::new(there_now), None, config);
//! let server = Server::bind(ServerConfig::default(), Service::new(engine, None))?;
//! println!("http://{}/v1", server.address());
//! server.run(&Arc::new(AtomicBool::new(false)));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod api;
mod base;
mod chooser;
pub mod engine;
mod error;
mod http;
mod server;
mod stops;

pub use api::Service;
pub use base::{Base, Layout, Turn};
pub use chooser::{Chooser, Wanted, model_name};
pub use engine::{Engine, EngineConfig};
pub use error::Error;
pub use http::Limits;
pub use server::{Server, ServerConfig};
