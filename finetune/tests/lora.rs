//! Low-rank training: nothing at the start, nothing but the updates changed, and the same when exported.
#![allow(missing_docs, clippy::unwrap_used)]

#[path = "../../train/tests/toy/mod.rs"]
mod toy;

use std::collections::BTreeMap;

use burn::tensor::{Device, Tensor};
use lore_datasets::progress::Silent;
use lore_finetune::{Error, LoraConfig, LoraTraining};
use lore_model::Decoder;
use lore_model::ops::host::values;
use lore_model::save::StoredType;
use lore_modules::{Adapter, AdapterConfig, LoadedModule, LowRank, activate, peft};
use lore_train::{Parameters, Run, TrainConfig, gradients, train};
use toy::{batch_logits, bits, decoder, decoder_bits, ragged_batch};

fn lora(rank: usize, alpha: f64, targets: &[&str]) -> LoraConfig {
    LoraConfig { rank, alpha, targets: targets.iter().map(ToString::to_string).collect(), ..LoraConfig::default() }
}

/// Updates in which nothing is zero.
fn stirred(training: &LoraTraining) -> Parameters {
    let named = training.parameters();
    let named = named.iter().enumerate().map(|(i, (name, tensor))| {
        let [rows, columns] = tensor.dims();
        let mut random = lore_model::sampling::Random::new(i as u64, 8);
        let draw = (0..rows * columns).map(|_| random.normal() as f32 * 0.2).collect();
        (name.to_owned(), lore_model::ops::host::matrix(draw, rows, columns, &Device::flex()))
    });
    Parameters::new(named)
}

/// The module as its file would hold it.
fn export(parameters: &Parameters, rank: usize, alpha: f64) -> Adapter {
    let mut updates = BTreeMap::new();
    for (name, a) in parameters.iter() {
        let Some(path) = name.strip_suffix(".lora_A") else { continue };
        let b = parameters.get(&format!("{path}.lora_B")).unwrap();
        let ([rank, in_features], [out_features, _]) = (a.dims(), b.dims());
        let update = LowRank {
            a: values(a),
            b: values(b),
            rank,
            in_features,
            out_features,
            scale: (alpha / rank as f64) as f32,
            magnitude: None,
        };
        updates.insert(path.to_owned(), update);
    }
    Adapter { config: AdapterConfig::uniform(rank, alpha), updates, base: None, metadata: BTreeMap::new() }
}

fn logit_bits(decoder: &Decoder) -> Vec<u32> {
    batch_logits(decoder, &ragged_batch(&[11, 1, 25], 2)).into_iter().map(f32::to_bits).collect()
}

#[test]
fn fresh_updates_change_nothing() {
    let base = decoder(3, 1);
    for config in [LoraConfig::default(), lora(4, 32.0, &["q_proj", "down_proj"]), lora(1, 1.0, &["v_proj"])] {
        let training = LoraTraining::new(base.clone(), &config, 5).unwrap();
        let parameters = training.parameters();
        assert_eq!(parameters.len(), 3 * config.targets.len() * 2);
        assert_eq!(logit_bits(&training.model(&parameters)), logit_bits(&base));
        for (name, tensor) in parameters.iter() {
            let [rows, columns] = tensor.dims();
            let found = values(tensor);
            if name.ends_with(".lora_B") {
                assert_eq!(columns, config.rank, "{name}");
                assert!(found.iter().all(|&x| x == 0.0), "{name}");
            } else {
                assert!(name.ends_with(".lora_A") && rows == config.rank, "{name}");
                let bound = 1.0 / (columns as f32).sqrt();
                assert!(found.iter().all(|x| x.abs() <= bound), "{name}");
                let largest = found.iter().map(|x| x.abs()).fold(0.0, f32::max);
                assert!(largest > 0.7 * bound, "{name}: {largest} of {bound}");
            }
        }
        // Once B is not zero the model differs, so the equality above says something.
        assert_ne!(logit_bits(&training.model(&stirred(&training))), logit_bits(&base));
    }
}

#[test]
fn the_seed_decides_the_start() {
    let start =
        |seed| bits(LoraTraining::new(decoder(2, 1), &LoraConfig::default(), seed).unwrap().parameters().iter());
    assert_eq!(start(1), start(1));
    let (one, two) = (start(1), start(2));
    for ((name, a), (_, b)) in one.iter().zip(&two) {
        assert_eq!(a == b, name.ends_with(".lora_B"), "{name}");
    }
    let drawn: Vec<_> = one.iter().filter(|(name, _)| name.ends_with(".lora_A")).collect();
    for (i, (name, a)) in drawn.iter().enumerate() {
        for (other, b) in &drawn[..i] {
            assert_ne!(a[..32], b[..32], "{name} and {other} are drawn apart");
        }
    }
}

#[test]
fn the_update_is_alpha_over_rank_times_b_a() {
    let base = decoder(2, 3);
    let training = LoraTraining::new(base.clone(), &lora(4, 6.0, &["q_proj", "o_proj", "up_proj"]), 5).unwrap();
    let parameters = stirred(&training);
    let merged = base.with_parameters(|name, tensor| {
        let path = name.strip_suffix(".weight").unwrap_or(name);
        let (Some(a), Some(b)) = (parameters.get(&format!("{path}.lora_A")), parameters.get(&format!("{path}.lora_B")))
        else {
            return tensor;
        };
        tensor + b.clone().matmul(a.clone()) * 1.5
    });
    let batch = ragged_batch(&[11, 1, 25], 2);
    let (found, expected) = (batch_logits(&training.model(&parameters), &batch), batch_logits(&merged, &batch));
    let scale = expected.iter().map(|x| x.abs()).fold(0.0, f32::max);
    let difference = found.iter().zip(&expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    println!("beside the base against merged into it: {:e}", difference / scale);
    assert!(difference <= 1e-5 * scale, "{difference} of {scale}");
}

#[test]
fn unknown_targets_are_refused_together() {
    let config = lora(4, 4.0, &["q_proj", "query", "down_proj", "lm_head", "mlp.q_proj"]);
    let Err(Error::UnknownTargets { unknown, known }) = LoraTraining::new(decoder(2, 1), &config, 1) else {
        panic!("it should have been refused")
    };
    assert_eq!(unknown, ["query", "lm_head", "mlp.q_proj"]);
    assert_eq!(known, ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]);
}

#[test]
fn only_the_updates_have_gradients() {
    let base = decoder(2, 4);
    let training = LoraTraining::new(base.clone(), &lora(3, 3.0, &["k_proj", "gate_proj"]), 5).unwrap();
    let batch = ragged_batch(&[20, 9], 3);
    // At the start B is zero, so only B can learn; afterwards both.
    for (parameters, a_learns) in [(training.parameters(), false), (stirred(&training), true)] {
        let (found, _) = gradients(&parameters, 0, &batch, 2, &training).unwrap();
        let mut expected: Vec<String> = Vec::new();
        for layer in 0..2 {
            for path in ["mlp.gate_proj", "self_attn.k_proj"] {
                expected.extend(["A", "B"].map(|factor| format!("model.layers.{layer}.{path}.lora_{factor}")));
            }
        }
        assert_eq!(found.keys().cloned().collect::<Vec<_>>(), expected);
        for (name, gradient) in &found {
            let some = values(gradient).iter().any(|&x| x != 0.0);
            assert_eq!(some, a_learns || name.ends_with(".lora_B"), "{name}");
        }
    }
    let quiet = |tensor: &Tensor<2>| !tensor.is_require_grad();
    assert!(base.parameters().iter().all(|(_, tensor)| quiet(tensor)));
    assert!(training.parameters().iter().all(|(_, tensor)| quiet(tensor)));
}

#[test]
fn gradients_are_slopes_of_the_loss() {
    // A directional derivative of the whole model: the loss along the gradient rises by its squared norm.
    let training = LoraTraining::new(decoder(2, 4), &lora(3, 3.0, &["q_proj", "v_proj", "down_proj"]), 5).unwrap();
    let parameters = stirred(&training);
    let batch = ragged_batch(&[20, 9], 3);
    let (gradient, _) = gradients(&parameters, 0, &batch, 1, &training).unwrap();
    let square: f64 = gradient.values().flat_map(values).map(|g| f64::from(g).powi(2)).sum();
    let loss = |step: f32| {
        let moved =
            parameters.iter().map(|(name, tensor)| (name.to_owned(), tensor.clone() + gradient[name].clone() * step));
        gradients(&Parameters::new(moved), 0, &batch, 1, &training).unwrap().1.loss
    };
    let step = 1e-2 / square.sqrt();
    let slope = (loss(step as f32) - loss(-step as f32)) / (2.0 * step);
    println!("slope {slope} against {square}");
    assert!((slope - square).abs() <= 2e-3 * square, "{slope} against {square}");
}

#[test]
fn each_step_is_trained_at_one_of_the_weights() {
    let base = decoder(2, 4);
    let batch = ragged_batch(&[20, 9, 14], 3);
    let with = |weights: &[f64], seed| {
        let config = LoraConfig { weights: weights.to_vec(), ..lora(3, 3.0, &["q_proj", "up_proj"]) };
        LoraTraining::new(base.clone(), &config, seed).unwrap()
    };
    let training = with(&[1.0, 0.25], 5);
    let parameters = stirred(&training);
    let loss =
        |training: &LoraTraining, step, parts| gradients(&parameters, step, &batch, parts, training).unwrap().1.loss;
    // What the module costs at a weight, by the naive computation on the base with the module active at it.
    let loaded = LoadedModule::new(&export(&parameters, 3, 3.0), &Device::flex());
    let at = |weight: f32| {
        let logits = batch_logits(&activate(&base, &[(&loaded, weight)]), &batch);
        let rows = logits.chunks_exact(64).enumerate().filter(|(row, _)| batch.mask[*row] > 0.0);
        let nats: f64 = rows
            .map(|(row, logits)| {
                let sum: f64 = logits.iter().map(|&x| f64::from(x).exp()).sum();
                sum.ln() - f64::from(logits[batch.targets[row] as usize])
            })
            .sum();
        nats / batch.target_count() as f64
    };
    let (whole, quarter) = (at(1.0), at(0.25));
    assert!((whole - quarter).abs() > 0.01 * whole, "the weights can be told apart");
    let near = |a: f64, b: f64| (a - b).abs() <= 2e-6 * b;
    let mut at_quarter = Vec::new();
    for step in 0..40 {
        let found = loss(&training, step, 1);
        assert!(near(found, whole) || near(found, quarter), "step {step}: {found}");
        assert!(near(loss(&training, step, 3), found), "all parts of a step at one weight");
        at_quarter.push(near(found, quarter));
    }
    let count = at_quarter.iter().filter(|&&quarter| quarter).count();
    assert!((10..=30).contains(&count), "{count} of 40 at a quarter");
    let again: Vec<bool> = (0..40).map(|step| near(loss(&with(&[1.0, 0.25], 5), step, 1), quarter)).collect();
    assert_eq!(again, at_quarter);
    let other: Vec<bool> = (0..40).map(|step| near(loss(&with(&[1.0, 0.25], 6), step, 1), quarter)).collect();
    assert_ne!(other, at_quarter, "the seed decides");
    // The model handed out is at its full weight, whatever it was trained at.
    assert_eq!(logit_bits(&with(&[0.25], 5).model(&parameters)), logit_bits(&training.model(&parameters)));
    assert!((0..5).all(|step| near(loss(&with(&[0.25], 5), step, 1), quarter)));
}

#[test]
fn training_lowers_the_loss_and_leaves_the_base_alone() {
    let folder = tempfile::tempdir().unwrap();
    let mixture = toy::mixture(&folder.path().join("tokens"), 16, 6);
    let base = decoder(2, 6);
    let before = decoder_bits(&base);
    let config = lora(8, 16.0, &["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]);
    let training = LoraTraining::new(base.clone(), &config, 7).unwrap();
    let start = bits(training.parameters().iter());
    let settings = TrainConfig {
        steps: 80,
        batch_sequences: 6,
        sequence_length: 16,
        learning_rate: 1e-2,
        warmup_steps: 5,
        checkpoint_every: 1000,
        ..TrainConfig::default()
    };
    let run = Run { config: &settings, identity: "lora", directory: &folder.path().join("run"), label: "lora" };
    let trained = train(&run, training.parameters(), &mixture, &training, &Silent).unwrap();
    let (first, last) = (trained.metrics[0].loss, trained.metrics[79].loss);
    println!("cross-entropy {first:.3} to {last:.3} nats");
    assert!(last < 0.6 * first, "{first} to {last}");
    assert_eq!(decoder_bits(&base), before, "the base");
    assert_eq!(bits(training.parameters().iter()), start, "what was handed in");
    let model = training.model(&trained.parameters);
    assert_eq!(decoder_bits(&model), before, "the adapted model's own tensors are the base's");
    assert_ne!(logit_bits(&model), logit_bits(&base));

    // Through PEFT's files and back the module computes the same to the bit.
    let adapter = export(&trained.parameters, 8, 16.0);
    let module = folder.path().join("module");
    peft::write(&module, &adapter, StoredType::F32).unwrap();
    for adapter in [adapter, peft::read(&module).unwrap()] {
        let loaded = LoadedModule::new(&adapter, &Device::flex());
        assert_eq!(logit_bits(&activate(&base, &[(&loaded, 1.0)])), logit_bits(&model));
    }
}
