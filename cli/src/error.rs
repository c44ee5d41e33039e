//! How the program fails, and how it says so.

use std::error::Error as StdError;
use std::fmt::Write as _;
use std::io;
use std::path::PathBuf;

use lore_settings::Problems;

/// The result of everything the program does.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A failure, as a person reads it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The command line asks for something impossible.
    #[error("{0}")]
    Usage(String),

    /// A recipe or another file of settings is not valid.
    #[error(transparent)]
    Settings(#[from] Problems),

    /// A stage of a run failed.
    #[error("stage `{stage}` failed; what it finished is kept, and the same command goes on from there")]
    Stage {
        /// The stage.
        stage: String,
        /// Why.
        source: Box<Self>,
    },

    /// A file or folder could not be read or written.
    #[error("{}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },

    /// A library failed.
    #[error("{doing}")]
    Library {
        /// What was being done.
        doing: String,
        /// Why it failed.
        source: Box<dyn StdError + Send + Sync>,
    },

    /// Anything else, in a sentence that says what to do.
    #[error("{0}")]
    Failed(String),
}

/// Errors of libraries that already say which file, what was expected and what to do.
macro_rules! from_library {
    ($($error:ty),+ $(,)?) => {$(
        impl From<$error> for Error {
            fn from(error: $error) -> Self {
                Self::Failed(chain(&error))
            }
        }
    )+};
}
from_library!(
    lore_datasets::Error,
    lore_distill::general::Error,
    lore_distill::synth::Error,
    lore_eval::comparison::Error,
    lore_eval::engine::Error,
    lore_eval::result::Error,
    lore_eval::score::Error,
    lore_model::Error,
    lore_modules::Error,
    lore_packs::Error,
    lore_route::Error,
    lore_train::Error,
);

impl From<lore_board::Error> for Error {
    fn from(error: lore_board::Error) -> Self {
        match error {
            lore_board::Error::Settings(problems) => Self::Settings(problems),
            lore_board::Error::Task(error) => error.into(),
            _ => Self::Failed(chain(&error)),
        }
    }
}

impl From<lore_eval::task::Error> for Error {
    fn from(error: lore_eval::task::Error) -> Self {
        match error {
            lore_eval::task::Error::Settings(problems) => Self::Settings(problems),
            lore_eval::task::Error::Unknown { .. } => Self::Usage(error.to_string()),
            _ => Self::Failed(chain(&error)),
        }
    }
}

impl Error {
    /// For `map_err`: puts the path beside what the operating system said.
    pub fn io(path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { path, source }
    }

    /// For `map_err`: says what was being done when a library failed.
    pub fn while_doing<E: StdError + Send + Sync + 'static>(doing: impl Into<String>) -> impl FnOnce(E) -> Self {
        let doing = doing.into();
        move |source| Self::Library { doing, source: Box::new(source) }
    }

    /// 2 for what the user must write differently, 1 for everything else.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Usage(_) | Self::Settings(_) => 2,
            _ => 1,
        }
    }
}

/// Said of a full disk, unless the error says it.
const FULL_DISK: &str = "; free some space there, or write to another disk";
/// How that is done.
const OTHER_DISK: &str = ": --runs-dir for what a run writes, --cache-dir or LORE_CACHE for downloads";

/// The error and its causes in one paragraph. A cause that its consequence already tells is left out.
pub fn chain(error: &(dyn StdError + 'static)) -> String {
    let mut text = error.to_string();
    let mut full = is_full_disk(error);
    let mut cause = error.source();
    while let Some(error) = cause {
        full |= is_full_disk(error);
        let next = error.to_string();
        if !text.contains(&next) {
            write!(text, ": {next}").expect("a String takes all text");
        }
        cause = error.source();
    }
    if full {
        if !text.contains(FULL_DISK) {
            text.push_str(FULL_DISK);
        }
        text.push_str(OTHER_DISK);
    }
    text
}

fn is_full_disk(error: &(dyn StdError + 'static)) -> bool {
    let system = error.downcast_ref().is_some_and(|error: &io::Error| error.kind() == io::ErrorKind::StorageFull);
    system || matches!(error.downcast_ref(), Some(lore_datasets::Error::NoSpace { .. }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn causes_follow_in_one_paragraph_without_repeats() {
        let full = io::Error::new(io::ErrorKind::StorageFull, "disk full");
        let inner = Error::io("runs/a")(full);
        let error = Error::Stage { stage: "base".into(), source: Box::new(inner) };
        assert_eq!(
            chain(&error),
            format!(
                "stage `base` failed; what it finished is kept, and the same command goes on from there: runs/a: disk full{FULL_DISK}{OTHER_DISK}"
            )
        );
        assert_eq!(error.exit_code(), 1);
        assert_eq!(Error::Usage(String::new()).exit_code(), 2);
    }
}
