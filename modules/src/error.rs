//! What can be wrong with a module.

use std::path::{Path, PathBuf};

use lore_model::error::bullets;
use lore_model::fingerprint::Fingerprint;

/// An error of this crate. Problems of one kind are reported together.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// An error of reading or writing files, or of the base.
    #[error(transparent)]
    Model(#[from] lore_model::Error),
    /// The path holds no module this crate reads.
    #[error("{} is not a module: {reason}", path.display())]
    NotAModule {
        /// The folder given.
        path: PathBuf,
        /// What is missing, and what was looked for.
        reason: String,
    },
    /// `adapter_config.json` asks for something this crate does not implement, or contradicts itself.
    #[error("{}: unusable adapter configuration:{}", path.display(), bullets(problems))]
    Config {
        /// The configuration file.
        path: PathBuf,
        /// Every problem found, one sentence each.
        problems: Vec<String>,
    },
    /// The module's tensors do not form the updates its configuration describes.
    #[error("{}: the module's tensors are not usable:{}", path.display(), bullets(problems))]
    Tensors {
        /// The weight file or folder.
        path: PathBuf,
        /// Every problem found.
        problems: Vec<String>,
    },
    /// The module does not fit the shapes of the base.
    #[error("the module does not fit this base, whatever its fingerprint:{}", bullets(problems))]
    Shapes {
        /// Every update that does not fit.
        problems: Vec<String>,
    },
    /// The modules cannot become one.
    #[error("the modules cannot be composed:{}", bullets(problems))]
    Composition {
        /// Every reason.
        problems: Vec<String>,
    },
    /// What the module changes depends on its base's weights, which are not at hand.
    #[error("the module cannot be in {what}: {problem}")]
    NeedsBase {
        /// What was asked for.
        what: &'static str,
        /// Why, and what to do.
        problem: String,
    },
    /// A GGUF file is not a LoRA module for the base at hand.
    #[error("{}: not a module that can be imported:{}", path.display(), bullets(problems))]
    Import {
        /// The file.
        path: PathBuf,
        /// Every reason.
        problems: Vec<String>,
    },
    /// The difference of two models is not a module.
    #[error("no module can be extracted:{}", bullets(problems))]
    Extraction {
        /// Every reason.
        problems: Vec<String>,
    },
    /// Singular values could not be computed.
    #[error("the singular values of a {rows}×{columns} matrix did not converge; its values are out of range")]
    Decomposition {
        /// Rows of the matrix.
        rows: usize,
        /// Columns of the matrix.
        columns: usize,
    },
    /// The module was trained on another base, or does not say on which.
    #[error(
        "the module was trained on {}, and this base is {found}; use the base it was trained on: \
         the module's effect on another is not what was measured",
        trained_on.as_ref().map_or_else(|| "a base it does not name".to_owned(), Fingerprint::to_string)
    )]
    OtherBase {
        /// What the module records.
        trained_on: Option<Fingerprint>,
        /// The base at hand.
        found: Fingerprint,
    },
}

impl Error {
    pub(crate) fn io(action: &'static str, path: &Path, source: std::io::Error) -> Self {
        Self::Model(lore_model::Error::io(action, path, source))
    }
}
