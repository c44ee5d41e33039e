//! The Llama decoder: embeddings, blocks, final norm, head.

use crate::block::{Block, BlockContext, Place};
use crate::cache::KvCache;
use crate::config::ModelConfig;
use crate::cpu::rotary::RotaryTable;
use crate::error::Error;
use crate::ops::attention::attention;
use crate::ops::embedding::{PickedRows, embedding};
use crate::ops::recompute::recomputed;
use crate::ops::rms_norm::rms_norm;
use crate::ops::row_updates::RowUpdate;
use crate::ops::sequences::Sequences;
use crate::projection::{LowRank, Projection};
use crate::rope::frequencies;
use burn::tensor::Tensor;
use std::collections::BTreeMap;
use std::sync::Arc;

mod loading;

/// Longest position that rotary tables are made for.
const MAX_POSITIONS: usize = 32_768;

/// What the table of token embeddings is called.
pub const EMBEDDINGS: &str = "model.embed_tokens.weight";

/// A decoder with its weights on one device. Cloning shares the weights.
#[derive(Clone, Debug)]
pub struct Decoder {
    /// Sizes and variant.
    pub config: ModelConfig,
    /// Token embeddings, `[vocabulary, hidden]`; also the head when tied.
    pub embedding: Tensor<2>,
    /// The blocks from input to output.
    pub blocks: Vec<Block>,
    /// Final norm, `[1, hidden]`.
    pub norm: Tensor<2>,
    /// Untied head, `[vocabulary, hidden]`.
    pub lm_head: Option<Tensor<2>>,
    recompute: bool,
    picked: Option<PickedRows>,
    table: Arc<RotaryTable>,
}

impl Decoder {
    /// The base's own tensors by Hugging Face name (without low-rank updates), vectors as `[1, n]`. What is in blocks
    /// is expanded.
    pub fn parameters(&self) -> Vec<(String, Tensor<2>)> {
        let mut all = BTreeMap::new();
        all.insert(EMBEDDINGS.to_owned(), self.embedding.clone());
        all.insert("model.norm.weight".to_owned(), self.norm.clone());
        if let Some(head) = &self.lm_head {
            all.insert("lm_head.weight".to_owned(), head.clone());
        }
        for (layer, block) in self.blocks.iter().enumerate() {
            let mut add = |name: &str, tensor: &Tensor<2>| {
                all.insert(format!("model.layers.{layer}.{name}"), tensor.clone());
            };
            add("input_layernorm.weight", &block.input_norm);
            add("post_attention_layernorm.weight", &block.post_attention_norm);
            if let Some((q, k)) = &block.head_norms {
                add("self_attn.q_norm.weight", q);
                add("self_attn.k_norm.weight", k);
            }
            for (name, projection) in block.projections() {
                add(&format!("{name}.weight"), &projection.weight.dense());
                if let Some(bias) = &projection.bias {
                    add(&format!("{name}.bias"), bias);
                }
            }
        }
        let names = self.config.expected_tensors().into_iter().map(|(name, _)| name);
        names.map(|name| all.remove_entry(&name).expect("a decoder holds every expected tensor")).collect()
    }

    /// The same decoder with each of its tensors replaced, none in blocks any more; updates are kept.
    pub fn with_parameters(&self, mut replace: impl FnMut(&str, Tensor<2>) -> Tensor<2>) -> Self {
        let mut tensors: BTreeMap<String, Tensor<2>> = self.parameters().into_iter().collect();
        let replaced = |name: &str, _| {
            let tensor = tensors.remove(name).expect("a decoder holds every expected tensor");
            Ok(replace(name, tensor))
        };
        let mut decoder = Self::build_with(&self.config, self.table.clone(), replaced, &|block| block)
            .expect("replacing tensors cannot fail");
        decoder.recompute = self.recompute;
        let updates = self.blocks.iter().flat_map(|block| block.projections().map(|(_, p)| p.update.clone()));
        let slots = decoder.blocks.iter_mut().flat_map(|block| block.projections_mut().map(|(_, p)| &mut p.update));
        slots.zip(updates).for_each(|(slot, update)| *slot = update);
        decoder
    }

    /// The same decoder with the update of each projection chosen by its name, e.g.
    /// `model.layers.0.self_attn.q_proj`.
    pub fn with_updates(&self, mut update: impl FnMut(&str) -> Option<LowRank>) -> Self {
        self.with_updates_of(|path, _| update(path))
    }

    /// The same decoder with the update of each projection chosen by its name and what it is.
    pub fn with_updates_of(&self, mut update: impl FnMut(&str, &Projection) -> Option<LowRank>) -> Self {
        let mut decoder = self.clone();
        for (layer, block) in decoder.blocks.iter_mut().enumerate() {
            for (name, projection) in block.projections_mut() {
                projection.update = update(&format!("model.layers.{layer}.{name}"), projection);
            }
        }
        decoder
    }

    /// The same decoder with what each projection adds for some rows of a batch chosen by its name; see
    /// [`Projection::beside`](crate::projection::Projection::beside).
    pub fn with_beside(&self, mut beside: impl FnMut(&str) -> Vec<RowUpdate>) -> Self {
        let mut decoder = self.clone();
        for (layer, block) in decoder.blocks.iter_mut().enumerate() {
            for (name, projection) in block.projections_mut() {
                projection.beside = beside(&format!("model.layers.{layer}.{name}"));
            }
        }
        decoder
    }

    /// The same decoder, computing each block's inside again in the backward pass instead of keeping it: about a
    /// third more work for a fraction of the memory.
    pub fn with_recompute(mut self, recompute: bool) -> Self {
        self.recompute = recompute;
        self
    }

    /// The same decoder, collecting the gradient of its token embeddings in `rows` instead of in the graph.
    pub fn with_picked_rows(mut self, rows: PickedRows) -> Self {
        self.picked = Some(rows);
        self
    }

    /// The head, `[vocabulary, hidden]`.
    pub fn head(&self) -> Tensor<2> {
        self.lm_head.as_ref().unwrap_or(&self.embedding).clone()
    }

    /// Number of weights.
    pub fn parameter_count(&self) -> usize {
        self.config.expected_tensors().iter().map(|(_, shape)| shape.iter().product::<usize>()).sum()
    }

    /// Longest sequence that positions are known for.
    pub fn max_positions(&self) -> usize {
        self.table.positions()
    }

    /// Normalised final hidden states `[rows, hidden]` of whole sequences laid one after another.
    ///
    /// # Panics
    /// When there are not as many tokens as rows, or a sequence is longer than [`Decoder::max_positions`].
    pub fn hidden(&self, tokens: Arc<Vec<u32>>, sequences: Arc<Sequences>) -> Tensor<2> {
        self.hidden_after(tokens, sequences, &mut |_, _| ())
    }

    /// [`Decoder::hidden`], with the residual stream `[rows, hidden]` after each block, counted from the input, given to
    /// `after`.
    ///
    /// # Panics
    /// As [`Decoder::hidden`].
    pub fn hidden_after(
        &self,
        tokens: Arc<Vec<u32>>,
        sequences: Arc<Sequences>,
        after: &mut dyn FnMut(usize, &Tensor<2>),
    ) -> Tensor<2> {
        let context = self.context(&sequences);
        let mut x = self.embed(tokens, &sequences);
        for (layer, block) in self.blocks.iter().enumerate() {
            x = if self.recompute {
                recomputed_block(block, x, &context, &sequences)
            } else {
                block.forward(x, &context, &mut |[q, k, v]| attention(q, k, v, sequences.clone(), context.heads))
            };
            after(layer, &x);
        }
        rms_norm(x, self.norm.clone(), context.eps)
    }

    /// [`Decoder::hidden`], with what passes inside each block, counted from the input, shown to `watch`.
    ///
    /// # Panics
    /// As [`Decoder::hidden`].
    pub fn watched(
        &self,
        tokens: Arc<Vec<u32>>,
        sequences: Arc<Sequences>,
        watch: &mut dyn FnMut(usize, Place, &Tensor<2>),
    ) -> Tensor<2> {
        let context = self.context(&sequences);
        let mut x = self.embed(tokens, &sequences);
        for (layer, block) in self.blocks.iter().enumerate() {
            let attend = &mut |[q, k, v]: [Tensor<2>; 3]| attention(q, k, v, sequences.clone(), context.heads);
            x = block.watched(x, &context, attend, &mut |place, values| watch(layer, place, values));
        }
        rms_norm(x, self.norm.clone(), context.eps)
    }

    /// Normalised final hidden states of new tokens, `lengths[i]` of them for slot `slots[i]` of the
    /// cache, whose keys and values are added to it.
    ///
    /// # Errors
    /// When a slot has no room left.
    pub fn advance(
        &self,
        tokens: Arc<Vec<u32>>,
        slots: &[usize],
        lengths: &[usize],
        cache: &mut KvCache,
    ) -> Result<Tensor<2>, Error> {
        let sequences = Arc::new(cache.reserve(slots, lengths)?);
        let context = self.context(&sequences);
        let mut x = self.embed(tokens, &sequences);
        for (layer, block) in self.blocks.iter().enumerate() {
            x = block.forward(x, &context, &mut |[q, k, v]| {
                let (k, v) = cache.append(layer, k, v, &sequences);
                attention(q, k, v, sequences.clone(), context.heads)
            });
        }
        let hidden = rms_norm(x, self.norm.clone(), context.eps);
        Ok(hidden)
    }

    /// An empty cache for `slots` sequences of up to `capacity` tokens, or [`Decoder::max_positions`] if that
    /// is less.
    pub fn cache(&self, slots: usize, capacity: usize) -> KvCache {
        let capacity = capacity.min(self.max_positions());
        let width = self.config.num_key_value_heads * self.config.head_dim;
        KvCache::new(self.blocks.len(), slots, capacity, width, &self.embedding.device())
    }

    fn context(&self, sequences: &Sequences) -> BlockContext {
        BlockContext::new(&self.config, sequences, self.table.clone())
    }

    fn embed(&self, tokens: Arc<Vec<u32>>, sequences: &Sequences) -> Tensor<2> {
        assert_eq!(tokens.len(), sequences.rows(), "one token per row");
        assert!(sequences.longest() <= self.max_positions(), "sequence longer than the model's positions");
        embedding(self.embedding.clone(), tokens, self.picked.clone())
    }
}

/// The angles of every position that `config` allows.
pub(crate) fn rotary_table(config: &ModelConfig) -> RotaryTable {
    RotaryTable::new(&frequencies(config), config.max_position_embeddings.min(MAX_POSITIONS))
}

/// Vectors are matrices of one row.
pub(crate) fn matrix_shape(shape: &[usize]) -> [usize; 2] {
    match *shape {
        [columns] => [1, columns],
        [rows, columns] => [rows, columns],
        _ => unreachable!("a decoder has vectors and matrices only"),
    }
}

/// A block of which only the input is kept for the backward pass.
fn recomputed_block(block: &Block, x: Tensor<2>, context: &BlockContext, sequences: &Arc<Sequences>) -> Tensor<2> {
    let (block, context, sequences) = (block.clone(), context.clone(), sequences.clone());
    let inputs = std::iter::once(x).chain(block.tensors()).collect();
    // The tracked tensors come in as inputs; what the closure holds must not be in the graph.
    let block = block.replace(&mut Tensor::inner);
    recomputed(inputs, move |inputs| {
        let mut given = inputs[1..].iter().cloned();
        let block = block.clone().replace(&mut |_| given.next().expect("one input for each tensor of the block"));
        block
            .forward(inputs[0].clone(), &context, &mut |[q, k, v]| attention(q, k, v, sequences.clone(), context.heads))
    })
}
