//! Training documents that nearly equal held-out ones.

use serde::{Deserialize, Serialize};

use super::near::{NearSpec, pairs};
use super::{Duplicate, Kind};
use crate::clean::excerpt;
use crate::extract::Extracted;
use crate::split::Split;

/// What is done about a training document that nearly equals a held-out one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Leakage {
    /// Nothing, and nothing is looked for.
    Keep,
    /// It is dropped.
    #[default]
    Drop,
    /// It goes to the split of the held-out one.
    Move,
}

/// What was found.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeakageReport {
    /// Documents dropped.
    pub dropped: u64,
    /// Documents moved to a held-out split.
    pub moved: u64,
}

/// Finds documents that nearly equal one of a later split: training ones that equal validation or test
/// ones, and validation ones that equal test ones. They are dropped or moved; held-out documents stay.
pub fn separate(
    documents: Vec<(Extracted, Split)>,
    leakage: Leakage,
    spec: &NearSpec,
    found: &mut Vec<Duplicate>,
) -> (Vec<(Extracted, Split)>, LeakageReport) {
    let mut report = LeakageReport::default();
    if leakage == Leakage::Keep || documents.iter().all(|(_, split)| *split == Split::Train) {
        return (documents, report);
    }
    let texts: Vec<&str> = documents.iter().map(|(document, _)| document.text.as_str()).collect();
    // For each document the nearest of the latest split.
    let mut leaks: Vec<Option<(Split, f64, usize)>> = vec![None; documents.len()];
    for pair in pairs(&texts, spec) {
        for (one, other) in [(pair.left, pair.right), (pair.right, pair.left)] {
            let candidate = (documents[other].1, pair.similarity, other);
            let better = leaks[one].is_none_or(|leak| (candidate.0, candidate.1) > (leak.0, leak.1));
            if documents[one].1 < documents[other].1 && better {
                leaks[one] = Some(candidate);
            }
        }
    }
    for (number, leak) in leaks.iter().enumerate() {
        if let Some((_, similarity, other)) = leak {
            found.push(Duplicate {
                kind: Kind::Leak,
                kept: documents[*other].0.id.clone(),
                dropped: documents[number].0.id.clone(),
                similarity: *similarity,
                excerpt: excerpt(texts[number]),
            });
        }
    }
    let mut rest = Vec::with_capacity(documents.len());
    for ((document, split), leak) in documents.into_iter().zip(leaks) {
        match (leak, leakage) {
            (None, _) | (_, Leakage::Keep) => rest.push((document, split)),
            (Some(_), Leakage::Drop) => report.dropped += 1,
            (Some((to, ..)), Leakage::Move) => {
                report.moved += 1;
                rest.push((document, to));
            }
        }
    }
    (rest, report)
}
