//! What a choice is worth without knowing anything, beside which accuracies are read.

use std::collections::BTreeMap;

use crate::sample::{Sample, first_of_largest};
use crate::task::{Form, Item};

/// Accuracies by control; empty for tasks without choices, and for minimal pairs, where chance is one half.
///
/// | name | what answers |
/// |---|---|
/// | `chance` | a die |
/// | `majority` | always the place that is right most often |
/// | `longest` | the choice with the most characters; of equals, a die |
/// | `shuffled` | the model, held against right answers dealt out anew among items with as many choices (the exact mean over all ways to deal) |
/// | `answer_only` | the model, without the question |
///
/// # Panics
/// When the samples are not those of the items.
pub fn controls(items: &[Item], samples: &[Sample]) -> BTreeMap<String, f64> {
    assert_eq!(items.len(), samples.len(), "one sample an item");
    let mut count = 0.0;
    let (mut chance, mut longest) = (0.0, 0.0);
    let mut golds: BTreeMap<usize, f64> = BTreeMap::new();
    // By the number of choices: how often each place is right, and how often it is given.
    let mut dealt: BTreeMap<usize, (Vec<f64>, Vec<f64>)> = BTreeMap::new();
    let (mut alone, mut asked_alone) = (0.0, 0.0);
    for (item, sample) in items.iter().zip(samples) {
        let Form::Choice { choices, gold, pair: false, .. } = &item.form else { continue };
        count += 1.0;
        chance += 1.0 / choices.len() as f64;
        let lengths: Vec<usize> = choices.iter().map(|choice| choice.chars().count()).collect();
        let most = lengths.iter().copied().max().unwrap_or(0);
        if lengths[*gold] == most {
            longest += 1.0 / lengths.iter().filter(|&&length| length == most).count() as f64;
        }
        *golds.entry(*gold).or_default() += 1.0;
        let likelihoods: Vec<f64> = sample.scores.iter().map(|score| score.log_likelihood).collect();
        let (right, given) =
            dealt.entry(choices.len()).or_insert_with(|| (vec![0.0; choices.len()], vec![0.0; choices.len()]));
        right[*gold] += 1.0;
        // Samples that were altered may hold more scores than there are choices.
        if let Some(given) = given.get_mut(first_of_largest(&likelihoods)) {
            *given += 1.0;
        }
        if let Some(acc) = sample.figures.get("acc_answer_only") {
            alone += acc;
            asked_alone += 1.0;
        }
    }
    if count == 0.0 {
        return BTreeMap::new();
    }
    let shuffled = dealt.values().map(|(right, given)| {
        let items: f64 = right.iter().sum();
        right.iter().zip(given).map(|(right, given)| right * given).sum::<f64>() / items
    });
    let majority = golds.values().copied().fold(0.0, f64::max);
    let mut found = vec![
        ("chance", chance / count),
        ("majority", majority / count),
        ("longest", longest / count),
        ("shuffled", shuffled.sum::<f64>() / count),
    ];
    if asked_alone == count {
        found.push(("answer_only", alone / count));
    }
    found.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::Scored;

    #[test]
    fn a_hand_worked_case() {
        // (choices, right place, likelihoods)
        let cases: [(&[&str], usize, [f64; 2]); 4] = [
            (&["long one", "b"], 0, [-1.0, -2.0]),
            (&["a", "b"], 0, [-1.0, -2.0]),
            (&["a", "longer"], 1, [-1.0, -2.0]),
            (&["longer", "b"], 1, [-3.0, -2.0]),
        ];
        let (items, samples): (Vec<Item>, Vec<Sample>) = cases
            .into_iter()
            .map(|(choices, gold, likelihoods)| {
                let choices = choices.iter().map(|c| (*c).to_owned()).collect();
                let form = Form::Choice { context: "q".into(), delimiter: " ".into(), choices, gold, pair: false };
                let item = Item { id: String::new(), subset: String::new(), form, record: serde_json::Value::Null };
                let scores = likelihoods.map(|x| Scored { log_likelihood: x, tokens: 1, greedy: false });
                let sample = Sample::of_scores(&item, &scores, &scores, 0);
                (item, sample)
            })
            .unzip();
        let found = controls(&items, &samples);
        // Given: place 0 three times, place 1 once; right: two each. (2·3 + 2·1) / 4 of 4 items.
        let expected =
            [("answer_only", 0.75), ("chance", 0.5), ("longest", 2.5 / 4.0), ("majority", 0.5), ("shuffled", 0.5)];
        assert_eq!(found, expected.map(|(name, value)| (name.to_owned(), value)).into());
    }

    #[test]
    fn more_scores_than_choices_are_no_panic() {
        let choices = vec!["a".to_owned(), "b".to_owned()];
        let form = Form::Choice { context: "q".into(), delimiter: " ".into(), choices, gold: 0, pair: false };
        let item = Item { id: String::new(), subset: String::new(), form, record: serde_json::Value::Null };
        let scores = [-2.0, -3.0, -1.0].map(|x| Scored { log_likelihood: x, tokens: 1, greedy: false });
        let sample = Sample::of_scores(&item, &scores, &[], 0);
        assert_eq!(controls(&[item], &[sample])["shuffled"], 0.0);
    }
}
