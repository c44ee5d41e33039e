//! What every module and every composition of modules must keep to, on a small Llama.
#![allow(missing_docs, clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use burn::tensor::Device;
use lore_model::Decoder;
use lore_model::files::ModelFiles;
use lore_model::fingerprint::Fingerprint;
use lore_model::ops::head::logits;
use lore_model::ops::host::{matrix, values};
use lore_model::ops::sequences::Sequences;
use lore_model::projection::LowRank as Update;
use lore_model::sampling::{Random, arg_max};
use lore_modules::{Adapter, AdapterConfig, Error, LoadedModule, LowRank, activate, peft};
use serde_json::Value;

fn base_files() -> ModelFiles {
    ModelFiles::open(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../model/tests/fixtures/tiny-llama")).unwrap()
}

fn base() -> Decoder {
    let files = base_files();
    Decoder::load(&files.config, &*files.weights, &Device::flex()).unwrap()
}

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

/// Logits after every token of some text.
fn forward(decoder: &Decoder, ids: &[u32]) -> Vec<f32> {
    let hidden = decoder.hidden(Arc::new(ids.to_vec()), Arc::new(Sequences::whole(&[ids.len()])));
    values(&logits(hidden, decoder.head()))
}

fn text() -> Vec<u32> {
    let mut random = Random::new(1, 1);
    (0..30).map(|_| (random.bits() % 320) as u32).collect()
}

fn relative_difference(found: &[f32], expected: &[f32]) -> f32 {
    assert_eq!(found.len(), expected.len());
    let scale = expected.iter().map(|x| x.abs()).fold(0.0, f32::max);
    found.iter().zip(expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max) / scale
}

/// A module of random values on the projections whose names end in one of `targets`.
fn module(rank: usize, alpha: f64, targets: &[&str], seed: u64) -> Adapter {
    let mut random = Random::new(seed, 4);
    let config = AdapterConfig::uniform(rank, alpha);
    let mut updates = BTreeMap::new();
    for (name, shape) in base_files().config.expected_tensors() {
        let Some(path) =
            name.strip_suffix(".weight").filter(|path| targets.iter().any(|target| path.ends_with(target)))
        else {
            continue;
        };
        let (out_features, in_features) = (shape[0], shape[1]);
        let mut draw = |count: usize| -> Vec<f32> { (0..count).map(|_| random.normal() as f32 * 0.2).collect() };
        let (a, b) = (draw(rank * in_features), draw(out_features * rank));
        let scale = config.scale_of(path);
        updates.insert(path.to_owned(), LowRank { a, b, rank, in_features, out_features, scale });
    }
    assert!(!updates.is_empty());
    Adapter { config, updates, base: None, metadata: BTreeMap::new() }
}

/// `scale · B · A` in `f64`, `[out, in]`.
fn dense(update: &LowRank) -> Vec<f64> {
    let mut out = Vec::with_capacity(update.out_features * update.in_features);
    for row in 0..update.out_features {
        for column in 0..update.in_features {
            let dot: f64 = (0..update.rank)
                .map(|k| {
                    f64::from(update.b[row * update.rank + k]) * f64::from(update.a[k * update.in_features + column])
                })
                .sum();
            out.push(dot * f64::from(update.scale));
        }
    }
    out
}

/// `Σ weight · ΔW` of every projection that some module touches, in `f64`.
fn dense_sum(modules: &[(&Adapter, f32)]) -> BTreeMap<String, Vec<f64>> {
    let mut sums = BTreeMap::<String, Vec<f64>>::new();
    for (module, weight) in modules {
        for (path, update) in &module.updates {
            let delta = dense(update);
            let sum = sums.entry(path.clone()).or_insert_with(|| vec![0.0; delta.len()]);
            sum.iter_mut().zip(delta).for_each(|(sum, delta)| *sum += f64::from(*weight) * delta);
        }
    }
    sums
}

/// The base with the sum added to its own matrices.
fn merged(base: &Decoder, modules: &[(&Adapter, f32)]) -> Decoder {
    let sums = dense_sum(modules);
    base.with_parameters(|name, tensor| match name.strip_suffix(".weight").and_then(|path| sums.get(path)) {
        Some(sum) => {
            let [rows, columns] = tensor.dims();
            let new = values(&tensor).iter().zip(sum).map(|(&w, &d)| (f64::from(w) + d) as f32).collect();
            matrix(new, rows, columns, &Device::flex())
        }
        None => tensor,
    })
}

fn composed(base: &Decoder, modules: &[(&Adapter, f32)]) -> Decoder {
    let device = Device::flex();
    let loaded: Vec<(LoadedModule, f32)> =
        modules.iter().map(|(adapter, weight)| (LoadedModule::new(adapter, &device), *weight)).collect();
    let borrowed: Vec<(&LoadedModule, f32)> = loaded.iter().map(|(module, weight)| (module, *weight)).collect();
    activate(base, &borrowed)
}

const ALL: [&str; 7] = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"];

#[test]
fn modules_saved_by_peft_give_its_logits() {
    let base = base();
    for name in ["plain", "patterns", "rslora"] {
        let text = std::fs::read_to_string(fixture(name).join("expected.json")).unwrap();
        let expected: Value = serde_json::from_str(&text).unwrap();
        let ids: Vec<u32> = serde_json::from_value(expected["ids"].clone()).unwrap();
        let expected: Vec<Vec<f32>> = serde_json::from_value(expected["logits"].clone()).unwrap();
        let adapter = peft::read(&fixture(name)).unwrap();
        let found = forward(&composed(&base, &[(&adapter, 1.0)]), &ids);
        let mut worst = 0.0f32;
        for (position, (found, expected)) in found.chunks_exact(320).zip(&expected).enumerate() {
            worst = found.iter().zip(expected).map(|(a, b)| (a - b).abs()).fold(worst, f32::max);
            assert_eq!(arg_max(found), arg_max(expected), "{name}, position {position}");
        }
        println!("{name}: largest difference to PEFT {worst:e}");
        assert!(worst <= 1e-4, "{name}: {worst}");
        let bare = forward(&base, &ids);
        let moved = bare.iter().zip(expected.iter().flatten()).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(moved > 0.05, "{name}: the module hardly changes anything ({moved})");
    }
}

#[test]
fn one_module_at_weight_one_is_the_trained_model() {
    let (base, device) = (base(), Device::flex());
    for (rank, alpha) in [(1, 1.0), (4, 6.0), (16, 8.0)] {
        let adapter = module(rank, alpha, &ALL, rank as u64);
        let active = composed(&base, &[(&adapter, 1.0)]);
        let trained = base.with_updates(|path| {
            let update = &adapter.updates[path];
            let a = matrix(update.a.clone(), rank, update.in_features, &device);
            let b = matrix(update.b.clone(), update.out_features, rank, &device);
            Some(Update { a, b, scale: (alpha / rank as f64) as f32 })
        });
        let found = forward(&active, &text());
        assert_eq!(found, forward(&trained, &text()), "to the bit");
        let difference = relative_difference(&found, &forward(&merged(&base, &[(&adapter, 1.0)]), &text()));
        println!("rank {rank}: beside against merged {difference:e}");
        assert!(difference <= 1e-5, "{difference}");
    }
}

#[test]
fn a_composition_is_the_weighted_sum_of_the_dense_updates() {
    let base = base();
    let (one, two, three, four) = (
        module(1, 3.0, &ALL, 11),
        module(4, 4.0, &["q_proj", "v_proj", "down_proj"], 12),
        module(7, 2.0, &["k_proj", "v_proj", "down_proj"], 13),
        // Shares no target with the second.
        module(3, 6.0, &["layers.1.mlp.up_proj"], 14),
    );
    let sets: [&[(&Adapter, f32)]; 6] = [
        &[(&one, 1.0), (&two, 1.0), (&three, 1.0), (&four, 1.0)],
        &[(&one, 0.3), (&two, -1.25), (&three, 2.0)],
        &[(&two, 0.7), (&four, -0.5)],
        &[(&four, -1.0)],
        &[(&one, 0.5), (&one, 0.5)],
        &[(&two, 1.0), (&two, -1.0), (&three, 0.25)],
    ];
    let (mut worst, mut worst_logits) = (0.0f64, 0.0f32);
    for modules in sets {
        let active = composed(&base, modules);
        let sums = dense_sum(modules);
        let size = modules.iter().map(|&(module, weight)| dense_sum(&[(module, weight)]));
        // Relative to the parts, since parts may cancel.
        let scale = size.flat_map(BTreeMap::into_values).flatten().map(f64::abs).fold(0.0, f64::max);
        for (layer, block) in active.blocks.iter().enumerate() {
            for (name, projection) in block.projections() {
                let path = format!("model.layers.{layer}.{name}");
                let Some(sum) = sums.get(&path) else {
                    assert!(projection.update.is_none(), "{path} belongs to none of the modules");
                    continue;
                };
                let update = projection.update.as_ref().unwrap();
                let ([rank, in_features], [out_features, _]) = (update.a.dims(), update.b.dims());
                let found = dense(&LowRank {
                    a: values(&update.a),
                    b: values(&update.b),
                    rank,
                    in_features,
                    out_features,
                    scale: update.scale,
                });
                let difference = found.iter().zip(sum).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
                worst = worst.max(difference / scale);
            }
        }
        let (found, expected) = (forward(&active, &text()), forward(&merged(&base, modules), &text()));
        worst_logits = worst_logits.max(relative_difference(&found, &expected));
    }
    println!("composition against dense sum: {worst:e}, logits {worst_logits:e}");
    assert!(worst <= 5e-7, "{worst}");
    assert!(worst_logits <= 1e-5, "{worst_logits}");
}

/// `R` and its inverse, by Gauss and Jordan.
fn invertible(size: usize, seed: u64) -> (Vec<f64>, Vec<f64>) {
    let mut random = Random::new(seed, 6);
    let r: Vec<f64> =
        (0..size * size).map(|i| random.normal() * 0.5 + if i / size == i % size { 2.0 } else { 0.0 }).collect();
    let (mut left, mut inverse) = (r.clone(), vec![0.0; size * size]);
    (0..size).for_each(|i| inverse[i * size + i] = 1.0);
    for pivot in 0..size {
        let row = (pivot..size)
            .max_by(|&a, &b| left[a * size + pivot].abs().total_cmp(&left[b * size + pivot].abs()))
            .unwrap();
        for column in 0..size {
            left.swap(row * size + column, pivot * size + column);
            inverse.swap(row * size + column, pivot * size + column);
        }
        let by = left[pivot * size + pivot];
        for column in 0..size {
            left[pivot * size + column] /= by;
            inverse[pivot * size + column] /= by;
        }
        for other in (0..size).filter(|&other| other != pivot) {
            let by = left[other * size + pivot];
            for column in 0..size {
                left[other * size + column] -= by * left[pivot * size + column];
                inverse[other * size + column] -= by * inverse[pivot * size + column];
            }
        }
    }
    (r, inverse)
}

/// Row-major `[rows, inner] · [inner, columns]`.
fn product(left: &[f64], right: &[f64], inner: usize) -> Vec<f64> {
    let (rows, columns) = (left.len() / inner, right.len() / inner);
    let entry = |i: usize| (0..inner).map(|k| left[i / columns * inner + k] * right[k * columns + i % columns]).sum();
    (0..rows * columns).map(entry).collect()
}

#[test]
fn a_composition_does_not_depend_on_how_an_update_is_factored() {
    let base = base();
    let (one, two) = (module(4, 4.0, &ALL, 21), module(5, 10.0, &["q_proj", "up_proj", "down_proj"], 22));
    let mut other = one.clone();
    for (index, update) in other.updates.values_mut().enumerate() {
        let (r, inverse) = invertible(update.rank, index as u64);
        let wide = |values: &[f32]| values.iter().map(|&x| f64::from(x)).collect::<Vec<f64>>();
        let narrow = |values: Vec<f64>| values.into_iter().map(|x| x as f32).collect::<Vec<f32>>();
        update.a = narrow(product(&inverse, &wide(&update.a), update.rank));
        update.b = narrow(product(&wide(&update.b), &r, update.rank));
    }
    assert_ne!(one, other);
    let expected = forward(&composed(&base, &[(&one, 0.6), (&two, -0.8)]), &text());
    let found = forward(&composed(&base, &[(&other, 0.6), (&two, -0.8)]), &text());
    let difference = relative_difference(&found, &expected);
    println!("refactored: {difference:e}");
    assert!(difference <= 1e-5, "{difference}");
    // Merging A with A and B with B, as some tools do, would not survive this.
    let turned = forward(&composed(&base, &[(&two, -0.8), (&other, 0.6)]), &text());
    assert!(relative_difference(&turned, &expected) <= 1e-5, "nor on the order");
}

#[test]
fn weight_zero_and_no_module_are_the_base() {
    let base = base();
    let expected = forward(&base, &text());
    let (one, two) = (module(4, 4.0, &ALL, 31), module(2, 4.0, &["q_proj"], 32));
    assert_eq!(forward(&activate(&base, &[]), &text()), expected);
    assert_eq!(forward(&composed(&base, &[(&one, 0.0)]), &text()), expected);
    assert_eq!(forward(&composed(&base, &[(&one, 0.0), (&two, 0.0)]), &text()), expected);
    let with = composed(&base, &[(&one, 1.0)]);
    assert_ne!(forward(&with, &text()), expected);
    assert_eq!(forward(&base, &text()), expected, "the base itself was not changed");
    // Activating is a choice of modules, not an addition to those active before.
    let only_two = forward(&composed(&base, &[(&two, 1.0)]), &text());
    assert_eq!(forward(&composed(&with, &[(&two, 1.0)]), &text()), only_two);
    assert_eq!(forward(&activate(&with, &[]), &text()), expected);
}

#[test]
fn a_loaded_module_knows_its_size() {
    let adapter = module(4, 4.0, &["layers.0.self_attn.q_proj"], 1);
    let loaded = LoadedModule::new(&adapter, &Device::flex());
    assert_eq!(loaded.bytes(), 4 * (4 * 32 + 32 * 4));
    assert_eq!(loaded.bytes(), 4 * adapter.parameter_count());
    assert_eq!(loaded.updates().keys().collect::<Vec<_>>(), ["model.layers.0.self_attn.q_proj"]);
}

#[test]
fn a_module_of_another_base_is_refused() {
    let files = base_files();
    let fingerprint = Fingerprint::of(&files.config, &*files.weights, &files.tokenizer).unwrap();
    let other: Fingerprint = format!("lore-base-v1:{}", "7".repeat(64)).parse().unwrap();
    let mut adapter = module(2, 2.0, &ALL, 41);

    adapter.base = Some(fingerprint);
    adapter.check_base(&files.config, &fingerprint, false).unwrap();
    for stated in [None, Some(other)] {
        adapter.base = stated;
        let error = adapter.check_base(&files.config, &fingerprint, false).unwrap_err();
        assert!(
            matches!(error, Error::OtherBase { trained_on, found } if trained_on == stated && found == fingerprint)
        );
        let text = error.to_string();
        assert!(text.contains(&fingerprint.to_string()), "{text}");
        assert!(text.contains(&stated.map_or("does not name".to_owned(), |stated| stated.to_string())), "{text}");
        adapter.check_base(&files.config, &fingerprint, true).unwrap();
    }

    // Shapes cannot be waived, and all that do not fit are named.
    adapter.base = Some(fingerprint);
    let narrow = adapter.updates.get_mut("model.layers.0.mlp.down_proj").unwrap();
    narrow.in_features -= 1;
    let moved = adapter.updates.remove("model.layers.1.self_attn.k_proj").unwrap();
    adapter.updates.insert("model.layers.2.self_attn.k_proj".to_owned(), moved.clone());
    adapter.updates.insert("model.embed_tokens".to_owned(), moved);
    for allow_mismatch in [false, true] {
        match adapter.check_base(&files.config, &fingerprint, allow_mismatch) {
            Err(Error::Shapes { problems }) => {
                assert_eq!(problems.len(), 3, "{problems:?}");
                for name in ["model.layers.0.mlp.down_proj", "model.layers.2.self_attn.k_proj", "model.embed_tokens"] {
                    assert!(problems.iter().any(|problem| problem.contains(&format!("`{name}`"))), "{problems:?}");
                }
            }
            other => panic!("{other:?}"),
        }
    }
}
