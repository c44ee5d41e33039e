//! Several modules as one file.
//!
//! Every method works on the changes `ΔW = scale · B·A` of each projection, never on `A` and `B` on their own, so
//! that the result does not depend on how a module happens to be factored. [`Method::Cat`] is exact and as large
//! as its parts together; [`Method::Linear`] is as exact and as small as the sum's own rank; the others trade
//! exactness for size or for less interference.
//!
//! Where PEFT's `add_weighted_adapter` has a method that works on `ΔW` (`cat`, `svd`, `ties_svd`,
//! `dare_linear_svd`, `dare_ties_svd`, `magnitude_prune_svd`), the definitions are the same, with one difference:
//! here a module of weight 0 is as if it were not there, while there it still votes and is counted in means.
//!
//! ```no_run
//! use lore_modules::compose::{Method, compose};
//! use lore_modules::peft;
//!
//! let (geography, history) = (peft::read("geography".as_ref())?, peft::read("history".as_ref())?);
//! let parts = [(&geography, 1.0), (&history, 0.5)];
//! let both = compose(&parts, Method::Ties { density: 0.2, rank: Some(32) }, false, &|| {})?;
//! println!("{:.1} % of the change is in the file", 100.0 * both.kept_energy());
//! # Ok::<(), lore_modules::Error>(())
//! ```

mod assemble;
mod knots;
mod method;
mod sparsify;
mod ties;

use std::collections::BTreeMap;

use lore_model::sampling::Random;
use nalgebra::DMatrix;
use rayon::prelude::*;

use crate::Error;
use crate::adapter::{Adapter, LowRank};
use crate::delta::{Factors, Keep, Kept, Singular, zero_update};
use assemble::{assemble, common_base, shapes};

pub use assemble::said_together;
pub use method::{DARE_DENSITY, Method, TRIM_DENSITY};

/// A module made of modules.
#[derive(Debug, Clone)]
pub struct Composition {
    /// The module; every update has scale 1. Topics, licences and attributions are those of its parts together.
    pub adapter: Adapter,
    /// What became of each projection.
    pub projections: BTreeMap<String, Kept>,
}

impl Composition {
    /// The part of ‖ΔW‖²_F over all projections that the cut to a rank has left, in `[0, 1]`.
    pub fn kept_energy(&self) -> f64 {
        Kept::energy(self.projections.values())
    }
}

/// Composes modules, each with its weight; weights may be negative. `each` is called after every projection, from
/// any thread.
///
/// The result does not depend on the order of modules but for rounding, except that DARE drops other values.
///
/// # Errors
/// [`Error::Composition`] naming every reason why these modules cannot be composed: shapes that differ, weights
/// that are not finite, a density outside `(0, 1]`, a rank of 0, bases that differ (unless
/// `allow_base_mismatch`; the result then names no base); [`Error::Decomposition`].
pub fn compose(
    modules: &[(&Adapter, f32)],
    method: Method,
    allow_base_mismatch: bool,
    each: &(dyn Fn() + Sync),
) -> Result<Composition, Error> {
    let mut problems = Vec::new();
    let shapes = shapes(modules, &mut problems);
    let base = common_base(modules, allow_base_mismatch, &mut problems);
    if let Some(density) = method.density().filter(|density| !(*density > 0.0 && *density <= 1.0)) {
        problems.push(format!("the density is {density}; expected more than 0 and at most 1"));
    }
    if method.rank() == Some(0) {
        problems.push("the rank is 0; expected 1 or more".to_owned());
    }
    if !problems.is_empty() {
        return Err(Error::Composition { problems });
    }
    let made: Result<Vec<(String, LowRank, Kept)>, Error> = shapes
        .into_par_iter()
        .map(|(path, (out_features, in_features))| {
            // Some methods count modules and signs, so that a product with 0 would not be nothing.
            let parts: Vec<Part<'_>> = modules
                .iter()
                .enumerate()
                .filter(|(_, (_, weight))| *weight != 0.0)
                .filter_map(|(place, (adapter, weight))| {
                    Some(Part { place, update: adapter.updates.get(path)?, weight: f64::from(*weight) })
                })
                .collect();
            let (update, kept) = if parts.is_empty() {
                (zero_update(out_features, in_features), Kept { rank: 1, norm: 0.0, lost: 0.0 })
            } else {
                one_projection(path, &parts, method)?
            };
            each();
            Ok((path.to_owned(), update, kept))
        })
        .collect();
    let (mut updates, mut projections) = (BTreeMap::new(), BTreeMap::new());
    for (path, update, kept) in made? {
        projections.insert(path.clone(), kept);
        updates.insert(path, update);
    }
    Ok(Composition { adapter: assemble(modules, updates, base), projections })
}

/// One module's update of the projection at hand.
struct Part<'a> {
    /// The module's place among all that were given.
    place: usize,
    update: &'a LowRank,
    weight: f64,
}

fn one_projection(path: &str, parts: &[Part<'_>], method: Method) -> Result<(LowRank, Kept), Error> {
    let keep = |rank: Option<usize>| {
        let largest = parts.iter().map(|part| part.update.rank).max().expect("there is at least one part");
        Keep::Rank(rank.unwrap_or(largest))
    };
    let weighted = || Factors::sum(&parts.iter().map(|part| Factors::of(part.update, part.weight)).collect::<Vec<_>>());
    let singular = match method {
        Method::Cat => return Ok(concatenated(parts)),
        Method::Linear => weighted().singular(Keep::All)?,
        Method::Svd { rank } => weighted().singular(keep(rank))?,
        Method::Knots { density, rank } => knots::shared_basis(parts, density)?.singular(keep(rank))?,
        Method::Ties { density, rank } => {
            let merged = dense(parts, |values, _| sparsify::keep_largest(values, density), ties::merge);
            Singular::of_dense(&merged, keep(rank))?
        }
        Method::MagnitudePrune { density, rank } => {
            let merged = dense(parts, |values, _| sparsify::keep_largest(values, density), ties::sum);
            Singular::of_dense(&merged, keep(rank))?
        }
        Method::DareLinear { density, seed, rank } => {
            let drop = |values: &mut [f64], place| sparsify::drop_at_random(values, density, stream(seed, path, place));
            Singular::of_dense(&dense(parts, drop, ties::sum), keep(rank))?
        }
        Method::DareTies { density, seed, rank } => {
            let drop = |values: &mut [f64], place| sparsify::drop_at_random(values, density, stream(seed, path, place));
            Singular::of_dense(&dense(parts, drop, ties::merge), keep(rank))?
        }
    };
    Ok(singular.update())
}

/// Merges the dense changes of the parts, each thinned out by `sparsify`, which also gets the module's place.
fn dense(
    parts: &[Part<'_>],
    sparsify: impl Fn(&mut [f64], usize),
    merge: fn(&[Vec<f64>], &[f64]) -> Vec<f64>,
) -> DMatrix<f64> {
    let weights: Vec<f64> = parts.iter().map(|part| part.weight).collect();
    let (rows, columns) = (parts[0].update.out_features, parts[0].update.in_features);
    let changes: Vec<Vec<f64>> = parts
        .iter()
        .map(|part| {
            let mut values: Vec<f64> = Factors::of(part.update, 1.0).dense().data.into();
            sparsify(&mut values, part.place);
            values
        })
        .collect();
    let merged = merge(&changes, &weights);
    DMatrix::from_vec(rows, columns, merged)
}

/// Exactly `Σ weight · scale · B·A`: rows of `A` one after another, columns of `B` side by side.
fn concatenated(parts: &[Part<'_>]) -> (LowRank, Kept) {
    let (out_features, in_features) = (parts[0].update.out_features, parts[0].update.in_features);
    let rank = parts.iter().map(|part| part.update.rank).sum();
    let a = parts.iter().flat_map(|part| part.update.a.iter().copied()).collect();
    let mut b = Vec::with_capacity(out_features * rank);
    for row in 0..out_features {
        for Part { update, weight, .. } in parts {
            let factor = weight * f64::from(update.scale);
            let columns = &update.b[row * update.rank..][..update.rank];
            b.extend(columns.iter().map(|&value| (factor * f64::from(value)) as f32));
        }
    }
    let update = LowRank { a, b, rank, in_features, out_features, scale: 1.0, magnitude: None };
    let norm = Factors::of(&update, 1.0).norm();
    (update, Kept { rank, norm, lost: 0.0 })
}

/// A stream of random numbers for each seed, projection and place of a module.
fn stream(seed: u64, path: &str, place: usize) -> Random {
    // FNV-1a, of which only the spread matters.
    let hash = path.bytes().chain((place as u64).to_le_bytes());
    let hash =
        hash.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3));
    Random::new(seed, hash)
}
