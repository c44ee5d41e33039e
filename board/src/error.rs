//! What can be wrong with a board.

use std::io;
use std::path::PathBuf;

/// The result of everything in this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A failure, naming the file, what was expected and what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file or folder could not be read or written.
    #[error("{}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// A file is not what the log says.
    #[error("{} is altered: {problem}", path.display())]
    Altered {
        /// The file.
        path: PathBuf,
        /// What does not agree.
        problem: String,
    },
    /// A request that cannot be met as it stands.
    #[error("{0}")]
    Request(String),
    /// The settings are not valid.
    #[error(transparent)]
    Settings(#[from] lore_settings::Problems),
    /// A pack, key or signature.
    #[error(transparent)]
    Pack(#[from] lore_packs::Error),
    /// A task or its data.
    #[error(transparent)]
    Task(#[from] lore_eval::task::Error),
    /// A result file.
    #[error(transparent)]
    Result(#[from] lore_eval::result::Error),
    /// Items that cannot be asked.
    #[error(transparent)]
    Engine(#[from] lore_eval::engine::Error),
    /// Training texts that cannot be read.
    #[error(transparent)]
    Documents(#[from] lore_datasets::Error),
    /// A page cannot be made, which only a defect of a template can cause.
    #[error("a page of the site: {0}")]
    Template(#[from] minijinja::Error),
}

impl Error {
    /// For `map_err`: puts the path beside what the operating system said.
    pub fn io(path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { path, source }
    }

    pub(crate) fn altered<T>(path: impl Into<PathBuf>, problem: impl Into<String>) -> Result<T> {
        Err(Self::Altered { path: path.into(), problem: problem.into() })
    }

    pub(crate) fn request<T>(text: impl Into<String>) -> Result<T> {
        Err(Self::Request(text.into()))
    }
}
