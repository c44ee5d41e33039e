//! Every method of composition against the contract of modules and dense `f64` arithmetic.
#![allow(missing_docs, clippy::unwrap_used)]

mod small;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};

use burn::tensor::Device;
use lore_model::save::StoredType;
use lore_modules::compose::{Composition, Method, compose};
use lore_modules::{Adapter, Error, LoadedModule, activate, peft};
use proptest::prelude::*;
use serde_json::Value;
use small::*;

type Changes = BTreeMap<String, Vec<f64>>;

/// Every method, keeping this part of the values and this rank.
fn methods(density: f64, rank: Option<usize>) -> Vec<Method> {
    vec![
        Method::Cat,
        Method::Linear,
        Method::Svd { rank },
        Method::Ties { density, rank },
        Method::DareLinear { density, seed: 5, rank },
        Method::DareTies { density, seed: 5, rank },
        Method::MagnitudePrune { density, rank },
        Method::Knots { density, rank },
    ]
}

/// More than any projection of the small model has.
const FULL: Option<usize> = Some(64);

fn composed(modules: &[(&Adapter, f32)], method: Method) -> Composition {
    compose(modules, method, false, &|| {}).unwrap_or_else(|error| panic!("{method:?}: {error}"))
}

fn composed_changes(modules: &[(&Adapter, f32)], method: Method) -> Changes {
    changes(&composed(modules, method).adapter)
}

fn times(changes: Changes, factor: f64) -> Changes {
    changes.into_iter().map(|(path, values)| (path, values.iter().map(|value| value * factor).collect())).collect()
}

/// Three modules of different ranks, scales and targets.
fn three() -> [Adapter; 3] {
    [
        module(4, 6.0, &ALL, 51),
        module(2, 8.0, &["q_proj", "v_proj", "down_proj"], 52),
        module(7, 3.0, &["k_proj", "v_proj", "down_proj"], 53),
    ]
}

#[test]
fn weight_zero_is_nothing() {
    let [one, two, _] = three();
    for method in methods(0.4, None) {
        let nothing = composed(&[(&one, 0.0), (&two, 0.0)], method);
        assert_eq!(nothing.adapter.updates.len(), one.updates.len());
        let values = nothing.adapter.updates.values().flat_map(|update| update.a.iter().chain(&update.b));
        assert!(values.into_iter().all(|&value| value == 0.0), "{method:?}");
        assert_eq!(nothing.kept_energy(), 1.0);
        // Nor does such a module vote, count in a mean, or move what is drawn for another.
        let (with, without) = (composed(&[(&one, 0.7), (&two, 0.0)], method), composed(&[(&one, 0.7)], method));
        assert_eq!(with.adapter.updates, without.adapter.updates, "{method:?}");
    }
}

#[test]
fn one_module_at_weight_one_is_itself() {
    for adapter in three() {
        for method in methods(1.0, None) {
            let found = composed(&[(&adapter, 1.0)], method);
            let difference = distance(&changes(&found.adapter), &changes(&adapter));
            println!("{method:?}: {difference:e}");
            assert!(difference < 5e-7, "{method:?}: {difference}");
            assert!(found.kept_energy() > 1.0 - 1e-12);
            assert!(found.adapter.updates.values().all(|update| update.scale == 1.0), "scales are folded in");
        }
    }
}

#[test]
fn order_does_not_matter() {
    let [one, two, three] = three();
    // What DARE drops follows a module's place; where it drops nothing it must not matter either.
    let keeps_order =
        methods(0.4, FULL).into_iter().filter(|m| !matches!(m, Method::DareLinear { .. } | Method::DareTies { .. }));
    for method in keeps_order.chain(methods(1.0, FULL)) {
        let forth = composed_changes(&[(&one, 0.7), (&two, -0.5), (&three, 1.5)], method);
        let back = composed_changes(&[(&three, 1.5), (&one, 0.7), (&two, -0.5)], method);
        let difference = distance(&back, &forth);
        assert!(difference < 1e-6, "{method:?}: {difference}");
    }
}

#[test]
fn equal_modules_add_or_average() {
    let [one, ..] = three();
    let itself = changes(&one);
    for method in methods(1.0, None) {
        let found = composed_changes(&[(&one, 1.0), (&one, 1.0)], method);
        let averages = matches!(method, Method::Ties { .. } | Method::DareTies { .. } | Method::Knots { .. });
        let expected = times(itself.clone(), if averages { 1.0 } else { 2.0 });
        let difference = distance(&found, &expected);
        assert!(difference < 1e-6, "{method:?}: {difference}");
    }
}

#[test]
fn opposite_weights_cancel() {
    let [one, ..] = three();
    let size = norm(&changes(&one).into_values().flatten().collect::<Vec<f64>>());
    for method in methods(1.0, None) {
        let found = composed_changes(&[(&one, 1.5), (&one, -1.5)], method);
        let left = norm(&found.into_values().flatten().collect::<Vec<f64>>());
        assert!(left < 1e-6 * size, "{method:?}: {left}");
    }
}

#[test]
fn modules_of_other_projections_keep_to_themselves() {
    let (one, two) = (module(3, 2.0, &["q_proj", "up_proj"], 61), module(5, 7.0, &["v_proj", "down_proj"], 62));
    for method in methods(1.0, None) {
        let found = composed_changes(&[(&one, 1.0), (&two, -2.0)], method);
        let mut expected = changes(&one);
        expected.extend(times(changes(&two), -2.0));
        let difference = distance(&found, &expected);
        assert!(difference < 1e-6, "{method:?}: {difference}");
    }
    // Also where values are left out at random: a projection of one module does not see the other's.
    for method in methods(0.3, None) {
        let both = composed(&[(&one, 1.0), (&two, -2.0)], method).adapter;
        let alone = composed(&[(&one, 1.0)], method).adapter;
        assert!(alone.updates.iter().all(|(path, update)| both.updates[path] == *update), "{method:?}");
    }
}

#[test]
fn factoring_does_not_matter() {
    let [one, two, _] = three();
    let other = refactored(&one);
    for method in methods(1.0, FULL).into_iter().chain(methods(0.4, FULL)) {
        let expected = composed_changes(&[(&one, 0.6), (&two, -0.8)], method);
        let found = composed_changes(&[(&other, 0.6), (&two, -0.8)], method);
        let difference = distance(&found, &expected);
        println!("{method:?}: {difference:e}");
        // Rounding may move a value across the border of what is kept.
        assert!(difference < 1e-3, "{method:?}: {difference}");
    }
}

/// All but the `⌊density · n⌋` largest values are 0.
fn trimmed(values: &[f64], density: f64) -> Vec<f64> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|&a, &b| values[b].abs().total_cmp(&values[a].abs()));
    let mut kept = vec![0.0; values.len()];
    order[..(density * values.len() as f64) as usize].iter().for_each(|&i| kept[i] = values[i]);
    kept
}

/// TIES by its definition.
fn elected(parts: &[(Vec<f64>, f64)]) -> Vec<f64> {
    let one = |i: usize| {
        let sign = if parts.iter().map(|(values, _)| values[i]).sum::<f64>() >= 0.0 { 1.0 } else { -1.0 };
        let agreeing: Vec<f64> =
            parts.iter().filter(|(v, _)| v[i] != 0.0 && v[i].signum() == sign).map(|(v, w)| w * v[i]).collect();
        if agreeing.is_empty() { 0.0 } else { agreeing.iter().sum::<f64>() / agreeing.len() as f64 }
    };
    (0..parts[0].0.len()).map(one).collect()
}

fn weighted_sum(parts: &[(Vec<f64>, f64)]) -> Vec<f64> {
    (0..parts[0].0.len()).map(|i| parts.iter().map(|(values, weight)| weight * values[i]).sum()).collect()
}

/// KnOTS by its definition, on dense matrices of `rows` rows.
fn shared_basis(parts: &[(Vec<f64>, f64)], rows: usize, density: f64) -> Vec<f64> {
    let columns = parts[0].0.len() / rows;
    let side_by_side: Vec<f64> =
        (0..rows).flat_map(|row| parts.iter().flat_map(move |(v, _)| v[row * columns..][..columns].to_vec())).collect();
    let (values, u) = left_singular(&side_by_side, rows);
    let kept = values.iter().filter(|&&value| value > 1e-6 * values[0]).count();
    // V of one module, [columns, kept], trimmed.
    let basis = |change: &[f64]| -> Vec<f64> {
        let entry = |i: usize| {
            let (column, k) = (i / kept, i % kept);
            (0..rows).map(|row| change[row * columns + column] * u[row * rows + k]).sum::<f64>() / values[k]
        };
        trimmed(&(0..columns * kept).map(entry).collect::<Vec<f64>>(), density)
    };
    let bases: Vec<(Vec<f64>, f64)> = parts.iter().map(|(change, weight)| (basis(change), *weight)).collect();
    let merged = elected(&bases);
    let entry = |i: usize| {
        let (row, column) = (i / columns, i % columns);
        (0..kept).map(|k| u[row * rows + k] * values[k] * merged[column * kept + k]).sum()
    };
    (0..rows * columns).map(entry).collect()
}

#[test]
fn every_method_is_its_definition_on_dense_matrices() {
    let modules = three();
    let weights = [0.7f32, -1.25, 2.0];
    let parts: Vec<(&Adapter, f32)> = modules.iter().zip(weights).collect();
    for density in [0.3, 1.0] {
        for method in methods(density, FULL) {
            let random = matches!(method, Method::DareLinear { .. } | Method::DareTies { .. });
            if random && density < 1.0 {
                continue;
            }
            let mut expected = Changes::new();
            for (path, update) in &modules[0].updates {
                let parts: Vec<(Vec<f64>, f64)> = parts
                    .iter()
                    .filter_map(|(module, weight)| Some((dense(module.updates.get(path)?), f64::from(*weight))))
                    .collect();
                let kept: Vec<(Vec<f64>, f64)> = parts.iter().map(|(v, w)| (trimmed(v, density), *w)).collect();
                let change = match method {
                    Method::Cat | Method::Linear | Method::Svd { .. } | Method::DareLinear { .. } => {
                        weighted_sum(&parts)
                    }
                    Method::MagnitudePrune { .. } => weighted_sum(&kept),
                    Method::Ties { .. } | Method::DareTies { .. } => elected(&kept),
                    Method::Knots { .. } => shared_basis(&parts, update.out_features, density),
                };
                expected.insert(path.clone(), change);
            }
            let difference = distance(&composed_changes(&parts, method), &expected);
            println!("{method:?}: {difference:e}");
            assert!(difference < 1e-6, "{method:?}: {difference}");
        }
    }
}

#[test]
fn dare_drops_by_its_seed_and_divides_what_stays() {
    let [one, ..] = three();
    let method = |seed| Method::DareLinear { density: 0.25, seed, rank: FULL };
    let found = composed_changes(&[(&one, 1.0)], method(1));
    let (mut kept, mut count) = (0, 0);
    for (path, expected) in changes(&one) {
        let size = expected.iter().map(|value| value.abs()).fold(0.0, f64::max);
        for (found, value) in found[&path].iter().zip(&expected).filter(|(_, value)| value.abs() > 1e-3 * size) {
            count += 1;
            if found.abs() > 0.5 * value.abs() {
                kept += 1;
                assert!((found - 4.0 * value).abs() < 1e-5 * size, "{path}: {found} of {value}");
            } else {
                assert!(found.abs() < 1e-5 * size, "{path}: {found} of {value}");
            }
        }
    }
    let part = f64::from(kept) / f64::from(count);
    assert!((part - 0.25).abs() < 0.02, "{kept} of {count}");
    assert_eq!(composed_changes(&[(&one, 1.0)], method(1)), found);
    assert!(distance(&composed_changes(&[(&one, 1.0)], method(2)), &found) > 0.5);
    // Two copies of a module do not lose the same values.
    let twice = composed_changes(&[(&one, 0.5), (&one, 0.5)], method(1));
    assert!(distance(&twice, &found) > 0.3);
}

#[test]
fn a_cut_loses_exactly_the_discarded_spectrum() {
    let modules = three();
    let parts: Vec<(&Adapter, f32)> = modules.iter().zip([1.0, 0.5, -2.0]).collect();
    let (whole, rows) = (dense_sum(&parts), |path: &str| modules[0].updates[path].out_features);
    for rank in [1, 3, 6] {
        let found = composed(&parts, Method::Svd { rank: Some(rank) });
        for (path, kept) in &found.projections {
            let (values, _) = left_singular(&whole[path], rows(path));
            let expected = norm(&values[rank..]);
            let update = &found.adapter.updates[path];
            let error: Vec<f64> = dense(update).iter().zip(&whole[path]).map(|(a, b)| a - b).collect();
            let size = norm(&values);
            assert!((norm(&error) - expected).abs() < 1e-6 * size, "{path}: {} for {expected}", norm(&error));
            assert!((kept.lost - expected).abs() < 1e-6 * size && (kept.norm - size).abs() < 1e-6 * size);
            assert!(update.rank <= rank && update.rank == kept.rank);
        }
        let lost: f64 = found.projections.values().map(|kept| kept.lost.powi(2)).sum();
        let norm: f64 = found.projections.values().map(|kept| kept.norm.powi(2)).sum();
        assert!((found.kept_energy() - (1.0 - lost / norm)).abs() < 1e-12);
    }
}

#[test]
fn ranks_are_no_larger_than_needed() {
    let [one, two, three] = three();
    let rank = |parts: &[(&Adapter, f32)], method, path: &str| composed(parts, method).adapter.updates[path].rank;
    let (q, v) = ("model.layers.0.self_attn.q_proj", "model.layers.1.self_attn.v_proj");
    let parts = [(&one, 1.0), (&two, 1.0), (&three, 1.0)];
    assert_eq!((rank(&parts, Method::Cat, q), rank(&parts, Method::Cat, v)), (6, 13));
    assert_eq!((rank(&parts, Method::Linear, q), rank(&parts, Method::Linear, v)), (6, 13));
    // Without a rank, the largest of the modules that change the projection.
    for method in methods(0.5, None).split_off(2) {
        assert_eq!((rank(&parts, method, q), rank(&parts, method, v)), (4, 7), "{method:?}");
    }
    // The same directions twice are still only so many.
    assert_eq!(rank(&[(&one, 1.0), (&refactored(&one), 0.5)], Method::Linear, q), 4);
}

#[test]
fn a_composition_is_a_module_like_any_other() {
    let modules = three();
    let parts: Vec<(&Adapter, f32)> = modules.iter().zip([0.5, -0.25, 0.75]).collect();
    let (base, device) = (base(), Device::flex());
    let loaded: Vec<LoadedModule> = modules.iter().map(|module| LoadedModule::new(module, &device)).collect();
    let beside: Vec<(&LoadedModule, f32)> = loaded.iter().zip([0.5, -0.25, 0.75]).collect();
    let expected = forward(&activate(&base, &beside), &text());
    let folder = tempfile::tempdir().unwrap();
    for (index, method) in methods(0.5, Some(6)).into_iter().enumerate() {
        let calls = AtomicUsize::new(0);
        let each = || {
            calls.fetch_add(1, Ordering::Relaxed);
        };
        let made = compose(&parts, method, false, &each).unwrap();
        assert_eq!(calls.into_inner(), made.projections.len());
        let path = folder.path().join(index.to_string());
        peft::write(&path, &made.adapter, StoredType::F32).unwrap();
        let read = peft::read(&path).unwrap();
        assert_eq!(read.updates, made.adapter.updates, "{method:?}");
        let found = forward(&activate(&base, &[(&LoadedModule::new(&read, &device), 1.0)]), &text());
        let difference = relative_difference(&found, &expected);
        println!("{method:?}: logits {difference:e}");
        match method {
            Method::Cat | Method::Linear => assert!(difference < 1e-5, "{method:?}: {difference}"),
            _ => assert!(difference > 1e-3, "{method:?} is not the sum: {difference}"),
        }
    }
}

#[test]
fn topics_and_licences_are_those_of_every_part() {
    let [mut one, mut two, mut three] = three();
    let licences = ["MIT OR Apache-2.0", "CC-BY-4.0", "LicenseRef-unused"];
    for ((adapter, licence), topic) in [&mut one, &mut two, &mut three].into_iter().zip(licences).zip(["a", "b", "c"]) {
        adapter.metadata.insert("license".to_owned(), licence.to_owned());
        adapter.metadata.insert("topic".to_owned(), topic.to_owned());
    }
    let made = composed(&[(&one, 1.0), (&two, 0.5), (&three, 0.0)], Method::Cat).adapter.metadata;
    assert_eq!(made["license"], "(MIT OR Apache-2.0) AND CC-BY-4.0");
    assert_eq!(made["topic"], "a + b");
    assert_eq!(composed(&[(&one, 1.0), (&one, 1.0)], Method::Cat).adapter.metadata, one.metadata);
}

#[test]
fn what_peft_makes_of_two_modules() {
    let expected: Value = serde_json::from_str(&std::fs::read_to_string(fixture("composition.json")).unwrap()).unwrap();
    let modules = [peft::read(&fixture("plain")).unwrap(), peft::read(&fixture("patterns")).unwrap()];
    let weights: Vec<f32> = serde_json::from_value(expected["weights"].clone()).unwrap();
    let parts: Vec<(&Adapter, f32)> = modules.iter().zip(weights).collect();
    for (name, method) in [
        ("cat", Method::Cat),
        ("cat", Method::Linear),
        ("svd", Method::Svd { rank: Some(3) }),
        ("ties", Method::Ties { density: 0.3, rank: Some(5) }),
        ("magnitude-prune", Method::MagnitudePrune { density: 0.3, rank: Some(5) }),
        ("dare-linear", Method::DareLinear { density: 1.0, seed: 0, rank: Some(8) }),
        ("dare-ties", Method::DareTies { density: 1.0, seed: 0, rank: Some(8) }),
    ] {
        let found = composed(&parts, method).adapter;
        let expected = expected["methods"][name].as_object().unwrap();
        assert_eq!(found.updates.len(), expected.len());
        let mut worst = 0.0f64;
        for (path, update) in &found.updates {
            let change = dense(update);
            let size = expected[path]["norm"].as_f64().unwrap();
            worst = worst.max((norm(&change) / size - 1.0).abs());
            let row: Vec<f64> = serde_json::from_value(expected[path]["last_row"].clone()).unwrap();
            for (value, expected) in change[change.len() - update.in_features..].iter().zip(row) {
                worst = worst.max((value - expected).abs() / size);
            }
        }
        println!("{method:?}: largest difference to PEFT {worst:e} of the norm");
        assert!(worst < 2e-5, "{method:?}: {worst}");
    }
}

#[test]
fn everything_that_cannot_be_composed_is_named() {
    let [one, two, _] = three();
    let mut narrow = two.clone();
    let update = narrow.updates.get_mut("model.layers.0.self_attn.q_proj").unwrap();
    update.in_features -= 1;
    update.a.truncate(update.rank * update.in_features);
    let bases = ["1", "2"].map(|digit| Some(format!("lore-base-v1:{}", digit.repeat(64)).parse().unwrap()));
    let (mut first, mut second) = (one.clone(), narrow);
    (first.base, second.base) = (bases[0], bases[1]);
    let method = Method::Ties { density: 1.5, rank: Some(0) };
    let Err(Error::Composition { problems }) = compose(&[(&first, f32::NAN), (&second, 1.0)], method, false, &|| {})
    else {
        panic!("must be refused")
    };
    for part in [
        "weight of module 1",
        "`model.layers.0.self_attn.q_proj` maps 31",
        "density is 1.5",
        "rank is 0",
        "different bases",
    ] {
        assert!(problems.iter().any(|problem| problem.contains(part)), "no `{part}` in {problems:#?}");
    }
    assert_eq!(problems.len(), 5);
    assert!(compose(&[], Method::Cat, false, &|| {}).unwrap_err().to_string().contains("no modules"));
    // The base is only named where all agree on it.
    let mut second = two.clone();
    let base_of = |parts: &[(&Adapter, f32)]| compose(parts, Method::Cat, true, &|| {}).unwrap().adapter.base;
    for (base, expected) in [(bases[0], bases[0]), (bases[1], None), (None, None)] {
        second.base = base;
        assert_eq!(base_of(&[(&first, 1.0), (&second, 1.0)]), expected);
        assert_eq!(base_of(&[(&second, 1.0), (&first, 1.0)]), expected);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn exact_methods_are_the_sum_of_any_modules(
        drawn in proptest::collection::vec((1_usize..9, 0.5_f64..20.0, -2.0_f32..2.0, 0_usize..5, any::<u64>()), 1..5),
    ) {
        let targets: [&[&str]; 5] = [&ALL, &["q_proj"], &["down_proj", "k_proj"], &["layers.1.mlp.up_proj"], &["v_proj", "q_proj"]];
        let modules: Vec<(Adapter, f32)> =
            drawn.iter().map(|&(rank, alpha, weight, target, seed)| (module(rank, alpha, targets[target], seed), weight)).collect();
        let parts: Vec<(&Adapter, f32)> = modules.iter().map(|(module, weight)| (module, *weight)).collect();
        let expected = dense_sum(&parts);
        for method in [Method::Cat, Method::Linear, Method::Svd { rank: FULL }] {
            let difference = distance(&composed_changes(&parts, method), &expected);
            prop_assert!(difference < 2e-6, "{method:?}: {difference}");
        }
    }
}
