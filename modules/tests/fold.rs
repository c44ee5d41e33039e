//! Modules into weights and out again.
#![allow(missing_docs, clippy::unwrap_used)]

mod small;

use std::path::Path;

use lore_model::files::ModelFiles;
use lore_model::save::{Repository, SHARD_BYTES, StoredType, save_repository};
use lore_modules::delta::{Keep, Kept};
use lore_modules::extract::extract;
use lore_modules::fold::folded;
use lore_modules::{Adapter, Error, LoadedModule, activate};
use small::*;

/// Folds and saves, and opens what was saved.
fn saved(files: &ModelFiles, modules: &[(Adapter, f32)], folder: &Path) -> ModelFiles {
    save(files, folder, &mut folded(&*files.weights, modules))
}

fn save(
    files: &ModelFiles,
    folder: &Path,
    read: &mut dyn FnMut(&str) -> Result<Vec<f32>, lore_model::Error>,
) -> ModelFiles {
    let repository = Repository {
        config: &files.config,
        tokenizer: &files.tokenizer,
        tokenizer_settings: &files.tokenizer_settings,
        dtype: StoredType::F32,
        shard_bytes: SHARD_BYTES,
        readme: None,
    };
    save_repository(folder, &repository, read).unwrap();
    ModelFiles::open(folder).unwrap()
}

fn decoder(files: &ModelFiles) -> lore_model::Decoder {
    lore_model::Decoder::load(&files.config, &*files.weights, &burn::tensor::Device::flex()).unwrap()
}

fn two() -> [(Adapter, f32); 2] {
    [(module(4, 6.0, &ALL, 71), 0.8), (module(2, 8.0, &["q_proj", "down_proj"], 72), -0.5)]
}

#[test]
fn a_folded_model_computes_what_active_modules_do() {
    let folder = tempfile::tempdir().unwrap();
    let (files, modules) = (base_files(), two());
    let model = saved(&files, &modules, &folder.path().join("folded"));
    let device = burn::tensor::Device::flex();
    let loaded: Vec<LoadedModule> = modules.iter().map(|(module, _)| LoadedModule::new(module, &device)).collect();
    let active: Vec<(&LoadedModule, f32)> = loaded.iter().zip(&modules).map(|(l, (_, weight))| (l, *weight)).collect();
    let expected = forward(&activate(&base(), &active), &text());
    let difference = relative_difference(&forward(&decoder(&model), &text()), &expected);
    println!("folded against beside: {difference:e}");
    assert!(difference < 1e-5, "{difference}");
    assert!(relative_difference(&forward(&base(), &text()), &expected) > 1e-2, "the modules do something");
}

#[test]
fn only_the_modules_projections_change_and_weight_zero_changes_nothing() {
    let files = base_files();
    let modules = [(module(2, 8.0, &["q_proj", "down_proj"], 72), 1.0)];
    let mut read = folded(&*files.weights, &modules);
    for (name, _) in files.config.expected_tensors() {
        let same = read(&name).unwrap() == files.weights.read_f32(&name).unwrap();
        assert_eq!(same, !(name.contains("q_proj") || name.contains("down_proj")), "{name}");
    }
    let modules = [(modules[0].0.clone(), 0.0)];
    let mut read = folded(&*files.weights, &modules);
    for (name, _) in files.config.expected_tensors() {
        assert_eq!(read(&name).unwrap(), files.weights.read_f32(&name).unwrap(), "{name}");
    }
}

#[test]
fn folding_with_opposite_weights_restores_the_base_to_rounding() {
    let folder = tempfile::tempdir().unwrap();
    let (files, modules) = (base_files(), two());
    let model = saved(&files, &modules, &folder.path().join("folded"));
    let opposite = modules.map(|(module, weight)| (module, -weight));
    let back = saved(&model, &opposite, &folder.path().join("back"));
    for (name, _) in files.config.expected_tensors() {
        let (before, after) = (files.weights.read_f32(&name).unwrap(), back.weights.read_f32(&name).unwrap());
        let during = model.weights.read_f32(&name).unwrap();
        for ((before, after), during) in before.iter().zip(after).zip(during) {
            // One rounding of the folded value and one of the result.
            let bound = f32::EPSILON * (during.abs() + before.abs());
            assert!((before - after).abs() <= bound, "{name}: {after} for {before}, {during} between");
        }
    }
}

#[test]
fn what_was_folded_in_is_extracted() {
    let folder = tempfile::tempdir().unwrap();
    let (files, modules) = (base_files(), two());
    let model = saved(&files, &modules, &folder.path().join("folded"));
    let parts: Vec<(&Adapter, f32)> = modules.iter().map(|(module, weight)| (module, *weight)).collect();
    let expected = dense_sum(&parts);
    for keep in [Keep::Rank(6), Keep::Energy(1.0 - 1e-9)] {
        let found = extract(&files, &model, keep, &|| {}).unwrap();
        let difference = distance(&changes(&found.adapter), &expected);
        println!("{keep:?}: {difference:e}");
        assert!(difference < 1e-5, "{keep:?}: {difference}");
        assert!(found.left_out.is_empty());
    }
    // Cut shorter, the error is the spectrum that was cut off, and it is reported.
    let found = extract(&files, &model, Keep::Rank(2), &|| {}).unwrap();
    for (path, kept) in &found.projections {
        let update = &found.adapter.updates[path];
        let (values, _) = left_singular(&expected[path], update.out_features);
        let error: Vec<f64> = dense(update).iter().zip(&expected[path]).map(|(a, b)| a - b).collect();
        assert!((norm(&error) - norm(&values[2..])).abs() < 1e-5 * norm(&values), "{path}");
        assert!((kept.lost - norm(&values[2..])).abs() < 1e-5 * norm(&values), "{path}");
        assert_eq!(update.rank, 2);
    }
    let half = extract(&files, &model, Keep::Energy(0.5), &|| {}).unwrap();
    assert!(Kept::energy(half.projections.values()) >= 0.5);
    assert!(half.adapter.parameter_count() < found.adapter.parameter_count());
}

#[test]
fn what_a_module_cannot_hold_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let files = base_files();
    let change = |names: [&str; 2]| {
        let names = names.map(str::to_owned);
        move |name: &str| {
            let mut values = base_files().weights.read_f32(name)?;
            if names.iter().any(|changed| changed == name) {
                values.iter_mut().for_each(|value| *value *= 1.5);
            }
            Ok(values)
        }
    };
    let tuned = save(
        &files,
        &folder.path().join("both"),
        &mut change(["model.norm.weight", "model.layers.1.mlp.up_proj.weight"]),
    );
    let found = extract(&files, &tuned, Keep::Rank(3), &|| {}).unwrap();
    assert_eq!(found.adapter.updates.keys().collect::<Vec<_>>(), ["model.layers.1.mlp.up_proj"]);
    let left_out: Vec<(&String, &f64)> = found.left_out.iter().collect();
    assert!(matches!(left_out[..], [(name, size)] if name == "model.norm.weight" && (size - 0.5).abs() < 1e-6));
    let tuned = save(&files, &folder.path().join("norm"), &mut change(["model.norm.weight"; 2]));
    let error = extract(&files, &tuned, Keep::Rank(3), &|| {}).unwrap_err();
    assert!(error.to_string().contains("no projection"), "{error}");
    let other = ModelFiles::open(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../model/tests/fixtures/tiny-qwen3"));
    let Err(Error::Extraction { problems }) = extract(&files, &other.unwrap(), Keep::Rank(3), &|| {}) else {
        panic!("must be refused")
    };
    assert!(problems.iter().any(|problem| problem.contains("q_norm") && problem.contains("only in the tuned")));
}
