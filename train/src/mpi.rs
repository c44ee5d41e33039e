//! Peers over the Message Passing Interface: the processes that `mpirun` or `srun --mpi` started.

use crate::peers::Peers;
use mpi::Threading;
use mpi::collective::SystemOperation;
use mpi::environment::Universe;
use mpi::topology::SimpleCommunicator;
use mpi::traits::{Communicator, CommunicatorCollectives, Equivalence};
use std::mem::ManuallyDrop;

/// Values that are added up by one call: MPI counts them with 32 bits, and needs buffers for them.
const PIECE: usize = 1 << 24;

/// All processes of this MPI job.
pub struct MpiPeers {
    universe: ManuallyDrop<Universe>,
}

impl MpiPeers {
    /// Joins the other processes; nothing if this one has joined before.
    pub fn join() -> Option<Self> {
        // Only the thread that trains talks to the others; which one that is may change between stages.
        let (universe, _) = mpi::initialize_with_threading(Threading::Serialized)?;
        Some(Self { universe: ManuallyDrop::new(universe) })
    }

    fn sum<T: Equivalence + Copy>(&self, values: &mut [T]) {
        let world = SimpleCommunicator::world();
        for piece in values.chunks_mut(PIECE) {
            let own = piece.to_vec();
            world.all_reduce_into(&own[..], piece, SystemOperation::sum());
        }
    }
}

impl Peers for MpiPeers {
    fn rank(&self) -> usize {
        usize::try_from(self.universe.world().rank()).expect("ranks count from 0")
    }

    fn size(&self) -> usize {
        usize::try_from(self.universe.world().size()).expect("there is one process at least")
    }

    fn sum_f32(&self, values: &mut [f32]) {
        self.sum(values);
    }

    fn sum_f64(&self, values: &mut [f64]) {
        self.sum(values);
    }

    fn abandon(&self) {
        SimpleCommunicator::world().abort(1)
    }
}

impl Drop for MpiPeers {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.abandon();
        }
        // Waits for the others, which end here too.
        // SAFETY: dropped once, here, and not used after.
        #[allow(unsafe_code)]
        unsafe {
            ManuallyDrop::drop(&mut self.universe);
        }
    }
}
