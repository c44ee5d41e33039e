//! One line of figures per step, in `metrics.jsonl`.

use crate::Error;
use serde::{Deserialize, Serialize};
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

/// What a step did.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StepMetrics {
    /// Steps made, this one included.
    pub step: u64,
    /// Tokens seen, this step included.
    pub tokens: u64,
    /// Mean loss over the positions learnt from, nats.
    pub loss: f64,
    /// Entropy of the teacher's distribution, nats; zero for labels.
    pub target_entropy: f64,
    /// Share of positions where student and target agree on the most likely token.
    pub agreement: f64,
    /// Global gradient norm before clipping.
    pub gradient_norm: f64,
    /// Learning rate.
    pub learning_rate: f64,
    /// What was measured on held-out text after this step, if it was ([`HeldOut`](crate::HeldOut)).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held_out: Option<f64>,
    /// Seconds this step took, without that.
    pub seconds: f64,
}

/// The metrics file of a run.
pub(crate) struct MetricsFile {
    path: PathBuf,
    file: File,
}

impl MetricsFile {
    /// Opens the file, keeps the lines up to `step` and returns them: lines of steps that will be
    /// made again are dropped, a line cut short by a crash too.
    pub(crate) fn resume(path: &Path, step: u64) -> Result<(Self, Vec<StepMetrics>), Error> {
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
            Err(error) => return Err(Error::io("read", path)(error)),
        };
        let mut kept: Vec<StepMetrics> = Vec::new();
        let mut lines = String::new();
        for line in text.lines() {
            if let Ok(metrics) = serde_json::from_str::<StepMetrics>(line)
                && metrics.step <= step
            {
                kept.push(metrics);
                // As it was written: reading a number and writing it again may change its last digit.
                lines.push_str(line);
                lines.push('\n');
            }
        }
        let partial = path.with_extension("partial");
        std::fs::write(&partial, lines).map_err(Error::io("write", &partial))?;
        std::fs::rename(&partial, path).map_err(Error::io("replace", path))?;
        let file = OpenOptions::new().append(true).open(path).map_err(Error::io("open", path))?;
        Ok((Self { path: path.to_owned(), file }, kept))
    }

    pub(crate) fn append(&mut self, metrics: &StepMetrics) -> Result<(), Error> {
        self.file.write_all(line(metrics).as_bytes()).map_err(Error::io("write", &self.path))
    }
}

fn line(metrics: &StepMetrics) -> String {
    let mut line = serde_json::to_string(metrics).expect("figures are plain numbers");
    line.push('\n');
    line
}
