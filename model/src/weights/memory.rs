//! Tensors held in memory behind the same interface as files.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::{TensorInfo, WeightFile, no_such_tensor};
use crate::Error;

/// Named `f32` tensors in memory.
#[derive(Debug, Clone)]
pub struct MemoryWeights {
    label: PathBuf,
    tensors: BTreeMap<String, TensorInfo>,
    values: BTreeMap<String, Vec<f32>>,
}

impl MemoryWeights {
    /// Takes `(name, shape, row-major values)`; `label` stands for the path in messages.
    ///
    /// # Errors
    /// [`Error::Tensors`] if values do not fill their shape or a name occurs twice.
    pub fn new(label: &str, tensors: impl IntoIterator<Item = (String, Vec<usize>, Vec<f32>)>) -> Result<Self, Error> {
        let mut weights = Self { label: PathBuf::from(label), tensors: BTreeMap::new(), values: BTreeMap::new() };
        let mut problems = Vec::new();
        for (name, shape, values) in tensors {
            if shape.iter().product::<usize>() != values.len() {
                problems.push(format!("`{name}` of shape {shape:?} has {} values", values.len()));
            }
            weights.values.insert(name.clone(), values);
            if weights.tensors.insert(name.clone(), TensorInfo { shape, dtype: "F32".to_owned() }).is_some() {
                problems.push(format!("`{name}` is given twice"));
            }
        }
        if problems.is_empty() { Ok(weights) } else { Err(Error::Tensors { path: weights.label, problems }) }
    }
}

impl WeightFile for MemoryWeights {
    fn path(&self) -> &Path {
        &self.label
    }

    fn tensors(&self) -> &BTreeMap<String, TensorInfo> {
        &self.tensors
    }

    fn read_f32(&self, name: &str) -> Result<Vec<f32>, Error> {
        self.values.get(name).cloned().ok_or_else(|| no_such_tensor(self, name))
    }
}
