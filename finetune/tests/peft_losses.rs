//! Twenty steps of every method against PEFT's, from the same start and the same batches
//! (`scripts/parity/training_losses.py`).
#![allow(missing_docs, clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use burn::tensor::Device;
use lore_datasets::batches::Batch;
use lore_finetune::{Init, LoraConfig, LoraTraining};
use lore_model::Decoder;
use lore_model::files::ModelFiles;
use lore_model::ops::host::matrix;
use lore_modules::peft;
use lore_train::adamw::AdamW;
use lore_train::{Objective, Parameters, TrainConfig, gradients};
use serde_json::Value;

fn here(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn base() -> Decoder {
    let files = ModelFiles::open(&here("../model/tests/fixtures/tiny-llama")).unwrap();
    Decoder::load(&files.config, &*files.weights, &Device::flex()).unwrap()
}

/// PEFT's settings as ours.
fn config(name: &str, settings: &Value) -> LoraConfig {
    let pattern = |key: &str| -> Vec<(String, f64)> {
        let pairs = settings[key].as_object().into_iter().flatten();
        pairs.map(|(name, value)| (name.clone(), value.as_f64().unwrap())).collect()
    };
    let mut config = LoraConfig {
        rank: settings["r"].as_u64().unwrap() as usize,
        alpha: settings["lora_alpha"].as_f64().unwrap(),
        rslora: settings["use_rslora"] == true,
        dora: settings["use_dora"] == true,
        init: if settings["init_lora_weights"] == "pissa" { Init::Pissa } else { Init::Default },
        rank_pattern: pattern("rank_pattern").into_iter().map(|(name, rank)| (name, rank as usize)).collect(),
        alpha_pattern: pattern("alpha_pattern").into_iter().collect(),
        b_rate_ratio: if name == "loraplus" { 16.0 } else { 1.0 },
        ..LoraConfig::default()
    };
    if let Some(targets) = settings["target_modules"].as_array() {
        config.targets = targets.iter().map(|target| target.as_str().unwrap().to_owned()).collect();
    }
    config
}

/// The fresh updates with PEFT's `A`, of which each takes as many rows as its rank; triples of the base stay as they are.
fn start(training: &LoraTraining, config: &LoraConfig) -> Parameters {
    let drawn = peft::read(&here("tests/fixtures/start")).unwrap();
    let named = training.parameters();
    let named = named.iter().map(|(name, tensor)| {
        let tensor = match name.strip_suffix(".lora_A") {
            Some(path) if config.init == Init::Default => {
                let [rank, inputs] = tensor.dims();
                matrix(drawn.updates[path].a[..rank * inputs].to_vec(), rank, inputs, &Device::flex())
            }
            _ => tensor.clone(),
        };
        (name.to_owned(), tensor)
    });
    Parameters::new(named)
}

/// One step's sequences; every token but the last predicts the next.
fn batch(sequences: &Value) -> Batch {
    let (mut tokens, mut targets, mut lengths) = (Vec::new(), Vec::new(), Vec::new());
    for sequence in sequences.as_array().unwrap() {
        let ids: Vec<u32> = serde_json::from_value(sequence.clone()).unwrap();
        lengths.push(ids.len() - 1);
        tokens.extend(&ids[..ids.len() - 1]);
        targets.extend(&ids[1..]);
    }
    Batch { mask: vec![1.0; tokens.len()], tokens, targets, lengths, ..Batch::default() }
}

#[test]
fn losses_of_twenty_steps_are_those_of_peft() {
    let text = std::fs::read_to_string(here("tests/fixtures/losses.json")).unwrap();
    let fixture: Value = serde_json::from_str(&text).unwrap();
    let methods: BTreeMap<String, Value> = serde_json::from_value(fixture["methods"].clone()).unwrap();
    assert_eq!(methods.keys().collect::<Vec<_>>(), ["dora", "lora", "loraplus", "patterns", "pissa", "rslora"]);
    let settings = TrainConfig { beta1: 0.9, beta2: 0.95, eps: 1e-8, weight_decay: 0.0, ..TrainConfig::default() };
    for (name, method) in &methods {
        let config = config(name, &method["settings"]);
        let training = LoraTraining::new(base(), &config, 1).unwrap();
        let mut parameters = start(&training, &config);
        let mut optimiser = AdamW::new(&parameters);
        let rate = method["rate"].as_f64().unwrap();
        let expected: Vec<f64> = serde_json::from_value(method["losses"].clone()).unwrap();
        assert!(expected[19] < 0.9 * expected[0], "{name} learns something");
        let mut worst = 0.0f64;
        for (step, (sequences, expected)) in fixture["tokens"].as_array().unwrap().iter().zip(&expected).enumerate() {
            let (gradient, figures) = gradients(&parameters, step as u64, &batch(sequences), 1, &training).unwrap();
            worst = worst.max((figures.loss - expected).abs());
            let rates = |name: &str| rate * training.rate_factor(name);
            optimiser.step(&mut parameters, gradient, &settings, rates, 1.0);
        }
        println!("{name}: losses {:.4} to {:.4}, largest difference {worst:.1e}", expected[0], expected[19]);
        assert!(worst <= 1e-3, "{name}: {worst}");
    }
}
