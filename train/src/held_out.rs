//! Early stopping on held-out text.

use crate::{Error, Parameters, Peers};
use serde::{Deserialize, Serialize};

/// What is measured while training, on text that is not learnt from.
pub trait HeldOut {
    /// How bad the parameters are, such as bits per byte: less is better.
    ///
    /// # Errors
    /// Whatever keeps it from being measured.
    fn measure(&self, parameters: &Parameters) -> Result<f64, Box<dyn std::error::Error + Send + Sync>>;
}

/// When to measure and when to give up. What a run leaves are the parameters that measured best.
#[derive(Clone, Copy)]
pub struct Stopping<'a> {
    /// What is measured.
    pub held_out: &'a dyn HeldOut,
    /// Steps between two measurements; the last step is always measured.
    pub every: u64,
    /// Measurements in a row without a better one after which training ends; absent, it goes on to its last step.
    pub patience: Option<u64>,
}

/// One measurement.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Measurement {
    /// Steps made.
    pub step: u64,
    /// What was measured then.
    pub value: f64,
}

/// The best so far.
#[derive(Clone, Debug)]
pub(crate) struct Best {
    pub(crate) measured: Measurement,
    pub(crate) parameters: Parameters,
    /// Measurements since then.
    pub(crate) since: u64,
}

impl Stopping<'_> {
    /// Measures if it is time to, and takes note; what was measured. The first process measures for all, who must decide
    /// alike when to end, and whose processors may round differently.
    pub(crate) fn after(
        &self,
        peers: &dyn Peers,
        step: u64,
        last: u64,
        parameters: &Parameters,
        best: &mut Option<Best>,
    ) -> Result<Option<f64>, Error> {
        if !step.is_multiple_of(self.every.max(1)) && step != last {
            return Ok(None);
        }
        let mut value = [0.0];
        if peers.rank() == 0 {
            let measured = self.held_out.measure(parameters).map_err(Error::HeldOut)?;
            // What is no number is worse than any.
            value = [if measured.is_nan() { f64::INFINITY } else { measured }];
        }
        // What the others add is nothing.
        peers.sum_f64(&mut value);
        let [value] = value;
        match best {
            Some(best) if value >= best.measured.value => best.since += 1,
            _ => *best = Some(Best { measured: Measurement { step, value }, parameters: parameters.clone(), since: 0 }),
        }
        Ok(Some(value))
    }

    /// Whether it is time to give up.
    pub(crate) fn is_over(&self, best: Option<&Best>) -> bool {
        self.patience.zip(best).is_some_and(|(patience, best)| best.since >= patience)
    }
}
