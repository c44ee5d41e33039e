//! What is trained: named tensors outside any graph, and their tracked copies for one step.

use burn::tensor::Tensor;
use std::collections::BTreeMap;

/// Trainable tensors by name, in the order of their names.
#[derive(Clone, Debug, Default)]
pub struct Parameters(BTreeMap<String, Tensor<2>>);

impl Parameters {
    /// Parameters from names and tensors.
    pub fn new(tensors: impl IntoIterator<Item = (String, Tensor<2>)>) -> Self {
        Self(tensors.into_iter().collect())
    }

    /// Leaves of a new graph that share these tensors' memory.
    pub fn track(&self) -> Tracked {
        let leaf = |tensor: &Tensor<2>| Tensor::from_inner(tensor.clone()).require_grad();
        Tracked(self.0.iter().map(|(name, tensor)| (name.clone(), leaf(tensor))).collect())
    }

    /// Names and tensors in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Tensor<2>)> {
        self.0.iter().map(|(name, tensor)| (name.as_str(), tensor))
    }

    /// Names and tensors in order, to change.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = (&str, &mut Tensor<2>)> {
        self.0.iter_mut().map(|(name, tensor)| (name.as_str(), tensor))
    }

    /// A tensor by name.
    pub fn get(&self, name: &str) -> Option<&Tensor<2>> {
        self.0.get(name)
    }

    /// Number of tensors.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is nothing to train.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Number of values in all tensors.
    pub fn count(&self) -> usize {
        self.0.values().map(|tensor| tensor.dims().iter().product::<usize>()).sum()
    }
}

/// Parameters as leaves of one step's graph.
#[derive(Clone, Debug)]
pub struct Tracked(BTreeMap<String, Tensor<2>>);

impl Tracked {
    /// A tracked tensor by name, if it is trained.
    pub fn get(&self, name: &str) -> Option<Tensor<2>> {
        self.0.get(name).cloned()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &Tensor<2>)> {
        self.0.iter().map(|(name, tensor)| (name.as_str(), tensor))
    }
}
