//! The optimiser and what surrounds it in the loop, against a hand-written computation in `f64`.
#![allow(missing_docs, clippy::unwrap_used)]

mod toy;

use std::collections::BTreeMap;

use burn::tensor::{Device, Tensor};
use lore_datasets::progress::Silent;
use lore_model::ops::host::{matrix, values};
use lore_model::sampling::Random;
use lore_train::adamw::{AdamW, global_norm};
use lore_train::{Figures, Micro, Objective, Parameters, Run, Tracked, TrainConfig, train};

fn draw(count: usize, seed: u64) -> Vec<f32> {
    let mut random = Random::new(seed, 2);
    (0..count).map(|_| random.normal() as f32).collect()
}

fn tensor(values: &[f32], shape: [usize; 2]) -> Tensor<2> {
    matrix(values.to_vec(), shape[0], shape[1], &Device::flex())
}

const SHAPES: [(&str, [usize; 2]); 3] = [("matrix", [7, 5]), ("other", [3, 8]), ("vector", [1, 9])];

/// One parameter of the reference.
struct Reference {
    decays: bool,
    weights: Vec<f64>,
    first: Vec<f64>,
    second: Vec<f64>,
}

impl Reference {
    fn new(start: &[f32], decays: bool) -> Self {
        let zeros = vec![0.0; start.len()];
        let weights = start.iter().map(|&x| f64::from(x)).collect();
        Self { decays, weights, first: zeros.clone(), second: zeros }
    }

    /// Algorithm 2 of Loshchilov and Hutter 2019, with the schedule's rate in place of α and η.
    fn step(&mut self, gradient: &[f64], step: i32, rate: f64, config: &TrainConfig) {
        for (i, &g) in gradient.iter().enumerate() {
            self.first[i] = config.beta1 * self.first[i] + (1.0 - config.beta1) * g;
            self.second[i] = config.beta2 * self.second[i] + (1.0 - config.beta2) * g * g;
            let m = self.first[i] / (1.0 - config.beta1.powi(step));
            let v = self.second[i] / (1.0 - config.beta2.powi(step));
            let decay = if self.decays { config.weight_decay * self.weights[i] } else { 0.0 };
            self.weights[i] -= rate * (m / (v.sqrt() + config.eps) + decay);
        }
    }

    fn difference(&self, found: &Tensor<2>) -> f64 {
        let found = values(found);
        assert_eq!(found.len(), self.weights.len());
        found.iter().zip(&self.weights).map(|(&a, b)| (f64::from(a) - b).abs()).fold(0.0, f64::max)
    }
}

#[test]
fn ten_steps_are_those_of_the_paper() {
    let config = TrainConfig { weight_decay: 0.1, beta1: 0.9, beta2: 0.95, eps: 1e-8, ..TrainConfig::default() };
    let start: Vec<Vec<f32>> = SHAPES.iter().enumerate().map(|(i, (_, [r, c]))| draw(r * c, i as u64)).collect();
    let named = SHAPES.iter().zip(&start).map(|((name, shape), values)| ((*name).to_owned(), tensor(values, *shape)));
    let mut parameters = Parameters::new(named);
    let mut optimiser = AdamW::new(&parameters);
    let mut references: Vec<Reference> =
        SHAPES.iter().zip(&start).map(|((_, shape), start)| Reference::new(start, shape[0] > 1)).collect();
    let scale = 0.37;
    let mut worst = 0.0f64;
    for step in 1..=10 {
        // Gradients of very different sizes, none at all for one parameter in some steps.
        let size = 10f32.powi(step % 5 - 3);
        let mut gradients = BTreeMap::new();
        for (i, (name, shape)) in SHAPES.iter().enumerate() {
            let gradient: Vec<f32> =
                draw(shape[0] * shape[1], 100 * step as u64 + i as u64).iter().map(|g| g * size).collect();
            let rate = 0.01 / f64::from(step);
            if *name == "other" && step % 4 == 0 {
                continue;
            }
            let wide: Vec<f64> = gradient.iter().map(|&g| f64::from(g) * scale).collect();
            references[i].step(&wide, step, rate, &config);
            gradients.insert((*name).to_owned(), tensor(&gradient, *shape));
        }
        let before = values(parameters.get("other").unwrap());
        optimiser.step(&mut parameters, gradients, &config, |_| 0.01 / f64::from(step), scale);
        assert_eq!(before == values(parameters.get("other").unwrap()), step % 4 == 0);
        for ((name, _), reference) in SHAPES.iter().zip(&references) {
            worst = worst.max(reference.difference(parameters.get(name).unwrap()));
        }
    }
    assert_eq!(optimiser.updates, 10);
    println!("AdamW against f64 over ten steps: {worst:e}");
    assert!(worst <= 1e-6, "{worst}");
}

#[test]
fn the_global_norm_is_over_all_tensors() {
    let tensors = [tensor(&[3.0, 0.0], [1, 2]), tensor(&[0.0, 4.0, 12.0, 0.0], [2, 2])];
    assert!((global_norm(tensors.iter()) - 13.0).abs() < 1e-12);
    let large = draw(300_000, 3);
    let expected = large.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>().sqrt();
    assert!((global_norm([tensor(&large, [300, 1000])].iter()) - expected).abs() < 1e-9 * expected);
}

/// `½ Σ c·(w − t)²` over all parameters, whatever the batch: its gradient `c·(w − t)` is known.
struct Bowl {
    curvature: f32,
    targets: BTreeMap<String, Tensor<2>>,
}

impl Objective for Bowl {
    fn loss(&self, parameters: &Tracked, micro: &Micro) -> (Tensor<2>, Figures) {
        let share: f64 = micro.weights.iter().map(|&w| f64::from(w)).sum();
        let terms = self.targets.iter().map(|(name, target)| {
            let distance = parameters.get(name).unwrap() - Tensor::from_inner(target.clone());
            (distance.clone() * distance).sum().reshape([1, 1])
        });
        let sum = terms.reduce(|a, b| a + b).unwrap() * (0.5 * self.curvature * share as f32);
        let loss = f64::from(values(&sum)[0]);
        (sum, Figures { loss, ..Figures::default() })
    }
}

#[test]
fn the_loop_clips_warms_up_and_decays() {
    let folder = tempfile::tempdir().unwrap();
    let mixture = toy::mixture(&folder.path().join("tokens"), 16, 4);
    let config = TrainConfig {
        steps: 10,
        batch_sequences: 4,
        sequence_length: 16,
        accumulate: 3,
        learning_rate: 0.05,
        warmup_steps: 3,
        final_fraction: 0.2,
        weight_decay: 0.3,
        beta1: 0.8,
        beta2: 0.99,
        eps: 1e-3,
        clip_norm: Some(2.9),
        checkpoint_every: 4,
        ..TrainConfig::default()
    };
    let start: Vec<Vec<f32>> = SHAPES.iter().enumerate().map(|(i, (_, [r, c]))| draw(r * c, 20 + i as u64)).collect();
    let goal: Vec<Vec<f32>> = SHAPES.iter().enumerate().map(|(i, (_, [r, c]))| draw(r * c, 30 + i as u64)).collect();
    let named = |values: &[Vec<f32>]| {
        let pairs =
            SHAPES.iter().zip(values).map(|((name, shape), values)| ((*name).to_owned(), tensor(values, *shape)));
        pairs.collect::<BTreeMap<_, _>>()
    };
    // Steep enough that the first steps are clipped and the last are not.
    let curvature = 0.28f32;
    let objective = Bowl { curvature, targets: named(&goal) };
    let run = Run { config: &config, identity: "bowl", directory: &folder.path().join("run"), label: "bowl" };
    let trained = train(&run, Parameters::new(named(&start)), &mixture, &objective, &Silent).unwrap();

    let mut references: Vec<Reference> =
        SHAPES.iter().zip(&start).map(|((_, shape), start)| Reference::new(start, shape[0] > 1)).collect();
    let (mut clipped, mut free) = (0, 0);
    for (step, metrics) in (0..10).zip(&trained.metrics) {
        let gradients: Vec<Vec<f64>> = references
            .iter()
            .zip(&goal)
            .map(|(reference, goal)| {
                let pairs = reference.weights.iter().zip(goal);
                pairs.map(|(w, &t)| f64::from(curvature) * (w - f64::from(t))).collect()
            })
            .collect();
        let norm = gradients.iter().flatten().map(|g| g * g).sum::<f64>().sqrt();
        let factor = if norm > 2.9 { 2.9 / norm } else { 1.0 };
        if factor < 1.0 {
            clipped += 1
        } else {
            free += 1
        }
        // Three steps up to the peak, then half a cosine over the seven that remain, ending at a fifth.
        let rate = match step {
            0..3 => 0.05 * f64::from(step + 1) / 3.0,
            _ => 0.05 * (0.2 + 0.8 * 0.5 * (1.0 + (std::f64::consts::PI * f64::from(step - 3) / 6.0).cos())),
        };
        assert!((metrics.gradient_norm - norm).abs() <= 1e-5 * norm, "{} against {norm}", metrics.gradient_norm);
        assert!((metrics.learning_rate - rate).abs() <= 1e-12);
        let loss = 0.5 / f64::from(curvature) * norm * norm;
        assert!((metrics.loss - loss).abs() <= 1e-5 * loss, "{} against {loss}", metrics.loss);
        for (reference, gradient) in references.iter_mut().zip(&gradients) {
            let gradient: Vec<f64> = gradient.iter().map(|g| g * factor).collect();
            reference.step(&gradient, step + 1, rate, &config);
        }
    }
    assert!(clipped >= 2 && free >= 2, "both cases occur: {clipped} clipped, {free} free");
    for ((name, _), reference) in SHAPES.iter().zip(&references) {
        let difference = reference.difference(trained.parameters.get(name).unwrap());
        println!("{name}: {difference:e} after ten steps of the loop");
        assert!(difference <= 5e-6, "{name}: {difference}");
    }
}
