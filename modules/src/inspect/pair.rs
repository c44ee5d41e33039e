//! How two modules' changes relate.

use std::collections::BTreeMap;

use rayon::prelude::*;
use serde::Serialize;

use crate::Error;
use crate::adapter::Adapter;
use crate::delta::{Factors, Keep, Singular};

/// Two modules.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Pair {
    /// Their names.
    pub modules: [String; 2],
    /// The cosine of the angle between their changes of all projections, `⟨ΔW, ΔW'⟩ / ‖ΔW‖‖ΔW'‖`.
    pub cosine: f64,
    /// How much the inputs overlap that the two react to: the mean squared cosine of the principal angles between
    /// the row spaces of their changes, from 0 (orthogonal) to 1 (one within the other), over the projections both
    /// change, weighted by the smaller rank.
    pub input_overlap: f64,
    /// The same of the outputs they write to, the column spaces.
    pub output_overlap: f64,
    /// What the input overlap of random subspaces of these ranks would be.
    pub chance_input_overlap: f64,
    /// What the output overlap of random subspaces of these ranks would be.
    pub chance_output_overlap: f64,
    /// Predicted interference, on the first by the second and on the second by the first: on inputs drawn evenly
    /// from the directions a module reacts to, the size of the other's response relative to its own,
    /// `√(Σ‖ΔW' V‖²_F / Σ‖ΔW‖²_F)` with `V` an orthonormal basis of the row space of `ΔW`. 0 if the other is blind
    /// to these inputs, 1 for a module and its copy. From weights alone: what texts really excite is not known.
    pub interference: [f64; 2],
    /// The same for each projection that both change.
    pub projections: Vec<ProjectionPair>,
}

/// Two modules' changes of one projection; fields as in [`Pair`].
#[derive(Debug, Clone, PartialEq, Serialize)]
#[allow(missing_docs)]
pub struct ProjectionPair {
    pub projection: String,
    pub cosine: f64,
    pub input_overlap: f64,
    pub output_overlap: f64,
    pub interference: [f64; 2],
}

/// Orthonormal bases of every change of a module.
pub(super) struct Bases(BTreeMap<String, Singular>);

impl Bases {
    pub(super) fn of(adapter: &Adapter) -> Result<Self, Error> {
        let one = |(path, update)| Ok((String::clone(path), Factors::of(update, 1.0).singular(Keep::All)?));
        adapter.updates.par_iter().map(one).collect::<Result<_, Error>>().map(Self)
    }

    fn squared_norm(&self) -> f64 {
        self.0.values().map(squared_norm).sum()
    }
}

/// Sums from which a pair's numbers follow, for one projection or over several.
#[derive(Default, Clone, Copy)]
struct Sums {
    inner: f64,
    /// ‖ΔW‖² of the two.
    squared: [f64; 2],
    /// Σ cos² of the principal angles between inputs, outputs.
    shared: [f64; 2],
    /// The same expected of random subspaces.
    chance: [f64; 2],
    /// Number of principal angles.
    angles: f64,
    /// ‖ΔW' V‖², ‖ΔW V'‖².
    response: [f64; 2],
}

impl Sums {
    fn of(first: &Singular, second: &Singular) -> Self {
        let inputs = first.v.tr_mul(&second.v);
        let outputs = first.u.tr_mul(&second.u);
        let ranks = [first.kept() as f64, second.kept() as f64];
        let entries = || (0..first.kept()).flat_map(|i| (0..second.kept()).map(move |j| (i, j)));
        let chance = |size: usize| ranks[0] * ranks[1] / size as f64;
        let weighted = |scale: &dyn Fn(usize, usize) -> f64| {
            entries().map(|(i, j)| (inputs[(i, j)] * scale(i, j)).powi(2)).sum::<f64>()
        };
        Self {
            inner: entries().map(|(i, j)| first.values[i] * outputs[(i, j)] * second.values[j] * inputs[(i, j)]).sum(),
            squared: [squared_norm(first), squared_norm(second)],
            shared: [inputs.norm_squared(), outputs.norm_squared()],
            chance: [chance(first.v.nrows()), chance(first.u.nrows())],
            angles: ranks[0].min(ranks[1]),
            response: [weighted(&|_, j| second.values[j]), weighted(&|i, _| first.values[i])],
        }
    }

    fn add(&mut self, other: Self) {
        self.inner += other.inner;
        self.angles += other.angles;
        for k in 0..2 {
            self.squared[k] += other.squared[k];
            self.shared[k] += other.shared[k];
            self.chance[k] += other.chance[k];
            self.response[k] += other.response[k];
        }
    }

    fn cosine(&self) -> f64 {
        ratio(self.inner, (self.squared[0] * self.squared[1]).sqrt())
    }

    fn interference(&self) -> [f64; 2] {
        [0, 1].map(|k| ratio(self.response[k], self.squared[k]).sqrt())
    }
}

impl Pair {
    pub(super) fn of(names: [&str; 2], first: &Bases, second: &Bases) -> Self {
        let mut whole = Sums::default();
        let mut projections = Vec::new();
        for (path, one) in &first.0 {
            let Some(other) = second.0.get(path) else { continue };
            let sums = Sums::of(one, other);
            projections.push(ProjectionPair {
                projection: path.clone(),
                cosine: sums.cosine(),
                input_overlap: ratio(sums.shared[0], sums.angles),
                output_overlap: ratio(sums.shared[1], sums.angles),
                interference: sums.interference(),
            });
            whole.add(sums);
        }
        // Projections that only one changes belong to its norm too.
        whole.squared = [first.squared_norm(), second.squared_norm()];
        Self {
            modules: names.map(str::to_owned),
            cosine: whole.cosine(),
            input_overlap: ratio(whole.shared[0], whole.angles),
            output_overlap: ratio(whole.shared[1], whole.angles),
            chance_input_overlap: ratio(whole.chance[0], whole.angles),
            chance_output_overlap: ratio(whole.chance[1], whole.angles),
            interference: whole.interference(),
            projections,
        }
    }
}

/// Refuses modules that cannot be for one base.
pub(super) fn check_shapes(modules: &[(&str, &Adapter)]) -> Result<(), Error> {
    let mut problems = Vec::new();
    let mut shapes: BTreeMap<&str, (usize, usize)> = BTreeMap::new();
    for (name, adapter) in modules {
        problems.extend(adapter.without_base().map(|problem| format!("{name}: {problem}")));
        for (path, update) in &adapter.updates {
            let shape = (update.out_features, update.in_features);
            if *shapes.entry(path).or_insert(shape) != shape {
                problems.push(format!("`{path}` of {name} has another shape than in a module before it"));
            }
        }
    }
    if problems.is_empty() { Ok(()) } else { Err(Error::Composition { problems }) }
}

fn squared_norm(change: &Singular) -> f64 {
    change.values.iter().map(|value| value * value).sum()
}

fn ratio(part: f64, whole: f64) -> f64 {
    if whole > 0.0 { part / whole } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use nalgebra::DMatrix;

    use super::*;

    /// Inputs e₁ and (e₁ + e₂)/√2, outputs e₁ and e₂; sizes 2 and 3.
    #[test]
    fn two_rank_one_changes_by_hand() {
        let root = 0.5f64.sqrt();
        let one = |output: [f64; 2], input: [f64; 2], value| Singular {
            u: DMatrix::from_fn(2, 1, |i, _| output[i]),
            v: DMatrix::from_fn(2, 1, |i, _| input[i]),
            values: vec![value],
        };
        let (first, second) = (one([1.0, 0.0], [1.0, 0.0], 2.0), one([0.0, 1.0], [root, root], 3.0));
        let bases = |change: Singular| Bases(BTreeMap::from([("p".to_owned(), change)]));
        let pair = Pair::of(["a", "b"], &bases(first.clone()), &bases(second));
        let near = |found: f64, expected: f64| assert!((found - expected).abs() < 1e-12, "{found} for {expected}");
        near(pair.cosine, 0.0);
        near(pair.input_overlap, 0.5);
        near(pair.output_overlap, 0.0);
        near(pair.chance_input_overlap, 0.5);
        near(pair.interference[0], 3.0 * root / 2.0);
        near(pair.interference[1], 2.0 * root / 3.0);
        let copy = Pair::of(["a", "a"], &bases(first.clone()), &bases(first));
        near(copy.cosine, 1.0);
        near(copy.interference[0], 1.0);
    }
}
