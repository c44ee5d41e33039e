//! Modules in use, and the base with them.

use std::ops::Range;
use std::sync::Arc;

use lore_model::Decoder;
use lore_model::ops::row_updates::RowUpdate;

use super::files::Stamp;
use super::set::ModuleSet;
use crate::LoadedModule;

/// What a base computes with a set of modules depends on this and nothing else: two keys are equal if the files and
/// weights of all modules are.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct SetKey(Vec<(Stamp, f32)>);

/// Modules that are in memory and stay there as long as this or a copy of it lives.
#[derive(Clone, Debug, Default)]
pub struct ActiveSet {
    pub(super) set: ModuleSet,
    pub(super) parts: Vec<Part>,
}

#[derive(Clone, Debug)]
pub(super) struct Part {
    pub(super) module: Arc<LoadedModule>,
    pub(super) stamp: Stamp,
    pub(super) weight: f32,
}

impl ActiveSet {
    /// The base alone.
    pub fn none() -> Self {
        Self::default()
    }

    /// The modules and their weights.
    pub fn set(&self) -> &ModuleSet {
        &self.set
    }

    /// What distinguishes it from other sets.
    pub fn key(&self) -> SetKey {
        SetKey(self.parts.iter().map(|part| (part.stamp.clone(), part.weight)).collect())
    }

    /// Bytes that its modules take.
    pub fn bytes(&self) -> u64 {
        self.parts.iter().map(|part| part.module.bytes() as u64).sum()
    }

    /// Bytes of each module, in the order of [`ActiveSet::set`].
    pub fn module_bytes(&self) -> Vec<u64> {
        self.parts.iter().map(|part| part.module.bytes() as u64).collect()
    }

    /// The base with these modules for every row: exactly `W + Σ weight · ΔW`, sharing the modules' memory.
    pub fn on(&self, base: &Decoder) -> Decoder {
        base.with_beside(|path| self.updates(path, None).collect())
    }

    fn updates<'a>(&'a self, path: &'a str, rows: Option<Range<usize>>) -> impl Iterator<Item = RowUpdate> + 'a {
        self.parts.iter().filter_map(move |part| {
            let update = part.module.updates().get(path)?;
            let scale = update.scale * part.weight;
            let extra = update.gain.as_ref().map(|gain| (gain.clone() - 1.0) * part.weight);
            Some(RowUpdate { a: update.a.clone(), b: update.b.clone(), scale, extra, rows: rows.clone() })
        })
    }
}

/// The base for one batch whose rows have different modules: each range of rows with its set.
pub fn by_rows(base: &Decoder, sets: &[(Range<usize>, &ActiveSet)]) -> Decoder {
    base.with_beside(|path| sets.iter().flat_map(|(rows, set)| set.updates(path, Some(rows.clone()))).collect())
}
