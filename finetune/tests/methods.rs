//! The contract of modules in training, row by row, for every method and its combinations.
#![allow(missing_docs, clippy::unwrap_used)]

#[path = "../../train/tests/toy/mod.rs"]
mod toy;

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use burn::tensor::{Device, Tensor};
use lore_datasets::batches::Batch;
use lore_datasets::progress::Silent;
use lore_finetune::{ContextConfig, Error, Init, LoraConfig, LoraTraining};
use lore_model::Decoder;
use lore_model::ops::host::{matrix, values};
use lore_model::quantised::Blocks;
use lore_model::sampling::Random;
use lore_model::save::StoredType;
use lore_modules::{LoadedModule, activate, peft};
use lore_train::{Objective, Parameters, Run, TrainConfig, gradients, train};
use toy::{Killed, batch_logits, bits, decoder, decoder_bits, ragged_batch};

struct Method {
    name: &'static str,
    config: LoraConfig,
    blocks: Option<Blocks>,
    context: Option<ContextConfig>,
}

/// Every method, alone and together.
fn methods() -> Vec<Method> {
    let plain = LoraConfig { rank: 4, alpha: 8.0, ..LoraConfig::default() };
    let patterns = LoraConfig {
        targets: vec!["self_attn.*".into(), "layers.1.mlp.down_proj".into()],
        rank_pattern: BTreeMap::from([("v_proj".into(), 2), ("layers.0.*".into(), 6)]),
        alpha_pattern: BTreeMap::from([("down_proj".into(), 3.0)]),
        ..plain.clone()
    };
    let method = |name, config| Method { name, config, blocks: None, context: None };
    vec![
        method("LoRA", plain.clone()),
        method("rsLoRA", LoraConfig { rslora: true, ..plain.clone() }),
        method("patterns", patterns.clone()),
        method("DoRA", LoraConfig { dora: true, ..plain.clone() }),
        method("LoRA+", LoraConfig { b_rate_ratio: 8.0, ..plain.clone() }),
        method("dropout", LoraConfig { dropout: 0.2, ..plain.clone() }),
        method("PiSSA", LoraConfig { init: Init::Pissa, ..plain.clone() }),
        method("weights", LoraConfig { weights: vec![0.3, 1.0], ..plain.clone() }),
        Method { blocks: Some(Blocks::Q8_0), ..method("QLoRA", plain.clone()) },
        Method { context: Some(ContextConfig { passage: 0.5, labels: 0.25 }), ..method("context", plain.clone()) },
        Method {
            blocks: Some(Blocks::Q4_1),
            ..method(
                "QLoRA, DoRA, rsLoRA, patterns, LoRA+, dropout and weights",
                LoraConfig {
                    dora: true,
                    rslora: true,
                    b_rate_ratio: 4.0,
                    dropout: 0.1,
                    weights: vec![0.5, 1.0],
                    ..patterns.clone()
                },
            )
        },
        Method {
            blocks: Some(Blocks::Q4_0),
            ..method("QLoRA, PiSSA, rsLoRA and patterns", LoraConfig { init: Init::Pissa, rslora: true, ..patterns })
        },
    ]
}

impl Method {
    fn base(&self) -> Decoder {
        let base = decoder(2, 6);
        self.blocks.map_or(base.clone(), |blocks| base.clone().quantised(blocks))
    }

    fn training(&self) -> LoraTraining {
        let training = LoraTraining::new(self.base(), &self.config, 7).unwrap();
        match self.context {
            Some(context) => training.with_context(context),
            None => training,
        }
    }
}

fn batch() -> Batch {
    ragged_batch(&[11, 1, 25, 4], 2)
}

fn logit_bits(decoder: &Decoder) -> Vec<u32> {
    batch_logits(decoder, &batch()).into_iter().map(f32::to_bits).collect()
}

/// The updates moved from where they are, in every value.
fn stirred(parameters: &Parameters) -> Parameters {
    let named = parameters.iter().enumerate().map(|(i, (name, tensor))| {
        let [rows, columns] = tensor.dims();
        let mut random = Random::new(i as u64, 8);
        let moved = values(tensor).into_iter().map(|value| value + random.normal() as f32 * 0.05).collect();
        (name.to_owned(), matrix(moved, rows, columns, &Device::flex()))
    });
    Parameters::new(named)
}

fn relative_difference(found: &[f32], expected: &[f32]) -> f32 {
    let scale = expected.iter().map(|x| x.abs()).fold(0.0, f32::max);
    found.iter().zip(expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max) / scale
}

#[test]
fn a_fresh_module_leaves_the_base_bit_identical() {
    for method in methods() {
        let (base, training) = (method.base(), method.training());
        let fresh = training.parameters();
        assert_eq!(logit_bits(&training.model(&fresh)), logit_bits(&base), "{}", method.name);
        assert_ne!(logit_bits(&training.model(&stirred(&fresh))), logit_bits(&base), "{}", method.name);
        // And so does the module that would be exported now; PiSSA's is two products that cancel but for rounding.
        let exported = LoadedModule::new(&training.adapter(&fresh), &Device::flex());
        let active = activate(&base, &[(&exported, 1.0)]);
        if method.config.init == Init::Pissa {
            let difference = relative_difference(&batch_logits(&active, &batch()), &batch_logits(&base, &batch()));
            assert!(difference <= 1e-5, "{}: {difference}", method.name);
        } else {
            assert_eq!(logit_bits(&active), logit_bits(&base), "{}", method.name);
        }
    }
}

#[test]
fn ranks_and_scales_are_those_asked_for() {
    for method in methods() {
        let training = method.training();
        let adapter = training.adapter(&training.parameters());
        let patterned = method.name.contains("patterns");
        assert_eq!(adapter.updates.len(), if patterned { 9 } else { 14 }, "{}", method.name);
        for (path, update) in &adapter.updates {
            let rank = match path.as_str() {
                // The longest pattern counts.
                path if patterned && path.starts_with("model.layers.0.") => 6,
                path if patterned && path.ends_with("v_proj") => 2,
                _ => 4,
            };
            let alpha = if patterned && path.ends_with("down_proj") { 3.0 } else { 8.0 };
            let by = if method.config.rslora { f64::from(rank).sqrt() } else { f64::from(rank) };
            // PiSSA's modules are plain ones of twice the rank.
            let times = if method.config.init == Init::Pissa { 2 } else { 1 };
            assert_eq!(update.rank, times * rank as usize, "{} {path}", method.name);
            assert!((f64::from(update.scale) - alpha / by).abs() < 1e-6, "{} {path}: {}", method.name, update.scale);
            assert_eq!(update.magnitude.is_some(), method.config.dora, "{} {path}", method.name);
        }
    }
}

#[test]
fn what_is_exported_is_what_was_trained() {
    let folder = tempfile::tempdir().unwrap();
    for (index, method) in methods().into_iter().enumerate() {
        let (base, training) = (method.base(), method.training());
        let trained = stirred(&training.parameters());
        let model = training.model(&trained);
        let path = folder.path().join(index.to_string());
        peft::write(&path, &training.adapter(&trained), StoredType::F32).unwrap();
        let loaded = LoadedModule::new(&peft::read(&path).unwrap(), &Device::flex());
        let active = activate(&base, &[(&loaded, 1.0)]);
        let difference = relative_difference(&batch_logits(&active, &batch()), &batch_logits(&model, &batch()));
        println!("{}: exported against trained {difference:e}", method.name);
        assert!(difference <= 1e-5, "{}: {difference}", method.name);
        if method.config.init == Init::Default {
            // So dropout is off when a model is used.
            assert_eq!(logit_bits(&active), logit_bits(&model), "{}: to the bit", method.name);
        }
    }
}

#[test]
fn only_updates_are_trained_and_the_base_stays_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let mixture = toy::mixture(&folder.path().join("tokens"), 16, 6);
    for method in methods() {
        let base = method.base();
        let before = decoder_bits(&base);
        let training = match method.context {
            Some(context) => LoraTraining::new(base.clone(), &method.config, 7).unwrap().with_context(context),
            None => LoraTraining::new(base.clone(), &method.config, 7).unwrap(),
        };
        let factors: &[&str] =
            if method.config.dora { &["lora_A", "lora_B", "lora_magnitude_vector"] } else { &["lora_A", "lora_B"] };
        let fresh = training.parameters();
        assert!(fresh.iter().all(|(name, _)| factors.iter().any(|factor| name.ends_with(factor))), "{}", method.name);
        // Gradients, and with them moments, are for these alone, and in the end for all of them.
        let (gradient, _) = gradients(&stirred(&fresh), 0, &batch(), 2, &training).unwrap();
        assert_eq!(
            gradient.keys().map(String::as_str).collect::<Vec<_>>(),
            fresh.iter().map(|(n, _)| n).collect::<Vec<_>>()
        );
        for (name, gradient) in &gradient {
            assert!(values(gradient).iter().any(|&g| g != 0.0), "{} {name}", method.name);
        }
        let settings = settings(40);
        let directory = folder.path().join(method.name);
        let run = Run { config: &settings, identity: "one", directory: &directory, label: "test" };
        let trained = train(&run, fresh.clone(), &mixture, &training, &Silent).unwrap();
        let mean = |range: std::ops::Range<usize>| -> f64 {
            let count = range.len() as f64;
            trained.metrics[range].iter().map(|m| m.loss).sum::<f64>() / count
        };
        println!("{}: {:.3} to {:.3} nats", method.name, mean(0..5), mean(35..40));
        assert!(mean(35..40) < 0.9 * mean(0..5), "{}: {} to {}", method.name, mean(0..5), mean(35..40));
        assert_eq!(decoder_bits(&base), before, "{}: the base", method.name);
        assert_eq!(
            decoder_bits(&training.model(&trained.parameters)),
            before,
            "{}: the model's own tensors",
            method.name
        );
        for (name, tensor) in trained.parameters.iter() {
            assert_ne!(values(tensor), values(fresh.get(name).unwrap()), "{} {name} was trained", method.name);
        }
    }
}

fn settings(steps: u64) -> TrainConfig {
    TrainConfig {
        steps,
        batch_sequences: 6,
        sequence_length: 16,
        learning_rate: 1e-2,
        warmup_steps: 3,
        checkpoint_every: 4,
        ..TrainConfig::default()
    }
}

#[test]
fn the_gradient_does_not_depend_on_how_a_batch_is_cut_up() {
    for method in methods() {
        let training = method.training();
        let parameters = stirred(&training.parameters());
        let of = |parts| gradients(&parameters, 3, &batch(), parts, &training).unwrap();
        let ((whole, figures), (cut, other)) = (of(1), of(3));
        assert!((figures.loss - other.loss).abs() <= 1e-6, "{}: {} and {}", method.name, figures.loss, other.loss);
        for (name, gradient) in &whole {
            let difference = relative_difference(&values(&cut[name]), &values(gradient));
            assert!(difference <= 1e-4, "{} {name}: {difference}", method.name);
        }
    }
}

#[test]
fn recomputing_blocks_changes_nothing() {
    for method in methods() {
        let training = method.training();
        let parameters = stirred(&training.parameters());
        let again = LoraTraining::new(method.base().with_recompute(true), &method.config, 7).unwrap();
        let again = match method.context {
            Some(context) => again.with_context(context),
            None => again,
        };
        let of = |training: &LoraTraining| gradients(&parameters, 3, &batch(), 1, training).unwrap();
        let ((kept, figures), (recomputed, other)) = (of(&training), of(&again));
        assert_eq!(figures.loss, other.loss, "{}", method.name);
        for (name, gradient) in &kept {
            let difference = relative_difference(&values(&recomputed[name]), &values(gradient));
            assert!(difference <= 1e-5, "{} {name}: {difference}", method.name);
        }
    }
}

#[test]
fn a_killed_run_goes_on_to_the_same_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let mixture = toy::mixture(&folder.path().join("tokens"), 16, 6);
    let settings = settings(10);
    let run = |directory: &Path, objective: &dyn Objective, start: Parameters| {
        let run = Run { config: &settings, identity: "one", directory, label: "test" };
        train(&run, start, &mixture, objective, &Silent).unwrap()
    };
    for (index, method) in methods().into_iter().enumerate() {
        let training = method.training();
        let straight = run(&folder.path().join(format!("{index}-straight")), &training, training.parameters());
        let directory = folder.path().join(format!("{index}-killed"));
        for steps in [2, 5, 3] {
            let killed = Killed::after(steps, method.training());
            let start = killed.objective.parameters();
            assert!(catch_unwind(AssertUnwindSafe(|| run(&directory, &killed, start))).is_err(), "it was to be killed");
        }
        let resumed = run(&directory, &method.training(), training.parameters());
        assert_eq!(bits(resumed.parameters.iter()), bits(straight.parameters.iter()), "{}", method.name);
    }
}

/// The frozen base in blocks is the base whose weights are what the blocks hold, to the bit.
#[test]
fn a_base_in_blocks_trains_as_its_expanded_values_do() {
    for (blocks, config) in [
        (Blocks::Q8_0, LoraConfig { rank: 4, ..LoraConfig::default() }),
        (Blocks::Q4_0, LoraConfig { rank: 4, dora: true, ..LoraConfig::default() }),
        (Blocks::Q4_1, LoraConfig { rank: 4, dropout: 0.1, ..LoraConfig::default() }),
    ] {
        let frozen = decoder(2, 6).quantised(blocks);
        let expanded = frozen.with_parameters(|_, tensor| tensor);
        assert_eq!(decoder_bits(&frozen), decoder_bits(&expanded));
        assert_ne!(decoder_bits(&frozen), decoder_bits(&decoder(2, 6)), "something was rounded");
        let [one, two] = [frozen, expanded].map(|base| LoraTraining::new(base, &config, 3).unwrap());
        let parameters = stirred(&one.parameters());
        let of = |training: &LoraTraining| gradients(&parameters, 3, &batch(), 2, training).unwrap();
        let ((found, figures), (expected, other)) = (of(&one), of(&two));
        assert_eq!(figures.loss, other.loss, "{blocks:?}");
        let named = |gradients: &BTreeMap<String, Tensor<2>>| bits(gradients.iter().map(|(n, t)| (n.as_str(), t)));
        assert_eq!(named(&found), named(&expected), "{blocks:?}");
    }
}

/// The small base is mostly embeddings; its projections are what counts here.
#[test]
fn blocks_take_a_quarter_or_an_eighth_of_the_memory_and_the_loss_stays_near() {
    let (wide, folder) = (decoder(2, 6), tempfile::tempdir().unwrap());
    let mixture = toy::mixture(&folder.path().join("tokens"), 16, 6);
    let outside = 4 * (wide.parameter_count() - projections(&wide));
    let trained = |base: Decoder, name: &str| {
        let training =
            LoraTraining::new(base, &LoraConfig { rank: 4, alpha: 8.0, ..LoraConfig::default() }, 7).unwrap();
        let (settings, directory) = (settings(60), folder.path().join(name));
        let run = Run { config: &settings, identity: "one", directory: &directory, label: "test" };
        let trained = train(&run, training.parameters(), &mixture, &training, &Silent).unwrap();
        trained.metrics[50..].iter().map(|m| m.loss).sum::<f64>() / 10.0
    };
    assert_eq!(wide.weight_bytes(), 4 * wide.parameter_count());
    let reference = trained(wide.clone(), "f32");
    for (blocks, share, near) in [(Blocks::Q8_0, 0.31, 0.02), (Blocks::Q4_1, 0.19, 0.1), (Blocks::Q4_0, 0.17, 0.1)] {
        let frozen = wide.clone().quantised(blocks);
        let found = (frozen.weight_bytes() - outside) as f64 / (wide.weight_bytes() - outside) as f64;
        let loss = trained(frozen, &format!("{blocks:?}"));
        println!("{blocks:?}: {found:.3} of the bytes, loss {loss:.4} for {reference:.4}");
        assert!(found <= share, "{blocks:?}: {found}");
        assert!((loss - reference).abs() <= near * reference, "{blocks:?}: {loss} for {reference}");
    }
}

/// Values in the matrices of all projections.
fn projections(decoder: &Decoder) -> usize {
    let shapes = decoder.config.expected_tensors();
    shapes
        .iter()
        .filter(|(name, _)| name.ends_with("_proj.weight"))
        .map(|(_, shape)| shape.iter().product::<usize>())
        .sum()
}

#[test]
fn names_that_stand_for_nothing_are_refused_together() {
    let refused = |config: LoraConfig| match LoraTraining::new(decoder(2, 1), &config, 1) {
        Err(error) => error,
        Ok(_) => panic!("it should have been refused"),
    };
    let targets = LoraConfig {
        targets: ["q_proj", "query", "mlp.q_proj", "layers.2.*"].map(String::from).to_vec(),
        ..LoraConfig::default()
    };
    match refused(targets) {
        Error::UnknownTargets { unknown, .. } => assert_eq!(unknown, ["query", "mlp.q_proj", "layers.2.*"]),
        other => panic!("{other}"),
    }
    let patterns = LoraConfig {
        targets: vec!["q_proj".into()],
        rank_pattern: BTreeMap::from([("q_proj".into(), 3), ("v_proj".into(), 2)]),
        alpha_pattern: BTreeMap::from([("layers.9.*".into(), 2.0)]),
        ..LoraConfig::default()
    };
    match refused(patterns) {
        Error::UnusedPatterns { unused } => assert_eq!(unused, ["v_proj", "layers.9.*"]),
        other => panic!("{other}"),
    }
    let both = LoraConfig { dora: true, init: Init::Pissa, ..LoraConfig::default() };
    assert!(matches!(refused(both), Error::PissaWithMagnitudes));
}

/// PiSSA's factors against a matrix whose singular triples are known, and what the rest is.
#[test]
fn pissa_begins_at_the_largest_singular_triples() {
    let training = LoraTraining::new(
        decoder(1, 6),
        &LoraConfig { rank: 3, alpha: 6.0, init: Init::Pissa, targets: vec!["q_proj".into()], ..LoraConfig::default() },
        7,
    )
    .unwrap();
    let path = "model.layers.0.self_attn.q_proj";
    let fresh = training.parameters();
    let [a, b] = ["lora_A", "lora_B"].map(|factor| fresh.get(&format!("{path}.{factor}")).unwrap().clone());
    let principal = b.clone().matmul(a.clone()) * 2.0;
    let weight = training.model(&fresh).blocks[0].q_proj.weight.dense();
    let (principal, weight) = (values(&principal), values(&weight));
    let wide = |values: &[f32]| nalgebra::DMatrix::from_row_iterator(32, 32, values.iter().map(|&x| f64::from(x)));
    let (principal, weight) = (wide(&principal), wide(&weight));
    let mut singular: Vec<f64> = weight.clone().singular_values().iter().copied().collect();
    singular.sort_by(|a, b| b.total_cmp(a));
    let rest: f64 = singular[3..].iter().map(|value| value * value).sum::<f64>().sqrt();
    assert!(((weight - &principal).norm() - rest).abs() <= 1e-5 * rest, "the rest is the discarded spectrum");
    let kept: f64 = singular[..3].iter().map(|value| value * value).sum::<f64>().sqrt();
    assert!((principal.norm() - kept).abs() <= 1e-5 * kept);
    // Both factors are of one size.
    let norm = |tensor: &Tensor<2>| values(tensor).iter().map(|&x| f64::from(x).powi(2)).sum::<f64>().sqrt();
    assert!((norm(&a) - norm(&b)).abs() <= 1e-4 * norm(&a));
}
