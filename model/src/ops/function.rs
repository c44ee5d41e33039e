//! Operations with their own backward pass: one mechanism for all of them.
//!
//! A [`Function`] says what it computes on plain tensors, forward and backward; [`apply`] puts it into
//! Burn's autodiff graph when one of its inputs is in one. The forward and backward bodies choose a CPU
//! kernel where the tensors live on the CPU and compose Burn operations elsewhere.

use super::profile::{Pass, timed};
use burn::backend::{Autodiff, Backend, DispatchKindConversion, DispatchTensor, Flex};
use burn::tensor::Tensor;
use burn_autodiff::checkpoint::{base::Checkpointer, strategy::NoCheckpointing};
use burn_autodiff::grads::Gradients;
use burn_autodiff::ops::{Backward, Ops, OpsKind};
use std::fmt::Debug;

/// An operation on `N` matrices with a hand-written gradient. Tensors it is given are never in a graph.
pub trait Function<const N: usize>: Clone + Debug + Send + 'static {
    /// The result, and what [`Function::backward`] needs of it when `wanted` (which inputs will want a
    /// gradient) has any.
    fn forward(&self, inputs: [Tensor<2>; N], wanted: [bool; N]) -> (Tensor<2>, Vec<Tensor<2>>);

    /// Gradients of the wanted inputs from the gradient of the result.
    fn backward(&self, saved: Vec<Tensor<2>>, gradient: Tensor<2>, wanted: [bool; N]) -> [Option<Tensor<2>>; N];
}

/// Applies `function`, recording it when an input is tracked.
pub fn apply<F: Function<N>, const N: usize>(function: F, inputs: [Tensor<2>; N]) -> Tensor<2> {
    if !inputs.iter().any(Tensor::is_autodiff) {
        return timed::<F, _>(Pass::Forward, || function.forward(inputs, [false; N]).0);
    }
    let inputs = inputs.map(Tensor::autodiff);
    let inputs = match record::<Flex, F, N>(&function, inputs) {
        Ok(output) => return output,
        Err(inputs) => inputs,
    };
    #[cfg(any(feature = "cuda", feature = "wgpu"))]
    let inputs = match record::<burn::backend::Cube, F, N>(&function, inputs) {
        Ok(output) => return output,
        Err(inputs) => inputs,
    };
    panic!("no backend of this build holds a tensor of device {:?}", inputs[0].device())
}

#[derive(Debug)]
struct Step<F>(F);

impl<B, F, const N: usize> Backward<B, N> for Step<F>
where
    B: Backend,
    F: Function<N>,
    DispatchTensor: DispatchKindConversion<B>,
{
    type State = Vec<Tensor<2>>;

    fn backward(self, ops: Ops<Self::State, N>, grads: &mut Gradients, _checkpointer: &mut Checkpointer) {
        let gradient = Tensor::<2>::from_primitive::<B>(grads.consume::<B>(&ops.node));
        let wanted = ops.parents.each_ref().map(Option::is_some);
        let results = timed::<F, _>(Pass::Backward, || self.0.backward(ops.state, gradient, wanted));
        for (parent, result) in ops.parents.into_iter().zip(results) {
            if let (Some(parent), Some(result)) = (parent, result) {
                let primitive = result.try_into_primitive::<B>().expect("a function's gradients stay on its backend");
                grads.register::<B>(parent.id, primitive);
            }
        }
    }
}

/// Records on backend `B`, or gives the inputs back when they live elsewhere.
fn record<B, F, const N: usize>(function: &F, inputs: [Tensor<2>; N]) -> Result<Tensor<2>, [Tensor<2>; N]>
where
    B: Backend,
    F: Function<N>,
    DispatchTensor: DispatchKindConversion<B> + DispatchKindConversion<Autodiff<B>>,
{
    if inputs[0].clone().try_into_primitive::<Autodiff<B>>().is_err() {
        return Err(inputs);
    }
    let tracked =
        inputs.map(|x| x.try_into_primitive::<Autodiff<B>>().expect("all inputs of a function share a backend"));
    let wanted = tracked.each_ref().map(|x| x.is_tracked());
    let parts = tracked.map(|x| x.into_parts());
    let plain = parts.each_ref().map(|(x, _)| Tensor::<2>::from_primitive::<B>(x.clone()));
    let nodes = parts.map(|(_, node)| node);
    let (output, saved) = timed::<F, _>(Pass::Forward, || function.forward(plain, wanted));
    let output = output.try_into_primitive::<B>().expect("a function's output stays on its backend");
    let step = Step(function.clone());
    let output = match Backward::<B, N>::prepare::<NoCheckpointing>(step, nodes).compute_bound().stateful() {
        OpsKind::Tracked(prep) => prep.finish(saved, output),
        OpsKind::UnTracked(prep) => prep.finish(output),
    };
    Ok(Tensor::from_primitive::<Autodiff<B>>(output))
}
