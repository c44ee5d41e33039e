//! Modules on a device, and a base with some of them active.

use crate::Adapter;
use burn::tensor::Device;
use lore_model::Decoder;
use lore_model::ops::host::matrix;
use lore_model::projection::LowRank;
use std::collections::BTreeMap;

/// A module whose matrices are on a device.
#[derive(Clone, Debug)]
pub struct LoadedModule {
    updates: BTreeMap<String, LowRank>,
    bytes: usize,
}

impl LoadedModule {
    /// Puts an adapter's matrices onto `device`.
    pub fn new(adapter: &Adapter, device: &Device) -> Self {
        let mut bytes = 0;
        let updates = adapter.updates.iter().map(|(path, update)| {
            bytes += 4 * (update.a.len() + update.b.len());
            let a = matrix(update.a.clone(), update.rank, update.in_features, device);
            let b = matrix(update.b.clone(), update.out_features, update.rank, device);
            (path.clone(), LowRank { a, b, scale: update.scale })
        });
        let updates = updates.collect();
        Self { updates, bytes }
    }

    /// Bytes its matrices take.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Updates by projection.
    pub fn updates(&self) -> &BTreeMap<String, LowRank> {
        &self.updates
    }
}

/// The base with `modules` active, each multiplied by its weight: exactly `W + Σ weight · scale · B·A`.
pub fn activate(base: &Decoder, modules: &[(&LoadedModule, f32)]) -> Decoder {
    base.with_updates(|path| {
        let parts: Vec<(LowRank, f32)> =
            modules.iter().filter_map(|(module, weight)| Some((module.updates.get(path)?.clone(), *weight))).collect();
        (!parts.is_empty()).then(|| LowRank::concatenated(&parts))
    })
}
