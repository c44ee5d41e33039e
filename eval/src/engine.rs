//! Items to scores: each distinct request once, whatever was scored before not at all.
//!
//! On the CPU the samples depend on the model and the items alone: not on the size of batches, the order of items,
//! what was cached, or threads.

use std::collections::HashMap;
use std::ops::ControlFlow;
use std::path::PathBuf;

use lore_datasets::progress::{Progress, Unit};
use lore_model::Decoder;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use tokenizers::Tokenizer;

use crate::cache::ScoreCache;
use crate::request::token_request;
use crate::sample::Sample;
use crate::score::{BATCH_ROWS, TokenRequest, TokenScores, score_batches};
use crate::task::{Form, Item};
use crate::windows::rolling;
use crate::write::write;

/// A model that is asked.
pub struct Subject<'a> {
    /// The base with its modules.
    pub decoder: &'a Decoder,
    /// Text to tokens and back.
    pub tokenizer: &'a Tokenizer,
    /// What an empty context stands for.
    pub start: u32,
    /// Tokens that end a text.
    pub stop: &'a [u32],
}

/// How items are asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// Whether choices are scored without their question too.
    pub answer_only: bool,
    /// Rows computed at once.
    pub batch_rows: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self { answer_only: true, batch_rows: BATCH_ROWS }
    }
}

/// What a model says of one text.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Scored {
    /// Nats.
    pub log_likelihood: f64,
    /// Its tokens.
    pub tokens: usize,
    /// Whether each of them was the most likely one.
    pub greedy: bool,
}

impl From<&TokenScores> for Scored {
    fn from(scores: &TokenScores) -> Self {
        let greedy = scores.greedy.iter().all(|&greedy| greedy);
        Self { log_likelihood: scores.total(), tokens: scores.log_likelihoods.len(), greedy }
    }
}

/// Items that cannot be scored.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Something is wrong with an item.
    #[error("task {task}, item `{item}`: {problem}")]
    Item {
        /// The task.
        task: String,
        /// The item.
        item: String,
        /// What is wrong.
        problem: String,
    },
    /// A request is impossible.
    #[error(transparent)]
    Score(#[from] crate::score::Error),
    /// Text cannot be written.
    #[error(transparent)]
    Model(#[from] lore_model::Error),
    /// Scores cannot be kept.
    #[error("the scores computed so far cannot be written to {}", path.display())]
    Cache {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
}

/// What an item asks, in tokens.
enum Asked {
    /// Places in the list of requests; the first `choices`, then those without their question.
    Scores { requests: Vec<usize>, choices: usize, truncated: usize },
    /// A prompt.
    Text { prompt: Vec<u32>, truncated: usize },
}

/// Asks every item; samples come in the order of the items. `task` names them in errors.
///
/// # Errors
/// Text that the tokenizer refuses; a continuation longer than the model's positions; a model whose log-likelihoods
/// are not finite; a cache that cannot be written.
pub fn evaluate(
    subject: &Subject<'_>,
    task: &str,
    items: &[Item],
    options: &Options,
    cache: &mut ScoreCache,
    progress: &dyn Progress,
) -> Result<Vec<Sample>, Error> {
    let wrong = |item: &Item, problem: String| Error::Item { task: task.to_owned(), item: item.id.clone(), problem };
    let encoded: Vec<Encoded> = items
        .par_iter()
        .map(|item| encode(subject, &item.form, options).map_err(|problem| wrong(item, problem)))
        .collect::<Result<_, _>>()?;
    let mut places: HashMap<TokenRequest, usize> = HashMap::new();
    let mut requests: Vec<TokenRequest> = Vec::new();
    let asked: Vec<Asked> = encoded
        .into_iter()
        .map(|encoded| match encoded {
            Encoded::Text { prompt, truncated } => Asked::Text { prompt, truncated },
            Encoded::Scores { requests: own, choices, truncated } => {
                let mut place = |request: TokenRequest| {
                    *places.entry(request).or_insert_with_key(|request| {
                        requests.push(request.clone());
                        requests.len() - 1
                    })
                };
                Asked::Scores { requests: own.into_iter().map(&mut place).collect(), choices, truncated }
            }
        })
        .collect();
    let scores = score_all(subject, task, &requests, options, cache, progress)?;
    let texts = asked.iter().filter(|asked| matches!(asked, Asked::Text { .. })).count();
    let mut writing = (texts > 0).then(|| progress.task(&format!("write {task}"), Some(texts as u64), Unit::Items));
    let mut samples = Vec::with_capacity(items.len());
    for (item, asked) in items.iter().zip(asked) {
        samples.push(match asked {
            Asked::Scores { requests, choices, truncated } => {
                let scored: Vec<Scored> = requests.iter().map(|&place| scores[place]).collect();
                if !scored.iter().all(|scored| scored.log_likelihood.is_finite()) {
                    let problem =
                        "the model gives no finite log-likelihood; a module's weight is too large, or its numbers are";
                    return Err(wrong(item, problem.into()));
                }
                let (with, without) = scored.split_at(choices);
                Sample::of_scores(item, with, without, truncated)
            }
            Asked::Text { prompt, truncated } => {
                let Form::Generate { until, max_tokens, .. } = &item.form else {
                    unreachable!("only these are written")
                };
                let key = cache.text_key(&prompt, until, *max_tokens);
                let text = match cache.text(&key) {
                    Some(text) => text.to_owned(),
                    None => {
                        let text = write(subject, prompt, until, *max_tokens)?;
                        cache.keep_text(key, text.clone()).map_err(unwritten)?;
                        text
                    }
                };
                if let Some(writing) = &mut writing {
                    writing.advance(1);
                }
                Sample::of_text(item, text, truncated)
            }
        });
    }
    if let Some(writing) = writing {
        writing.finish(&format!("{texts} texts"));
    }
    Ok(samples)
}

fn unwritten((path, source): (PathBuf, std::io::Error)) -> Error {
    Error::Cache { path, source }
}

fn score_all(
    subject: &Subject<'_>,
    task: &str,
    requests: &[TokenRequest],
    options: &Options,
    cache: &mut ScoreCache,
    progress: &dyn Progress,
) -> Result<Vec<Scored>, Error> {
    if requests.is_empty() {
        return Ok(Vec::new());
    }
    let keys: Vec<String> = requests.iter().map(|request| cache.key(request)).collect();
    let mut scores: Vec<Option<Scored>> = keys.iter().map(|key| cache.score(key)).collect();
    let missing: Vec<usize> = (0..requests.len()).filter(|&place| scores[place].is_none()).collect();
    let wanted: Vec<TokenRequest> = missing.iter().map(|&place| requests[place].clone()).collect();
    let tokens: usize = wanted.iter().map(|r| r.context.len() + r.continuation.len() - 1).sum();
    let mut bar = progress.task(&format!("score {task}"), Some(tokens as u64), Unit::Tokens);
    let mut failed = None;
    score_batches(subject.decoder, &wanted, options.batch_rows, |batch| {
        let made: Vec<(usize, Scored)> =
            batch.scores.iter().map(|(index, scores)| (missing[*index], Scored::from(scores))).collect();
        for &(place, score) in &made {
            scores[place] = Some(score);
        }
        bar.advance(batch.tokens as u64);
        // What is not finite is an error of the model, not something to keep.
        let finite = made.into_iter().filter(|(_, score)| score.log_likelihood.is_finite());
        match cache.keep(finite.map(|(place, score)| (keys[place].clone(), score)).collect()) {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => {
                failed = Some(unwritten(error));
                ControlFlow::Break(())
            }
        }
    })?;
    if let Some(error) = failed {
        return Err(error);
    }
    let known = requests.len() - missing.len();
    let known = if known > 0 { format!(", {known} known before") } else { String::new() };
    bar.finish(&format!("{} requests{known}", requests.len()));
    Ok(scores.into_iter().map(|score| score.expect("every batch was scored")).collect())
}

enum Encoded {
    Scores { requests: Vec<TokenRequest>, choices: usize, truncated: usize },
    Text { prompt: Vec<u32>, truncated: usize },
}

fn encode(subject: &Subject<'_>, form: &Form, options: &Options) -> Result<Encoded, String> {
    let limit = subject.decoder.max_positions();
    let refused = |error: tokenizers::Error| format!("the tokenizer refuses it: {error}");
    let mut truncated = 0;
    let mut request = |context: &str, continuation: &str| -> Result<TokenRequest, String> {
        let mut request = token_request(subject.tokenizer, subject.start, context, continuation).map_err(refused)?;
        let length = request.context.len() + request.continuation.len();
        // As lm-evaluation-harness: the beginning of a question that is too long is left out.
        if let Some(over) = length.checked_sub(limit).filter(|&over| over > 0) {
            if over >= request.context.len() {
                let tokens = request.continuation.len();
                return Err(format!("a continuation of {tokens} tokens does not fit the model's {limit} positions"));
            }
            request.context.drain(..over);
            truncated += 1;
        }
        Ok(request)
    };
    match form {
        Form::Choice { context, delimiter, choices, pair, .. } => {
            let mut requests = Vec::new();
            for choice in choices {
                requests.push(request(context, &format!("{delimiter}{choice}"))?);
            }
            if options.answer_only && !pair {
                for choice in choices {
                    requests.push(request("", &format!("{delimiter}{choice}"))?);
                }
            }
            Ok(Encoded::Scores { requests, choices: choices.len(), truncated })
        }
        Form::Cloze { context, target } => {
            Ok(Encoded::Scores { requests: vec![request(context, target)?], choices: 1, truncated })
        }
        Form::Rolling { text, window, .. } => {
            let tokens = subject.tokenizer.encode(text.as_str(), false).map_err(refused)?;
            let most = limit.saturating_sub(1).max(1);
            let requests = rolling(tokens.get_ids(), subject.start, window.map_or(most, |window| window.min(most)));
            let choices = requests.len();
            Ok(Encoded::Scores { requests, choices, truncated: 0 })
        }
        Form::Generate { context, max_tokens, .. } => {
            let mut prompt = subject.tokenizer.encode(context.as_str(), true).map_err(refused)?.get_ids().to_vec();
            if prompt.is_empty() {
                prompt.push(subject.start);
            }
            let room = limit
                .checked_sub(*max_tokens)
                .filter(|&room| room > 0)
                .ok_or_else(|| format!("`max_tokens` is {max_tokens}, but the model has only {limit} positions"))?;
            let over = prompt.len().saturating_sub(room);
            prompt.drain(..over);
            Ok(Encoded::Text { prompt, truncated: usize::from(over > 0) })
        }
    }
}
