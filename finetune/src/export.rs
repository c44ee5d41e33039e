//! Trained updates as a module.

use crate::{Init, LoraTraining};
use burn::tensor::Tensor;
use lore_model::ops::host::values;
use lore_modules::{Adapter, LowRank};
use lore_train::Parameters;
use std::collections::BTreeMap;

impl LoraTraining {
    /// The trained updates as a PEFT adapter for the base as it is; the base and what else is known about it are for the
    /// caller to name.
    ///
    /// Updates that began at singular triples of the base come out at twice their rank: what they are now, less what
    /// they were (as PEFT converts PiSSA).
    pub fn adapter(&self, parameters: &Parameters) -> Adapter {
        let paths: Vec<&str> = parameters.iter().filter_map(|(name, _)| name.strip_suffix(".lora_A")).collect();
        let mut lora = self.config.clone();
        if lora.init == Init::Pissa {
            // The scale stays: alpha over the rank, or over its root.
            let factor = if lora.rslora { std::f64::consts::SQRT_2 } else { 2.0 };
            lora.rank *= 2;
            lora.rank_pattern.values_mut().for_each(|rank| *rank *= 2);
            lora.alpha *= factor;
            lora.alpha_pattern.values_mut().for_each(|alpha| *alpha *= factor);
        }
        let config = lora.adapter_config(paths.iter().copied());
        let update = |path: &&str| {
            let get = |factor: &str| parameters.get(&format!("{path}.{factor}"));
            let (a, b) = get("lora_A").zip(get("lora_B")).expect("A and B are made together");
            let (a, b) = match self.starts.get(*path) {
                Some((first_a, first_b)) => (
                    Tensor::cat(vec![a.clone(), first_a.clone()], 0),
                    Tensor::cat(vec![b.clone(), first_b.clone().neg()], 1),
                ),
                None => (a.clone(), b.clone()),
            };
            let ([rank, in_features], [out_features, _]) = (a.dims(), b.dims());
            let magnitude = get("lora_magnitude_vector").map(values);
            let (a, b, scale) = (values(&a), values(&b), config.scale_of(path));
            ((*path).to_owned(), LowRank { a, b, rank, in_features, out_features, scale, magnitude })
        };
        let updates = paths.iter().map(update).collect();
        Adapter { config, updates, base: None, metadata: BTreeMap::new() }
    }
}
