//! Which modules a text needs: a score for each from the base's own states and from tokens, and the base alone where none
//! reaches its threshold.
//!
//! Each module has a small file beside its weights, an [`Entry`], made of text of its topic and of general English; the
//! entries of a library make a [`Router`], in any order, none of them changed by the others. A prompt comes in, a
//! [`Choice`] comes out.
//!
//! ```no_run
//! use std::collections::BTreeMap;
//! use lore_model::{Decoder, files::ModelFiles, fingerprint::Fingerprint};
//! use lore_route::Router;
//!
//! let files = ModelFiles::open("runs/quickstart/base".as_ref())?;
//! let base = Decoder::load(&files.config, &*files.weights, &burn::tensor::Device::flex())?;
//! let fingerprint = Fingerprint::of(&files.config, &*files.weights, &files.tokenizer)?;
//! let folders = BTreeMap::from([("geography".to_owned(), "runs/quickstart/modules/geography".into())]);
//! let router = Router::of_folders(&folders, &fingerprint)?;
//! let text = [files.document_start(), 504, 2443];
//! for (module, weight) in router.choose(&base, &text, 2)?.picks {
//!     println!("{module} at {weight}");
//! }
//! # Ok::<(), lore_route::Error>(())
//! ```
//!
//! Two other ways to tell, to compare with: [`arrow`] looks at the modules' matrices alone, [`probe`] tries each module.

pub mod arrow;
pub mod build;
mod discriminant;
pub mod entry;
pub mod error;
pub mod probe;
pub mod reader;
pub mod router;
pub mod words;

pub use entry::{ENTRY_FILE, ENTRY_LIMIT, Entry};
pub use error::Error;
pub use reader::{Reader, View};
pub use router::{Choice, Router, Scored};
