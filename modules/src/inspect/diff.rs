//! What sets two modules apart.

use std::collections::BTreeSet;

use serde::Serialize;

use crate::Error;
use crate::adapter::{Adapter, LowRank};
use crate::delta::{Factors, Keep, root_of_squares};

/// What sets two modules apart.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Difference {
    /// Settings and facts that differ: name, and the value in each.
    pub settings: Vec<(String, [String; 2])>,
    /// Projections that only the first changes.
    pub only_first: Vec<String>,
    /// Projections that only the second changes.
    pub only_second: Vec<String>,
    /// `‖ΔW − ΔW'‖_F / ‖ΔW‖_F` over all projections, where one that is not changed counts as a change of 0;
    /// nothing if the first module changes nothing.
    pub distance: Option<f64>,
    /// Whether all changes have the same factors and scales to the bit.
    pub identical: bool,
    /// The projections both change.
    pub projections: Vec<ProjectionDifference>,
}

/// Two changes of one projection.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ProjectionDifference {
    /// Named as in the base.
    pub projection: String,
    /// ‖ΔW‖_F of each.
    pub norms: [f64; 2],
    /// ‖ΔW − ΔW'‖_F.
    pub distance: f64,
    /// The cosine of the angle between them; 0 if one is nothing.
    pub cosine: f64,
}

/// Compares two modules, projection by projection, by what they do and not by how they are factored.
///
/// # Errors
/// [`Error::Composition`] if they change projections of different shapes; [`Error::Decomposition`].
pub fn diff(first: &Adapter, second: &Adapter) -> Result<Difference, Error> {
    super::pair::check_shapes(&[("the first", first), ("the second", second)])?;
    let keys = |adapter: &Adapter| adapter.updates.keys().cloned().collect::<BTreeSet<String>>();
    let (left, right) = (keys(first), keys(second));
    let mut projections = Vec::new();
    for path in left.intersection(&right) {
        let [one, two] = [&first.updates[path], &second.updates[path]].map(|update| Factors::of(update, 1.0));
        let difference = Factors::sum(&[one.clone(), Factors::of(&second.updates[path], -1.0)]);
        // Not from the three inner products, which cancel for changes that are nearly the same.
        let distance = root_of_squares(difference.singular(Keep::All)?.values.into_iter());
        let norms = [one.norm(), two.norm()];
        let size = norms[0] * norms[1];
        let cosine = if size > 0.0 { one.inner(&two) / size } else { 0.0 };
        projections.push(ProjectionDifference { projection: path.clone(), norms, distance, cosine });
    }
    let norm = |update: &LowRank| Factors::of(update, 1.0).norm();
    let only = |a: &BTreeSet<String>, b: &BTreeSet<String>| a.difference(b).cloned().collect::<Vec<String>>();
    let (only_first, only_second) = (only(&left, &right), only(&right, &left));
    let alone = only_first.iter().map(|path| norm(&first.updates[path]));
    let alone: Vec<f64> = alone.chain(only_second.iter().map(|path| norm(&second.updates[path]))).collect();
    let whole = root_of_squares(first.updates.values().map(norm));
    let apart = root_of_squares(projections.iter().map(|projection| projection.distance).chain(alone));
    Ok(Difference {
        settings: settings(first, second),
        only_first,
        only_second,
        distance: (whole > 0.0).then(|| apart / whole),
        identical: first.updates == second.updates,
        projections,
    })
}

fn settings(first: &Adapter, second: &Adapter) -> Vec<(String, [String; 2])> {
    let facts = |adapter: &Adapter| {
        let config = &adapter.config;
        let mut facts = vec![
            ("base".to_owned(), adapter.base.map_or_else(|| "not named".to_owned(), |base| base.to_string())),
            ("rank".to_owned(), config.rank.to_string()),
            ("rank_pattern".to_owned(), format!("{:?}", config.rank_pattern)),
            ("alpha".to_owned(), config.alpha.to_string()),
            ("alpha_pattern".to_owned(), format!("{:?}", config.alpha_pattern)),
            ("use_rslora".to_owned(), config.use_rslora.to_string()),
            ("dropout".to_owned(), config.dropout.to_string()),
            ("base_model_name_or_path".to_owned(), config.base_model_name_or_path.clone().unwrap_or_default()),
            ("revision".to_owned(), config.revision.clone().unwrap_or_default()),
        ];
        let keys: BTreeSet<&String> = first.metadata.keys().chain(second.metadata.keys()).collect();
        facts.extend(keys.into_iter().map(|key| {
            let value = adapter.metadata.get(key).cloned().unwrap_or_default();
            (format!("metadata.{key}"), value)
        }));
        facts
    };
    let pairs = facts(first).into_iter().zip(facts(second));
    pairs.filter(|((_, a), (_, b))| a != b).map(|((name, a), (_, b))| (name, [a, b])).collect()
}
