//! Causal grouped-query attention over ragged sequences, without a matrix of all scores.
//!
//! Scores exist for a block of queries at a time (the tiling of FlashAttention, Dao et al. 2022), so
//! memory grows with the length of a sequence and not with its square.

use super::matmul::{Matrix, Output, Threads, matmul};
use super::shared_rows::SharedRows;
use super::{exp::exp, vectorised};
use rayon::prelude::*;
use std::ops::Range;

pub mod branching;

/// Queries whose scores are computed together.
const BLOCK: usize = 64;

/// The heads of an attention layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heads {
    /// Query heads.
    pub query: usize,
    /// Key and value heads; divides `query`.
    pub key_value: usize,
    /// Channels of one head.
    pub dim: usize,
}

/// One sequence: its rows among the queries and among the keys. The queries are the last positions
/// of the keys, so a sequence with a past has more keys than queries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Span {
    /// Rows of the query matrix.
    pub queries: Range<usize>,
    /// Rows of the key and value matrices that come before `keys`, shared with other sequences; for [`branching`] alone.
    pub prefix: Vec<Range<usize>>,
    /// Rows of the key and value matrices.
    pub keys: Range<usize>,
}

impl Span {
    /// Positions of the sequence that come before its first query.
    pub fn past(&self) -> usize {
        self.prefix.iter().map(Range::len).sum::<usize>() + self.keys.len() - self.queries.len()
    }

    /// All positions of the sequence: those before its queries, and its queries.
    pub fn seen(&self) -> usize {
        self.past() + self.queries.len()
    }
}

vectorised! {
    /// Softmax of each row over its visible beginning, which is `step` longer from row to row; the rest becomes
    /// zero. `lse` gets the log of the sum of exponentials.
    fn softmax_rows(scores: &mut [f32], columns: usize, first_visible: usize, step: usize, lse: &mut [f32]) {
        for (row, (scores, lse)) in scores.chunks_exact_mut(columns).zip(lse).enumerate() {
            let (visible, hidden) = scores.split_at_mut(first_visible + row * step);
            let mut lanes = [f32::NEG_INFINITY; 16];
            let (chunks, rest) = visible.as_chunks::<16>();
            for chunk in chunks {
                for i in 0..16 {
                    lanes[i] = if chunk[i] > lanes[i] { chunk[i] } else { lanes[i] };
                }
            }
            let max = lanes.iter().chain(rest).fold(f32::NEG_INFINITY, |m, &x| m.max(x));
            let mut sums = [0.0f32; 16];
            let (chunks, rest) = visible.as_chunks_mut::<16>();
            for chunk in chunks {
                for i in 0..16 {
                    chunk[i] = exp(chunk[i] - max);
                    sums[i] += chunk[i];
                }
            }
            let mut sum: f32 = sums.iter().sum();
            for value in rest {
                *value = exp(*value - max);
                sum += *value;
            }
            let scale = 1.0 / sum;
            for value in visible {
                *value *= scale;
            }
            hidden.fill(0.0);
            *lse = max + sum.ln();
        }
    }
}

vectorised! {
    /// Turns scores into probabilities with the known `lse`, and `dp` into the scores' gradient.
    fn score_gradient(scores: &mut [f32], dp: &mut [f32], columns: usize, first_visible: usize, lse: &[f32], delta: &[f32], scale: f32) {
        for (row, (scores, dp)) in scores.chunks_exact_mut(columns).zip(dp.chunks_exact_mut(columns)).enumerate() {
            let visible = first_visible + row;
            let (lse, delta) = (lse[row], delta[row]);
            for i in 0..visible {
                scores[i] = exp(scores[i] - lse);
                dp[i] = scores[i] * (dp[i] - delta) * scale;
            }
            scores[visible..].fill(0.0);
            dp[visible..].fill(0.0);
        }
    }
}

/// The part of a `[rows, heads · dim]` matrix that belongs to one head and some rows.
fn head<'a>(x: &'a [f32], rows: Range<usize>, heads: usize, dim: usize, index: usize) -> Matrix<'a> {
    let width = heads * dim;
    let start = rows.start * width + index * dim;
    Matrix::strided(&x[start.min(x.len())..], rows.len(), dim, width)
}

/// Attention output `[queries, query heads · dim]` and the log-sum-exp of the scores, `[queries, query heads]`.
///
/// `q: [queries, query heads · dim]`, `k`, `v: [keys, key-value heads · dim]`, all rotated already.
///
/// # Panics
/// When a sequence has a shared prefix.
pub fn forward(q: &[f32], k: &[f32], v: &[f32], spans: &[Span], heads: Heads) -> (Vec<f32>, Vec<f32>) {
    let width = heads.query * heads.dim;
    let rows = q.len() / width;
    let mut out = vec![0.0; q.len()];
    let mut lse = vec![0.0; rows * heads.query];
    let shared_out = SharedRows::new(&mut out, width);
    let shared_lse = SharedRows::new(&mut lse, heads.query);
    let scale = (heads.dim as f32).sqrt().recip();
    let group = heads.query / heads.key_value;
    // A span with one query computes the heads that share keys together, as the rows of one block.
    let tasks: Vec<(&Span, usize)> = spans
        .iter()
        .flat_map(|span| {
            let count = if span.queries.len() == 1 { heads.key_value } else { heads.query };
            (0..count).map(move |index| (span, index))
        })
        .collect();
    tasks.par_iter().for_each_init(Scratch::default, |scratch, &(span, index)| {
        assert!(span.prefix.is_empty(), "sequences that continue others are `branching`");
        let past = span.past();
        let single = span.queries.len() == 1;
        for start in (0..span.queries.len()).step_by(BLOCK) {
            let block = start..(start + BLOCK).min(span.queries.len());
            let first_row = span.queries.start + block.start;
            let seen = past + block.end;
            let keys = span.keys.start..span.keys.start + seen;
            let (first_head, kv_head, rows) =
                if single { (index * group, index, group) } else { (index, index / group, block.len()) };
            let queries = if single {
                let at = first_row * width + first_head * heads.dim;
                Matrix::new(&q[at..at + group * heads.dim], group, heads.dim)
            } else {
                head(q, first_row..first_row + rows, heads.query, heads.dim, first_head)
            };
            let [scores, output, sums] = scratch.buffers([rows * seen, rows * heads.dim, rows]);
            let key = head(k, keys.clone(), heads.key_value, heads.dim, kv_head);
            matmul(scores, queries, key.transposed(), scale, Output::Replace, Threads::One);
            // Each row of a block sees one key more; heads of one query see all.
            softmax_rows(scores, seen, past + block.start + 1, usize::from(!single), sums);
            let value = head(v, keys, heads.key_value, heads.dim, kv_head);
            matmul(output, Matrix::new(scores, rows, seen), value, 1.0, Output::Replace, Threads::One);
            for (i, (output, sum)) in output.chunks_exact(heads.dim).zip(sums.iter()).enumerate() {
                let (row, head) = if single { (first_row, first_head + i) } else { (first_row + i, first_head) };
                // SAFETY: a task owns the columns of its heads in the rows of its span.
                #[allow(unsafe_code)]
                let (target, target_lse) =
                    unsafe { (shared_out.part(row, head * heads.dim, heads.dim), shared_lse.part(row, head, 1)) };
                target.copy_from_slice(output);
                target_lse[0] = *sum;
            }
        }
    });
    (out, lse)
}

/// What the backward pass reads.
pub struct Saved<'a> {
    /// Rotated queries.
    pub q: &'a [f32],
    /// Rotated keys.
    pub k: &'a [f32],
    /// Values.
    pub v: &'a [f32],
    /// The forward pass's output.
    pub out: &'a [f32],
    /// The forward pass's log-sum-exp.
    pub lse: &'a [f32],
}

/// Gradients of `q`, `k` and `v`. Scores are computed again from the saved inputs.
///
/// # Panics
/// When a sequence has a shared prefix: those have no gradient.
pub fn backward(saved: &Saved<'_>, dy: &[f32], spans: &[Span], heads: Heads) -> [Vec<f32>; 3] {
    let (q_width, kv_width) = (heads.query * heads.dim, heads.key_value * heads.dim);
    let mut dq = vec![0.0; saved.q.len()];
    let mut dk = vec![0.0; saved.k.len()];
    let mut dv = vec![0.0; saved.v.len()];
    let delta = row_dots(saved.out, dy, heads.dim);
    let shared_dq = SharedRows::new(&mut dq, q_width);
    let shared_dk = SharedRows::new(&mut dk, kv_width);
    let shared_dv = SharedRows::new(&mut dv, kv_width);
    let scale = (heads.dim as f32).sqrt().recip();
    let group = heads.query / heads.key_value;
    let tasks: Vec<(&Span, usize)> =
        spans.iter().flat_map(|span| (0..heads.key_value).map(move |head| (span, head))).collect();
    tasks.par_iter().for_each_init(Default::default, |(scratch, sums): &mut (Scratch, Scratch), &(span, kv_head)| {
        assert!(span.prefix.is_empty(), "shared prefixes have no gradient");
        let past = span.past();
        let [dk_sum, dv_sum] = sums.buffers([span.keys.len() * heads.dim; 2]);
        dk_sum.fill(0.0);
        dv_sum.fill(0.0);
        for query_head in kv_head * group..(kv_head + 1) * group {
            for start in (0..span.queries.len()).step_by(BLOCK) {
                let block = start..(start + BLOCK).min(span.queries.len());
                let rows = span.queries.start + block.start..span.queries.start + block.end;
                let keys = span.keys.start..span.keys.start + past + block.end;
                let queries = head(saved.q, rows.clone(), heads.query, heads.dim, query_head);
                let d_out = head(dy, rows.clone(), heads.query, heads.dim, query_head);
                let key = head(saved.k, keys.clone(), heads.key_value, heads.dim, kv_head);
                let value = head(saved.v, keys.clone(), heads.key_value, heads.dim, kv_head);
                let size = block.len() * keys.len();
                let [scores, dp, dq_block, lse, delta_block] =
                    scratch.buffers([size, size, block.len() * heads.dim, block.len(), block.len()]);
                for (i, row) in rows.clone().enumerate() {
                    lse[i] = saved.lse[row * heads.query + query_head];
                    delta_block[i] = delta[row * heads.query + query_head];
                }
                matmul(scores, queries, key.transposed(), scale, Output::Replace, Threads::One);
                matmul(dp, d_out, value.transposed(), 1.0, Output::Replace, Threads::One);
                score_gradient(scores, dp, keys.len(), past + block.start + 1, lse, delta_block, scale);
                let probabilities = Matrix::new(scores, block.len(), keys.len()).transposed();
                let d_scores = Matrix::new(dp, block.len(), keys.len());
                matmul(dv_sum, probabilities, d_out, 1.0, Output::Accumulate, Threads::One);
                matmul(dk_sum, d_scores.transposed(), queries, 1.0, Output::Accumulate, Threads::One);
                matmul(dq_block, d_scores, key, 1.0, Output::Replace, Threads::One);
                for (row, values) in rows.zip(dq_block.chunks_exact(heads.dim)) {
                    // SAFETY: a task owns the columns of its group of heads in the rows of its span.
                    #[allow(unsafe_code)]
                    let target = unsafe { shared_dq.part(row, query_head * heads.dim, heads.dim) };
                    target.copy_from_slice(values);
                }
            }
        }
        let sums = dk_sum.chunks_exact(heads.dim).zip(dv_sum.chunks_exact(heads.dim));
        for (row, (dk, dv)) in span.keys.clone().zip(sums) {
            // SAFETY: a task owns the columns of its key-value head in the rows of its span.
            #[allow(unsafe_code)]
            let (target_k, target_v) = unsafe {
                (
                    shared_dk.part(row, kv_head * heads.dim, heads.dim),
                    shared_dv.part(row, kv_head * heads.dim, heads.dim),
                )
            };
            target_k.copy_from_slice(dk);
            target_v.copy_from_slice(dv);
        }
    });
    [dq, dk, dv]
}

/// `Σ out · dy` over each head of each row.
fn row_dots(out: &[f32], dy: &[f32], dim: usize) -> Vec<f32> {
    out.par_chunks(dim)
        .zip(dy.par_chunks(dim))
        .with_min_len(1024)
        .map(|(a, b)| a.iter().zip(b).map(|(a, b)| a * b).sum())
        .collect()
}

/// Memory that a thread keeps from block to block.
#[derive(Default)]
struct Scratch(Vec<f32>);

impl Scratch {
    /// Buffers of the given sizes with unspecified contents.
    fn buffers<const N: usize>(&mut self, sizes: [usize; N]) -> [&mut [f32]; N] {
        let total: usize = sizes.iter().sum();
        if self.0.len() < total {
            self.0.resize(total, 0.0);
        }
        let mut rest = self.0.as_mut_slice();
        sizes.map(|size| {
            let (taken, left) = std::mem::take(&mut rest).split_at_mut(size);
            rest = left;
            taken
        })
    }
}
