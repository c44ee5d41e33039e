//! A module out of two models: the low-rank part of what training changed.

use std::collections::BTreeMap;

use lore_model::files::ModelFiles;
use nalgebra::DMatrix;
use rayon::prelude::*;

use crate::Error;
use crate::adapter::Adapter;
use crate::config::AdapterConfig;
use crate::delta::{Keep, Kept, Singular, root_of_squares};

/// What was extracted.
#[derive(Debug, Clone)]
pub struct Extraction {
    /// The module; its base and metadata are for the caller to name.
    pub adapter: Adapter,
    /// What the cut to a rank has left of each projection's change.
    pub projections: BTreeMap<String, Kept>,
    /// Tensors that differ and cannot be in a module (embeddings, norms, biases), with ‖W₁ − W₀‖ / ‖W₀‖.
    pub left_out: BTreeMap<String, f64>,
}

/// The truncated singular value decomposition of `W₁ − W₀` for every projection that differs. `each` is called
/// after every tensor, from any thread.
///
/// # Errors
/// [`Error::Extraction`] if the models do not have the same tensors or no projection differs;
/// [`Error::Decomposition`]; errors of reading.
pub fn extract(
    base: &ModelFiles,
    tuned: &ModelFiles,
    keep: Keep,
    each: &(dyn Fn() + Sync),
) -> Result<Extraction, Error> {
    let expected = base.config.expected_tensors();
    let others: BTreeMap<String, Vec<usize>> = tuned.config.expected_tensors().into_iter().collect();
    let mut problems: Vec<String> = expected
        .iter()
        .filter(|(name, shape)| others.get(name) != Some(shape))
        .map(|(name, shape)| match others.get(name) {
            None => format!("`{name}` is only in the base"),
            Some(other) => format!("`{name}` has shape {shape:?} in the base and {other:?} in the tuned model"),
        })
        .collect();
    let only_tuned = others.keys().filter(|name| !expected.iter().any(|(known, _)| known == *name));
    problems.extend(only_tuned.map(|name| format!("`{name}` is only in the tuned model")));
    if !problems.is_empty() {
        return Err(Error::Extraction { problems });
    }
    let changes: Result<Vec<Change>, Error> = expected
        .into_par_iter()
        .map(|(name, shape)| {
            let (before, after) = (base.weights.read_f32(&name)?, tuned.weights.read_f32(&name)?);
            let change = change(name, &shape, &before, &after, keep);
            each();
            change
        })
        .collect();
    let (mut updates, mut projections, mut left_out) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
    for change in changes? {
        match change {
            Change::None => {}
            Change::Other(name, size) => drop(left_out.insert(name, size)),
            Change::Projection(path, update, kept) => {
                projections.insert(path.clone(), kept);
                updates.insert(path, update);
            }
        }
    }
    if updates.is_empty() {
        let problems = vec!["no projection of the two models differs".to_owned()];
        return Err(Error::Extraction { problems });
    }
    let config = AdapterConfig::of_scale_one(&updates);
    let adapter = Adapter { config, updates, base: None, metadata: BTreeMap::new() };
    Ok(Extraction { adapter, projections, left_out })
}

/// How one tensor differs.
enum Change {
    None,
    Other(String, f64),
    Projection(String, crate::LowRank, Kept),
}

fn change(name: String, shape: &[usize], before: &[f32], after: &[f32], keep: Keep) -> Result<Change, Error> {
    if before == after {
        return Ok(Change::None);
    }
    let path = name.strip_suffix(".weight").filter(|path| path.ends_with("_proj"));
    let (Some(path), &[rows, columns]) = (path, shape) else {
        let difference = root_of_squares(before.iter().zip(after).map(|(a, b)| f64::from(*b) - f64::from(*a)));
        let size = root_of_squares(before.iter().map(|value| f64::from(*value)));
        return Ok(Change::Other(name, if size > 0.0 { difference / size } else { f64::INFINITY }));
    };
    let at = |row: usize, column: usize| row * columns + column;
    let dense = DMatrix::from_fn(rows, columns, |i, j| f64::from(after[at(i, j)]) - f64::from(before[at(i, j)]));
    let (update, kept) = Singular::of_dense(&dense, keep)?.update();
    Ok(Change::Projection(path.to_owned(), update, kept))
}
