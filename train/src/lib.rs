//! The one step loop: optimiser, schedule, checkpoints, metrics.
//!
//! An [`Objective`] turns a batch into a loss, [`Parameters`] are what is trained, and [`train`] does the
//! rest: accumulation, global-norm clipping, AdamW, warm-up and cosine decay, a metrics line per step and
//! complete checkpoints from which a killed run goes on to the same bytes. With [`Peers`] several processes share the
//! work of each step.

pub mod adamw;
mod checkpoint;
pub mod config;
mod error;
mod held_out;
mod interruption;
mod metrics;
mod micro;
#[cfg(feature = "mpi")]
pub mod mpi;
pub mod parameters;
pub mod peers;
pub mod schedule;
mod step_loop;

pub use config::TrainConfig;
pub use error::Error;
pub use held_out::{HeldOut, Measurement, Stopping};
pub use interruption::Interruption;
pub use metrics::StepMetrics;
pub use micro::Micro;
pub use parameters::{Parameters, Tracked};
pub use peers::{Conditions, Peers};
pub use step_loop::{Figures, Objective, Run, Trained, clear_checkpoints, gradients, train, train_under, train_until};
