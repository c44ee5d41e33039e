//! What can go wrong with a capture.

use std::path::{Path, PathBuf};

/// What can go wrong with a capture.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file cannot be read or written.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was attempted.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// The system's own error.
        source: std::io::Error,
    },
    /// The teacher cannot be read.
    #[error(transparent)]
    Model(#[from] lore_model::Error),
    /// The capture belongs to other weights or batches.
    #[error("{} was captured {reason}; capture it again (lore run … --force targets)", path.display())]
    Other {
        /// The index.
        path: PathBuf,
        /// What differs.
        reason: String,
    },
    /// Its bytes are not those that were written.
    #[error("{} is damaged: {reason}; capture it again (lore run … --force targets)", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
}

pub(super) fn io(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Error {
    let path = path.to_owned();
    move |source| Error::Io { action, path, source }
}
