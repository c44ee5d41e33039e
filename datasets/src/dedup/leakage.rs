//! Training documents that nearly equal held-out ones.

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::near::{Bands, NearSpec};
use super::{Duplicate, Kind};
use crate::clean::excerpt;
use crate::error::Result;
use crate::extract::Extracted;
use crate::sort::Sorter;
use crate::split::Split;
use crate::spool::Corpus;
use crate::words::Words;

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
///
/// # Errors
/// Of more documents than fit in memory, temporary files that cannot be written.
pub fn separate(
    documents: Vec<(Extracted, Split)>,
    leakage: Leakage,
    spec: &NearSpec,
    found: &mut Vec<Duplicate>,
) -> Result<(Vec<(Extracted, Split)>, LeakageReport)> {
    let mut corpus = Corpus::of(documents, &std::env::temp_dir())?;
    let report = separate_corpus(&mut corpus, leakage, spec, &mut |leak| {
        found.push(leak);
        Ok(())
    })?;
    Ok((corpus.list()?, report))
}

/// As [`separate`], for documents on disk. `duplicate` takes the leaks, in order.
///
/// # Errors
/// Files that cannot be read or written, and those of `duplicate`.
pub fn separate_corpus(
    corpus: &mut Corpus,
    leakage: Leakage,
    spec: &NearSpec,
    duplicate: &mut dyn FnMut(Duplicate) -> Result<()>,
) -> Result<LeakageReport> {
    let mut report = LeakageReport::default();
    if leakage == Leakage::Keep || (0..corpus.len()).all(|n| corpus.split(n).is_none_or(|s| s == Split::Train)) {
        return Ok(report);
    }
    let folder = corpus.spool.folder().to_owned();
    let mut bands = Bands::new(spec, &folder);
    for batch in corpus.batches() {
        let keys: Vec<(u64, Vec<u64>)> =
            batch?.par_iter().map(|(number, document, _)| (*number, bands.keys(&Words::of(&document.text)))).collect();
        for (number, keys) in keys {
            bands.add(number, &keys)?;
        }
    }
    let mut leaks = Sorter::new(&folder);
    bands.pairs(
        &corpus.spool,
        |_| false,
        |pair| {
            let (left, right) = (pair.left as u64, pair.right as u64);
            for (one, other) in [(left, right), (right, left)] {
                if let (Some(here), Some(there)) = (corpus.split(one), corpus.split(other))
                    && here < there
                {
                    leaks.push([one, there as u64, pair.similarity.to_bits(), other])?;
                }
            }
            Ok(())
        },
    )?;
    let (mut groups, mut group) = (leaks.finish()?.groups(), Vec::new());
    while groups.next(&mut group)? {
        // The nearest of the latest split, of equally near ones the first.
        let nearest = group.iter().max_by(|a, b| {
            let similarity = |leak: &[u64; 4]| f64::from_bits(leak[2]);
            a[1].cmp(&b[1]).then(similarity(a).total_cmp(&similarity(b))).then(b[3].cmp(&a[3]))
        });
        let &[number, to, similarity, other] = nearest.expect("a group has a row");
        let Extracted { id, text, .. } = corpus.spool.get(number)?;
        duplicate(Duplicate {
            kind: Kind::Leak,
            kept: corpus.spool.id(other)?,
            dropped: id,
            similarity: f64::from_bits(similarity),
            excerpt: excerpt(&text),
        })?;
        if leakage == Leakage::Drop {
            report.dropped += 1;
            corpus.drop(number);
        } else {
            report.moved += 1;
            corpus.assign(number, Split::ALL[to as usize]);
        }
    }
    Ok(report)
}
