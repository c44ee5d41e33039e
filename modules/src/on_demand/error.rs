//! Why modules cannot be had.

use std::path::PathBuf;

/// Modules that cannot be had, now or at all.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LeaseError {
    /// The library has no such module.
    #[error("there is no module `{name}` in the library; {}", known(names))]
    Unknown {
        /// What was asked for.
        name: String,
        /// What there is.
        names: Vec<String>,
    },
    /// The modules are larger than the cap together.
    #[error(
        "the modules {set} take {needed} bytes in memory, but at most {cap} are allowed; ask for fewer, or raise the cap"
    )]
    OverCap {
        /// The modules.
        set: String,
        /// Bytes they take together.
        needed: u64,
        /// Bytes allowed.
        cap: u64,
    },
    /// There is no room beside the modules that are in use; there will be when they are given back.
    #[error("the modules {set} have to wait: {in_use} of {cap} bytes are taken by modules in use")]
    Busy {
        /// The modules.
        set: String,
        /// Bytes of modules in use that are not among them.
        in_use: u64,
        /// Bytes allowed.
        cap: u64,
    },
    /// A module's files are not usable.
    #[error("module `{name}` in {}", folder.display())]
    Module {
        /// Its name.
        name: String,
        /// Its folder.
        folder: PathBuf,
        /// What is wrong.
        source: crate::Error,
    },
}

fn known(names: &[String]) -> String {
    match names {
        [] => "it is empty".to_owned(),
        _ => format!("there are {}", names.join(", ")),
    }
}
