//! Text from a decoder, one token at a time for many prompts at once.

use crate::decoder::Decoder;
use crate::error::Error;
use crate::ops::head::logits;
use crate::ops::host::values;
use crate::sampling::{Random, Sampling};
use rayon::prelude::*;
use std::ops::ControlFlow;
use std::sync::Arc;

/// What to generate and when to stop.
#[derive(Clone, Debug)]
pub struct Generation {
    /// New tokens per prompt, at most.
    pub max_tokens: usize,
    /// How tokens are drawn.
    pub sampling: Sampling,
    /// Seed; prompt `i` draws from stream `i`, so its text does not depend on the other prompts.
    pub seed: u64,
    /// Tokens that end a sequence (not part of the result).
    pub stop: Vec<u32>,
}

/// Continues every prompt; `on_token(prompt, token)` sees each token as it is drawn and may end the
/// whole generation early.
///
/// # Errors
/// When a prompt is empty or does not fit the model's positions.
pub fn generate(
    decoder: &Decoder,
    prompts: &[Vec<u32>],
    generation: &Generation,
    mut on_token: impl FnMut(usize, u32) -> ControlFlow<()>,
) -> Result<Vec<Vec<u32>>, Error> {
    let longest = prompts.iter().map(Vec::len).max().unwrap_or(0);
    if prompts.iter().any(Vec::is_empty) {
        return Err(Error::EmptyPrompt);
    }
    let capacity = longest + generation.max_tokens;
    if capacity > decoder.max_positions() {
        return Err(Error::CacheFull { capacity: decoder.max_positions(), wanted: capacity });
    }
    let mut cache = decoder.cache(prompts.len(), capacity);
    let mut streams: Vec<Random> = (0..prompts.len()).map(|i| Random::new(generation.seed, i as u64)).collect();
    let mut results = vec![Vec::new(); prompts.len()];
    let mut active: Vec<usize> = (0..prompts.len()).collect();
    let mut pending: Vec<Vec<u32>> = prompts.to_vec();
    let width = decoder.config.hidden_size;
    for _ in 0..generation.max_tokens {
        if active.is_empty() {
            break;
        }
        let lengths: Vec<usize> = active.iter().map(|&i| pending[i].len()).collect();
        let tokens: Vec<u32> = active.iter().flat_map(|&i| pending[i].iter().copied()).collect();
        let hidden = decoder.advance(Arc::new(tokens), &active, &lengths, &mut cache)?;
        let hidden = values(&hidden);
        let mut end = 0;
        let last: Vec<f32> = lengths
            .iter()
            .flat_map(|length| {
                end += length;
                hidden[(end - 1) * width..end * width].iter().copied()
            })
            .collect();
        let last = crate::ops::host::matrix(last, active.len(), width, &decoder.embedding.device());
        let scores = values(&logits(last, decoder.head()));
        let vocabulary = scores.len() / active.len();
        // One bad value makes its row's largest score, or the sum over the row, not a number.
        if !scores.iter().sum::<f32>().is_finite() {
            return Err(Error::NotANumber { tokens: cache.lengths().iter().copied().max().unwrap_or(0) });
        }
        let drawn: Vec<(u32, Random)> = scores
            .par_chunks(vocabulary)
            .zip(&active)
            .map(|(row, &i)| {
                let mut stream = streams[i].clone();
                (generation.sampling.draw(row, &mut stream), stream)
            })
            .collect();
        let mut still_active = Vec::with_capacity(active.len());
        for (&i, (token, stream)) in active.iter().zip(drawn) {
            streams[i] = stream;
            if generation.stop.contains(&token) {
                continue;
            }
            results[i].push(token);
            if on_token(i, token).is_break() {
                return Ok(results);
            }
            pending[i] = vec![token];
            still_active.push(i);
        }
        active = still_active;
    }
    Ok(results)
}
