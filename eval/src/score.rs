//! Log-likelihoods of tokens.

use burn::tensor::{Int, Tensor, TensorData};
use lore_model::Decoder;
use lore_model::ops::head::log_likelihoods;
use lore_model::ops::host::{HostMatrix, matrix};
use lore_model::ops::sequences::Sequences;
use std::collections::BTreeMap;
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
    let mut results = vec![TokenScores { log_likelihoods: vec![], greedy: vec![] }; requests.len()];
    let groups = groups(requests);
    let mut rest = groups.as_slice();
    while !rest.is_empty() {
        let mut rows = 0;
        let fitting = rest.iter().take_while(|group| {
            rows += group.rows(requests);
            rows <= BATCH_ROWS
        });
        let (batch, after) = rest.split_at(fitting.count().max(1));
        rest = after;
        score_batch(decoder, requests, batch, &mut results);
        on_done(batch.iter().map(|group| group.tokens(requests)).sum());
    }
    Ok(results)
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
fn groups(requests: &[TokenRequest]) -> Vec<Group> {
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
            if rows.saturating_add(own) > BATCH_ROWS {
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

fn score_batch(decoder: &Decoder, requests: &[TokenRequest], batch: &[Group], results: &mut [TokenScores]) {
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
    let hidden = decoder.hidden(Arc::new(tokens), Arc::new(Sequences::branching(&parts)));
    let scores = log_likelihoods(&pick_rows(&hidden, &wanted), &decoder.head(), &labels);
    let mut scores = scores.into_iter();
    for &i in batch.iter().flat_map(|group| &group.members) {
        let (log_likelihoods, greedy) = scores.by_ref().take(requests[i].continuation.len()).unzip();
        results[i] = TokenScores { log_likelihoods, greedy };
    }
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
