//! The same in `f64`, written plainly, and central differences.

use burn::tensor::{Device, Tensor};
use lore_model::ops::host::{matrix, values};
use lore_model::sampling::Random;

/// A small matrix in `f64`, the oracle's number type.
#[derive(Clone)]
pub struct M {
    pub rows: usize,
    pub columns: usize,
    pub v: Vec<f64>,
}

impl M {
    pub fn random(rows: usize, columns: usize, seed: u64) -> Self {
        let mut random = Random::new(seed, 1);
        // Rounded to f32, so that both sides start from the same numbers.
        let v = (0..rows * columns).map(|_| f64::from(random.normal() as f32)).collect();
        Self { rows, columns, v }
    }
    pub fn at(&self, r: usize, c: usize) -> f64 {
        self.v[r * self.columns + c]
    }
    pub fn tensor(&self) -> Tensor<2> {
        matrix(self.v.iter().map(|&x| x as f32).collect(), self.rows, self.columns, &Device::flex())
    }
}

/// Checks the value and the gradients of `Σ op(inputs) · weights` against `oracle` by central differences.
pub fn check(inputs: &[M], op: impl Fn(&[Tensor<2>]) -> Tensor<2>, oracle: impl Fn(&[M]) -> Vec<f64>) {
    let expected = oracle(inputs);
    let tracked: Vec<Tensor<2>> = inputs.iter().map(|x| Tensor::from_inner(x.tensor()).require_grad()).collect();
    let out = op(&tracked);
    let [rows, columns] = out.dims();
    let found = values(&out);
    assert_eq!(found.len(), expected.len());
    for (i, (a, b)) in found.iter().zip(&expected).enumerate() {
        assert!((f64::from(*a) - b).abs() <= 2e-5 * (1.0 + b.abs()), "value {i}: {a} against {b}");
    }
    let mix = M::random(rows, columns, 99);
    let gradients = (out * Tensor::from_inner(mix.tensor())).sum().backward();
    let objective = |inputs: &[M]| oracle(inputs).iter().zip(&mix.v).map(|(a, b)| a * b).sum::<f64>();
    for (which, input) in inputs.iter().enumerate() {
        let found = values(&tracked[which].grad(&gradients).expect("a tracked input has a gradient"));
        assert_eq!(found.len(), input.v.len());
        for (i, found) in found.into_iter().enumerate() {
            let step = 1e-5;
            let mut moved = inputs.to_vec();
            moved[which].v[i] += step;
            let up = objective(&moved);
            moved[which].v[i] -= 2.0 * step;
            let slope = (up - objective(&moved)) / (2.0 * step);
            let error = (f64::from(found) - slope).abs();
            assert!(error <= 2e-4 * (1.0 + slope.abs()), "input {which}, value {i}: {found} against {slope}");
        }
    }
    // With nothing tracked the same numbers come out.
    let plain: Vec<Tensor<2>> = inputs.iter().map(M::tensor).collect();
    assert_eq!(values(&op(&plain)), values(&op(&tracked)));
}

pub fn matmul_t(x: &M, w: &M) -> Vec<f64> {
    let mut out = Vec::new();
    for r in 0..x.rows {
        for c in 0..w.rows {
            out.push((0..x.columns).map(|k| x.at(r, k) * w.at(c, k)).sum());
        }
    }
    out
}
