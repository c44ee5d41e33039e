//! What every module and every composition of modules must keep to, on a small Llama.
#![allow(missing_docs, clippy::unwrap_used)]

mod small;

use std::collections::BTreeMap;

use burn::tensor::Device;
use lore_model::Decoder;
use lore_model::fingerprint::Fingerprint;
use lore_model::ops::host::{matrix, values};
use lore_model::projection::LowRank as Update;
use lore_model::sampling::arg_max;
use lore_modules::{Adapter, Error, LoadedModule, LowRank, activate, peft};
use serde_json::Value;
use small::{ALL, base, base_files, dense, dense_sum, fixture, forward, module, refactored, relative_difference, text};

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

#[test]
fn modules_saved_by_peft_give_its_logits() {
    let base = base();
    for name in ["plain", "patterns", "rslora", "dora"] {
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
            Some(Update::new(a, b, (alpha / rank as f64) as f32))
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
                    magnitude: None,
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

#[test]
fn a_composition_does_not_depend_on_how_an_update_is_factored() {
    let base = base();
    let (one, two) = (module(4, 4.0, &ALL, 21), module(5, 10.0, &["q_proj", "up_proj", "down_proj"], 22));
    let other = refactored(&one);
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
