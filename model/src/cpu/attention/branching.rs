//! Attention of sequences that continue one another, forward only.
//!
//! What a row gets does not depend, to the last bit, on where its sequence was cut into spans: every sum is made over
//! channels or positions in their order, whatever the number of rows. So texts can share whatever beginnings they
//! happen to have in common with the others of a batch.

use super::{BLOCK, Heads, Scratch, Span, softmax_rows};
use crate::cpu::shared_rows::SharedRows;
use crate::cpu::vectorised;
use rayon::prelude::*;
use std::ops::Range;

/// Columns of a panel, which are computed together.
const LANES: usize = 16;

/// Rows computed together.
const TILE: usize = 4;

/// Tasks that a thread takes at once at least, when there are [`MANY`] for each of them: most are a few rows.
const TOGETHER: usize = 8;
const MANY: usize = 64;

/// Attention output `[queries, query heads · dim]` of spans whose own keys are the rows of their queries.
///
/// `q: [rows, query heads · dim]`, `k`, `v: [rows, key-value heads · dim]`, all rotated already.
pub fn forward(q: &[f32], k: &[f32], v: &[f32], spans: &[Span], heads: Heads) -> Vec<f32> {
    let mut out = vec![0.0; q.len()];
    let shared_out = SharedRows::new(&mut out, heads.query * heads.dim);
    let group = heads.query / heads.key_value;
    // Heads that share keys are a task, of long sequences each head: there may be fewer sequences than threads.
    let tasks: Vec<(&Span, Range<usize>)> = spans
        .iter()
        .flat_map(|span| {
            let together = if span.queries.len() > BLOCK { 1 } else { group };
            (0..heads.query / together).map(move |task| (span, task * together..(task + 1) * together))
        })
        .collect();
    let at_once = (tasks.len() / MANY).clamp(1, TOGETHER);
    tasks.par_iter().with_min_len(at_once).for_each_init(Scratch::default, |scratch, (span, query_heads)| {
        some_heads(&Inputs { q, k, v, heads }, span, query_heads.clone(), &shared_out, scratch);
    });
    out
}

struct Inputs<'a> {
    q: &'a [f32],
    k: &'a [f32],
    v: &'a [f32],
    heads: Heads,
}

/// Query heads of a span that read one key-value head.
fn some_heads(
    inputs: &Inputs<'_>,
    span: &Span,
    query_heads: Range<usize>,
    out: &SharedRows<'_>,
    scratch: &mut Scratch,
) {
    let Inputs { q, k, v, heads } = inputs;
    let (q_width, kv_width, dim) = (heads.query * heads.dim, heads.key_value * heads.dim, heads.dim);
    let (past, seen) = (span.past(), span.seen());
    let (seen_packed, dim_packed) = (seen.next_multiple_of(LANES), dim.next_multiple_of(LANES));
    let kv_head = query_heads.start / (heads.query / heads.key_value);
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
    // Panels of 16 positions, all channels each, and of 16 channels, all positions each.
    keys[dim * (seen_packed - LANES)..].fill(0.0);
    values[seen * (dim_packed - LANES)..].fill(0.0);
    let rows = span.prefix.iter().chain(std::iter::once(&span.keys)).flat_map(Clone::clone);
    for (position, row) in rows.enumerate() {
        let at = row * kv_width + kv_head * dim;
        let panel = &mut keys[position / LANES * dim * LANES..][..dim * LANES];
        for (keys, &key) in panel.chunks_exact_mut(LANES).zip(&k[at..at + dim]) {
            keys[position % LANES] = key;
        }
        for (panel, value) in values.chunks_exact_mut(seen * LANES).zip(v[at..at + dim].chunks(LANES)) {
            panel[position * LANES..][..value.len()].copy_from_slice(value);
        }
    }
    for query_head in query_heads {
        for start in (0..span.queries.len()).step_by(BLOCK) {
            let rows = BLOCK.min(span.queries.len() - start);
            for (row, query) in queries.chunks_exact_mut(dim).take(rows).enumerate() {
                let at = (span.queries.start + start + row) * q_width + query_head * dim;
                query.iter_mut().zip(&q[at..at + dim]).for_each(|(query, &value)| *query = value * scale);
            }
            let visible = past + start + rows;
            let width = visible.next_multiple_of(LANES);
            let scores = &mut scores[..rows * width];
            product(scores, width, &queries[..rows * dim], dim, dim, keys, dim * LANES);
            softmax_rows(scores, width, past + start + 1, 1, &mut sums[..rows]);
            let output = &mut output[..rows * dim_packed];
            product(output, dim_packed, scores, width, visible, values, seen * LANES);
            for (row, output) in output.chunks_exact(dim_packed).enumerate() {
                // SAFETY: a task owns the columns of its heads in the rows of its span.
                #[allow(unsafe_code)]
                let target = unsafe { out.part(span.queries.start + start + row, query_head * dim, dim) };
                target.copy_from_slice(&output[..dim]);
            }
        }
    }
}

vectorised! {
    /// `out = a · b`, each value summed over the rows of `b` in their order. `out: [rows, columns]`; `a: [rows, inner]`, of
    /// whose columns the first `depth` are read; `b` as panels of [`LANES`] columns of as many rows as `panel` values hold.
    fn product(out: &mut [f32], columns: usize, a: &[f32], inner: usize, depth: usize, b: &[f32], panel: usize) {
        let rows = out.len() / columns;
        for (number, panel) in b.chunks_exact(panel).take(columns / LANES).enumerate() {
            let whole = rows - rows % TILE;
            for row in (0..whole).step_by(TILE) {
                tile::<TILE>(&mut out[row * columns + number * LANES..], columns, &a[row * inner..], inner, depth, panel);
            }
            for row in whole..rows {
                tile::<1>(&mut out[row * columns + number * LANES..], columns, &a[row * inner..], inner, depth, panel);
            }
        }
    }
}

/// `R` rows of one panel's columns.
#[inline(always)]
fn tile<const R: usize>(out: &mut [f32], columns: usize, a: &[f32], inner: usize, depth: usize, panel: &[f32]) {
    let a: [&[f32]; R] = std::array::from_fn(|row| &a[row * inner..][..depth]);
    let (panel, _) = panel.as_chunks::<LANES>();
    let panel = &panel[..depth];
    let mut sums = [[0.0f32; LANES]; R];
    for i in 0..depth {
        for row in 0..R {
            let factor = a[row][i];
            for lane in 0..LANES {
                sums[row][lane] += factor * panel[i][lane];
            }
        }
    }
    for (row, sums) in sums.iter().enumerate() {
        out[row * columns..][..LANES].copy_from_slice(sums);
    }
}
