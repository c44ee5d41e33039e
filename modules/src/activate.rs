//! Modules on a device, and a base with some of them active.

use crate::Adapter;
use burn::tensor::{Device, Tensor};
use lore_model::Decoder;
use lore_model::ops::host::matrix;
use lore_model::projection::{LowRank, Projection};
use std::collections::BTreeMap;

/// A module whose matrices are on a device.
#[derive(Clone, Debug)]
pub struct LoadedModule {
    updates: BTreeMap<String, LowRank>,
    magnitudes: BTreeMap<String, Tensor<2>>,
    bytes: usize,
}

impl LoadedModule {
    /// Puts an adapter's matrices onto `device`.
    pub fn new(adapter: &Adapter, device: &Device) -> Self {
        Self::taking(adapter.clone(), device)
    }

    /// [`LoadedModule::new`] without a copy of the adapter's matrices on the CPU.
    pub fn taking(adapter: Adapter, device: &Device) -> Self {
        let (mut bytes, mut magnitudes) = (0, BTreeMap::new());
        let updates = adapter.updates.into_iter().map(|(path, update)| {
            bytes += 4 * (update.a.len() + update.b.len());
            if let Some(magnitude) = update.magnitude {
                bytes += 4 * magnitude.len();
                magnitudes.insert(path.clone(), matrix(magnitude, 1, update.out_features, device));
            }
            let a = matrix(update.a, update.rank, update.in_features, device);
            let b = matrix(update.b, update.out_features, update.rank, device);
            (path, LowRank::new(a, b, update.scale))
        });
        let updates = updates.collect();
        Self { updates, magnitudes, bytes }
    }

    /// The module with its magnitudes (DoRA) turned into gains on the outputs of `base`, so that nothing is left to be
    /// computed when it is made active there.
    pub fn bound(mut self, base: &Decoder) -> Self {
        for (layer, block) in base.blocks.iter().enumerate() {
            for (name, projection) in block.projections() {
                let path = format!("model.layers.{layer}.{name}");
                if self.magnitudes.contains_key(&path)
                    && let Some(update) = self.update_of(&path, projection)
                {
                    self.magnitudes.remove(&path);
                    self.updates.insert(path, update);
                }
            }
        }
        self
    }

    /// Bytes its matrices take.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// The update of a projection as it acts beside the base's own matrix. Magnitudes (DoRA) are compared with the
    /// lengths of that matrix's changed rows.
    pub fn update_of(&self, path: &str, projection: &Projection) -> Option<LowRank> {
        let update = self.updates.get(path)?.clone();
        Some(match self.magnitudes.get(path) {
            Some(magnitude) => {
                let weight = &projection.weight;
                update.with_magnitude(magnitude.clone(), weight, &weight.squared_rows())
            }
            None => update,
        })
    }

    /// Whether some update has magnitudes (DoRA): then [`LoadedModule::updates`] alone is not what the module does.
    pub fn has_magnitudes(&self) -> bool {
        !self.magnitudes.is_empty()
    }

    /// Factors by projection, without magnitudes.
    pub fn updates(&self) -> &BTreeMap<String, LowRank> {
        &self.updates
    }
}

/// The base with `modules` active, each multiplied by its weight: exactly `W + Σ weight · ΔW`, where `ΔW` is
/// `scale · B·A`, or `m ∘ (W + scale · B·A) / ‖W + scale · B·A‖ − W` with magnitudes `m`, where a row of zeros stays one.
pub fn activate(base: &Decoder, modules: &[(&LoadedModule, f32)]) -> Decoder {
    base.with_updates_of(|path, projection| {
        let update = |(module, weight): &(&LoadedModule, f32)| Some((module.update_of(path, projection)?, *weight));
        let parts: Vec<(LowRank, f32)> = modules.iter().filter_map(update).collect();
        (!parts.is_empty()).then(|| LowRank::concatenated(&parts))
    })
}
