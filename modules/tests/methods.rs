//! The contract of modules, row by row, for every kind of module: LoRA, rank-stabilised LoRA, patterns, DoRA.
#![allow(missing_docs, clippy::unwrap_used)]

mod small;

use std::collections::BTreeMap;

use burn::tensor::Device;
use lore_model::Decoder;
use lore_model::fingerprint::Fingerprint;
use lore_model::ops::host::{matrix, values};
use lore_model::sampling::Random;
use lore_model::save::StoredType;
use lore_model::weights::dequantise::BlockFormat;
use lore_modules::compose::{Method, compose};
use lore_modules::fold::folded;
use lore_modules::inspect::{diff, inspect};
use lore_modules::on_demand::{ModuleSet, OnDemand, folders};
use lore_modules::{Adapter, AdapterConfig, Error, LoadedModule, LowRank, activate, gguf, peft};
use small::*;

/// The base's own matrix of a projection, and the lengths of its rows as an update of zero has them.
fn of_base(base: &Decoder, path: &str) -> (Vec<f64>, Vec<f32>) {
    let name = format!("{path}.weight");
    let (_, tensor) = base.parameters().into_iter().find(|(found, _)| *found == name).unwrap();
    let values = values(&tensor).into_iter().map(f64::from).collect::<Vec<f64>>();
    let [rows, columns] = tensor.dims();
    let lengths = (0..rows).map(|row| norm(&values[row * columns..][..columns]) as f32).collect();
    (values, lengths)
}

/// A module with this configuration and random values; magnitudes are the base's lengths, changed by up to a third.
fn made(config: AdapterConfig, targets: &[&str], seed: u64) -> Adapter {
    let base = base();
    let mut random = Random::new(seed, 14);
    let mut adapter = module(1, 1.0, targets, seed);
    for (path, update) in &mut adapter.updates {
        let rank = config.rank_of(path);
        let mut draw = |count: usize| -> Vec<f32> { (0..count).map(|_| random.normal() as f32 * 0.2).collect() };
        update.a = draw(rank * update.in_features);
        update.b = draw(update.out_features * rank);
        (update.rank, update.scale) = (rank, config.scale_of(path));
        update.magnitude = config.use_dora.then(|| {
            let (_, lengths) = of_base(&base, path);
            lengths.iter().map(|length| length * (1.0 + 0.33 * (random.uniform() as f32 - 0.5) * 2.0)).collect()
        });
    }
    Adapter { config, ..adapter }
}

/// Every kind, by name.
fn kinds() -> Vec<(&'static str, Adapter)> {
    let plain = AdapterConfig::uniform(4, 6.0);
    let stabilised = AdapterConfig { use_rslora: true, ..plain.clone() };
    let patterns = AdapterConfig {
        rank_pattern: vec![("layers.0.self_attn.q_proj".into(), 7), ("down_proj".into(), 2)],
        alpha_pattern: vec![("v_proj".into(), 12.0)],
        ..plain.clone()
    };
    let dora = AdapterConfig { use_dora: true, ..plain.clone() };
    let all = AdapterConfig { use_dora: true, use_rslora: true, ..patterns.clone() };
    vec![
        ("LoRA", made(plain, &ALL, 1)),
        ("rsLoRA", made(stabilised, &["q_proj", "up_proj", "down_proj"], 2)),
        ("patterns", made(patterns, &ALL, 3)),
        ("DoRA", made(dora, &["q_proj", "v_proj", "o_proj", "gate_proj", "down_proj"], 4)),
        ("DoRA, rsLoRA and patterns", made(all, &ALL, 5)),
    ]
}

/// What a module changes of the base's matrix, in `f64`, by the definitions of the papers.
fn change(base: &[f64], update: &LowRank) -> Vec<f64> {
    let delta = dense(update);
    let Some(magnitude) = &update.magnitude else { return delta };
    let columns = update.in_features;
    let mut change = Vec::new();
    for (row, magnitude) in magnitude.iter().enumerate() {
        let of_row = row * columns..(row + 1) * columns;
        let moved: Vec<f64> = of_row.clone().map(|i| base[i] + delta[i]).collect();
        let factor = f64::from(*magnitude) / norm(&moved);
        change.extend(of_row.zip(moved).map(|(i, moved)| factor * moved - base[i]));
    }
    change
}

/// The base with `Σ weight · ΔW` added to its own matrices.
fn merged(base: &Decoder, modules: &[(&Adapter, f32)]) -> Decoder {
    base.with_parameters(|name, tensor| {
        let path = name.strip_suffix(".weight").unwrap_or(name);
        let own: Vec<f64> = values(&tensor).into_iter().map(f64::from).collect();
        let mut sum = own.clone();
        for (adapter, weight) in modules {
            if let Some(update) = adapter.updates.get(path) {
                let change = change(&own, update);
                sum.iter_mut().zip(change).for_each(|(sum, change)| *sum += f64::from(*weight) * change);
            }
        }
        let [rows, columns] = tensor.dims();
        matrix(sum.into_iter().map(|value| value as f32).collect(), rows, columns, &Device::flex())
    })
}

fn active(base: &Decoder, modules: &[(&Adapter, f32)]) -> Decoder {
    let load = |(adapter, weight): &(&Adapter, f32)| (LoadedModule::new(adapter, &Device::flex()), *weight);
    let loaded: Vec<(LoadedModule, f32)> = modules.iter().map(load).collect();
    activate(base, &loaded.iter().map(|(module, weight)| (module, *weight)).collect::<Vec<_>>())
}

#[test]
fn a_fresh_module_leaves_the_base_bit_identical() {
    let base = base();
    let expected = forward(&base, &text());
    for (name, mut adapter) in kinds() {
        assert_ne!(forward(&active(&base, &[(&adapter, 1.0)]), &text()), expected, "{name} does something");
        for (path, update) in &mut adapter.updates {
            update.b.fill(0.0);
            if let Some(magnitude) = &mut update.magnitude {
                *magnitude = of_base(&base, path).1;
            }
        }
        for weight in [1.0, 0.3, -2.0] {
            assert_eq!(forward(&active(&base, &[(&adapter, weight)]), &text()), expected, "{name} at {weight}");
        }
    }
}

#[test]
fn scales_are_alpha_over_the_rank_or_over_its_root() {
    for (name, adapter) in kinds() {
        for (path, update) in &adapter.updates {
            let patterned = name.contains("patterns");
            let rank = match path.as_str() {
                "model.layers.0.self_attn.q_proj" if patterned => 7,
                path if patterned && path.ends_with("down_proj") => 2,
                _ => 4,
            };
            let alpha = if patterned && path.ends_with("v_proj") { 12.0f64 } else { 6.0 };
            let by = if name.contains("rsLoRA") { f64::from(rank).sqrt() } else { f64::from(rank) };
            assert_eq!((update.rank, update.scale), (rank as usize, (alpha / by) as f32), "{name} {path}");
        }
    }
}

#[test]
fn merged_and_unmerged_agree_and_merging_leaves_the_base_alone() {
    let (base, files) = (base(), base_files());
    let bytes = |files: &lore_model::files::ModelFiles| -> BTreeMap<String, Vec<u32>> {
        let read = |(name, _): (String, _)| {
            let values = files.weights.read_f32(&name).unwrap();
            (name, values.into_iter().map(f32::to_bits).collect())
        };
        files.config.expected_tensors().into_iter().map(read).collect()
    };
    let before = bytes(&files);
    for (name, adapter) in kinds() {
        let found = forward(&active(&base, &[(&adapter, 1.0)]), &text());
        let by_hand = forward(&merged(&base, &[(&adapter, 1.0)]), &text());
        let difference = relative_difference(&found, &by_hand);
        assert!(difference <= 1e-5, "{name}: merged by hand {difference}");
        for weight in [1.0, 0.4, -0.7] {
            let modules = [(adapter.clone(), weight)];
            let mut read = folded(&*files.weights, &modules);
            let folded = Decoder::build(&files.config, |name, [rows, columns]| {
                Ok(matrix(read(name)?, rows, columns, &Device::flex()))
            });
            let found = forward(&active(&base, &[(&adapter, weight)]), &text());
            let difference = relative_difference(&found, &forward(&folded.unwrap(), &text()));
            println!("{name} at {weight}: beside against folded {difference:e}");
            assert!(difference <= 1e-5, "{name} at {weight}: {difference}");
        }
    }
    assert_eq!(bytes(&files), before, "unmerged is the base, byte for byte");
    let nothing = folded(&*files.weights, &[]);
    let mut nothing = nothing;
    for (name, bits) in &before {
        assert_eq!(nothing(name).unwrap().into_iter().map(f32::to_bits).collect::<Vec<_>>(), *bits, "{name}");
    }
}

#[test]
fn weight_zero_is_the_base_and_activating_is_a_choice() {
    let base = base();
    let expected = forward(&base, &text());
    let kinds = kinds();
    for (name, adapter) in &kinds {
        let with = active(&base, &[(adapter, 1.0)]);
        let alone = forward(&with, &text());
        assert_eq!(forward(&active(&base, &[(adapter, 0.0)]), &text()), expected, "{name}");
        // What was active before is gone when others are chosen, and back when it is chosen again.
        let (_, other) = &kinds[0];
        let of_other = forward(&active(&base, &[(other, 1.0)]), &text());
        assert_eq!(forward(&active(&with, &[(other, 1.0)]), &text()), of_other, "{name}");
        assert_eq!(forward(&active(&active(&with, &[(other, 1.0)]), &[(adapter, 1.0)]), &text()), alone, "{name}");
        assert_eq!(forward(&activate(&with, &[]), &text()), expected, "{name}");
    }
    assert_eq!(forward(&base, &text()), expected);
}

#[test]
fn active_together_they_are_the_weighted_sum() {
    let base = base();
    // Other ranks, some targets of its own, some shared, and one that shares none.
    let (wide, apart) =
        (module(7, 3.0, &["k_proj", "v_proj", "down_proj"], 61), module(1, 2.0, &["layers.1.mlp.up_proj"], 62));
    let kinds = kinds();
    for (name, adapter) in &kinds {
        let (_, dora) = &kinds[3];
        for set in [
            vec![(adapter, 0.7), (&wide, -1.25)],
            vec![(&apart, 2.0), (adapter, -0.5), (dora, 0.4)],
            vec![(adapter, 0.5), (adapter, 0.5)],
        ] {
            let found = forward(&active(&base, &set), &text());
            let difference = relative_difference(&found, &forward(&merged(&base, &set), &text()));
            println!("{name} among {}: {difference:e}", set.len());
            assert!(difference <= 1e-5, "{name} among {}: {difference}", set.len());
        }
        let halves = forward(&active(&base, &[(adapter, 0.5), (adapter, 0.5)]), &text());
        assert!(relative_difference(&halves, &forward(&active(&base, &[(adapter, 1.0)]), &text())) <= 1e-5, "{name}");
    }
}

#[test]
fn nothing_depends_on_how_an_update_is_factored() {
    let base = base();
    for (name, adapter) in kinds() {
        let other = refactored(&adapter);
        assert_ne!(adapter.updates, other.updates);
        for weight in [1.0, -0.6] {
            let expected = forward(&active(&base, &[(&adapter, weight)]), &text());
            let difference = relative_difference(&forward(&active(&base, &[(&other, weight)]), &text()), &expected);
            println!("{name} refactored: {difference:e}");
            assert!(difference <= 1e-5, "{name}: {difference}");
        }
    }
}

#[test]
fn files_keep_every_value_and_setting() {
    let folder = tempfile::tempdir().unwrap();
    for (index, (name, adapter)) in kinds().into_iter().enumerate() {
        let path = folder.path().join(index.to_string());
        peft::write(&path, &adapter, StoredType::F32).unwrap();
        let read = peft::read(&path).unwrap();
        assert_eq!(read.updates, adapter.updates, "{name}");
        assert_eq!(
            (read.config.use_dora, read.config.use_rslora),
            (adapter.config.use_dora, adapter.config.use_rslora)
        );
        let base = base();
        assert_eq!(
            forward(&active(&base, &[(&read, 1.0)]), &text()),
            forward(&active(&base, &[(&adapter, 1.0)]), &text()),
            "{name}"
        );
        let bytes = LoadedModule::new(&read, &Device::flex()).bytes();
        assert_eq!(bytes, 4 * adapter.parameter_count(), "{name}");
    }
}

#[test]
fn files_of_magnitudes_that_do_not_fit_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("module");
    let (_, dora) = kinds().remove(3);
    let refused = |adapter: &Adapter, expected: &str| {
        let error = peft::write(&path, adapter, StoredType::F32).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    };
    let first = dora.updates.keys().next().unwrap().clone();
    let change = |changed: &dyn Fn(&mut LowRank)| {
        let mut adapter = dora.clone();
        changed(adapter.updates.get_mut(&first).unwrap());
        adapter
    };
    refused(&change(&|update| update.magnitude = None), "lacks magnitudes");
    refused(&change(&|update| update.magnitude.as_mut().unwrap().push(1.0)), "magnitudes for");
    refused(&change(&|update| update.magnitude.as_mut().unwrap()[0] = f32::NAN), "the magnitudes are NaN or infinite");
    let plain = Adapter { config: AdapterConfig { use_dora: false, ..dora.config.clone() }, ..dora.clone() };
    refused(&plain, "has magnitudes; the configuration says `use_dora` false");
    // A file whose configuration was changed by hand.
    peft::write(&path, &dora, StoredType::F32).unwrap();
    let config = path.join("adapter_config.json");
    let text = std::fs::read_to_string(&config).unwrap();
    std::fs::write(&config, text.replace("\"use_dora\": true", "\"use_dora\": false")).unwrap();
    assert!(peft::read(&path).unwrap_err().to_string().contains("has magnitudes"));
}

#[test]
fn one_module_at_weight_one_is_itself_for_every_method_of_composition() {
    for (name, adapter) in kinds() {
        for method in [
            Method::Cat,
            Method::Linear,
            Method::Svd { rank: Some(64) },
            Method::Ties { density: 1.0, rank: Some(64) },
            Method::DareLinear { density: 1.0, seed: 1, rank: Some(64) },
            Method::DareTies { density: 1.0, seed: 1, rank: Some(64) },
            Method::MagnitudePrune { density: 1.0, rank: Some(64) },
            Method::Knots { density: 1.0, rank: Some(64) },
        ] {
            let composed = compose(&[(&adapter, 1.0)], method, false, &|| {});
            if adapter.config.use_dora {
                // Its change is not low-rank and not known without the base: no method pretends otherwise.
                let text = composed.unwrap_err().to_string();
                assert!(text.contains("DoRA") && text.contains("lore module fold"), "{text}");
                continue;
            }
            let difference = distance(&changes(&composed.unwrap().adapter), &changes(&adapter));
            assert!(difference <= 1e-6, "{name} {method}: {difference}");
        }
    }
}

#[test]
fn what_cannot_be_said_without_the_base_is_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let config = base_files().config;
    for (name, adapter) in kinds() {
        let file = folder.path().join("module.gguf");
        let written = gguf::write(&file, &adapter, &config, BlockFormat::F32);
        let inspected = inspect(&[("a", &adapter)], None);
        let compared = diff(&adapter, &adapter);
        if !adapter.config.use_dora {
            assert!(written.is_ok() && inspected.is_ok() && compared.is_ok(), "{name}");
            std::fs::remove_file(&file).unwrap();
            continue;
        }
        assert!(matches!(written, Err(Error::NeedsBase { .. })), "{name}");
        assert!(!file.exists());
        for error in [written.unwrap_err(), inspected.unwrap_err(), compared.unwrap_err()] {
            assert!(error.to_string().contains("it has magnitudes (DoRA)"), "{error}");
        }
    }
}

/// Loaded on demand and put beside the base by rows, every kind computes what it does when activated.
#[test]
fn on_demand_is_the_same() {
    let (base, files) = (base(), base_files());
    let fingerprint = Fingerprint::of(&files.config, &*files.weights, &files.tokenizer).unwrap();
    let folder = tempfile::tempdir().unwrap();
    for (number, (name, adapter)) in kinds().into_iter().enumerate() {
        let adapter = Adapter { base: Some(fingerprint), ..adapter };
        peft::write(&folder.path().join(format!("m{number}")), &adapter, StoredType::F32).unwrap();
        let mut library = OnDemand::new(base.clone(), fingerprint, 1 << 30);
        library.set_folders(folders(folder.path()).unwrap());
        let set = ModuleSet::new([(format!("m{number}"), 0.7)]).unwrap();
        let found = forward(&library.lease(&set).unwrap().on(&base), &text());
        let expected = forward(&active(&base, &[(&adapter, 0.7)]), &text());
        let difference = relative_difference(&found, &expected);
        assert!(difference < 1e-5, "{name}: {difference}");
        let without = relative_difference(&forward(&base, &text()), &expected);
        assert!(without > 1e-3, "{name} does something: {without}");
    }
}
