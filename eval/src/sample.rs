//! What came out for one item.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::engine::Scored;
use crate::task::{Form, Item};
use crate::write::{exact_match, f1};

/// One item's scores and figures: a line of a samples file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Sample {
    /// The item's id, unique within its subset.
    pub id: String,
    /// The part of the task it belongs to; may be empty.
    pub subset: String,
    /// Hash of the item.
    pub item: String,
    /// Place of the right choice.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gold: Option<usize>,
    /// Of each choice, each window, or the target.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub scores: Vec<Scored>,
    /// Of each choice without the question, where that was asked.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub answer_only: Vec<Scored>,
    /// What the model wrote.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// Requests whose beginning did not fit the model.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub truncated: usize,
    /// Figures by name; see [`crate::metrics`].
    pub figures: BTreeMap<String, f64>,
}

fn is_zero(count: &usize) -> bool {
    *count == 0
}

impl Sample {
    fn new(item: &Item, truncated: usize) -> Self {
        Self {
            id: item.id.clone(),
            subset: item.subset.clone(),
            item: item.sha256(),
            gold: None,
            scores: Vec::new(),
            answer_only: Vec::new(),
            text: None,
            truncated,
            figures: BTreeMap::new(),
        }
    }

    /// Of an item whose requests were scored.
    pub(crate) fn of_scores(item: &Item, scores: &[Scored], answer_only: &[Scored], truncated: usize) -> Self {
        let mut sample = Self::new(item, truncated);
        sample.scores = scores.to_vec();
        sample.answer_only = answer_only.to_vec();
        if let Form::Choice { gold, .. } = &item.form {
            sample.gold = Some(*gold);
        }
        sample.figures = sample.count(item);
        sample
    }

    /// Of an item whose answer was written.
    pub(crate) fn of_text(item: &Item, text: String, truncated: usize) -> Self {
        let mut sample = Self::new(item, truncated);
        sample.text = Some(text);
        sample.figures = sample.count(item);
        sample
    }

    /// The figures that follow from the raw scores; what a result claims is checked against them.
    pub fn count(&self, item: &Item) -> BTreeMap<String, f64> {
        let figures = match &item.form {
            Form::Choice { choices, gold, pair, .. } => self.count_choice(choices, *gold, *pair),
            Form::Cloze { .. } => {
                let greedy = self.scores.iter().all(|score| score.greedy);
                vec![("acc", f64::from(u8::from(greedy))), ("nats", -self.total())]
            }
            Form::Rolling { bytes, words, .. } => {
                vec![("nats", -self.total()), ("bytes", *bytes as f64), ("words", *words as f64)]
            }
            Form::Generate { answers, .. } => {
                let text = self.text.as_deref().unwrap_or_default();
                vec![("exact_match", f64::from(u8::from(exact_match(text, answers)))), ("f1", f1(text, answers))]
            }
        };
        figures.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
    }

    fn total(&self) -> f64 {
        self.scores.iter().map(|score| score.log_likelihood).sum()
    }

    fn count_choice(&self, choices: &[String], gold: usize, pair: bool) -> Vec<(&'static str, f64)> {
        let likelihoods: Vec<f64> = self.scores.iter().map(|score| score.log_likelihood).collect();
        if likelihoods.len() != choices.len() {
            return Vec::new();
        }
        let others = likelihoods.iter().enumerate().filter(|(place, _)| *place != gold).map(|(_, &x)| x);
        let margin = likelihoods[gold] - others.fold(f64::NEG_INFINITY, f64::max);
        if pair {
            let acc = if margin > 0.0 {
                1.0
            } else if margin == 0.0 {
                0.5
            } else {
                0.0
            };
            return vec![("acc", acc), ("margin", margin)];
        }
        let right = |values: &[f64]| f64::from(u8::from(first_of_largest(values) == gold));
        let per = |length: fn(&str) -> usize| -> Vec<f64> {
            likelihoods.iter().zip(choices).map(|(x, choice)| x / length(choice) as f64).collect()
        };
        let mut figures = vec![
            ("acc", right(&likelihoods)),
            ("acc_norm", right(&per(|choice| choice.chars().count()))),
            ("acc_bytes", right(&per(str::len))),
            ("margin", margin),
        ];
        if self.answer_only.len() == choices.len() {
            let alone: Vec<f64> = self.answer_only.iter().map(|score| score.log_likelihood).collect();
            figures.push(("acc_answer_only", right(&alone)));
        }
        figures
    }
}

/// Place of the largest value, the first of equals, as numpy's `argmax`.
pub(crate) fn first_of_largest(values: &[f64]) -> usize {
    let mut best = 0;
    for (place, value) in values.iter().enumerate() {
        if *value > values[best] {
            best = place;
        }
    }
    best
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(choices: &[&str], gold: usize, pair: bool) -> Item {
        let choices = choices.iter().map(|choice| (*choice).to_owned()).collect();
        let form = Form::Choice { context: String::new(), delimiter: " ".into(), choices, gold, pair };
        Item { id: "1".into(), subset: String::new(), form, record: serde_json::Value::Null }
    }

    fn scores(values: &[f64]) -> Vec<Scored> {
        values.iter().map(|&x| Scored { log_likelihood: x, tokens: 1, greedy: false }).collect()
    }

    fn figures(item: &Item, values: &[f64], alone: &[f64]) -> Vec<(String, f64)> {
        Sample::of_scores(item, &scores(values), &scores(alone), 0).figures.into_iter().collect()
    }

    #[test]
    fn accuracies_as_the_harness_counts_them() {
        // Per character −1, −0.75; per byte −1, −0.6: `é` is one character of two bytes.
        let item = item(&["ab", "ééab"], 1, false);
        let found = figures(&item, &[-2.0, -3.0], &[-9.0, -1.0]);
        let expected =
            [("acc", 0.0), ("acc_answer_only", 1.0), ("acc_bytes", 1.0), ("acc_norm", 1.0), ("margin", -1.0)];
        assert_eq!(found, expected.map(|(name, value)| (name.to_owned(), value)));
        // Of equals the first.
        assert_eq!(figures(&item, &[-2.0, -2.0], &[])[0], ("acc".to_owned(), 0.0));
    }

    #[test]
    fn a_pair_that_ties_is_half_right() {
        let pair = item(&["good", "bad"], 0, true);
        let acc = |values: &[f64]| figures(&pair, values, &[])[0].1;
        assert_eq!([acc(&[-1.0, -2.0]), acc(&[-2.0, -2.0]), acc(&[-3.0, -2.0])], [1.0, 0.5, 0.0]);
    }
}
