//! What can be wrong with a pack, a key or a library.

use std::io;
use std::path::{Path, PathBuf};

use lore_model::error::bullets;

/// The result of everything in this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A failure, naming the file, what was expected and what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Reading or writing failed.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// The file breaks a rule of the format.
    #[error("{} is refused: {problem}", path.display())]
    Refused {
        /// The pack, or the folder of an installed one.
        path: PathBuf,
        /// The rule, and what was found.
        problem: String,
    },
    /// The file is not what was packed or signed.
    #[error("{} is altered: {problem}; do not use it, get it again from its author", path.display())]
    Altered {
        /// The pack, or the folder of an installed one.
        path: PathBuf,
        /// What does not agree.
        problem: String,
    },
    /// What a pack would be built from is incomplete or contradicts itself.
    #[error("`{name}` cannot be packed yet:{}", bullets(problems))]
    Incomplete {
        /// The module.
        name: String,
        /// Everything that is missing, at once.
        problems: Vec<String>,
    },
    /// A key, a signature or a password is unusable.
    #[error("{what}: {problem}")]
    Key {
        /// The key or its file.
        what: String,
        /// What is wrong with it.
        problem: String,
    },
    /// An installation would break a rule between modules.
    #[error("`{name}` {version} cannot be installed:{}", bullets(problems))]
    Conflict {
        /// The module.
        name: String,
        /// Its version.
        version: semver::Version,
        /// Everything that stands against it.
        problems: Vec<String>,
    },
    /// A request that cannot be met as it stands.
    #[error("{0}")]
    Request(String),
}

impl Error {
    /// For `map_err`: puts the path beside what the operating system said.
    pub fn io(path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { path, source }
    }
}

/// What is wrong with a pack, before it is known which file it is.
#[derive(Debug)]
pub(crate) enum Problem {
    /// It breaks a rule of the format.
    Refused(String),
    /// It is not what was packed or signed.
    Altered(String),
    /// Reading, or writing what was read, failed.
    Io(Option<PathBuf>, io::Error),
}

impl Problem {
    pub(crate) fn refused<T>(text: impl Into<String>) -> Result<T, Self> {
        Err(Self::Refused(text.into()))
    }

    pub(crate) fn altered<T>(text: impl Into<String>) -> Result<T, Self> {
        Err(Self::Altered(text.into()))
    }

    /// For `map_err` where a file beside the pack is written or read.
    pub(crate) fn io(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |error| Self::Io(Some(path), error)
    }

    /// For `map_err`: the error about the pack at `path`.
    pub(crate) fn of(path: &Path) -> impl FnOnce(Self) -> Error {
        let path = path.to_owned();
        move |problem| match problem {
            Self::Refused(problem) => Error::Refused { path, problem: shown(&problem) },
            Self::Altered(problem) => Error::Altered { path, problem: shown(&problem) },
            Self::Io(other, source) => Error::Io { path: other.unwrap_or(path), source },
        }
    }
}

/// What a stranger's file made of a message, for a terminal: nothing in it drives the terminal or hides, and
/// it ends.
pub(crate) fn shown(problem: &str) -> String {
    const LONGEST: usize = 2000;
    let mut text = String::new();
    for c in problem.chars() {
        if text.len() > LONGEST {
            text.push('…');
            break;
        }
        match c {
            '\n' => text.push(c),
            _ if is_hidden(c) => text.extend(c.escape_unicode()),
            _ => text.push(c),
        }
    }
    text
}

/// Controls, changes of direction, and what cannot be seen.
pub(crate) fn is_hidden(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}
