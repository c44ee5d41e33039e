//! A model larger than memory: its blocks are read one after another, each once for many batches.

use crate::block::{Block, BlockContext};
use crate::config::ModelConfig;
use crate::decoder::{EMBEDDINGS, matrix_shape, rotary_table};
use crate::error::Error;
use crate::ops::attention::attention;
use crate::ops::head::logits;
use crate::ops::host::{matrix, values};
use crate::ops::rms_norm::rms_norm;
use crate::ops::sequences::Sequences;
use crate::weights::WeightFile;
use crate::weights::check::{check_tensors, not_finite};
use burn::tensor::{Device, Tensor};
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

/// Values of the embeddings or of the head that are in memory at once.
pub const PART: usize = 4 << 20;

/// A decoder whose weights stay in their file. In memory are one block, or a part of the embeddings or of the head, and
/// the residual streams of the batches at hand.
pub struct StreamedDecoder<'a> {
    config: &'a ModelConfig,
    weights: &'a dyn WeightFile,
    device: Device,
    part: usize,
}

impl<'a> StreamedDecoder<'a> {
    /// Checks names and shapes of all tensors.
    ///
    /// # Errors
    /// When tensors are missing, unexpected or of a wrong shape: all of them named.
    pub fn new(config: &'a ModelConfig, weights: &'a dyn WeightFile, device: &Device) -> Result<Self, Error> {
        check_tensors(config, weights)?;
        Ok(Self { config, weights, device: device.clone(), part: PART })
    }

    /// The same with so many values of the embeddings or of the head in memory at once, instead of 4 million.
    #[must_use]
    pub fn in_parts_of(self, values: usize) -> Self {
        Self { part: values, ..self }
    }

    /// Normalised final hidden states `[rows, hidden]` of each batch: tokens of whole sequences laid one after
    /// another. The same numbers as [`Decoder::hidden`](crate::Decoder::hidden) gives.
    ///
    /// # Errors
    /// Weights that cannot be read or are not finite.
    ///
    /// # Panics
    /// When there are not as many tokens as rows, a token is outside the vocabulary, or a sequence is longer than the model's
    /// positions.
    pub fn hidden(&self, batches: &[(Arc<Vec<u32>>, Arc<Sequences>)]) -> Result<Vec<Tensor<2>>, Error> {
        let table = Arc::new(rotary_table(self.config));
        let contexts: Vec<BlockContext> =
            batches.iter().map(|(_, sequences)| BlockContext::new(self.config, sequences, table.clone())).collect();
        for (tokens, sequences) in batches {
            assert_eq!(tokens.len(), sequences.rows(), "one token per row");
            let vocabulary = self.config.vocab_size;
            assert!(tokens.iter().all(|&token| (token as usize) < vocabulary), "tokens inside the vocabulary");
            assert!(sequences.longest() <= table.positions(), "sequence longer than the model's positions");
        }
        let mut streams = self.embed(batches.iter().map(|(tokens, _)| tokens.as_slice()))?;
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

    /// Logits `[rows, vocabulary]`, row-major, of normalised final hidden states: of few rows, and of as many at once as
    /// memory allows, since the head is read for each call.
    ///
    /// # Errors
    /// Weights that cannot be read or are not finite.
    pub fn logits(&self, hidden: &Tensor<2>) -> Result<Vec<f32>, Error> {
        let name = if self.config.tie_word_embeddings { EMBEDDINGS } else { "lm_head.weight" };
        let ([rows, _], vocabulary) = (hidden.dims(), self.config.vocab_size);
        let mut all = vec![0.0; rows * vocabulary];
        for tokens in self.parts() {
            let part = values(&logits(hidden.clone(), self.read_rows(name, tokens.clone())?));
            for (all, part) in all.chunks_exact_mut(vocabulary).zip(part.chunks_exact(tokens.len())) {
                all[tokens.clone()].copy_from_slice(part);
            }
        }
        Ok(all)
    }

    /// Embeddings of tokens, `[tokens, hidden]` for each.
    fn embed<'b>(&self, batches: impl Iterator<Item = &'b [u32]> + Clone) -> Result<Vec<Tensor<2>>, Error> {
        let width = self.config.hidden_size;
        let mut all: Vec<Vec<f32>> = batches.clone().map(|tokens| vec![0.0; tokens.len() * width]).collect();
        for part in self.parts() {
            let table = self.read_values(EMBEDDINGS, part.clone())?;
            for (rows, tokens) in all.iter_mut().zip(batches.clone()) {
                let inside =
                    rows.chunks_exact_mut(width).zip(tokens).filter(|(_, token)| part.contains(&(**token as usize)));
                for (row, &token) in inside {
                    row.copy_from_slice(&table[(token as usize - part.start) * width..][..width]);
                }
            }
        }
        Ok(all.into_iter().zip(batches).map(|(rows, tokens)| matrix(rows, tokens.len(), width, &self.device)).collect())
    }

    /// The vocabulary in parts.
    fn parts(&self) -> impl Iterator<Item = Range<usize>> + use<> {
        let (vocabulary, rows) = (self.config.vocab_size, (self.part / self.config.hidden_size).max(1));
        (0..vocabulary).step_by(rows).map(move |start| start..vocabulary.min(start + rows))
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
        let shape = &self.weights.tensors()[name].shape;
        let [rows, columns] = matrix_shape(shape);
        Ok(matrix(self.read_values(name, 0..shape[0])?, rows, columns, &self.device))
    }

    fn read_rows(&self, name: &str, rows: Range<usize>) -> Result<Tensor<2>, Error> {
        Ok(matrix(self.read_values(name, rows.clone())?, rows.len(), self.config.hidden_size, &self.device))
    }

    fn read_values(&self, name: &str, rows: Range<usize>) -> Result<Vec<f32>, Error> {
        let values = self.weights.read_rows_f32(name, rows)?;
        let problems: Vec<String> = not_finite(name, &values).into_iter().collect();
        if problems.is_empty() {
            Ok(values)
        } else {
            Err(Error::NotFinite { path: self.weights.path().to_owned(), problems })
        }
    }
}
