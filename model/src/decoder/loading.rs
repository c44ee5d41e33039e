//! How a decoder is put together: from files or from tensors, in `f32` or with its matrices in blocks.

use super::{Decoder, EMBEDDINGS, matrix_shape, rotary_table};
use crate::block::Block;
use crate::config::ModelConfig;
use crate::cpu::rotary::RotaryTable;
use crate::error::Error;
use crate::ops::host::matrix;
use crate::projection::Weight;
use crate::quantised::Blocks;
use crate::weights::WeightFile;
use crate::weights::check::{check_tensors, not_finite as not_finite_values};
use burn::tensor::{Device, Tensor};
use std::collections::BTreeMap;
use std::sync::Arc;

impl Decoder {
    /// Reads every tensor of `weights` onto `device`.
    ///
    /// # Errors
    /// When tensors are missing, unexpected, of a wrong shape or not finite: all of them named.
    pub fn load(config: &ModelConfig, weights: &dyn WeightFile, device: &Device) -> Result<Self, Error> {
        Self::read(config, weights, device, config.num_hidden_layers, &|block| block)
    }

    /// As [`Decoder::load`], with the first `blocks` blocks alone: what computes states inside the model.
    ///
    /// # Errors
    /// As [`Decoder::load`].
    ///
    /// # Panics
    /// When the model has fewer.
    pub fn load_lower(
        config: &ModelConfig,
        weights: &dyn WeightFile,
        device: &Device,
        blocks: usize,
    ) -> Result<Self, Error> {
        assert!(blocks <= config.num_hidden_layers, "{blocks} of {} blocks", config.num_hidden_layers);
        Self::read(config, weights, device, blocks, &|block| block)
    }

    /// As [`Decoder::load`], with the matrices of all projections rounded to blocks and frozen as soon as a block is
    /// read, so that they are never all in memory in `f32`. Embeddings, head, norms and biases stay as they are.
    ///
    /// # Errors
    /// As [`Decoder::load`].
    pub fn load_quantised(
        config: &ModelConfig,
        weights: &dyn WeightFile,
        device: &Device,
        kind: Blocks,
    ) -> Result<Self, Error> {
        Self::read(config, weights, device, config.num_hidden_layers, &|block| block.quantised(kind))
    }

    fn read(
        config: &ModelConfig,
        weights: &dyn WeightFile,
        device: &Device,
        blocks: usize,
        finish: &dyn Fn(Block) -> Block,
    ) -> Result<Self, Error> {
        check_tensors(config, weights)?;
        let config = ModelConfig { num_hidden_layers: blocks, ..config.clone() };
        let mut not_finite = Vec::new();
        let get = |name: &str, [rows, columns]: [usize; 2]| {
            let values = weights.read_f32(name)?;
            not_finite.extend(not_finite_values(name, &values));
            Ok(matrix(values, rows, columns, device))
        };
        let decoder = Self::build_with(&config, Arc::new(rotary_table(&config)), get, finish)?;
        if not_finite.is_empty() {
            Ok(decoder)
        } else {
            Err(Error::NotFinite { path: weights.path().to_owned(), problems: not_finite })
        }
    }

    /// Puts a decoder together from tensors given by Hugging Face name; vectors are `[1, n]`.
    ///
    /// # Errors
    /// Whatever `get` returns.
    pub fn build(
        config: &ModelConfig,
        get: impl FnMut(&str, [usize; 2]) -> Result<Tensor<2>, Error>,
    ) -> Result<Self, Error> {
        Self::build_with(config, Arc::new(rotary_table(config)), get, &|block| block)
    }

    /// [`Decoder::build`]; every block goes through `finish` before the next one's tensors are asked for.
    pub(super) fn build_with(
        config: &ModelConfig,
        table: Arc<RotaryTable>,
        mut get: impl FnMut(&str, [usize; 2]) -> Result<Tensor<2>, Error>,
        finish: &dyn Fn(Block) -> Block,
    ) -> Result<Self, Error> {
        let expected = config.expected_tensors();
        let in_a_block = expected.iter().filter(|(name, _)| name.starts_with("model.layers.0.")).count();
        let (mut outside, mut inside) = (BTreeMap::new(), BTreeMap::new());
        let mut blocks = Vec::with_capacity(config.num_hidden_layers);
        for (name, shape) in expected {
            let tensor = get(&name, matrix_shape(&shape))?;
            match name.strip_prefix("model.layers.").and_then(|rest| rest.split_once('.')) {
                Some((_, in_block)) => drop(inside.insert(in_block.to_owned(), tensor)),
                None => drop(outside.insert(name, tensor)),
            }
            // A block's tensors come one after another.
            if inside.len() == in_a_block {
                let take = |name: &str| inside.remove(name).expect("every tensor of the block was collected");
                blocks.push(finish(Block::assemble(config, take)));
            }
        }
        let mut take = |name: &str| outside.remove(name).expect("every expected tensor was collected");
        let (embedding, norm) = (take(EMBEDDINGS), take("model.norm.weight"));
        let lm_head = (!config.tie_word_embeddings).then(|| take("lm_head.weight"));
        Ok(Self { config: config.clone(), embedding, blocks, norm, lm_head, recompute: false, picked: None, table })
    }

    /// The decoder with the matrices of its projections rounded to blocks and frozen; each is let go as soon as it is rounded.
    pub fn quantised(self, kind: Blocks) -> Self {
        let blocks = self.blocks.into_iter().map(|block| block.quantised(kind)).collect();
        Self { blocks, ..self }
    }

    /// Whether matrices of its projections are in blocks: then it computes something else than its files say.
    pub fn is_quantised(&self) -> bool {
        let of = |block: &Block| block.projections().iter().any(|(_, one)| matches!(one.weight, Weight::Blocks(_)));
        self.blocks.iter().any(of)
    }

    /// Bytes that its own weights take, without updates.
    pub fn weight_bytes(&self) -> usize {
        let floats = |tensor: &Tensor<2>| 4 * tensor.dims().iter().product::<usize>();
        let mut bytes = floats(&self.embedding) + floats(&self.norm) + self.lm_head.as_ref().map_or(0, floats);
        for block in &self.blocks {
            bytes += floats(&block.input_norm) + floats(&block.post_attention_norm);
            bytes += block.head_norms.as_ref().map_or(0, |(q, k)| floats(q) + floats(k));
            for (_, projection) in block.projections() {
                bytes += projection.weight.size() + projection.bias.as_ref().map_or(0, floats);
            }
        }
        bytes
    }
}
