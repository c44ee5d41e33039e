//! Attention of sequences that continue one another, forward only.
//!
//! What a row gets does not depend, to the last bit, on where its sequence was cut into spans: every sum is made over
//! channels or positions in their order, whatever the number of rows. So texts can share whatever beginnings they
//! happen to have in common with the others of a batch.

use super::{BLOCK, Heads, Scratch, Span, softmax_rows};
use crate::cpu::shared_rows::SharedRows;
use crate::cpu::vectorised;
use rayon::prelude::*;

/// Columns computed together; columns of packed matrices are filled up to a multiple of it.
const LANES: usize = 16;

/// Rows computed together.
const TILE: usize = 4;

/// Spans that a thread takes at once at least; most are a few rows.
const TOGETHER: usize = 8;

/// Attention output `[queries, query heads · dim]` of spans whose own keys are the rows of their queries.
///
/// `q: [rows, query heads · dim]`, `k`, `v: [rows, key-value heads · dim]`, all rotated already.
pub fn forward(q: &[f32], k: &[f32], v: &[f32], spans: &[Span], heads: Heads) -> Vec<f32> {
    let mut out = vec![0.0; q.len()];
    let shared_out = SharedRows::new(&mut out, heads.query * heads.dim);
    let tasks: Vec<(&Span, usize)> =
        spans.iter().flat_map(|span| (0..heads.key_value).map(move |head| (span, head))).collect();
    tasks.par_iter().with_min_len(TOGETHER).for_each_init(Scratch::default, |scratch, &(span, kv_head)| {
        one_head(&Inputs { q, k, v, heads }, span, kv_head, &shared_out, scratch);
    });
    out
}

struct Inputs<'a> {
    q: &'a [f32],
    k: &'a [f32],
    v: &'a [f32],
    heads: Heads,
}

/// All query heads of a span that read one key-value head.
fn one_head(inputs: &Inputs<'_>, span: &Span, kv_head: usize, out: &SharedRows<'_>, scratch: &mut Scratch) {
    let Inputs { q, k, v, heads } = inputs;
    let (q_width, kv_width, dim) = (heads.query * heads.dim, heads.key_value * heads.dim, heads.dim);
    let (past, seen) = (span.past(), span.past() + span.queries.len());
    let (seen_packed, dim_packed) = (seen.next_multiple_of(LANES), dim.next_multiple_of(LANES));
    let group = heads.query / heads.key_value;
    let scale = (dim as f32).sqrt().recip();
    let block = BLOCK.min(span.queries.len());
    let [keys, values, queries, scores, output, sums] = scratch.buffers([
        dim * seen_packed,
        seen * dim_packed,
        block * dim,
        block * seen_packed,
        block * dim_packed,
        block,
    ]);
    let rows = span.prefix.iter().chain(std::iter::once(&span.keys)).flat_map(Clone::clone);
    for (position, row) in rows.enumerate() {
        let at = row * kv_width + kv_head * dim;
        for (channel, &key) in k[at..at + dim].iter().enumerate() {
            keys[channel * seen_packed + position] = key;
        }
        let (value, filled) = values[position * dim_packed..][..dim_packed].split_at_mut(dim);
        value.copy_from_slice(&v[at..at + dim]);
        filled.fill(0.0);
    }
    for channel in keys.chunks_exact_mut(seen_packed) {
        channel[seen..].fill(0.0);
    }
    for query_head in kv_head * group..(kv_head + 1) * group {
        for start in (0..span.queries.len()).step_by(BLOCK) {
            let rows = BLOCK.min(span.queries.len() - start);
            for (row, query) in queries.chunks_exact_mut(dim).take(rows).enumerate() {
                let at = (span.queries.start + start + row) * q_width + query_head * dim;
                query.iter_mut().zip(&q[at..at + dim]).for_each(|(query, &value)| *query = value * scale);
            }
            let visible = past + start + rows;
            let width = visible.next_multiple_of(LANES);
            let scores = &mut scores[..rows * width];
            product(scores, width, &queries[..rows * dim], dim, keys, seen_packed);
            softmax_rows(scores, width, past + start + 1, 1, &mut sums[..rows]);
            let output = &mut output[..rows * dim_packed];
            product(output, dim_packed, scores, width, &values[..visible * dim_packed], dim_packed);
            for (row, output) in output.chunks_exact(dim_packed).enumerate() {
                // SAFETY: a task owns the columns of its group of heads in the rows of its span.
                #[allow(unsafe_code)]
                let target = unsafe { out.part(span.queries.start + start + row, query_head * dim, dim) };
                target.copy_from_slice(&output[..dim]);
            }
        }
    }
}

vectorised! {
    /// `out = a · b`, each value summed over the rows of `b` in their order. `out: [rows, columns]` with whole
    /// [`LANES`], `a: [rows, inner]`, of whose columns those are read that `b` has a row for, `b` with `stride` values
    /// from row to row.
    fn product(out: &mut [f32], columns: usize, a: &[f32], inner: usize, b: &[f32], stride: usize) {
        let mut tiles = out.chunks_exact_mut(TILE * columns);
        let mut rows = a.chunks_exact(TILE * inner);
        for (out, a) in tiles.by_ref().zip(rows.by_ref()) {
            tile::<TILE>(out, columns, a, inner, b, stride);
        }
        for (out, a) in tiles.into_remainder().chunks_exact_mut(columns).zip(rows.remainder().chunks_exact(inner)) {
            tile::<1>(out, columns, a, inner, b, stride);
        }
    }
}

/// `R` rows of a [`product`].
#[inline(always)]
fn tile<const R: usize>(out: &mut [f32], columns: usize, a: &[f32], inner: usize, b: &[f32], stride: usize) {
    let a: [&[f32]; R] = std::array::from_fn(|row| &a[row * inner..(row + 1) * inner]);
    for first in (0..columns).step_by(LANES) {
        let mut sums = [[0.0f32; LANES]; R];
        for (i, b) in b.chunks_exact(stride).take(inner).enumerate() {
            let b = &b[first..first + LANES];
            for row in 0..R {
                let factor = a[row][i];
                for lane in 0..LANES {
                    sums[row][lane] += factor * b[lane];
                }
            }
        }
        for (row, sums) in sums.iter().enumerate() {
            out[row * columns + first..][..LANES].copy_from_slice(sums);
        }
    }
}
