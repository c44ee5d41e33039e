//! What can be wrong with a model's files.

use std::path::{Path, PathBuf};

/// An error of this crate. Problems of one kind in one file are reported together.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The operating system refused a read or a write.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was attempted, as a verb: "read", "write", "rename".
        action: &'static str,
        /// The file or folder concerned.
        path: PathBuf,
        /// The system's own error.
        source: std::io::Error,
    },
    /// The path holds nothing this crate can read as a model.
    #[error("{} is not a model: {reason}", path.display())]
    NotAModel {
        /// The file or folder given.
        path: PathBuf,
        /// What is missing, and what was looked for.
        reason: String,
    },
    /// The configuration describes a model this crate does not implement, or contradicts itself.
    #[error("{}: unusable model configuration:{}", path.display(), bullets(problems))]
    Config {
        /// The configuration file.
        path: PathBuf,
        /// Every problem found, one sentence each.
        problems: Vec<String>,
    },
    /// The bytes of a file contradict its format: truncated, or a header that does not describe it.
    #[error("{} is not a valid {format} file: {reason}; it is damaged or incomplete, fetch it again", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// Name of the format.
        format: &'static str,
        /// What was found, where, and what was expected.
        reason: String,
    },
    /// The tensors of a file are not those of its configuration.
    #[error("{}: the tensors do not fit the configuration:{}", path.display(), bullets(problems))]
    Tensors {
        /// The weight file or folder.
        path: PathBuf,
        /// Every problem found: missing, unexpected and wrongly shaped tensors.
        problems: Vec<String>,
    },
    /// Weights contain NaN or infinity.
    #[error("{}: weights that are NaN or infinite; the file is damaged or its training diverged, use another copy or an earlier checkpoint:{}", path.display(), bullets(problems))]
    NotFinite {
        /// The weight file or folder.
        path: PathBuf,
        /// Every tensor concerned, with the number of such values.
        problems: Vec<String>,
    },
    /// The tokenizer cannot be read, rebuilt or written.
    #[error("{}: tokenizer: {reason}", path.display())]
    Tokenizer {
        /// The file the tokenizer comes from.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// A conversation cannot be laid out as text.
    #[error("chat template: {reason}")]
    Chat {
        /// What the template, or its lack, says.
        reason: String,
    },
    /// A folder to be written holds something this program did not write.
    #[error(
        "{} already holds files that Lore did not write; choose another folder or empty it",
        path.display()
    )]
    Occupied {
        /// The folder.
        path: PathBuf,
    },
    /// A sequence is longer than the room made for it.
    #[error(
        "a sequence of {wanted} tokens does not fit: there is room for {capacity}; shorten the prompt or ask for fewer tokens"
    )]
    CacheFull {
        /// Tokens there is room for.
        capacity: usize,
        /// Tokens wanted.
        wanted: usize,
    },
    /// The model's output is not a number.
    #[error(
        "the model's scores are not numbers after {tokens} tokens; its weights, or a module's weight, are too large"
    )]
    NotANumber {
        /// Tokens seen so far.
        tokens: usize,
    },
    /// There is nothing to continue.
    #[error("a prompt is empty: give at least one token to continue from")]
    EmptyPrompt,
    /// Text that should be a fingerprint is not one.
    #[error("`{text}` is not a fingerprint: expected `{prefix}` and 64 hexadecimal digits", prefix = crate::fingerprint::PREFIX)]
    Fingerprint {
        /// The text.
        text: String,
    },
}

impl Error {
    /// Wraps a system error with what was attempted on which path.
    pub fn io(action: &'static str, path: &Path, source: std::io::Error) -> Self {
        Self::Io { action, path: path.to_owned(), source }
    }
}

/// Problems as the lines of a list, the first forty of them.
pub fn bullets(problems: &[String]) -> String {
    // Enough to see a pattern; a wrong configuration can make every tensor wrong.
    const SHOWN: usize = 40;
    let mut text: String = problems.iter().take(SHOWN).map(|problem| format!("\n  - {problem}")).collect();
    if problems.len() > SHOWN {
        text.push_str(&format!("\n  - and {} more", problems.len() - SHOWN));
    }
    text
}
