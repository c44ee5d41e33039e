//! Whether a result can be believed: it must follow from its samples, and some of its items, asked anew, must give
//! what it says.

use lore_model::sampling::Random;

use crate::controls::controls;
use crate::engine::Scored;
use crate::result::{TaskResult, figures};
use crate::sample::Sample;
use crate::task::{Item, Task, hash_of_items};

/// Log-likelihoods of two machines agree to this share of them; a thousandth of a nat at least.
pub const TOLERANCE: f64 = 1e-4;

/// What is wrong with a result; empty when it follows from samples that belong to these items.
///
/// # Errors
/// Every contradiction, in sentences.
pub fn check(result: &TaskResult, samples: &[Sample], task: &Task, items: &[Item]) -> Result<(), Vec<String>> {
    let mut problems = Vec::new();
    let mut that = |good: bool, problem: &str| {
        if !good {
            problems.push(problem.to_owned());
        }
    };
    that(result.task.sha256 == task.sha256, "the task file is another than the one that was evaluated");
    let hashes: Vec<String> = items.iter().map(Item::sha256).collect();
    that(
        result.items.sha256 == hash_of_items(hashes.iter().map(String::as_str)) && result.items.count == items.len(),
        "the data gives other items than those that were evaluated",
    );
    let same = samples.len() == items.len() && samples.iter().zip(&hashes).all(|(sample, hash)| sample.item == *hash);
    that(same, "the samples are not those of the items");
    if same {
        let follow = samples.iter().zip(items).all(|(sample, item)| sample.count(item) == sample.figures);
        that(follow, "a sample's figures do not follow from its scores");
        let (metrics, subsets) = figures(&result.task.kind, samples);
        that(metrics == result.metrics, "the metrics do not follow from the samples");
        that(subsets == result.subsets, "the metrics of subsets do not follow from the samples");
        that(controls(items, samples) == result.controls, "the controls do not follow from the samples");
        that(split_follows(result, samples), SPLIT);
    }
    if problems.is_empty() { Ok(()) } else { Err(problems) }
}

const SPLIT: &str = "the metrics of clean and dirty items do not follow from the samples";

fn split_follows(result: &TaskResult, samples: &[Sample]) -> bool {
    result.contamination.as_ref().is_none_or(|split| split.follows(&result.task.kind, samples))
}

/// What can be said against a result without the items: its figures must follow from those of its samples.
///
/// # Errors
/// Every contradiction, in sentences.
pub fn follows(result: &TaskResult, samples: &[Sample]) -> Result<(), Vec<String>> {
    let mut problems = Vec::new();
    let (metrics, subsets) = figures(&result.task.kind, samples);
    let hash = hash_of_items(samples.iter().map(|sample| sample.item.as_str()));
    for (good, problem) in [
        (result.items.sha256 == hash && result.items.count == samples.len(), "the samples are not those of its items"),
        (metrics == result.metrics, "the metrics do not follow from the samples"),
        (subsets == result.subsets, "the metrics of subsets do not follow from the samples"),
        (split_follows(result, samples), SPLIT),
    ] {
        if !good {
            problems.push(problem.to_owned());
        }
    }
    if problems.is_empty() { Ok(()) } else { Err(problems) }
}

/// `count` different places below `total`, in rising order; which ones follows from the seed.
pub fn draw(total: usize, count: usize, seed: u64) -> Vec<usize> {
    let mut places: Vec<usize> = (0..total).collect();
    let mut random = Random::new(seed, total as u64);
    for place in 0..count.min(total) {
        let other = place + (random.bits() % (total - place) as u64) as usize;
        places.swap(place, other);
    }
    places.truncate(count);
    places.sort_unstable();
    places
}

/// How a sample that was asked anew differs from what is claimed.
///
/// # Errors
/// The first difference, in words.
pub fn agree(claimed: &Sample, anew: &Sample) -> Result<(), String> {
    let close = |what: &str, claimed: &[Scored], anew: &[Scored]| {
        if claimed.len() != anew.len() {
            return Err(format!("{what}: {} scores instead of {}", claimed.len(), anew.len()));
        }
        for (claimed, anew) in claimed.iter().zip(anew) {
            let (said, found) = (claimed.log_likelihood, anew.log_likelihood);
            // Not close either where one of them is no number.
            let is_close = (said - found).abs() <= TOLERANCE * found.abs().max(10.0);
            if claimed.tokens != anew.tokens || !is_close {
                return Err(format!(
                    "{what}: {said} nats of {} tokens claimed, {found} of {} found",
                    claimed.tokens, anew.tokens
                ));
            }
        }
        Ok(())
    };
    let wrong = |problem: String| {
        let subset = if claimed.subset.is_empty() { String::new() } else { format!("{}/", claimed.subset) };
        format!("item `{subset}{}`: {problem}", claimed.id)
    };
    close("log-likelihood", &claimed.scores, &anew.scores).map_err(wrong)?;
    close("without the question", &claimed.answer_only, &anew.answer_only).map_err(wrong)?;
    if claimed.text != anew.text {
        return Err(wrong("another text was written".into()));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn drawn_places_differ(total in 0usize..200, count in 0usize..250, seed: u64) {
            let places = draw(total, count, seed);
            prop_assert_eq!(places.len(), count.min(total));
            prop_assert!(places.windows(2).all(|pair| pair[0] < pair[1]));
            prop_assert!(places.iter().all(|&place| place < total));
            prop_assert_eq!(places, draw(total, count, seed));
        }
    }
}
