//! A matrix with an optional low-rank update: `y = x·Wᵀ + scale · (x·Aᵀ)·Bᵀ`.

use super::precision::Precision;
use super::product::Factor::{Plain, Transposed};
use super::product::sum_of_products;
use super::{Function, apply};
use crate::quantised::BlockMatrix;
use burn::tensor::Tensor;
use std::sync::Arc;

#[derive(Clone, Debug)]
struct Linear {
    precision: Precision,
}

#[derive(Clone, Debug)]
struct LowRankLinear {
    scale: f32,
    precision: Precision,
}

/// As [`Linear`], with a frozen matrix that is expanded for each product.
#[derive(Clone, Debug)]
struct FrozenLinear {
    blocks: Arc<BlockMatrix>,
    precision: Precision,
}

/// As [`LowRankLinear`], with a frozen matrix that is expanded for each product.
#[derive(Clone, Debug)]
struct FrozenLowRankLinear {
    blocks: Arc<BlockMatrix>,
    scale: f32,
    precision: Precision,
}

/// The update alone.
#[derive(Clone, Debug)]
struct Update {
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

/// [`linear`] by a frozen matrix in blocks: the same numbers as by its expanded values.
pub fn frozen_linear(x: Tensor<2>, blocks: Arc<BlockMatrix>) -> Tensor<2> {
    apply(FrozenLinear { blocks, precision: Precision::chosen() }, [x])
}

/// [`low_rank_linear`] by a frozen matrix in blocks: the same numbers as by its expanded values.
pub fn frozen_low_rank_linear(
    x: Tensor<2>,
    blocks: Arc<BlockMatrix>,
    a: Tensor<2>,
    b: Tensor<2>,
    scale: f32,
) -> Tensor<2> {
    apply(FrozenLowRankLinear { blocks, scale, precision: Precision::chosen() }, [x, a, b])
}

/// `scale·(x·aᵀ)·bᵀ`.
pub fn low_rank(x: Tensor<2>, a: Tensor<2>, b: Tensor<2>, scale: f32) -> Tensor<2> {
    apply(Update { scale, precision: Precision::chosen() }, [x, a, b])
}

/// `left·rightᵀ` in full precision, outside any graph.
pub fn product(left: &Tensor<2>, right: &Tensor<2>) -> Tensor<2> {
    sum_of_products(&[(Plain(left), Transposed(right), 1.0)], Precision::F32)
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
        let (inner, out) = self.products(&x, &w, &a, &b);
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
        let saved: [Tensor<2>; 4] = saved.try_into().expect("forward saved four tensors");
        self.gradients(&saved, x.as_ref(), &dy, wanted)
    }
}

impl LowRankLinear {
    /// `x·aᵀ` and the result.
    fn products(&self, x: &Tensor<2>, w: &Tensor<2>, a: &Tensor<2>, b: &Tensor<2>) -> (Tensor<2>, Tensor<2>) {
        let inner = sum_of_products(&[(Plain(x), Transposed(a), 1.0)], self.precision);
        let out = sum_of_products(
            &[(Plain(x), Transposed(w), 1.0), (Plain(&inner), Transposed(b), self.scale)],
            self.precision,
        );
        (inner, out)
    }

    /// The wanted gradients of `x`, `w`, `a` and `b`; `x` is there if one of `w` and `a` is wanted.
    fn gradients(
        &self,
        [w, a, b, inner]: &[Tensor<2>; 4],
        x: Option<&Tensor<2>>,
        dy: &Tensor<2>,
        wanted: [bool; 4],
    ) -> [Option<Tensor<2>>; 4] {
        let d_inner =
            (wanted[0] || wanted[2]).then(|| sum_of_products(&[(Plain(dy), Plain(b), self.scale)], self.precision));
        let dx = wanted[0].then(|| {
            let d_inner = d_inner.as_ref().expect("computed for the input's gradient");
            sum_of_products(&[(Plain(dy), Plain(w), 1.0), (Plain(d_inner), Plain(a), 1.0)], self.precision)
        });
        let dw = wanted[1].then(|| {
            let x = x.expect("saved for the weight's gradient");
            sum_of_products(&[(Transposed(dy), Plain(x), 1.0)], self.precision)
        });
        let da = wanted[2].then(|| {
            let x = x.expect("saved for A's gradient");
            let d_inner = d_inner.as_ref().expect("computed for A's gradient");
            sum_of_products(&[(Transposed(d_inner), Plain(x), 1.0)], self.precision)
        });
        let db = wanted[3].then(|| sum_of_products(&[(Transposed(dy), Plain(inner), self.scale)], self.precision));
        [dx, dw, da, db]
    }
}

impl Function<1> for FrozenLinear {
    fn forward(&self, [x]: [Tensor<2>; 1], _wanted: [bool; 1]) -> (Tensor<2>, Vec<Tensor<2>>) {
        (sum_of_products(&[(Plain(&x), Transposed(&self.blocks.dense()), 1.0)], self.precision), Vec::new())
    }

    fn backward(&self, _saved: Vec<Tensor<2>>, dy: Tensor<2>, wanted: [bool; 1]) -> [Option<Tensor<2>>; 1] {
        [wanted[0].then(|| sum_of_products(&[(Plain(&dy), Plain(&self.blocks.dense()), 1.0)], self.precision))]
    }
}

impl FrozenLowRankLinear {
    fn dense(&self) -> LowRankLinear {
        LowRankLinear { scale: self.scale, precision: self.precision }
    }
}

impl Function<3> for FrozenLowRankLinear {
    fn forward(&self, [x, a, b]: [Tensor<2>; 3], wanted: [bool; 3]) -> (Tensor<2>, Vec<Tensor<2>>) {
        let (inner, out) = self.dense().products(&x, &self.blocks.dense(), &a, &b);
        let mut saved = Vec::new();
        if wanted.contains(&true) {
            saved.extend([a, b, inner]);
        }
        if wanted[1] {
            saved.push(x);
        }
        (out, saved)
    }

    fn backward(&self, mut saved: Vec<Tensor<2>>, dy: Tensor<2>, wanted: [bool; 3]) -> [Option<Tensor<2>>; 3] {
        let x = wanted[1].then(|| saved.pop().expect("forward saved the input"));
        let [a, b, inner]: [Tensor<2>; 3] = saved.try_into().expect("forward saved three tensors");
        // Only the input's gradient needs the matrix.
        let w = if wanted[0] { self.blocks.dense() } else { a.clone() };
        let asked = [wanted[0], false, wanted[1], wanted[2]];
        let [dx, _, da, db] = self.dense().gradients(&[w, a, b, inner], x.as_ref(), &dy, asked);
        [dx, da, db]
    }
}

impl Function<3> for Update {
    fn forward(&self, [x, a, b]: [Tensor<2>; 3], wanted: [bool; 3]) -> (Tensor<2>, Vec<Tensor<2>>) {
        let inner = sum_of_products(&[(Plain(&x), Transposed(&a), 1.0)], self.precision);
        let out = sum_of_products(&[(Plain(&inner), Transposed(&b), self.scale)], self.precision);
        let mut saved = Vec::new();
        if wanted.contains(&true) {
            saved.extend([x, a, b, inner]);
        }
        (out, saved)
    }

    fn backward(&self, saved: Vec<Tensor<2>>, dy: Tensor<2>, wanted: [bool; 3]) -> [Option<Tensor<2>>; 3] {
        let [x, a, b, inner]: [Tensor<2>; 4] = saved.try_into().expect("forward saved four tensors");
        let d_inner =
            (wanted[0] || wanted[1]).then(|| sum_of_products(&[(Plain(&dy), Plain(&b), self.scale)], self.precision));
        let d_inner = || d_inner.as_ref().expect("computed for the gradients that pass through it");
        let dx = wanted[0].then(|| sum_of_products(&[(Plain(d_inner()), Plain(&a), 1.0)], self.precision));
        let da = wanted[1].then(|| sum_of_products(&[(Transposed(d_inner()), Plain(&x), 1.0)], self.precision));
        let db = wanted[2].then(|| sum_of_products(&[(Transposed(&dy), Plain(&inner), self.scale)], self.precision));
        [dx, da, db]
    }
}
