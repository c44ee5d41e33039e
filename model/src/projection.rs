//! A linear layer of the decoder: a matrix, an optional bias and an optional low-rank update.

use crate::ops::host::{matrix, values};
use crate::ops::projection::{frozen_linear, frozen_low_rank_linear, linear, low_rank, low_rank_linear, product};
use crate::ops::row_updates::{RowUpdate, with_row_updates};
use crate::quantised::BlockMatrix;
use burn::tensor::Tensor;
use std::fmt;
use std::sync::Arc;

/// A projection's matrix, `[out, in]` as Hugging Face stores it.
#[derive(Clone, Debug)]
// There are some hundred of these: their size is of no matter.
#[allow(clippy::large_enum_variant)]
pub enum Weight {
    /// In `f32`; it can be trained.
    Dense(Tensor<2>),
    /// In blocks; it is frozen.
    Blocks(Arc<BlockMatrix>),
}

impl Weight {
    /// Output and input width.
    pub fn dims(&self) -> [usize; 2] {
        match self {
            Self::Dense(tensor) => tensor.dims(),
            Self::Blocks(blocks) => blocks.dims(),
        }
    }

    /// Its values; of blocks, expanded into a tensor of their own.
    pub fn dense(&self) -> Tensor<2> {
        match self {
            Self::Dense(tensor) => tensor.clone(),
            Self::Blocks(blocks) => blocks.dense(),
        }
    }

    /// Bytes it takes.
    pub fn size(&self) -> usize {
        match self {
            Self::Dense(tensor) => 4 * tensor.dims().iter().product::<usize>(),
            Self::Blocks(blocks) => blocks.size(),
        }
    }

    /// `Σ w²` of every row.
    pub fn squared_rows(&self) -> Vec<f64> {
        let [_, columns] = self.dims();
        let square = |row: &[f32]| row.iter().map(|&value| f64::from(value).powi(2)).sum();
        values(&self.dense()).chunks_exact(columns).map(square).collect()
    }

    fn product(&self, x: Tensor<2>) -> Tensor<2> {
        match self {
            Self::Dense(weight) => linear(x, weight.clone()),
            Self::Blocks(blocks) => frozen_linear(x, blocks.clone()),
        }
    }
}

/// Factors of a projection's input, `[rows, in]`, made anew wherever they are needed: a block that is computed again for its
/// gradient keeps none of them in between.
#[derive(Clone)]
pub struct Mask(Arc<dyn Fn() -> Tensor<2> + Send + Sync>);

impl Mask {
    /// The factors that `make` gives, the same each time.
    pub fn new(make: impl Fn() -> Tensor<2> + Send + Sync + 'static) -> Self {
        Self(Arc::new(make))
    }

    fn make(&self) -> Tensor<2> {
        (self.0)()
    }
}

impl fmt::Debug for Mask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mask").finish_non_exhaustive()
    }
}

/// A low-rank update `scale · B·A` of a projection. Several updates are one with their rows of `A` and
/// columns of `B` put side by side, which is exact for any ranks and weights.
///
/// With a gain `g` the frozen product is multiplied too: `y = g ∘ x·Wᵀ + scale · (x·Aᵀ)·Bᵀ`. That is how an update with
/// magnitudes acts (DoRA), see [`LowRank::with_magnitude`].
#[derive(Clone, Debug)]
pub struct LowRank {
    /// `[rank, in]`.
    pub a: Tensor<2>,
    /// `[out, rank]`.
    pub b: Tensor<2>,
    /// Factor on the product.
    pub scale: f32,
    /// Factor on each output of the frozen matrix, `[1, out]`; absent is 1.
    pub gain: Option<Tensor<2>>,
    /// What the input of `A` is multiplied by: dropout, in training only.
    pub mask: Option<Mask>,
    /// Factors `A` and `B` whose product is subtracted: where training began, if that was not nothing.
    pub start: Option<(Tensor<2>, Tensor<2>)>,
}

impl LowRank {
    /// `scale · B·A` and nothing else.
    pub fn new(a: Tensor<2>, b: Tensor<2>, scale: f32) -> Self {
        Self { a, b, scale, gain: None, mask: None, start: None }
    }

    /// The update of DoRA (Liu et al. 2024): every output of `W + scale·B·A` brought to its length in `magnitude`,
    /// `[1, out]`. `squares` are `W`'s own ([`Weight::squared_rows`]). No gradient passes through the lengths that are
    /// divided by, as in the paper and in PEFT.
    ///
    /// A row of `W + scale·B·A` that is all zeros has no direction to be brought to a length: it stays zero, and its gain is
    /// 1, so that `B` learns as without magnitudes. (PEFT divides by zero there, and its outputs are not numbers.)
    pub fn with_magnitude(self, magnitude: Tensor<2>, weight: &Weight, squares: &[f64]) -> Self {
        let lengths = self.lengths(weight, squares);
        let row = |of: &dyn Fn(f32) -> f32| {
            let values: Vec<f32> = lengths.iter().map(|&length| of(length)).collect();
            matrix(values, 1, lengths.len(), &self.a.device().inner())
        };
        let gain = if lengths.contains(&0.0) {
            let (of_some, of_none) = (|length: f32| f32::from(length != 0.0), |length: f32| f32::from(length == 0.0));
            magnitude / row(&|length| length + of_none(length)) * row(&of_some) + row(&of_none)
        } else {
            magnitude / row(&|length| length)
        };
        Self { b: self.b * gain.clone().transpose(), gain: Some(gain), ..self }
    }

    /// The lengths of the rows of `W + scale·B·A`: `√(‖w‖² + 2s·b·(A·w) + s²·bᵀ(A·Aᵀ)b)`, never forming `B·A`.
    fn lengths(&self, weight: &Weight, squares: &[f64]) -> Vec<f32> {
        let (a, b) = (self.a.clone().inner(), self.b.clone().inner());
        let [rank, _] = a.dims();
        let across = values(&product(&weight.dense().inner(), &a));
        let gram = values(&product(&a, &a));
        let (scale, b) = (f64::from(self.scale), values(&b));
        let dot = |x: &[f32], y: &[f32]| x.iter().zip(y).map(|(&x, &y)| f64::from(x) * f64::from(y)).sum::<f64>();
        let rows = squares.iter().zip(b.chunks_exact(rank).zip(across.chunks_exact(rank)));
        rows.map(|(square, (b, across))| {
            let own: f64 = gram.chunks_exact(rank).zip(b).map(|(row, &b_k)| f64::from(b_k) * dot(row, b)).sum();
            (square + 2.0 * scale * dot(b, across) + scale * scale * own).max(0.0).sqrt() as f32
        })
        .collect()
    }

    /// The update at a weight: its scale times as much, its gain as much further from 1.
    pub fn weighted(self, weight: f64) -> Self {
        let gain = self.gain.map(|gain| if weight == 1.0 { gain } else { (gain - 1.0) * weight + 1.0 });
        Self { scale: (f64::from(self.scale) * weight) as f32, gain, ..self }
    }

    /// The sum of weighted updates as one update of scale 1.
    ///
    /// # Panics
    /// When `parts` is empty, or one has a mask or a start, which only training gives.
    pub fn concatenated(parts: &[(Self, f32)]) -> Self {
        let trained = parts.iter().all(|(part, _)| part.mask.is_none() && part.start.is_none());
        assert!(trained, "updates in training are not put together");
        let gain = gains(parts);
        if let [(only, weight)] = parts {
            return Self { scale: only.scale * weight, gain, ..only.clone() };
        }
        let a = parts.iter().map(|(part, _)| part.a.clone()).collect();
        let b = parts.iter().map(|(part, weight)| part.b.clone() * (part.scale * weight)).collect();
        Self { gain, ..Self::new(Tensor::cat(a, 0), Tensor::cat(b, 1), 1.0) }
    }

    /// Whether all it does is to add `scale · B·A`.
    pub fn is_plain(&self) -> bool {
        self.gain.is_none() && self.mask.is_none() && self.start.is_none()
    }

    /// The projection of `x` with this update beside it.
    fn beside(&self, x: Tensor<2>, weight: &Weight) -> Tensor<2> {
        let (a, b) = (self.a.clone(), self.b.clone());
        if self.is_plain() {
            return match weight {
                Weight::Dense(weight) => low_rank_linear(x, weight.clone(), a, b, self.scale),
                Weight::Blocks(blocks) => frozen_low_rank_linear(x, blocks.clone(), a, b, self.scale),
            };
        }
        let mut out = weight.product(x.clone());
        if let Some(gain) = &self.gain {
            out = out * gain.clone();
        }
        let x = match &self.mask {
            Some(mask) => x * mask.make(),
            None => x,
        };
        let update = low_rank(x.clone(), a, b, self.scale);
        // Two products of equal factors are equal to the bit, so that their difference is nothing at the start.
        let update = match &self.start {
            Some((a, b)) => update - low_rank(x, a.clone(), b.clone(), self.scale),
            None => update,
        };
        out + update
    }
}

/// `1 + Σ weight · (gain − 1)`, if there is any gain.
fn gains(parts: &[(LowRank, f32)]) -> Option<Tensor<2>> {
    if let [(only, weight)] = parts
        && *weight == 1.0
    {
        return only.gain.clone();
    }
    let terms = parts.iter().filter_map(|(part, weight)| Some((part.gain.clone()? - 1.0) * *weight));
    terms.reduce(|sum, term| sum + term).map(|sum| sum + 1.0)
}

/// `y = x·Wᵀ + bias + scale·(x·Aᵀ)·Bᵀ`.
#[derive(Clone, Debug)]
pub struct Projection {
    /// `[out, in]`, as Hugging Face stores it.
    pub weight: Weight,
    /// `[1, out]`.
    pub bias: Option<Tensor<2>>,
    /// What the active modules add.
    pub update: Option<LowRank>,
    /// What is added for some rows of a batch, one after another and without a gradient: modules that requests ask for.
    pub beside: Vec<RowUpdate>,
}

impl Projection {
    /// `x: [rows, in]` to `[rows, out]`.
    pub fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        let input = (!self.beside.is_empty()).then(|| x.clone());
        let out = match &self.update {
            Some(update) => update.beside(x, &self.weight),
            None => self.weight.product(x),
        };
        let out = match input {
            Some(x) => with_row_updates(out, &x, &self.beside),
            None => out,
        };
        match &self.bias {
            Some(bias) => out + bias.clone(),
            None => out,
        }
    }
}
