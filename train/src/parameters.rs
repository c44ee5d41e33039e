//! What is trained: named tensors outside any graph, and their tracked copies for one step.

use burn::tensor::{Gradients, Tensor};
use lore_model::Decoder;
use lore_model::decoder::EMBEDDINGS;
use lore_model::ops::embedding::PickedRows;
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
        let leaves = self.0.iter().map(|(name, tensor)| (name.clone(), leaf(tensor))).collect();
        Tracked { leaves, picked: PickedRows::default() }
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

    /// `decoder` with those of its own tensors that are among these replaced by them.
    pub fn put_into(&self, decoder: &Decoder) -> Decoder {
        decoder.with_parameters(|name, tensor| self.get(name).cloned().unwrap_or(tensor))
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
pub struct Tracked {
    leaves: BTreeMap<String, Tensor<2>>,
    picked: PickedRows,
}

impl Tracked {
    /// A tracked tensor by name, if it is trained.
    pub fn get(&self, name: &str) -> Option<Tensor<2>> {
        self.leaves.get(name).cloned()
    }

    /// `decoder` with those of its own tensors that are trained tracked. The gradient of its token embeddings is collected
    /// beside the graph.
    pub fn put_into(&self, decoder: &Decoder) -> Decoder {
        let decoder = decoder.with_parameters(|name, tensor| self.get(name).unwrap_or(tensor));
        match self.leaves.contains_key(EMBEDDINGS) {
            true => decoder.with_picked_rows(self.picked.clone()),
            false => decoder,
        }
    }

    /// The gradient of each tensor that has one, taken out of `gradients`; a tensor without a loss has none.
    pub(crate) fn gradients(&self, mut gradients: Gradients) -> BTreeMap<String, Tensor<2>> {
        let taken = self.leaves.iter().filter_map(|(name, leaf)| {
            let mut gradient = leaf.grad_remove(&mut gradients);
            if name == EMBEDDINGS && !self.picked.is_empty() {
                let whole = gradient.unwrap_or_else(|| Tensor::zeros(leaf.dims(), &leaf.device()));
                gradient = Some(self.picked.drain_into(whole));
            }
            gradient.map(|gradient| (name.clone(), gradient))
        });
        taken.collect()
    }
}
