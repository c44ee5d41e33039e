//! Modules without knowledge, as large as one with some: what a change is held against that only size or noise could make.

use lore_model::sampling::Random;

use crate::adapter::{Adapter, LowRank};

/// A module of the same ranks that changes nothing: its `B` is zero, as before the first step of training, and lengths
/// (DoRA) are left out.
#[must_use]
pub fn null(module: &Adapter) -> Adapter {
    let mut null = module.clone();
    for update in null.updates.values_mut() {
        update.b.fill(0.0);
        update.magnitude = None;
    }
    null.config.use_dora = false;
    null
}

/// A module with the same values in each factor, in another order that follows from `seed`: its updates are as large,
/// and mean nothing. Lengths (DoRA) are left out.
#[must_use]
pub fn shuffled(module: &Adapter, seed: u64) -> Adapter {
    let mut shuffled = module.clone();
    for (stream, update) in shuffled.updates.values_mut().enumerate() {
        let LowRank { a, b, magnitude, .. } = update;
        let mut random = Random::new(seed, stream as u64);
        // Fisher and Yates.
        for values in [a, b] {
            for last in (1..values.len()).rev() {
                values.swap(last, (random.bits() % (last as u64 + 1)) as usize);
            }
        }
        *magnitude = None;
    }
    shuffled.config.use_dora = false;
    shuffled
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::AdapterConfig;

    fn module() -> Adapter {
        let update = LowRank {
            a: (0..20).map(|i| i as f32).collect(),
            b: (0..12).map(|i| 0.5 * i as f32).collect(),
            rank: 2,
            in_features: 10,
            out_features: 6,
            scale: 1.0,
            magnitude: None,
        };
        let updates = ["model.layers.0.self_attn.q_proj", "model.layers.0.self_attn.k_proj"];
        Adapter {
            config: AdapterConfig::uniform(2, 2.0),
            updates: updates.into_iter().map(|name| (name.to_owned(), update.clone())).collect(),
            base: None,
            metadata: BTreeMap::new(),
        }
    }

    #[test]
    fn one_changes_nothing_and_the_other_is_as_large() {
        let module = module();
        let sorted = |values: &[f32]| {
            let mut values = values.to_vec();
            values.sort_by(f32::total_cmp);
            values
        };
        let (null, shuffled) = (null(&module), shuffled(&module, 7));
        for (name, update) in &module.updates {
            assert!(null.updates[name].b.iter().all(|value| *value == 0.0));
            assert_eq!(null.updates[name].a, update.a);
            let other = &shuffled.updates[name];
            assert!(other.a != update.a && other.b != update.b, "{name}");
            assert_eq!((sorted(&other.a), sorted(&other.b)), (sorted(&update.a), sorted(&update.b)));
        }
        assert_eq!(shuffled, super::shuffled(&module, 7));
        assert_ne!(shuffled, super::shuffled(&module, 8));
    }
}
