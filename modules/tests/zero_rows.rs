//! Modules with magnitudes (DoRA) on a base some of whose rows are all zeros, such as pruning and blocks leave: there is no
//! direction to be brought to a length.
#![allow(missing_docs, clippy::unwrap_used)]

mod small;

use std::collections::BTreeMap;
use std::path::Path;

use burn::tensor::Device;
use lore_model::Decoder;
use lore_model::files::ModelFiles;
use lore_model::ops::host::matrix;
use lore_model::weights::{TensorInfo, WeightFile};
use lore_modules::fold::folded;
use lore_modules::{Adapter, LoadedModule, activate};
use small::*;

const PATH: &str = "model.layers.0.self_attn.q_proj";

/// The small base; the first two rows of one of its matrices are zero.
struct Zeroed(ModelFiles);

impl WeightFile for Zeroed {
    fn path(&self) -> &Path {
        self.0.weights.path()
    }

    fn tensors(&self) -> &BTreeMap<String, TensorInfo> {
        self.0.weights.tensors()
    }

    fn read_f32(&self, name: &str) -> Result<Vec<f32>, lore_model::Error> {
        let mut values = self.0.weights.read_f32(name)?;
        if name.strip_suffix(".weight") == Some(PATH) {
            values[..2 * self.tensors()[name].shape[1]].fill(0.0);
        }
        Ok(values)
    }
}

/// Changes every row but the first.
fn with_magnitudes() -> Adapter {
    let mut adapter = module(3, 6.0, &["q_proj"], 11);
    adapter.config.use_dora = true;
    for update in adapter.updates.values_mut() {
        update.b[..update.rank].fill(0.0);
        update.magnitude = Some((0..update.out_features).map(|row| 0.5 + row as f32 / 100.0).collect());
    }
    adapter
}

#[test]
fn a_row_that_is_zero_stays_zero_beside_the_base_and_folded_into_it() {
    let base_of_zeros = Zeroed(base_files());
    let config = &base_of_zeros.0.config;
    let base = Decoder::load(config, &base_of_zeros, &Device::flex()).unwrap();
    let adapter = with_magnitudes();
    let loaded = LoadedModule::new(&adapter, &Device::flex());
    for weight in [1.0, 0.4] {
        let found = forward(&activate(&base, &[(&loaded, weight)]), &text());
        assert!(found.iter().all(|logit| logit.is_finite()), "at {weight}");
        let modules = [(adapter.clone(), weight)];
        let mut read = folded(&base_of_zeros, &modules);
        let folded =
            Decoder::build(config, |name, [rows, columns]| Ok(matrix(read(name)?, rows, columns, &Device::flex())));
        let difference = relative_difference(&found, &forward(&folded.unwrap(), &text()));
        assert!(difference <= 1e-5, "at {weight}: {difference}");
    }
    let whole = [(adapter, 1.0)];
    let changed = folded(&base_of_zeros, &whole)(&format!("{PATH}.weight")).unwrap();
    let mut rows = changed.chunks_exact(config.hidden_size);
    assert!(rows.next().unwrap().iter().all(|&value| value == 0.0), "it has no direction");
    let second: Vec<f64> = rows.next().unwrap().iter().map(|&value| f64::from(value)).collect();
    // What the factors alone make of a row of zeros is brought to its length.
    assert!((norm(&second) - 0.51).abs() < 1e-6, "{}", norm(&second));
}
