//! AdamW over named parameters, with global-norm clipping.

use crate::{Parameters, TrainConfig};
use burn::tensor::Tensor;
use lore_model::cpu::adamw::{AdamWStep, adamw};
use lore_model::ops::host::{HostMatrix, update, values};
use rayon::prelude::*;
use std::collections::BTreeMap;

/// Both moments of every parameter and the number of updates made.
#[derive(Clone, Debug)]
pub struct AdamW {
    /// First and second moments by parameter name.
    pub moments: BTreeMap<String, [Tensor<2>; 2]>,
    /// Updates made so far.
    pub updates: u64,
}

impl AdamW {
    /// Zero moments.
    pub fn new(parameters: &Parameters) -> Self {
        let zeros = |tensor: &Tensor<2>| Tensor::zeros(tensor.dims(), &tensor.device());
        let moments = parameters.iter().map(|(name, tensor)| (name.to_owned(), [zeros(tensor), zeros(tensor)]));
        Self { moments: moments.collect(), updates: 0 }
    }

    /// One update from `gradients` (by parameter name), scaled by `gradient_scale`, each at its learning rate. Parameters
    /// without a gradient stay as they are. Vectors (one row) do not decay.
    pub fn step(
        &mut self,
        parameters: &mut Parameters,
        mut gradients: BTreeMap<String, Tensor<2>>,
        config: &TrainConfig,
        learning_rate: impl Fn(&str) -> f64,
        gradient_scale: f64,
    ) {
        self.updates += 1;
        let power = i32::try_from(self.updates).unwrap_or(i32::MAX);
        for (name, weights) in parameters.iter_mut() {
            let Some(gradient) = gradients.remove(name) else { continue };
            let [first, second] = self.moments.remove(name).expect("moments were made for every parameter");
            let step = AdamWStep {
                learning_rate: learning_rate(name) as f32,
                beta1: config.beta1 as f32,
                beta2: config.beta2 as f32,
                eps: config.eps as f32,
                weight_decay: if weights.dims()[0] == 1 { 0.0 } else { config.weight_decay as f32 },
                bias1: (1.0 - config.beta1.powi(power)) as f32,
                bias2: (1.0 - config.beta2.powi(power)) as f32,
                gradient_scale: gradient_scale as f32,
            };
            let gradient = GradientValues::of(&gradient);
            let (mut first, mut second) = (Some(first), Some(second));
            // Taken out so that the tensor is held once and changes in place.
            let taken = std::mem::replace(weights, Tensor::zeros([1, 1], &weights.device()));
            *weights = update(taken, |w| {
                first = first.take().map(|first| {
                    update(first, |m| {
                        second =
                            second.take().map(|second| update(second, |v| adamw(w, m, v, gradient.values(), step)));
                    })
                });
            });
            let moments = [first, second].map(|moment| moment.expect("put back by the update"));
            self.moments.insert(name.to_owned(), moments);
        }
    }
}

/// The global L2 norm of all gradients; the same for any number of threads.
pub fn global_norm<'a>(gradients: impl Iterator<Item = &'a Tensor<2>>) -> f64 {
    gradients
        .map(|gradient| {
            let gradient = GradientValues::of(gradient);
            let parts: Vec<f64> = gradient
                .values()
                .par_chunks(65_536)
                .map(|chunk| chunk.iter().map(|&x| f64::from(x) * f64::from(x)).sum())
                .collect();
            parts.iter().sum::<f64>()
        })
        .sum::<f64>()
        .sqrt()
}

enum GradientValues {
    Host(HostMatrix),
    Copied(Vec<f32>),
}

impl GradientValues {
    fn of(tensor: &Tensor<2>) -> Self {
        HostMatrix::of(tensor).map_or_else(|| Self::Copied(values(tensor)), Self::Host)
    }

    fn values(&self) -> &[f32] {
        match self {
            Self::Host(host) => host.values(),
            Self::Copied(values) => values,
        }
    }
}
