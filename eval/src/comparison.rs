//! Two models on the same items.

use std::collections::HashMap;

use serde::Serialize;

use crate::metrics::metrics;
use crate::result::TaskResult;
use crate::sample::Sample;
use crate::statistics::{Bootstrap, Discordant, Estimate, PairedDifference, holm, mcnemar, minimum_detectable_effect};

/// Differences at most this likely by chance, after correction, are called so.
pub const LEVEL: f64 = 0.05;

/// Results that cannot be compared.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Both are of other tasks or items.
    #[error(
        "{task}: the two results are not of the same {what}; evaluate both models with the same task file, data and --limit"
    )]
    NotPaired {
        /// The task.
        task: String,
        /// What differs.
        what: String,
    },
}

/// One metric of one task, for two models.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Row {
    /// The task.
    pub task: String,
    /// The metric.
    pub metric: String,
    /// Items of both.
    pub items: usize,
    /// The first model's figure.
    pub a: Estimate,
    /// The second model's figure.
    pub b: Estimate,
    /// Second less first, paired.
    pub paired: PairedDifference,
    /// `mcnemar` for answers that are right or wrong, else `bootstrap`.
    pub test: &'static str,
    /// Of the test, corrected for all rows.
    pub adjusted_p_value: f64,
    /// The smallest true difference that this many items would show.
    pub detectable: Option<f64>,
    /// Who is better.
    pub verdict: Verdict,
}

/// What can be said of two models.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// The first.
    A,
    /// The second.
    B,
    /// They cannot be told apart.
    Tie,
}

/// A result with its samples.
pub type Evaluated = (TaskResult, Vec<Sample>);

/// Compares pairs of results of the same tasks, with one correction for all.
///
/// # Errors
/// Results of different tasks or items.
pub fn compare(pairs: &[(&Evaluated, &Evaluated)], bootstrap: &Bootstrap) -> Result<Vec<Row>, Error> {
    let mut rows = Vec::new();
    for ((a, a_samples), (b, b_samples)) in pairs {
        let refuse = |what: &str| Err(Error::NotPaired { task: a.name(), what: what.to_owned() });
        if a.task.name != b.task.name {
            return refuse("task");
        }
        if a.task.sha256 != b.task.sha256 {
            return refuse("version of the task");
        }
        let place: HashMap<&str, usize> = b_samples.iter().enumerate().map(|(i, s)| (s.item.as_str(), i)).collect();
        let others: Option<Vec<&Sample>> =
            a_samples.iter().map(|sample| place.get(sample.item.as_str()).map(|&i| &b_samples[i])).collect();
        let Some(others) = others.filter(|others| others.len() == b_samples.len()) else {
            return refuse("items");
        };
        for metric in metrics(&a.task.kind).iter().filter(|metric| metric.tested) {
            let (Some(first), Some(second)) = (metric.terms(a_samples), metric.terms(others.iter().copied())) else {
                continue;
            };
            let (Some(a_value), Some(b_value)) = (metric.estimate(a_samples), metric.estimate(others.iter().copied()))
            else {
                continue;
            };
            let weights: Vec<f64> = first.iter().map(|(_, weight)| *weight).collect();
            let [first, second] =
                [first, second].map(|terms| terms.into_iter().map(|(value, _)| value).collect::<Vec<f64>>());
            let paired = bootstrap.compare(&first, &second, &weights);
            let counted = metric.counts_answers();
            let p = if counted { mcnemar(Discordant::of(&first, &second)) } else { paired.p_value };
            rows.push(Row {
                task: a.name(),
                metric: metric.name.to_owned(),
                items: first.len(),
                a: a_value,
                b: b_value,
                paired,
                test: if counted { "mcnemar" } else { "bootstrap" },
                adjusted_p_value: p,
                detectable: paired.standard_error.map(minimum_detectable_effect),
                verdict: match (paired.difference > 0.0) == metric.higher_is_better {
                    true => Verdict::B,
                    false => Verdict::A,
                },
            });
        }
    }
    let adjusted = holm(&rows.iter().map(|row| row.adjusted_p_value).collect::<Vec<f64>>());
    for (row, p) in rows.iter_mut().zip(adjusted) {
        row.adjusted_p_value = p;
        if p > LEVEL || row.paired.difference == 0.0 {
            row.verdict = Verdict::Tie;
        }
    }
    Ok(rows)
}
