//! Units of work that travel: one stage of a recipe, or one task, as a folder that holds all it needs; its result, which
//! can be checked without trusting who computed it.
//!
//! `make` writes a [`Job`], `run` computes it anywhere without a network, `verify` believes the result only as far as it
//! was computed again, and what is accepted goes where `lore run` and `lore eval` look for it.

mod archive;
mod comparison;
mod evaluation;
mod files;
mod fraction;
pub mod make;
mod outcome;
mod run;
mod training;
mod unit;

pub use evaluation::Asked;
pub use outcome::Outcome;
pub use run::run;
pub use training::Accepted;
pub use unit::{Job, Unit, Work};

use crate::error::{Error, Result};
use crate::session::Session;

/// How much of a result is computed again.
#[derive(Debug, Clone, Copy, clap::Args)]
pub struct Sampling {
    /// Steps computed again after each of two drawn checkpoints; 0 for the whole training
    #[arg(long, value_name = "N", default_value_t = 2)]
    pub steps: u64,
    /// Items asked anew of an evaluation; 0 for all
    #[arg(long, value_name = "N", default_value_t = 20)]
    pub items: usize,
    /// Which are drawn [default: unpredictable]
    #[arg(long, value_name = "N")]
    pub seed: Option<u64>,
}

impl Sampling {
    fn seed(&self) -> u64 {
        let clock = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        self.seed.unwrap_or_else(|| clock.map_or(0, |since| since.as_nanos() as u64))
    }
}

/// What a result turned out to be.
pub enum Verified {
    /// A trained base or module.
    Training(Box<Accepted>),
    /// Answers to a task.
    Evaluation(Asked),
}

/// Checks a result of a job.
///
/// # Errors
/// Everything that is wrong with it, in sentences; a job that cannot be computed here.
pub fn verify(job: &Job, outcome: &Outcome, sampling: &Sampling, session: &Session) -> Result<Verified> {
    match &job.work.unit {
        Unit::Training(unit) => {
            let accepted = training::verify(job, unit, outcome, sampling, session)?;
            Ok(Verified::Training(Box::new(accepted)))
        }
        Unit::Evaluation(unit) => Ok(Verified::Evaluation(evaluation::verify(job, unit, outcome, sampling, session)?)),
    }
}

/// For a result that is not what it says.
fn refused(outcome: &Outcome, problems: &[String]) -> Error {
    const QUOTED: usize = 5;
    let more = problems.len().saturating_sub(QUOTED);
    let more = if more > 0 { format!("; and {more} more") } else { String::new() };
    let quoted = problems.iter().take(QUOTED).map(String::as_str).collect::<Vec<_>>().join("; ");
    Error::Failed(format!("{}: not accepted: {quoted}{more}", outcome.name.display()))
}
