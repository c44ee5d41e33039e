//! Log-likelihoods of tokens.
//!
//! Whatever beginnings the texts of a batch have in common is computed once: a context with several continuations, examples
//! before each question, two sentences that differ in a word.
//!
//! On the CPU a score depends on its request alone, to the last bit, all the same: batches are ragged, so nothing is
//! padded; attention of sequences that share beginnings sums in one order wherever they part; and no product has so few
//! rows that it would be rounded in another way.

use burn::tensor::{Int, Tensor, TensorData};
use lore_model::Decoder;
use lore_model::ops::head::log_likelihoods;
use lore_model::ops::host::{HostMatrix, matrix};
use lore_model::ops::sequences::{Branch, Sequences};
use serde::{Deserialize, Serialize};
use std::ops::{ControlFlow, Range};
use std::sync::Arc;

/// Rows computed at once.
pub const BATCH_ROWS: usize = 2048;

/// Rows computed at once at least. Matrix products of fewer rows take other paths (`gemm`: one row, at most 256
/// values, at most 64 rows) whose sums are rounded differently.
const FEWEST_ROWS: usize = 257;

/// Tokens of one sequence that only fills a batch up.
const FILLING: usize = 32;

/// Tokens to score after tokens that are given.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TokenRequest {
    /// Known tokens; at least one.
    pub context: Vec<u32>,
    /// Tokens whose log-likelihood is wanted.
    pub continuation: Vec<u32>,
}

impl TokenRequest {
    /// The tokens that are read: the last of the continuation predicts nothing that is asked for.
    fn read(&self) -> impl Iterator<Item = u32> + '_ {
        self.context.iter().chain(&self.continuation).copied().take(self.count())
    }

    /// How many tokens are read.
    fn count(&self) -> usize {
        if self.continuation.is_empty() { 0 } else { self.context.len() + self.continuation.len() - 1 }
    }

    /// How many tokens at the beginning both read.
    fn shared(&self, other: &Self) -> usize {
        self.read().zip(other.read()).take_while(|(a, b)| a == b).count()
    }
}

/// What a model says of one continuation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
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
    let mut results = vec![TokenScores { log_likelihoods: vec![], greedy: vec![] }; requests.len()];
    score_batches(decoder, requests, BATCH_ROWS, |batch| {
        on_done(batch.tokens);
        for (index, scores) in batch.scores {
            results[index] = scores;
        }
        ControlFlow::Continue(())
    })?;
    Ok(results)
}

/// Some requests that were scored together.
#[derive(Clone, Debug, PartialEq)]
pub struct ScoredBatch {
    /// Tokens of all of them, however they were computed.
    pub tokens: usize,
    /// The place of each request, and its scores.
    pub scores: Vec<(usize, TokenScores)>,
}

/// As [`score`], giving each batch of about `batch_rows` rows to `on_batch` as soon as it is scored; stops when that
/// breaks.
///
/// # Errors
/// As [`score`].
pub fn score_batches(
    decoder: &Decoder,
    requests: &[TokenRequest],
    batch_rows: usize,
    mut on_batch: impl FnMut(ScoredBatch) -> ControlFlow<()>,
) -> Result<(), Error> {
    for (index, request) in requests.iter().enumerate() {
        let (length, limit) = (request.context.len() + request.continuation.len(), decoder.max_positions());
        if request.context.is_empty() {
            return Err(Error::EmptyContext { index });
        }
        if length > limit {
            return Err(Error::TooLong { index, length, limit });
        }
    }
    // Neighbours in the order of their tokens have most in common.
    let mut order: Vec<usize> = (0..requests.len()).collect();
    order.sort_by(|&a, &b| requests[a].read().cmp(requests[b].read()).then(a.cmp(&b)));
    let mut rest = order.as_slice();
    while !rest.is_empty() {
        let (batch, after) = rest.split_at(fitting(requests, rest, batch_rows));
        rest = after;
        let tokens = batch.iter().map(|&index| requests[index].count()).sum();
        if on_batch(ScoredBatch { tokens, scores: score_batch(decoder, requests, batch) }).is_break() {
            break;
        }
    }
    Ok(())
}

/// How many of the first requests have no more rows together than a batch has; at least one.
fn fitting(requests: &[TokenRequest], order: &[usize], batch_rows: usize) -> usize {
    let mut rows = requests[order[0]].count();
    let fits = |pair: &&[usize]| {
        let (before, request) = (&requests[pair[0]], &requests[pair[1]]);
        rows += request.count() - request.shared(before);
        rows <= batch_rows
    };
    1 + order.windows(2).take_while(fits).count()
}

/// The rows of a batch of requests in the order of their tokens, and what is asked of them.
#[derive(Default)]
struct Rows {
    tokens: Vec<u32>,
    branches: Vec<Branch>,
    /// A row, the token asked for there, the request's place in the batch, the token's place in its continuation.
    asked: Vec<(usize, u32, usize, usize)>,
}

impl Rows {
    fn of(requests: &[TokenRequest], batch: &[usize]) -> Self {
        let mut rows = Self::default();
        // Where the tokens of the request before are.
        let mut path: Vec<Range<usize>> = Vec::new();
        for (place, &index) in batch.iter().enumerate() {
            let request = &requests[index];
            let shared = place.checked_sub(1).map_or(0, |before| request.shared(&requests[batch[before]]));
            path = beginning(&path, shared);
            let own = request.count() - shared;
            if own > 0 {
                rows.branches.push(Branch { prefix: path.clone(), length: own });
                path.push(rows.tokens.len()..rows.tokens.len() + own);
                rows.tokens.extend(request.read().skip(shared));
            }
            let predicting = path.iter().flat_map(Clone::clone).skip(request.context.len() - 1);
            let asked = predicting.zip(&request.continuation).enumerate();
            rows.asked.extend(asked.map(|(position, (row, &token))| (row, token, place, position)));
        }
        rows.asked.sort_unstable();
        rows
    }
}

/// The first `count` rows of a path.
fn beginning(path: &[Range<usize>], count: usize) -> Vec<Range<usize>> {
    let mut left = count;
    let parts = path.iter().map(|rows| {
        let taken = left.min(rows.len());
        left -= taken;
        rows.start..rows.start + taken
    });
    parts.filter(|rows| !rows.is_empty()).collect()
}

fn score_batch(decoder: &Decoder, requests: &[TokenRequest], batch: &[usize]) -> Vec<(usize, TokenScores)> {
    let Rows { mut tokens, mut branches, asked } = Rows::of(requests, batch);
    let mut scores: Vec<(usize, TokenScores)> = batch
        .iter()
        .map(|&index| {
            let count = requests[index].continuation.len();
            (index, TokenScores { log_likelihoods: vec![0.0; count], greedy: vec![false; count] })
        })
        .collect();
    if asked.is_empty() {
        return scores;
    }
    while tokens.len() < FEWEST_ROWS {
        let length = FILLING.min(decoder.max_positions());
        tokens.extend(std::iter::repeat_n(tokens[0], length));
        branches.push(Branch { prefix: Vec::new(), length });
    }
    let mut wanted: Vec<usize> = asked.iter().map(|&(row, ..)| row).collect();
    wanted.dedup();
    let mut questions = Vec::with_capacity(asked.len());
    for &(row, token, ..) in &asked {
        let place = questions.last().map_or(0, |&(place, _)| place);
        questions.push((place + usize::from(wanted[place] != row), token));
    }
    while wanted.len() < FEWEST_ROWS {
        wanted.push(wanted[0]);
    }
    let hidden = decoder.hidden(Arc::new(tokens), Arc::new(Sequences::branching(&branches)));
    let answers = log_likelihoods(&pick_rows(&hidden, &wanted), &decoder.head(), &questions);
    for ((_, _, place, position), (log_likelihood, greedy)) in asked.into_iter().zip(answers) {
        let (_, scores) = &mut scores[place];
        scores.log_likelihoods[position] = log_likelihood;
        scores.greedy[position] = greedy;
    }
    scores
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn beginnings_are_rows_once() {
        let request = |context: &[u32], continuation: &[u32]| TokenRequest {
            context: context.to_vec(),
            continuation: continuation.to_vec(),
        };
        let requests = [
            request(&[1, 2, 4], &[5]),
            request(&[1], &[2, 3, 9, 7]),
            request(&[1, 2, 3], &[8, 6]),
            request(&[4], &[]),
            request(&[1, 2, 3], &[9]),
        ];
        let mut order: Vec<usize> = (0..requests.len()).collect();
        order.sort_by(|&a, &b| requests[a].read().cmp(requests[b].read()));
        // Read are nothing; 1 2 3; 1 2 3 8; 1 2 3 9; 1 2 4.
        assert_eq!(order, [3, 4, 2, 1, 0]);
        assert_eq!(fitting(&requests, &order, 4), 3);
        assert_eq!(fitting(&requests, &order[1..], 1), 1);
        let rows = Rows::of(&requests, &order);
        assert_eq!(rows.tokens, [1, 2, 3, 8, 9, 4]);
        let branch =
            |shared: usize, length| Branch { prefix: beginning(&[Range { start: 0, end: 3 }], shared), length };
        let expected = [branch(0, 3), branch(3, 1), branch(3, 1), branch(2, 1)];
        assert_eq!(rows.branches, expected);
        let asked = [
            (0, 2, 3, 0),
            (1, 3, 3, 1),
            (2, 8, 2, 0),
            (2, 9, 1, 0),
            (2, 9, 3, 2),
            (3, 6, 2, 1),
            (4, 7, 3, 3),
            (5, 5, 4, 0),
        ];
        assert_eq!(rows.asked, asked);
    }
}
