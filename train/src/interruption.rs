//! Trainings that are told to end early, and lose nothing.

use crate::peers::Peers;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Asks the training that runs to keep a checkpoint after the step it is at and to end with [`crate::Error::Stopped`].
/// Clones ask the same training.
#[derive(Clone, Debug)]
pub struct Interruption {
    asked: Arc<AtomicBool>,
    unheard: Arc<AtomicBool>,
}

impl Default for Interruption {
    fn default() -> Self {
        Self { asked: Arc::default(), unheard: Arc::new(AtomicBool::new(true)) }
    }
}

impl Interruption {
    /// To be set by whoever asks; a signal handler may.
    pub fn asked(&self) -> Arc<AtomicBool> {
        self.asked.clone()
    }

    /// Set while nothing is being trained, so that nobody would heed it.
    pub fn unheard(&self) -> Arc<AtomicBool> {
        self.unheard.clone()
    }

    /// From here until the result is dropped it is heeded.
    pub(crate) fn heed(&self) -> Heeded {
        self.unheard.store(false, Ordering::SeqCst);
        Heeded(self.unheard.clone())
    }

    /// Whether any of the processes was asked. All of them call it at the same step, and all end there.
    pub(crate) fn anywhere(&self, peers: &dyn Peers) -> bool {
        let mut asked = [if self.asked.load(Ordering::SeqCst) { 1.0 } else { 0.0 }];
        peers.sum_f64(&mut asked);
        asked[0] > 0.0
    }
}

/// Ends being heeded.
pub(crate) struct Heeded(Arc<AtomicBool>);

impl Drop for Heeded {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}
