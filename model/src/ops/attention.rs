//! Causal grouped-query attention inside each sequence of a flat batch.

use super::host::{host, matrix};
use super::sequences::Sequences;
use super::{Function, apply};
use crate::cpu::attention::{self as kernel, Heads, Span};
use burn::tensor::{Tensor, TensorData, activation};
use std::ops::Range;
use std::sync::Arc;

#[derive(Clone, Debug)]
struct Attention {
    sequences: Arc<Sequences>,
    heads: Heads,
}

/// `softmax(q·kᵀ / √dim)·v` per head, each query seeing the keys of its own sequence up to itself.
///
/// `q: [queries, query heads · dim]`, `k`, `v: [keys, key-value heads · dim]`, rotated already.
pub fn attention(q: Tensor<2>, k: Tensor<2>, v: Tensor<2>, sequences: Arc<Sequences>, heads: Heads) -> Tensor<2> {
    apply(Attention { sequences, heads }, [q, k, v])
}

impl Function<3> for Attention {
    fn forward(&self, [q, k, v]: [Tensor<2>; 3], wanted: [bool; 3]) -> (Tensor<2>, Vec<Tensor<2>>) {
        let [rows, columns] = q.dims();
        let device = q.device();
        let (out, lse) = match host([&q, &k, &v]) {
            Some([qh, kh, vh]) if self.sequences.is_branching() => {
                assert!(!wanted.contains(&true), "sequences that continue others have no gradient");
                let spans = self.sequences.spans();
                let out = kernel::branching::forward(qh.values(), kh.values(), vh.values(), spans, self.heads);
                return (matrix(out, rows, columns, &device), Vec::new());
            }
            Some([qh, kh, vh]) => {
                let (out, lse) =
                    kernel::forward(qh.values(), kh.values(), vh.values(), self.sequences.spans(), self.heads);
                (matrix(out, rows, columns, &device), matrix(lse, rows, self.heads.query, &device))
            }
            None => self.compose(&q, &k, &v),
        };
        let saved = if wanted.contains(&true) { vec![q, k, v, out.clone(), lse] } else { Vec::new() };
        (out, saved)
    }

    fn backward(&self, saved: Vec<Tensor<2>>, dy: Tensor<2>, wanted: [bool; 3]) -> [Option<Tensor<2>>; 3] {
        let [q, k, v, out, lse]: [Tensor<2>; 5] = saved.try_into().expect("forward saved five tensors");
        let gradients = match host([&q, &k, &v, &out, &lse, &dy]) {
            Some([qh, kh, vh, out, lse, dy]) => {
                let saved = kernel::Saved {
                    q: qh.values(),
                    k: kh.values(),
                    v: vh.values(),
                    out: out.values(),
                    lse: lse.values(),
                };
                let [dq, dk, dv] = kernel::backward(&saved, dy.values(), self.sequences.spans(), self.heads);
                let device = q.device();
                [
                    matrix(dq, qh.rows, qh.columns, &device),
                    matrix(dk, kh.rows, kh.columns, &device),
                    matrix(dv, vh.rows, vh.columns, &device),
                ]
            }
            None => self.compose_backward([&q, &k, &v, &out, &lse], &dy),
        };
        let mut wanted = wanted.into_iter();
        gradients.map(|gradient| wanted.next().unwrap_or(false).then_some(gradient))
    }
}

/// The same computation from Burn operations, one sequence at a time, for devices without a kernel.
impl Attention {
    /// `[heads, rows, dim]` of a span's rows; key-value heads are repeated for their group.
    fn split(&self, x: &Tensor<2>, rows: Range<usize>, heads: usize) -> Tensor<3> {
        let length = rows.len();
        let split =
            x.clone().slice([rows, 0..heads * self.heads.dim]).reshape([length, heads, self.heads.dim]).swap_dims(0, 1);
        let group = self.heads.query / heads;
        split.unsqueeze_dim::<4>(1).repeat_dim(1, group).reshape([self.heads.query, length, self.heads.dim])
    }

    /// All keys or values that a span sees.
    fn seen(&self, x: &Tensor<2>, span: &Span) -> Tensor<3> {
        let part = |rows: &Range<usize>| self.split(x, rows.clone(), self.heads.key_value);
        if span.prefix.is_empty() {
            return part(&span.keys);
        }
        Tensor::cat(span.prefix.iter().chain([&span.keys]).map(part).collect(), 1)
    }

    fn join(&self, x: Tensor<3>) -> Tensor<2> {
        let [_, rows, _] = x.dims();
        x.swap_dims(0, 1).reshape([rows, self.heads.query * self.heads.dim])
    }

    /// Masked and scaled scores `[heads, queries, keys]`.
    fn scores(&self, q: &Tensor<2>, k: &Tensor<2>, span: &Span) -> Tensor<3> {
        let queries = self.split(q, span.queries.clone(), self.heads.query);
        let keys = self.seen(k, span);
        let (past, seen) = (span.past(), span.seen());
        let hidden: Vec<f32> = (0..span.queries.len())
            .flat_map(|i| (0..seen).map(move |j| if j > past + i { f32::NEG_INFINITY } else { 0.0 }))
            .collect();
        let mask = Tensor::<3>::from_data(TensorData::new(hidden, [1, span.queries.len(), seen]), &q.device());
        queries.matmul(keys.swap_dims(1, 2)) / (self.heads.dim as f64).sqrt() + mask
    }

    fn compose(&self, q: &Tensor<2>, k: &Tensor<2>, v: &Tensor<2>) -> (Tensor<2>, Tensor<2>) {
        let (mut outs, mut sums) = (Vec::new(), Vec::new());
        for span in self.sequences.spans() {
            let scores = self.scores(q, k, span);
            let max = scores.clone().max_dim(2);
            let lse = (scores.clone() - max.clone()).exp().sum_dim(2).log() + max;
            sums.push(lse.squeeze_dim::<2>(2).swap_dims(0, 1));
            let values = self.seen(v, span);
            outs.push(self.join(activation::softmax(scores, 2).matmul(values)));
        }
        (Tensor::cat(outs, 0), Tensor::cat(sums, 0))
    }

    fn compose_backward(&self, [q, k, v, out, lse]: [&Tensor<2>; 5], dy: &Tensor<2>) -> [Tensor<2>; 3] {
        let scale = (self.heads.dim as f64).sqrt().recip();
        let group = self.heads.query / self.heads.key_value;
        let fold = |x: Tensor<3>| -> Tensor<2> {
            let [_, rows, dim] = x.dims();
            let summed = x.reshape([self.heads.key_value, group, rows, dim]).sum_dim(1).squeeze_dim::<3>(1);
            summed.swap_dims(0, 1).reshape([rows, self.heads.key_value * dim])
        };
        let (mut dq, mut dk, mut dv) = (Vec::new(), Vec::new(), Vec::new());
        for span in self.sequences.spans() {
            let d_out = self.split(dy, span.queries.clone(), self.heads.query);
            let output = self.split(out, span.queries.clone(), self.heads.query);
            let lse =
                lse.clone().slice([span.queries.clone(), 0..self.heads.query]).swap_dims(0, 1).unsqueeze_dim::<3>(2);
            let p = (self.scores(q, k, span) - lse).exp();
            let keys = self.split(k, span.keys.clone(), self.heads.key_value);
            let values = self.split(v, span.keys.clone(), self.heads.key_value);
            let queries = self.split(q, span.queries.clone(), self.heads.query);
            let delta = (output * d_out.clone()).sum_dim(2);
            let ds = p.clone() * (d_out.clone().matmul(values.swap_dims(1, 2)) - delta) * scale;
            dq.push(self.join(ds.clone().matmul(keys)));
            dk.push(fold(ds.swap_dims(1, 2).matmul(queries)));
            dv.push(fold(p.swap_dims(1, 2).matmul(d_out)));
        }
        [Tensor::cat(dq, 0), Tensor::cat(dk, 0), Tensor::cat(dv, 0)]
    }
}
