//! Several processes that train one stage together, as `mpirun` or `srun` starts them.

use lore_train::Peers;
use std::sync::Arc;

use crate::error::{Error, Result};

/// The processes that this one was started with.
///
/// # Errors
/// A build without MPI.
#[cfg(feature = "mpi")]
pub fn peers() -> Result<Arc<dyn Peers>> {
    let joined = lore_train::mpi::MpiPeers::join();
    joined.map(|peers| Arc::new(peers) as Arc<dyn Peers>).ok_or_else(|| Error::Failed("MPI was started before".into()))
}

/// As above, in a build without MPI.
#[cfg(not(feature = "mpi"))]
pub fn peers() -> Result<Arc<dyn Peers>> {
    Err(Error::Usage(
        "--mpi: this program was built without it; with an MPI and its headers (Debian: libopenmpi-dev libclang-dev), \
         build with `cargo build --release --features mpi`"
            .into(),
    ))
}

/// Refuses stages in which there is nothing to share.
///
/// # Errors
/// Any stage that does not train.
pub fn check_stage(stage: &str) -> Result<()> {
    if stage == "base" || stage.starts_with("module:") {
        return Ok(());
    }
    Err(Error::Usage(format!(
        "--mpi shares the training of `base` or of a `module:NAME`; `--only {stage}` trains nothing"
    )))
}
