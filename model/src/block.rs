//! One decoder block: attention and gated feed-forward, each on the normalised residual stream.

use crate::config::ModelConfig;
use crate::ops::rms_norm::rms_norm;
use crate::ops::rotary::rotary;
use crate::ops::sequences::Sequences;
use crate::ops::swiglu::swiglu;
use crate::projection::{LowRank, Projection, Weight};
use crate::quantised::{BlockMatrix, Blocks};
use crate::{cpu::attention::Heads, cpu::rotary::RotaryTable};
use burn::tensor::Tensor;
use std::sync::Arc;

/// The weights of one block.
#[derive(Clone, Debug)]
pub struct Block {
    /// Norm before attention, `[1, hidden]`.
    pub input_norm: Tensor<2>,
    /// Query projection.
    pub q_proj: Projection,
    /// Key projection.
    pub k_proj: Projection,
    /// Value projection.
    pub v_proj: Projection,
    /// Output projection of attention.
    pub o_proj: Projection,
    /// Norms of each head's query and key, `[1, head_dim]` (Qwen3).
    pub head_norms: Option<(Tensor<2>, Tensor<2>)>,
    /// Norm before the feed-forward part, `[1, hidden]`.
    pub post_attention_norm: Tensor<2>,
    /// Gate projection.
    pub gate_proj: Projection,
    /// Up projection.
    pub up_proj: Projection,
    /// Down projection.
    pub down_proj: Projection,
}

/// A place inside a block whose values can be looked at as they pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// The normalised residual stream before attention, `[rows, hidden]`.
    AttentionInput,
    /// What the heads give, one beside the other, `[rows, heads · head_dim]`.
    Heads,
    /// The normalised residual stream before the feed-forward part, `[rows, hidden]`.
    FeedForwardInput,
    /// The product of gate and up, `[rows, intermediate]`.
    Channels,
}

/// What all blocks of a forward pass share.
#[derive(Clone)]
pub(crate) struct BlockContext {
    pub(crate) eps: f64,
    pub(crate) heads: Heads,
    pub(crate) positions: Arc<Vec<u32>>,
    pub(crate) table: Arc<RotaryTable>,
}

impl BlockContext {
    pub(crate) fn new(config: &ModelConfig, sequences: &Sequences, table: Arc<RotaryTable>) -> Self {
        let heads =
            Heads { query: config.num_attention_heads, key_value: config.num_key_value_heads, dim: config.head_dim };
        Self { eps: config.rms_norm_eps, heads, positions: Arc::new(sequences.positions().to_vec()), table }
    }
}

impl Block {
    /// A block of tensors taken by their names inside it, such as `self_attn.q_proj.weight`.
    pub(crate) fn assemble(config: &ModelConfig, mut take: impl FnMut(&str) -> Tensor<2>) -> Self {
        let bias = config.attention_bias;
        let mut projection = |name: &str, bias: bool| Projection {
            weight: Weight::Dense(take(&format!("{name}.weight"))),
            bias: bias.then(|| take(&format!("{name}.bias"))),
            update: None,
            beside: Vec::new(),
        };
        let (q_proj, k_proj) = (projection("self_attn.q_proj", bias), projection("self_attn.k_proj", bias));
        let (v_proj, o_proj) = (projection("self_attn.v_proj", bias), projection("self_attn.o_proj", false));
        let (gate_proj, up_proj) = (projection("mlp.gate_proj", false), projection("mlp.up_proj", false));
        let down_proj = projection("mlp.down_proj", false);
        Self {
            input_norm: take("input_layernorm.weight"),
            post_attention_norm: take("post_attention_layernorm.weight"),
            head_norms: config.qk_norm.then(|| (take("self_attn.q_norm.weight"), take("self_attn.k_norm.weight"))),
            q_proj,
            k_proj,
            v_proj,
            o_proj,
            gate_proj,
            up_proj,
            down_proj,
        }
    }

    /// The block's output for `x: [rows, hidden]`; `attend` gets rotated queries, rotated keys and
    /// values of the new rows.
    pub(crate) fn forward(
        &self,
        x: Tensor<2>,
        context: &BlockContext,
        attend: &mut dyn FnMut([Tensor<2>; 3]) -> Tensor<2>,
    ) -> Tensor<2> {
        self.watched(x, context, attend, &mut |_, _| ())
    }

    /// [`Block::forward`], shown to `watch` at every place.
    pub(crate) fn watched(
        &self,
        x: Tensor<2>,
        context: &BlockContext,
        attend: &mut dyn FnMut([Tensor<2>; 3]) -> Tensor<2>,
        watch: &mut dyn FnMut(Place, &Tensor<2>),
    ) -> Tensor<2> {
        let eps = context.eps;
        let normed = rms_norm(x.clone(), self.input_norm.clone(), eps);
        watch(Place::AttentionInput, &normed);
        let mut q = self.q_proj.forward(normed.clone());
        let mut k = self.k_proj.forward(normed.clone());
        let v = self.v_proj.forward(normed);
        if let Some((q_norm, k_norm)) = &self.head_norms {
            q = norm_heads(q, q_norm, eps);
            k = norm_heads(k, k_norm, eps);
        }
        let (heads, table) = (context.heads, &context.table);
        let q = rotary(q, context.positions.clone(), heads.query, table.clone());
        let k = rotary(k, context.positions.clone(), heads.key_value, table.clone());
        let heads = attend([q, k, v]);
        watch(Place::Heads, &heads);
        let x = x + self.o_proj.forward(heads);
        let normed = rms_norm(x.clone(), self.post_attention_norm.clone(), eps);
        watch(Place::FeedForwardInput, &normed);
        let gate = self.gate_proj.forward(normed.clone());
        let channels = swiglu(gate, self.up_proj.forward(normed));
        watch(Place::Channels, &channels);
        x + self.down_proj.forward(channels)
    }

    /// The block with the matrices of its projections rounded to blocks, and frozen.
    pub(crate) fn quantised(mut self, kind: Blocks) -> Self {
        for (_, projection) in self.projections_mut() {
            if let Weight::Dense(weight) = &projection.weight {
                projection.weight = Weight::Blocks(Arc::new(BlockMatrix::new(weight, kind)));
            }
        }
        self
    }

    /// Every tensor of the block that can be trained, updates included, in a fixed order.
    pub(crate) fn tensors(&self) -> Vec<Tensor<2>> {
        let mut tensors = Vec::new();
        self.clone().replace(&mut |tensor| {
            tensors.push(tensor.clone());
            tensor
        });
        tensors
    }

    /// The block with every tensor replaced, in the order of [`Block::tensors`].
    pub(crate) fn replace(mut self, change: &mut dyn FnMut(Tensor<2>) -> Tensor<2>) -> Self {
        self.input_norm = change(self.input_norm);
        self.post_attention_norm = change(self.post_attention_norm);
        self.head_norms = self.head_norms.map(|(q, k)| (change(q), change(k)));
        for (_, projection) in self.projections_mut() {
            if let Weight::Dense(weight) = &mut projection.weight {
                *weight = change(weight.clone());
            }
            projection.bias = projection.bias.take().map(&mut *change);
            projection.update = projection.update.take().map(|update| LowRank {
                a: change(update.a),
                b: change(update.b),
                gain: update.gain.map(&mut *change),
                ..update
            });
        }
        self
    }

    /// The projections with their names inside the block.
    pub fn projections(&self) -> [(&'static str, &Projection); 7] {
        [
            ("self_attn.q_proj", &self.q_proj),
            ("self_attn.k_proj", &self.k_proj),
            ("self_attn.v_proj", &self.v_proj),
            ("self_attn.o_proj", &self.o_proj),
            ("mlp.gate_proj", &self.gate_proj),
            ("mlp.up_proj", &self.up_proj),
            ("mlp.down_proj", &self.down_proj),
        ]
    }

    /// The projections with their names inside the block, to change.
    pub fn projections_mut(&mut self) -> [(&'static str, &mut Projection); 7] {
        [
            ("self_attn.q_proj", &mut self.q_proj),
            ("self_attn.k_proj", &mut self.k_proj),
            ("self_attn.v_proj", &mut self.v_proj),
            ("self_attn.o_proj", &mut self.o_proj),
            ("mlp.gate_proj", &mut self.gate_proj),
            ("mlp.up_proj", &mut self.up_proj),
            ("mlp.down_proj", &mut self.down_proj),
        ]
    }
}

/// Normalises each head of each row on its own.
fn norm_heads(x: Tensor<2>, weight: &Tensor<2>, eps: f64) -> Tensor<2> {
    let [rows, width] = x.dims();
    let [_, dim] = weight.dims();
    rms_norm(x.reshape([rows * width / dim, dim]), weight.clone(), eps).reshape([rows, width])
}
