//! What can go wrong while training.

use std::path::{Path, PathBuf};

/// An error of this crate.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The operating system refused a read or a write.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was attempted, as a verb.
        action: &'static str,
        /// The file or folder concerned.
        path: PathBuf,
        /// The system's own error.
        source: std::io::Error,
    },
    /// A checkpoint is damaged or belongs to another run.
    #[error("the checkpoint {} cannot be resumed from: {reason}; remove it to start again", path.display())]
    Checkpoint {
        /// The checkpoint's folder.
        path: PathBuf,
        /// What does not fit.
        reason: String,
    },
    /// The loss or its gradient stopped being a number.
    #[error(
        "training diverged: at step {step} the loss is {loss} and the norm of its gradient {gradient_norm}; \
         lower the learning rate (now at most {learning_rate})"
    )]
    Diverged {
        /// The step.
        step: u64,
        /// The loss found.
        loss: f64,
        /// The global norm of the gradient.
        gradient_norm: f64,
        /// The configured peak learning rate.
        learning_rate: f64,
    },
    /// A batch has nothing to learn from.
    #[error("the batch of step {step} has no position to learn from; the texts are too short")]
    EmptyBatch {
        /// The step.
        step: u64,
    },
    /// Held-out text cannot be measured.
    #[error("measuring on held-out text")]
    HeldOut(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The run was asked to go no further; its checkpoints are kept.
    #[error("stopped after step {step}, as was asked")]
    Stopped {
        /// Steps made.
        step: u64,
    },
    /// The model cannot be run on the batch.
    #[error(transparent)]
    Model(#[from] lore_model::Error),
    /// The data cannot be read.
    #[error(transparent)]
    Data(#[from] lore_datasets::Error),
}

impl Error {
    pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { action, path, source }
    }
}
