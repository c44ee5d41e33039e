//! What Slurm says about jobs.

use std::fmt;
use std::process::{Command, Output};

use lore_datasets::progress::Progress;

use super::{POLL, absent};
use crate::error::Result;

/// How often a controller that does not answer is asked to take a job; each time sbatch itself waits some seconds.
const PATIENCE: usize = 60;

/// A job in the queue, or elements of one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Queued {
    /// What scancel calls it, such as `4_1`.
    pub id: String,
    state: String,
    /// Why it does not run, if it does not.
    reason: String,
    name: String,
}

/// How squeue is to write a job.
const FORMAT: &str = "--format=%i|%T|%r|%j";

impl Queued {
    /// From a line in [`FORMAT`].
    fn read(line: &str) -> Option<Self> {
        let mut parts = line.trim().splitn(4, '|').map(str::to_owned);
        Some(Self { id: parts.next()?, state: parts.next()?, reason: parts.next()?, name: parts.next()? })
    }

    /// Whether its launch failed and it is held until somebody releases it. That is what becomes of jobs that run while the
    /// controller dies before it wrote down that it started them: it starts them again, and the node has them already.
    pub fn will_not_start(&self) -> bool {
        let reason = self.reason.to_lowercase().replace('_', " ");
        self.state == "PENDING" && reason.contains("launch failed") && reason.contains("held")
    }
}

impl fmt::Display for Queued {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.name, self.state)?;
        if self.state == "PENDING" && self.reason != "None" { write!(f, " ({})", self.reason) } else { Ok(()) }
    }
}

/// Those of the jobs that are still in the queue, or nothing if the controller does not answer.
pub fn queue(ids: &[String]) -> Result<Option<Vec<Queued>>> {
    let output =
        Command::new("squeue").args(["--noheader", FORMAT, "--jobs", &ids.join(",")]).output().map_err(absent)?;
    if output.status.success() {
        return Ok(Some(String::from_utf8_lossy(&output.stdout).lines().filter_map(Queued::read).collect()));
    }
    // It has forgotten jobs that ended some minutes ago.
    let gone = String::from_utf8_lossy(&output.stderr).contains("Invalid job id");
    Ok(gone.then(Vec::new))
}

/// What sbatch answers; a controller that is away for a while is waited for. Nothing is submitted twice: only where no
/// connection was made is it tried again.
pub fn submitted(sbatch: &mut Command, progress: &dyn Progress) -> Result<Output> {
    let mut output = sbatch.output().map_err(absent)?;
    for attempt in 1..PATIENCE {
        if output.status.success() || !String::from_utf8_lossy(&output.stderr).contains("(connect failure)") {
            break;
        }
        if attempt == 1 {
            progress.note("the controller does not answer; waiting for it");
        }
        std::thread::sleep(POLL);
        output = sbatch.output().map_err(absent)?;
    }
    Ok(output)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::Queued;

    #[test]
    fn jobs_that_will_not_start_are_told_from_those_that_wait() {
        let read = |line: &str| Queued::read(line).unwrap();
        for line in ["4_1|PENDING|launch failed requeued held|a|b", "7|PENDING|launch_failed_requeued_held|run"] {
            assert!(read(line).will_not_start(), "{line}");
        }
        for line in [
            // Its processes have not ended yet.
            "4_0|COMPLETING|launch failed requeued held|run",
            "4_[0-1]|PENDING|Dependency|run",
            // Somebody held it, and will release it.
            "4_1|PENDING|JobHeldUser|run",
            "4_1|RUNNING|None|run",
        ] {
            assert!(!read(line).will_not_start(), "{line}");
        }
        assert_eq!(read("4_[0-1]|PENDING|Dependency|lore|x").to_string(), "lore|x PENDING (Dependency)");
        assert_eq!(read("4_1|RUNNING|None|run").to_string(), "run RUNNING");
        assert_eq!(Queued::read("slurm_load_jobs error"), None);
    }
}
