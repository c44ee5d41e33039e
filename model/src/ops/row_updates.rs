//! Low-rank updates of some rows of a batch, so that sequences with other modules share the base's own products.

use super::host::{HostMatrix, host, update, values};
use super::precision::Precision;
use crate::cpu::matmul::{Matrix, Output};
use burn::tensor::Tensor;
use std::ops::Range;

/// `scale · B·A` for the rows of a range, and a part of what the frozen matrix gives there once more.
#[derive(Clone, Debug)]
pub struct RowUpdate {
    /// `[rank, in]`.
    pub a: Tensor<2>,
    /// `[out, rank]`.
    pub b: Tensor<2>,
    /// Factor on the product.
    pub scale: f32,
    /// What each output of the frozen matrix is multiplied by and added once more, `[1, out]`: `g − 1` of a gain `g`.
    pub extra: Option<Tensor<2>>,
    /// The rows it is for; `None` is every row.
    pub rows: Option<Range<usize>>,
}

/// `out + extra ∘ out + scale · (x·Aᵀ)·Bᵀ` for each update in its rows, where `out: [rows, out]` is what the frozen
/// matrix makes of `x: [rows, in]`, before any update. It has no gradient.
pub fn with_row_updates(out: Tensor<2>, x: &Tensor<2>, updates: &[RowUpdate]) -> Tensor<2> {
    let [rows, _] = x.dims();
    let range = |part: &RowUpdate| part.rows.clone().unwrap_or(0..rows);
    let views: Option<Vec<[HostMatrix; 2]>> = updates.iter().map(|part| host([&part.a, &part.b])).collect();
    let (Some(x_host), Some(views)) = (HostMatrix::of(x), views) else {
        let frozen = out.clone();
        return updates.iter().fold(out, |out, part| with_one_elsewhere(out, &frozen, x, part, range(part)));
    };
    // Only what has a gain needs the frozen product after it has been changed.
    let frozen = updates.iter().any(|part| part.extra.is_some()).then(|| values(&out));
    let precision = Precision::chosen();
    let (width, mut inner) = (x_host.columns, Vec::new());
    update(out, |out| {
        let out_width = out.len() / rows.max(1);
        for (part, [a, b]) in updates.iter().zip(&views) {
            let range = range(part);
            let (count, rank) = (range.len(), a.rows);
            inner.clear();
            inner.resize(count * rank, 0.0);
            let x = Matrix::new(&x_host.values()[range.start * width..range.end * width], count, width);
            let a = Matrix::new(a.values(), rank, width).transposed();
            precision.matmul(&mut inner, x, a, 1.0, Output::Replace);
            let b = Matrix::new(b.values(), out_width, rank).transposed();
            let out = &mut out[range.start * out_width..range.end * out_width];
            precision.matmul(out, Matrix::new(&inner, count, rank), b, part.scale, Output::Accumulate);
            if let (Some(extra), Some(frozen)) = (&part.extra, &frozen) {
                let (extra, frozen) = (values(extra), &frozen[range.start * out_width..range.end * out_width]);
                for (out, frozen) in out.chunks_exact_mut(out_width).zip(frozen.chunks_exact(out_width)) {
                    out.iter_mut().zip(frozen).zip(&extra).for_each(|((out, frozen), extra)| *out += frozen * extra);
                }
            }
        }
    })
}

/// The same from Burn operations, for devices without a kernel.
fn with_one_elsewhere(
    out: Tensor<2>,
    frozen: &Tensor<2>,
    x: &Tensor<2>,
    part: &RowUpdate,
    rows: Range<usize>,
) -> Tensor<2> {
    let ([_, width], [_, out_width]) = (x.dims(), out.dims());
    let chosen = x.clone().slice([rows.clone(), 0..width]);
    let change = chosen.matmul(part.a.clone().transpose()).matmul(part.b.clone().transpose()) * part.scale;
    let change = match &part.extra {
        Some(extra) => change + frozen.clone().slice([rows.clone(), 0..out_width]) * extra.clone(),
        None => change,
    };
    let changed = out.clone().slice([rows.clone(), 0..out_width]) + change;
    out.slice_assign([rows, 0..out_width], changed)
}
