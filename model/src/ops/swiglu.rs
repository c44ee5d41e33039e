//! The gated activation of the feed-forward part.

use super::host::{host, matrix};
use super::{Function, apply};
use crate::cpu;
use burn::tensor::{Tensor, activation};

#[derive(Clone, Debug)]
struct SwiGlu;

/// `silu(gate) · up`, both `[rows, width]`.
pub fn swiglu(gate: Tensor<2>, up: Tensor<2>) -> Tensor<2> {
    apply(SwiGlu, [gate, up])
}

impl Function<2> for SwiGlu {
    fn forward(&self, [gate, up]: [Tensor<2>; 2], wanted: [bool; 2]) -> (Tensor<2>, Vec<Tensor<2>>) {
        let [rows, columns] = gate.dims();
        let out = match host([&gate, &up]) {
            Some([g, u]) => matrix(cpu::swiglu::forward(g.values(), u.values()), rows, columns, &gate.device()),
            None => activation::silu(gate.clone()) * up.clone(),
        };
        let saved = if wanted.contains(&true) { vec![gate, up] } else { Vec::new() };
        (out, saved)
    }

    fn backward(&self, saved: Vec<Tensor<2>>, dy: Tensor<2>, wanted: [bool; 2]) -> [Option<Tensor<2>>; 2] {
        let [gate, up]: [Tensor<2>; 2] = saved.try_into().expect("forward saved two tensors");
        let [rows, columns] = gate.dims();
        let [dgate, dup] = match host([&gate, &up, &dy]) {
            Some([g, u, dy]) => {
                let (dgate, dup) = cpu::swiglu::backward(g.values(), u.values(), dy.values());
                [dgate, dup].map(|values| matrix(values, rows, columns, &gate.device()))
            }
            None => {
                let sigmoid = activation::sigmoid(gate.clone());
                let silu = gate * sigmoid.clone();
                let slope = sigmoid.clone() + silu.clone() * (sigmoid.neg() + 1.0);
                [dy.clone() * up * slope, dy * silu]
            }
        };
        [wanted[0].then_some(dgate), wanted[1].then_some(dup)]
    }
}
