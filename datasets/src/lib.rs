//! Sources to documents to tokens to batches.
//!
//! What comes in is a [source](source::SourceUri): a hub repository, a Python package or a file. It is
//! [fetched](fetch::Fetcher) once into a cache and checked against its sha256.
//!
//! ```
//! use lore_datasets::fetch::{Fetcher, SourceRequest};
//! use lore_datasets::progress::Silent;
//!
//! # let folder = tempfile::tempdir()?;
//! # std::fs::write(folder.path().join("notes.txt"), "Rivers run downhill.")?;
//! let notes = format!("file:{}", folder.path().join("notes.txt").display());
//! let fetcher = Fetcher::new(folder.path().join("cache"));
//! let fetched = fetcher.fetch(&SourceRequest::new(notes.parse()?), &Silent)?;
//! assert_eq!(fetched.bytes, 20);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! What was fetched becomes training data in four steps, each with its own file between: rules of a recipe
//! [extract](extract::extract) texts, which, [cleaned, without duplicates and evaluation
//! items](prepare::prepare) where that is asked for, become a [table of documents](documents::Documents), each in
//! its [split](split::Split); a split is [tokenised](tokenise::tokenise) into a
//! [store](token_store::TokenStore); and a [mixture](mixture::Mixture) of stores gives the
//! [batch](batches::Batch) of every step.
//!
//! ```
//! use lore_datasets::documents::{Documents, Origin};
//! use lore_datasets::extract::{ExtractSpec, extract};
//! use lore_datasets::progress::Silent;
//! use lore_datasets::split::{Split, SplitSpec};
//!
//! # let folder = tempfile::tempdir()?;
//! std::fs::write(folder.path().join("notes.md"), "# Rivers\nRivers run downhill.\n# Lakes\nLakes lie still.\n")?;
//! let rule: ExtractSpec = serde_json::from_str(r#"{"format": "text", "split_headings": 1}"#)?;
//! let extraction = extract("notes", folder.path(), &[rule], &Silent)?;
//! let origin = Origin { topic: "water".into(), source: "file:notes.md".into(), license: "CC0-1.0".into() };
//! let split = SplitSpec { validation: 0.0, test: 0.0 };
//! let (documents, _) = Documents::build(extraction.documents, &origin, &split)?;
//! assert_eq!(documents.split(Split::Train)[1].text, "Lakes lie still.");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub mod batches;
mod boundary;
mod byte_pairs;
pub mod clean;
pub mod decontaminate;
pub mod dedup;
pub mod documents;
pub mod error;
pub mod evaluation;
pub mod extract;
pub mod fetch;
pub mod mixture;
pub mod prepare;
pub mod progress;
mod read_at;
mod sort;
pub mod source;
pub mod split;
pub mod spool;
pub mod table;
pub mod token_store;
pub mod tokenise;
pub mod whole;
mod words;

pub use error::{Error, Result};
