//! A model larger than memory: its blocks are read one after another, each once for many batches.

use crate::block::{Block, BlockContext};
use crate::config::ModelConfig;
use crate::decoder::{matrix_shape, rotary_table};
use crate::error::Error;
use crate::ops::attention::attention;
use crate::ops::embedding::embedding;
use crate::ops::host::matrix;
use crate::ops::rms_norm::rms_norm;
use crate::ops::sequences::Sequences;
use crate::weights::WeightFile;
use crate::weights::check::{check_tensors, not_finite};
use burn::tensor::{Device, Tensor};
use std::collections::BTreeMap;
use std::sync::Arc;

/// A decoder whose weights stay in their file. In memory are one block, or the embeddings, or the head, and the
/// residual streams of the batches at hand.
pub struct StreamedDecoder<'a> {
    config: &'a ModelConfig,
    weights: &'a dyn WeightFile,
    device: Device,
}

impl<'a> StreamedDecoder<'a> {
    /// Checks names and shapes of all tensors.
    ///
    /// # Errors
    /// When tensors are missing, unexpected or of a wrong shape: all of them named.
    pub fn new(config: &'a ModelConfig, weights: &'a dyn WeightFile, device: &Device) -> Result<Self, Error> {
        check_tensors(config, weights)?;
        Ok(Self { config, weights, device: device.clone() })
    }

    /// Normalised final hidden states `[rows, hidden]` of each batch: tokens of whole sequences laid one after
    /// another. The same numbers as [`Decoder::hidden`](crate::Decoder::hidden) gives.
    ///
    /// # Errors
    /// Weights that cannot be read or are not finite.
    ///
    /// # Panics
    /// When there are not as many tokens as rows, or a sequence is longer than the model's positions.
    pub fn hidden(&self, batches: &[(Arc<Vec<u32>>, Arc<Sequences>)]) -> Result<Vec<Tensor<2>>, Error> {
        let table = Arc::new(rotary_table(self.config));
        let contexts: Vec<BlockContext> =
            batches.iter().map(|(_, sequences)| BlockContext::new(self.config, sequences, table.clone())).collect();
        let embeddings = self.read("model.embed_tokens.weight")?;
        let mut streams: Vec<Tensor<2>> = batches
            .iter()
            .map(|(tokens, sequences)| {
                assert_eq!(tokens.len(), sequences.rows(), "one token per row");
                assert!(sequences.longest() <= table.positions(), "sequence longer than the model's positions");
                embedding(embeddings.clone(), tokens.clone(), None)
            })
            .collect();
        drop(embeddings);
        for layer in 0..self.config.num_hidden_layers {
            let block = self.block(layer)?;
            for ((stream, (_, sequences)), context) in streams.iter_mut().zip(batches).zip(&contexts) {
                // Taken out, so that the old residual stream is gone when the block is through.
                let x = std::mem::replace(stream, Tensor::zeros([1, 1], &self.device));
                *stream =
                    block.forward(x, context, &mut |[q, k, v]| attention(q, k, v, sequences.clone(), context.heads));
            }
        }
        let norm = self.read("model.norm.weight")?;
        Ok(streams.into_iter().map(|stream| rms_norm(stream, norm.clone(), self.config.rms_norm_eps)).collect())
    }

    /// The head, `[vocabulary, hidden]`.
    ///
    /// # Errors
    /// Weights that cannot be read or are not finite.
    pub fn head(&self) -> Result<Tensor<2>, Error> {
        self.read(if self.config.tie_word_embeddings { "model.embed_tokens.weight" } else { "lm_head.weight" })
    }

    fn block(&self, layer: usize) -> Result<Block, Error> {
        let prefix = format!("model.layers.{layer}.");
        let mut tensors = BTreeMap::new();
        for (name, _) in self.config.expected_tensors() {
            if let Some(inside) = name.strip_prefix(&prefix) {
                tensors.insert(inside.to_owned(), self.read(&name)?);
            }
        }
        Ok(Block::assemble(self.config, |name| tensors.remove(name).expect("every tensor of the block was read")))
    }

    fn read(&self, name: &str) -> Result<Tensor<2>, Error> {
        let values = self.weights.read_f32(name)?;
        let problems: Vec<String> = not_finite(name, &values).into_iter().collect();
        if !problems.is_empty() {
            return Err(Error::NotFinite { path: self.weights.path().to_owned(), problems });
        }
        let [rows, columns] = matrix_shape(&self.weights.tensors()[name].shape);
        Ok(matrix(values, rows, columns, &self.device))
    }
}
