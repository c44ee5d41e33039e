//! Log-likelihoods of tokens.
//!
//! On the CPU a score depends on its request alone, to the last bit: batches are ragged, so nothing is padded; a
//! context is always computed apart from its continuations; and no product has so few rows that it would be rounded
//! in another way.

use burn::tensor::{Int, Tensor, TensorData};
use lore_model::Decoder;
use lore_model::ops::head::log_likelihoods;
use lore_model::ops::host::{HostMatrix, matrix};
use lore_model::ops::sequences::Sequences;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::ops::ControlFlow;
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
    let groups = groups(requests, batch_rows);
    let mut rest = groups.as_slice();
    while !rest.is_empty() {
        let mut rows = 0;
        let fitting = rest.iter().take_while(|group| {
            rows += group.rows(requests);
            rows <= batch_rows
        });
        let (batch, after) = rest.split_at(fitting.count().max(1));
        rest = after;
        let tokens = batch.iter().map(|group| group.tokens(requests)).sum();
        if on_batch(ScoredBatch { tokens, scores: score_batch(decoder, requests, batch) }).is_break() {
            break;
        }
    }
    Ok(())
}

/// Requests with the same context, which is computed once for all of them.
struct Group {
    members: Vec<usize>,
}

impl Group {
    fn rows(&self, requests: &[TokenRequest]) -> usize {
        let own = |&i: &usize| requests[i].continuation.len().saturating_sub(1);
        requests[self.members[0]].context.len() + self.members.iter().map(own).sum::<usize>()
    }

    /// Tokens of all members, however they were computed.
    fn tokens(&self, requests: &[TokenRequest]) -> usize {
        self.members.iter().map(|&i| requests[i].context.len() + requests[i].continuation.len() - 1).sum()
    }
}

/// Groups in the order of their size, largest first, so that batches fill evenly.
fn groups(requests: &[TokenRequest], batch_rows: usize) -> Vec<Group> {
    let mut by_context: BTreeMap<&[u32], Vec<usize>> = BTreeMap::new();
    for (index, request) in requests.iter().enumerate() {
        by_context.entry(&request.context).or_default().push(index);
    }
    let mut groups: Vec<Group> = Vec::new();
    for (context, members) in by_context {
        let mut rows = usize::MAX;
        for index in members {
            let own = requests[index].continuation.len().saturating_sub(1);
            // A group that would not fit into one batch is continued by another with its own context rows.
            if rows.saturating_add(own) > batch_rows {
                groups.push(Group { members: Vec::new() });
                rows = context.len();
            }
            rows += own;
            groups.last_mut().expect("pushed at the first member").members.push(index);
        }
    }
    groups.sort_by_key(|group| (std::cmp::Reverse(group.rows(requests)), group.members[0]));
    groups
}

fn score_batch(decoder: &Decoder, requests: &[TokenRequest], batch: &[Group]) -> Vec<(usize, TokenScores)> {
    let (mut tokens, mut parts, mut wanted, mut labels) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for group in batch {
        let context = &requests[group.members[0]].context;
        let parent = parts.len();
        // The row of a token predicts the next one; the last token predicts nothing that is asked for.
        tokens.extend_from_slice(context);
        parts.push((context.len(), None));
        let last_of_context = tokens.len() - 1;
        for &i in &group.members {
            let continuation = &requests[i].continuation;
            let Some((_, predicted_from)) = continuation.split_last() else { continue };
            wanted.push(last_of_context);
            wanted.extend(tokens.len()..tokens.len() + predicted_from.len());
            labels.extend_from_slice(continuation);
            if !predicted_from.is_empty() {
                tokens.extend_from_slice(predicted_from);
                parts.push((predicted_from.len(), Some(parent)));
            }
        }
    }
    if wanted.is_empty() {
        let nothing = TokenScores { log_likelihoods: vec![], greedy: vec![] };
        return batch.iter().flat_map(|group| &group.members).map(|&i| (i, nothing.clone())).collect();
    }
    while tokens.len() < FEWEST_ROWS {
        let filling = FILLING.min(decoder.max_positions());
        tokens.extend(std::iter::repeat_n(tokens[0], filling));
        parts.push((filling, None));
    }
    while wanted.len() < FEWEST_ROWS {
        wanted.push(wanted[0]);
        labels.push(labels[0]);
    }
    let hidden = decoder.hidden(Arc::new(tokens), Arc::new(Sequences::branching(&parts)));
    let scores = log_likelihoods(&pick_rows(&hidden, &wanted), &decoder.head(), &labels);
    let mut scores = scores.into_iter();
    let one = |&i: &usize| {
        let (log_likelihoods, greedy) = scores.by_ref().take(requests[i].continuation.len()).unzip();
        (i, TokenScores { log_likelihoods, greedy })
    };
    batch.iter().flat_map(|group| &group.members).map(one).collect()
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
