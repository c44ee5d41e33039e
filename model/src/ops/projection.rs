//! A matrix with an optional low-rank update: `y = x·Wᵀ + scale · (x·Aᵀ)·Bᵀ`.

use super::precision::Precision;
use super::product::Factor::{Plain, Transposed};
use super::product::sum_of_products;
use super::{Function, apply};
use burn::tensor::Tensor;

#[derive(Clone, Debug)]
struct Linear {
    precision: Precision,
}

#[derive(Clone, Debug)]
struct LowRankLinear {
    scale: f32,
    precision: Precision,
}

/// `x·wᵀ` for `x: [rows, in]`, `w: [out, in]`. A weight that is not tracked costs no gradient and keeps no input.
pub fn linear(x: Tensor<2>, w: Tensor<2>) -> Tensor<2> {
    apply(Linear { precision: Precision::chosen() }, [x, w])
}

/// `x·wᵀ + scale·(x·aᵀ)·bᵀ` for `a: [rank, in]`, `b: [out, rank]`, never forming `b·a`.
pub fn low_rank_linear(x: Tensor<2>, w: Tensor<2>, a: Tensor<2>, b: Tensor<2>, scale: f32) -> Tensor<2> {
    apply(LowRankLinear { scale, precision: Precision::chosen() }, [x, w, a, b])
}

impl Function<2> for Linear {
    fn forward(&self, [x, w]: [Tensor<2>; 2], wanted: [bool; 2]) -> (Tensor<2>, Vec<Tensor<2>>) {
        let out = sum_of_products(&[(Plain(&x), Transposed(&w), 1.0)], self.precision);
        let mut saved = Vec::new();
        if wanted[0] {
            saved.push(w);
        }
        if wanted[1] {
            saved.push(x);
        }
        (out, saved)
    }

    fn backward(&self, saved: Vec<Tensor<2>>, dy: Tensor<2>, wanted: [bool; 2]) -> [Option<Tensor<2>>; 2] {
        let mut saved = saved.into_iter();
        let mut next = || saved.next().expect("forward saved what is wanted");
        let dx = wanted[0].then(|| sum_of_products(&[(Plain(&dy), Plain(&next()), 1.0)], self.precision));
        let dw = wanted[1].then(|| sum_of_products(&[(Transposed(&dy), Plain(&next()), 1.0)], self.precision));
        [dx, dw]
    }
}

impl Function<4> for LowRankLinear {
    fn forward(&self, [x, w, a, b]: [Tensor<2>; 4], wanted: [bool; 4]) -> (Tensor<2>, Vec<Tensor<2>>) {
        let inner = sum_of_products(&[(Plain(&x), Transposed(&a), 1.0)], self.precision);
        let out = sum_of_products(
            &[(Plain(&x), Transposed(&w), 1.0), (Plain(&inner), Transposed(&b), self.scale)],
            self.precision,
        );
        let mut saved = Vec::new();
        if wanted.contains(&true) {
            saved.extend([w, a, b, inner]);
        }
        if wanted[1] || wanted[2] {
            saved.push(x);
        }
        (out, saved)
    }

    fn backward(&self, mut saved: Vec<Tensor<2>>, dy: Tensor<2>, wanted: [bool; 4]) -> [Option<Tensor<2>>; 4] {
        let x = (wanted[1] || wanted[2]).then(|| saved.pop().expect("forward saved the input"));
        let [w, a, b, inner]: [Tensor<2>; 4] = saved.try_into().expect("forward saved four tensors");
        let d_inner =
            (wanted[0] || wanted[2]).then(|| sum_of_products(&[(Plain(&dy), Plain(&b), self.scale)], self.precision));
        let dx = wanted[0].then(|| {
            let d_inner = d_inner.as_ref().expect("computed for the input's gradient");
            sum_of_products(&[(Plain(&dy), Plain(&w), 1.0), (Plain(d_inner), Plain(&a), 1.0)], self.precision)
        });
        let dw = wanted[1].then(|| {
            let x = x.as_ref().expect("saved for the weight's gradient");
            sum_of_products(&[(Transposed(&dy), Plain(x), 1.0)], self.precision)
        });
        let da = wanted[2].then(|| {
            let x = x.as_ref().expect("saved for A's gradient");
            let d_inner = d_inner.as_ref().expect("computed for A's gradient");
            sum_of_products(&[(Transposed(d_inner), Plain(x), 1.0)], self.precision)
        });
        let db = wanted[3].then(|| sum_of_products(&[(Transposed(&dy), Plain(&inner), self.scale)], self.precision));
        [dx, dw, da, db]
    }
}
