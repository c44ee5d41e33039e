//! Reports on modules, against dense `f64` arithmetic.
#![allow(missing_docs, clippy::unwrap_used)]

mod small;

use lore_modules::Adapter;
use lore_modules::inspect::{Pair, diff, inspect};
use small::*;

fn near(found: f64, expected: f64) {
    assert!((found - expected).abs() < 1e-6 * expected.abs().max(1.0), "{found} for {expected}");
}

fn pair(first: &Adapter, second: &Adapter) -> Pair {
    inspect(&[("a", first), ("b", second)], None).unwrap().pairs.remove(0)
}

/// Orthonormal basis of the column space, `[rows, rank]`.
fn basis(matrix: &[f64], rows: usize, rank: usize) -> Vec<f64> {
    let (_, u) = left_singular(matrix, rows);
    (0..rows * rank).map(|i| u[i / rank * rows + i % rank]).collect()
}

fn transposed(matrix: &[f64], rows: usize) -> Vec<f64> {
    let columns = matrix.len() / rows;
    (0..matrix.len()).map(|i| matrix[i % rows * columns + i / rows]).collect()
}

#[test]
fn facts_are_those_of_the_dense_matrices() {
    let (adapter, files) = (module(4, 6.0, &ALL, 81), base_files());
    let report = inspect(&[("one", &adapter)], Some(&*files.weights)).unwrap();
    assert!(report.pairs.is_empty());
    let facts = &report.modules[0];
    assert_eq!((facts.name.as_str(), facts.parameters), ("one", adapter.parameter_count()));
    let (mut changed, mut weights) = (0.0, 0.0);
    for found in &facts.projections {
        let change = dense(&adapter.updates[&found.projection]);
        let weight = files.weights.read_f32(&format!("{}.weight", found.projection)).unwrap();
        let weight = norm(&weight.into_iter().map(f64::from).collect::<Vec<f64>>());
        let (values, _) = left_singular(&change, adapter.updates[&found.projection].out_features);
        near(found.norm, norm(&change));
        near(found.relative.unwrap(), norm(&change) / weight);
        near(found.spectral, values[0]);
        near(found.stable_rank, (norm(&change) / values[0]).powi(2));
        changed += norm(&change).powi(2);
        weights += weight * weight;
    }
    near(facts.norm, changed.sqrt());
    near(facts.relative.unwrap(), (changed / weights).sqrt());
}

#[test]
fn pairs_are_those_of_the_dense_matrices() {
    let (one, two) = (module(4, 6.0, &ALL, 82), module(7, 3.0, &["v_proj", "down_proj", "o_proj"], 83));
    let found = pair(&one, &two);
    let size = |adapter: &Adapter| norm(&changes(adapter).into_values().flatten().collect::<Vec<f64>>());
    let (mut inner, mut responses) = (0.0, [0.0, 0.0]);
    let mut overlaps = [0.0, 0.0];
    for projection in &found.projections {
        let (a, b) = (&one.updates[&projection.projection], &two.updates[&projection.projection]);
        let (rows, columns) = (a.out_features, a.in_features);
        let (x, y) = (dense(a), dense(b));
        let dot: f64 = x.iter().zip(&y).map(|(x, y)| x * y).sum();
        near(projection.cosine, dot / (norm(&x) * norm(&y)));
        let inputs = [(&x, a.rank), (&y, b.rank)].map(|(m, rank)| basis(&transposed(m, rows), columns, rank));
        let outputs = [(&x, a.rank), (&y, b.rank)].map(|(m, rank)| basis(m, rows, rank));
        // Squared cosines of the principal angles are the squared singular values of QᵀQ'.
        let shared = |[q, p]: &[Vec<f64>; 2], rows: usize| {
            norm(&product(&transposed(q, rows), p, rows)).powi(2) / a.rank.min(b.rank) as f64
        };
        near(projection.input_overlap, shared(&inputs, columns));
        near(projection.output_overlap, shared(&outputs, rows));
        let response = [norm(&product(&y, &inputs[0], columns)), norm(&product(&x, &inputs[1], columns))];
        near(projection.interference[0], response[0] / norm(&x));
        near(projection.interference[1], response[1] / norm(&y));
        inner += dot;
        overlaps[0] += projection.input_overlap;
        overlaps[1] += projection.output_overlap;
        responses = [responses[0] + response[0].powi(2), responses[1] + response[1].powi(2)];
    }
    assert_eq!(found.projections.len(), two.updates.len());
    let count = found.projections.len() as f64;
    near(found.cosine, inner / (size(&one) * size(&two)));
    near(found.input_overlap, overlaps[0] / count);
    near(found.output_overlap, overlaps[1] / count);
    near(found.interference[0], responses[0].sqrt() / size(&one));
    near(found.interference[1], responses[1].sqrt() / size(&two));
    // Factors of another shape, the same changes.
    let other = pair(&refactored(&one), &two);
    assert!((other.cosine - found.cosine).abs() < 1e-5 && (other.input_overlap - found.input_overlap).abs() < 1e-5);
    assert!((other.interference[0] - found.interference[0]).abs() < 1e-5);
}

#[test]
fn copies_opposites_and_strangers() {
    let one = module(4, 6.0, &["q_proj", "up_proj"], 84);
    let copy = pair(&one, &one);
    for number in [copy.cosine, copy.input_overlap, copy.output_overlap, copy.interference[0], copy.interference[1]] {
        near(number, 1.0);
    }
    let mut opposite = one.clone();
    opposite.updates.values_mut().for_each(|update| update.b.iter_mut().for_each(|value| *value *= -2.0));
    let found = pair(&one, &opposite);
    near(found.cosine, -1.0);
    near(found.interference[0], 2.0);
    near(found.interference[1], 0.5);
    let stranger = pair(&one, &module(4, 6.0, &["v_proj"], 85));
    assert!(stranger.projections.is_empty());
    assert_eq!((stranger.cosine, stranger.interference), (0.0, [0.0, 0.0]));
    // Random subspaces share what chance says, about.
    let random = pair(&one, &module(4, 6.0, &["q_proj", "up_proj"], 86));
    assert!((random.input_overlap / random.chance_input_overlap - 1.0).abs() < 0.5, "{random:?}");
    assert!(random.cosine.abs() < 0.1);
}

#[test]
fn differences_are_named() {
    let one = module(4, 6.0, &["q_proj", "up_proj"], 87);
    let same = diff(&one, &one).unwrap();
    assert!(same.identical && same.settings.is_empty() && same.only_first.is_empty());
    assert!(same.distance.unwrap() < 1e-9);
    let refactored = diff(&one, &refactored(&one)).unwrap();
    assert!(!refactored.identical && refactored.distance.unwrap() < 1e-5, "{refactored:?}");
    let mut two = one.clone();
    let moved = two.updates.remove("model.layers.0.self_attn.q_proj").unwrap();
    two.updates.insert("model.layers.0.self_attn.o_proj".to_owned(), moved.clone());
    two.updates.get_mut("model.layers.1.mlp.up_proj").unwrap().scale *= 3.0;
    two.config.dropout = 0.1;
    two.metadata.insert("topic".to_owned(), "rivers".to_owned());
    let found = diff(&one, &two).unwrap();
    assert_eq!(found.only_first, ["model.layers.0.self_attn.q_proj"]);
    assert_eq!(found.only_second, ["model.layers.0.self_attn.o_proj"]);
    let settings: Vec<&str> = found.settings.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(settings, ["dropout", "metadata.topic"]);
    let scaled = found.projections.iter().find(|p| p.projection == "model.layers.1.mlp.up_proj").unwrap();
    near(scaled.distance, 2.0 * scaled.norms[0]);
    near(scaled.cosine, 1.0);
    let gone = norm(&dense(&moved));
    let whole = norm(&changes(&one).into_values().flatten().collect::<Vec<f64>>());
    near(found.distance.unwrap(), (2.0 * gone.powi(2) + scaled.distance.powi(2)).sqrt() / whole);
}
