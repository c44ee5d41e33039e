//! What is told of each kind of task.

use std::collections::BTreeMap;

use crate::sample::Sample;
use crate::statistics::{Estimate, ratio};

/// A figure over items: a ratio of sums of what the samples hold, on a scale.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Metric {
    /// Its name, as lm-evaluation-harness calls it where it has it.
    pub name: &'static str,
    /// What is summed.
    of: &'static str,
    /// What it is divided by; `None` for the number of items.
    per: Option<&'static str>,
    scale: Scale,
    /// Whether more is better.
    pub higher_is_better: bool,
    /// Whether two models are compared by it.
    pub tested: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scale {
    Plain,
    Bits,
    Exponential,
}

const fn mean(name: &'static str, higher_is_better: bool, tested: bool) -> Metric {
    Metric { name, of: name, per: None, scale: Scale::Plain, higher_is_better, tested }
}

const fn per(name: &'static str, of: &'static str, per: &'static str, scale: Scale, tested: bool) -> Metric {
    Metric { name, of, per: Some(per), scale, higher_is_better: false, tested }
}

const CHOICE: &[Metric] = &[
    mean("acc", true, true),
    mean("acc_norm", true, false),
    mean("acc_bytes", true, false),
    mean("margin", true, true),
    mean("acc_answer_only", true, false),
];
const PAIRS: &[Metric] = &[mean("acc", true, true), mean("margin", true, true)];
const CLOZE: &[Metric] = &[
    mean("acc", true, true),
    mean("nats", false, true),
    Metric {
        name: "perplexity",
        of: "nats",
        per: None,
        scale: Scale::Exponential,
        higher_is_better: false,
        tested: false,
    },
];
const GENERATE: &[Metric] = &[mean("exact_match", true, true), mean("f1", true, true)];
const ROLLING: &[Metric] = &[
    per("bits_per_byte", "nats", "bytes", Scale::Bits, true),
    per("byte_perplexity", "nats", "bytes", Scale::Exponential, false),
    per("word_perplexity", "nats", "words", Scale::Exponential, false),
];

/// The metrics of a kind of task, the most telling first; none for a kind that is not known.
pub fn metrics(kind: &str) -> &'static [Metric] {
    match kind {
        "multiple_choice" | "glossary" => CHOICE,
        "minimal_pairs" => PAIRS,
        "cloze" => CLOZE,
        "generate" => GENERATE,
        "rolling" => ROLLING,
        _ => &[],
    }
}

/// The metric of a kind of task by which models are compared.
pub fn primary(kind: &str) -> Option<&'static Metric> {
    metrics(kind).iter().find(|metric| metric.tested)
}

impl Metric {
    /// What each sample adds to both sums; `None` where a sample lacks it.
    pub fn terms<'a>(&self, samples: impl IntoIterator<Item = &'a Sample>) -> Option<Vec<(f64, f64)>> {
        let unit = if self.scale == Scale::Bits { std::f64::consts::LN_2 } else { 1.0 };
        let term = |sample: &Sample| {
            let bottom = self.per.map_or(Some(1.0), |per| sample.figures.get(per).copied())?;
            Some((sample.figures.get(self.of)? / unit, bottom))
        };
        samples.into_iter().map(term).collect()
    }

    /// The figure over some samples.
    pub fn estimate<'a>(&self, samples: impl IntoIterator<Item = &'a Sample>) -> Option<Estimate> {
        let terms = self.terms(samples).filter(|terms| !terms.is_empty())?;
        let sum = ratio(terms.into_iter());
        Some(match self.scale {
            Scale::Plain | Scale::Bits => sum,
            // To first order, as the exponential's slope is its value.
            Scale::Exponential => Estimate {
                value: sum.value.exp(),
                standard_error: sum.standard_error.map(|error| error * sum.value.exp()),
            },
        })
    }

    /// Whether every sample's value is 0, ½ or 1 by its nature, so that McNemar's test applies.
    pub fn counts_answers(&self) -> bool {
        matches!(self.name, "acc" | "acc_norm" | "acc_bytes" | "exact_match" | "acc_answer_only")
    }
}

/// All metrics of a kind that the samples have.
pub fn summarise(kind: &str, samples: &[&Sample]) -> BTreeMap<String, Estimate> {
    let one = |metric: &Metric| Some((metric.name.to_owned(), metric.estimate(samples.iter().copied())?));
    metrics(kind).iter().filter_map(one).collect()
}
