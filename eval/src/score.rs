//! Log-likelihoods of tokens.

use burn::tensor::{Int, Tensor, TensorData};
use lore_model::Decoder;
use lore_model::ops::head::log_likelihoods;
use lore_model::ops::host::{HostMatrix, matrix};
use lore_model::ops::sequences::Sequences;
use std::sync::Arc;

/// Rows computed at once.
const BATCH_ROWS: usize = 2048;

/// Tokens to score after tokens that are given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenRequest {
    /// Known tokens; at least one.
    pub context: Vec<u32>,
    /// Tokens whose log-likelihood is wanted.
    pub continuation: Vec<u32>,
}

/// What a model says of one continuation.
#[derive(Clone, Debug, PartialEq)]
pub struct TokenScores {
    /// Log-probability of each token of the continuation, nats.
    pub log_likelihoods: Vec<f32>,
    /// Whether each token is the most likely one.
    pub greedy: Vec<bool>,
}

impl TokenScores {
    /// Log-likelihood of the whole continuation, nats.
    pub fn total(&self) -> f64 {
        self.log_likelihoods.iter().map(|&x| f64::from(x)).sum()
    }
}

/// A request that cannot be scored.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// There is no token to begin from.
    #[error("request {index} has no context; give at least the token that begins a text")]
    EmptyContext {
        /// Number of the request, from 0.
        index: usize,
    },
    /// The request is longer than the model's positions.
    #[error("request {index} has {length} tokens, but the model only {limit} positions; shorten the context")]
    TooLong {
        /// Number of the request, from 0.
        index: usize,
        /// Its tokens.
        length: usize,
        /// Positions of the model.
        limit: usize,
    },
}

/// Scores every request; results come in the order of the requests. `on_done` hears how many tokens
/// each batch had.
///
/// # Errors
/// The first request without a context or longer than the model's positions; nothing is computed then.
pub fn score(
    decoder: &Decoder,
    requests: &[TokenRequest],
    mut on_done: impl FnMut(usize),
) -> Result<Vec<TokenScores>, Error> {
    for (index, request) in requests.iter().enumerate() {
        let (length, limit) = (request.context.len() + request.continuation.len(), decoder.max_positions());
        if request.context.is_empty() {
            return Err(Error::EmptyContext { index });
        }
        if length > limit {
            return Err(Error::TooLong { index, length, limit });
        }
    }
    // Long ones first, so that batches are filled evenly; the order of results is kept.
    let mut order: Vec<usize> = (0..requests.len()).collect();
    order.sort_by_key(|&i| std::cmp::Reverse(requests[i].context.len() + requests[i].continuation.len()));
    let mut results = vec![TokenScores { log_likelihoods: vec![], greedy: vec![] }; requests.len()];
    let mut rest = order.as_slice();
    while !rest.is_empty() {
        let mut rows = 0;
        let fitting = rest.iter().take_while(|&&i| {
            rows += requests[i].context.len() + requests[i].continuation.len() - 1;
            rows <= BATCH_ROWS
        });
        let (batch, after) = rest.split_at(fitting.count().max(1));
        rest = after;
        on_done(score_batch(decoder, requests, batch, &mut results));
    }
    Ok(results)
}

fn score_batch(decoder: &Decoder, requests: &[TokenRequest], batch: &[usize], results: &mut [TokenScores]) -> usize {
    let (mut tokens, mut lengths, mut wanted, mut labels) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for &i in batch {
        let TokenRequest { context, continuation } = &requests[i];
        // The row of a token predicts the next one; the last token predicts nothing that is asked for.
        let all = context.iter().chain(continuation).copied();
        let length = (context.len() + continuation.len()).saturating_sub(1);
        if !continuation.is_empty() {
            wanted.extend(tokens.len() + context.len() - 1..tokens.len() + length);
        }
        tokens.extend(all.take(length));
        lengths.push(length);
        labels.extend_from_slice(continuation);
    }
    let count = tokens.len();
    let hidden = decoder.hidden(Arc::new(tokens), Arc::new(Sequences::whole(&lengths)));
    let scores = log_likelihoods(&pick_rows(&hidden, &wanted), &decoder.head(), &labels);
    let mut scores = scores.into_iter();
    for &i in batch {
        let (log_likelihoods, greedy) = scores.by_ref().take(requests[i].continuation.len()).unzip();
        results[i] = TokenScores { log_likelihoods, greedy };
    }
    count
}

fn pick_rows(hidden: &Tensor<2>, rows: &[usize]) -> Tensor<2> {
    let [_, width] = hidden.dims();
    match HostMatrix::of(hidden) {
        Some(host) => {
            let picked = rows.iter().flat_map(|&row| host.values()[row * width..][..width].iter().copied()).collect();
            matrix(picked, rows.len(), width, &hidden.device())
        }
        None => {
            let indices: Vec<i32> = rows.iter().map(|&row| row as i32).collect();
            let indices = Tensor::<1, Int>::from_data(TensorData::new(indices, [rows.len()]), &hidden.device());
            hidden.clone().select(0, indices)
        }
    }
}
