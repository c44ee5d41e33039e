//! Module packs: one file that says exactly what a module is, proves that nobody changed it, and is harmless
//! to open.
//!
//! A [`Draft`] goes in and a pack comes out ([`build`]); [`sign`] puts a minisign signature into it; a
//! stranger's [`verify_file`] believes none of it before it is checked; a [`Library`] holds what is installed.
//! `docs/pack-format.md` specifies the file.
//!
//! ```no_run
//! use lore_packs::{Keyring, Library, Policy, verify_file};
//!
//! let pack = verify_file("rivers-0.1.0.lorepack".as_ref(), None)?;
//! println!("{} {}: {}", pack.manifest.name, pack.manifest.version, Keyring::new("keys").judge(&pack, &[])?);
//! let library = Library::new("library");
//! let mut held = library.lock(&|| ())?;
//! let staged = held.stage("rivers-0.1.0.lorepack".as_ref(), "rivers-0.1.0.lorepack", None)?;
//! println!("{}", held.commit(vec![staged], &Policy::default())?[0].display());
//! # Ok::<(), lore_packs::Error>(())
//! ```

pub mod documents;
pub mod error;
pub mod facts;
pub mod format;
pub mod index;
pub mod keyring;
pub mod library;
pub mod license;
pub mod manifest;
pub mod signature;
pub mod verify;
pub mod weights;

mod archive;
mod build;
mod canonical;
mod card;
mod content;
mod draft;
mod folder;
mod meaning;
mod page;
mod publish;
mod router;

pub use build::{build, sign};
pub use draft::{Draft, file_name, name_from};
pub use error::{Error, Result};
pub use index::{Index, IndexEntry};
pub use keyring::{Keyring, Trust};
pub use library::{Installed, Library, Policy};
pub use manifest::{Manifest, Requirement};
pub use page::page;
pub use publish::{Layout, publish};
pub use verify::{Base, Verified, verify_file, verify_folder, verify_reader};
