//! Recomputation: keep a block's inputs instead of everything inside it (Chen et al. 2016).

use super::{Function, apply};
use burn::tensor::Tensor;
use std::fmt;
use std::sync::Arc;

/// Most tensors a recomputed part may have: its input, its weights and their updates.
const LIMIT: usize = 40;

type Forward = dyn Fn(&[Tensor<2>]) -> Tensor<2> + Send + Sync;

#[derive(Clone)]
struct Recomputed {
    count: usize,
    forward: Arc<Forward>,
}

impl fmt::Debug for Recomputed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Recomputed").field("count", &self.count).finish_non_exhaustive()
    }
}

/// `forward(inputs)`, computed once now without a graph and, when a gradient is wanted, once more in the
/// backward pass. `forward` must depend on nothing tracked but its inputs.
///
/// # Panics
/// With more than 40 inputs, or none.
pub fn recomputed(
    mut inputs: Vec<Tensor<2>>,
    forward: impl Fn(&[Tensor<2>]) -> Tensor<2> + Send + Sync + 'static,
) -> Tensor<2> {
    let count = inputs.len();
    assert!((1..=LIMIT).contains(&count), "between 1 and {LIMIT} inputs");
    // The graph's operations have a fixed number of inputs; the rest are copies of an untracked handle.
    let filler = inputs[0].clone().inner();
    inputs.resize(LIMIT, filler);
    let inputs: [Tensor<2>; LIMIT] = inputs.try_into().expect("resized to the limit");
    apply(Recomputed { count, forward: Arc::new(forward) }, inputs)
}

impl Function<LIMIT> for Recomputed {
    fn forward(&self, inputs: [Tensor<2>; LIMIT], wanted: [bool; LIMIT]) -> (Tensor<2>, Vec<Tensor<2>>) {
        let out = (self.forward)(&inputs[..self.count]);
        let kept = if wanted.contains(&true) { inputs.into_iter().take(self.count).collect() } else { Vec::new() };
        (out, kept)
    }

    fn backward(
        &self,
        saved: Vec<Tensor<2>>,
        gradient: Tensor<2>,
        wanted: [bool; LIMIT],
    ) -> [Option<Tensor<2>>; LIMIT] {
        let leaves: Vec<Tensor<2>> = saved
            .into_iter()
            .zip(wanted)
            .map(|(tensor, wanted)| if wanted { tensor.autodiff().require_grad() } else { tensor })
            .collect();
        let out = (self.forward)(&leaves);
        // The gradient of Σ out · g with g constant is g pulled back through the part.
        let mut gradients = (out * gradient.autodiff()).sum().backward();
        let mut results = [const { None }; LIMIT];
        for ((result, leaf), wanted) in results.iter_mut().zip(leaves).zip(wanted) {
            if wanted {
                *result = leaf.grad_remove(&mut gradients);
            }
        }
        results
    }
}
