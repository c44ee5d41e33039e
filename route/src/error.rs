//! What can be wrong with a router.

use std::path::{Path, PathBuf};

use lore_model::error::bullets;
use lore_model::fingerprint::Fingerprint;

/// An error of this crate. Problems of one kind are reported together.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// An error of reading or writing files.
    #[error(transparent)]
    Model(#[from] lore_model::Error),
    /// An error of a module.
    #[error(transparent)]
    Module(#[from] lore_modules::Error),
    /// A file could not be read or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// The bytes are not those of a router, or of an entry of one.
    #[error("{}: not a usable router file:{}", path.display(), bullets(problems))]
    Malformed {
        /// The file, or what stands for it.
        path: PathBuf,
        /// Every problem found, one sentence each.
        problems: Vec<String>,
    },
    /// An entry was made with another base.
    #[error("the router entry of `{module}` was made with the base {made_with}; this one is {found}")]
    OtherBase {
        /// The module.
        module: String,
        /// The base the entry names.
        made_with: Fingerprint,
        /// The base at hand.
        found: Fingerprint,
    },
    /// An entry does not fit the base's sizes.
    #[error("the router entry of `{module}` does not fit this base: {problem}")]
    Shape {
        /// The module.
        module: String,
        /// What does not fit.
        problem: String,
    },
    /// The base is in blocks: its states are not those of its own values, and its fingerprint is that of these.
    #[error(
        "a router reads the states of the base's own values; this base is in blocks, which changes them. Load it without \
         `quantise`"
    )]
    InBlocks,
    /// A module that a router does not know.
    #[error("the router knows no module `{module}`; it knows {known}")]
    Unknown {
        /// What was asked for.
        module: String,
        /// The modules it has, with commas between.
        known: String,
    },
    /// There is too little text to make an entry from.
    #[error("{0}")]
    TooLittle(String),
}

impl Error {
    pub(crate) fn io(path: &Path) -> impl FnOnce(std::io::Error) -> Self + use<> {
        let path = path.to_owned();
        move |source| Self::Io { path, source }
    }
}
