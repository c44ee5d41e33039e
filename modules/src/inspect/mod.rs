//! What modules are and how they would get along, from their weights alone.
//!
//! [`inspect`] tells each module's size and strength, and for each pair how alike their changes are and how much
//! they are likely to disturb each other; [`diff`](fn@diff) tells what sets two versions of a module apart. Everything is
//! computed from factors, without dense matrices.

mod diff;
mod pair;

use lore_model::weights::WeightFile;
use rayon::prelude::*;
use serde::Serialize;

use crate::Error;
use crate::adapter::Adapter;
use crate::delta::{Factors, Keep, root_of_squares};

pub use diff::{Difference, ProjectionDifference, diff};
pub use pair::{Pair, ProjectionPair};

/// A report on modules before they are composed.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// Each module.
    pub modules: Vec<ModuleFacts>,
    /// Every two of them.
    pub pairs: Vec<Pair>,
}

/// A module in numbers.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ModuleFacts {
    /// What the caller calls it.
    pub name: String,
    /// The fingerprint of its base, if it says.
    pub base: Option<String>,
    /// Number of values.
    pub parameters: usize,
    /// ‖ΔW‖_F over all projections.
    pub norm: f64,
    /// ‖ΔW‖_F / ‖W‖_F over the projections it changes, if the base was given.
    pub relative: Option<f64>,
    /// The projections it changes.
    pub projections: Vec<ProjectionFacts>,
}

/// A module's change of one projection.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ProjectionFacts {
    /// Named as in the base.
    pub projection: String,
    /// The rank of the factors.
    pub rank: usize,
    /// The scale of their product.
    pub scale: f32,
    /// ‖ΔW‖_F.
    pub norm: f64,
    /// ‖ΔW‖_F / ‖W‖_F, if the base was given.
    pub relative: Option<f64>,
    /// The largest singular value.
    pub spectral: f64,
    /// ‖ΔW‖²_F / σ₁²: how many directions really take part, between 1 and the rank; 0 for no change.
    pub stable_rank: f64,
}

/// Facts on each module and each pair. `base` gives the norms to relate to.
///
/// # Errors
/// [`Error::Composition`] if the modules change projections of different shapes; [`Error::Decomposition`]; errors
/// of reading the base, also if a projection is not in it.
pub fn inspect(modules: &[(&str, &Adapter)], base: Option<&dyn WeightFile>) -> Result<Report, Error> {
    pair::check_shapes(modules)?;
    let facts = modules.iter().map(|(name, adapter)| module(name, adapter, base)).collect::<Result<_, Error>>()?;
    let bases: Vec<pair::Bases> =
        modules.iter().map(|(_, adapter)| pair::Bases::of(adapter)).collect::<Result<_, Error>>()?;
    let two = (0..modules.len()).flat_map(|first| (first + 1..modules.len()).map(move |second| (first, second)));
    let pairs = two.collect::<Vec<_>>().into_par_iter();
    let pairs = pairs.map(|(i, j)| Pair::of([modules[i].0, modules[j].0], &bases[i], &bases[j])).collect();
    Ok(Report { modules: facts, pairs })
}

fn module(name: &str, adapter: &Adapter, base: Option<&dyn WeightFile>) -> Result<ModuleFacts, Error> {
    let facts: Result<Vec<(ProjectionFacts, Option<f64>)>, Error> = adapter
        .updates
        .par_iter()
        .map(|(path, update)| {
            let values = Factors::of(update, 1.0).singular(Keep::All)?.values;
            let norm = root_of_squares(values.iter().copied());
            let spectral = values.first().copied().unwrap_or(0.0);
            let weight = base.map(|base| base.read_f32(&format!("{path}.weight"))).transpose()?;
            let size = weight.map(|weight| root_of_squares(weight.into_iter().map(f64::from)));
            let facts = ProjectionFacts {
                projection: path.clone(),
                rank: update.rank,
                scale: update.scale,
                norm,
                relative: size.map(|size| norm / size),
                spectral,
                stable_rank: if spectral > 0.0 { (norm / spectral).powi(2) } else { 0.0 },
            };
            Ok((facts, size))
        })
        .collect();
    let (projections, sizes): (Vec<ProjectionFacts>, Vec<Option<f64>>) = facts?.into_iter().unzip();
    let norm = root_of_squares(projections.iter().map(|facts| facts.norm));
    let sizes: Option<Vec<f64>> = sizes.into_iter().collect();
    Ok(ModuleFacts {
        name: name.to_owned(),
        base: adapter.base.map(|base| base.to_string()),
        parameters: adapter.parameter_count(),
        norm,
        relative: sizes.map(|sizes| norm / root_of_squares(sizes.into_iter())),
        projections,
    })
}
