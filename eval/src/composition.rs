//! Modules against texts: each alone, all together, and one chosen per passage.

use crate::score::{Error, TokenRequest, TokenScores, score};
use crate::statistics::Measured;
use lore_datasets::evaluation::EvalPassage;
use lore_datasets::progress::{Progress, Unit};
use lore_model::Decoder;
use lore_modules::{LoadedModule, activate};
use serde::{Deserialize, Serialize};
use std::time::Instant;

/// Held-out text of one topic, or general English.
#[derive(Clone, Debug)]
pub struct Text {
    /// What the column is called.
    pub name: String,
    /// Its passages.
    pub passages: Vec<EvalPassage>,
}

/// A model's scores on all texts.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Row {
    /// For each text, each passage's scores.
    pub scores: Vec<Vec<TokenScores>>,
    /// Tokens scored per second.
    pub tokens_per_second: f64,
}

impl Row {
    /// What each passage of a text cost.
    pub fn measured(&self, texts: &[Text], text: usize) -> Vec<Measured> {
        let passages = texts[text].passages.iter().zip(&self.scores[text]);
        passages.map(|(passage, scores)| Measured { nats: -scores.total(), bytes: passage.bytes as f64 }).collect()
    }
}

/// Scores every passage of every text after the `start` token, so that its first token counts too.
///
/// # Errors
/// A passage longer than the model's positions.
pub fn score_texts(
    decoder: &Decoder,
    texts: &[Text],
    start: u32,
    label: &str,
    progress: &dyn Progress,
) -> Result<Row, Error> {
    let requests: Vec<TokenRequest> = texts
        .iter()
        .flat_map(|text| &text.passages)
        .map(|passage| TokenRequest { context: vec![start], continuation: passage.tokens.clone() })
        .collect();
    let total: usize = requests.iter().map(|request| request.continuation.len()).sum();
    let mut task = progress.task(label, Some(total as u64), Unit::Tokens);
    let began = Instant::now();
    let mut scores = score(decoder, &requests, |tokens| task.advance(tokens as u64))?.into_iter();
    let tokens_per_second = total as f64 / began.elapsed().as_secs_f64();
    task.finish(&format!("{total} tokens"));
    let scores = texts.iter().map(|text| scores.by_ref().take(text.passages.len()).collect()).collect();
    Ok(Row { scores, tokens_per_second })
}

/// Which candidate explains the beginning of each passage best: the index into `candidates` with the
/// highest log-likelihood of the first `probe` tokens, the first of equals.
pub fn choose(candidates: &[&Row], text: usize, passage: usize, probe: usize) -> usize {
    let beginning = |row: &Row| -> f64 {
        row.scores[text][passage].log_likelihoods.iter().take(probe).map(|&x| f64::from(x)).sum()
    };
    let scores: Vec<f64> = candidates.iter().map(|row| beginning(row)).collect();
    let mut best = 0;
    for (i, score) in scores.iter().enumerate() {
        if *score > scores[best] {
            best = i;
        }
    }
    best
}

/// The row made of each passage's scores under the candidate chosen for it, and the choices per text.
pub fn chosen(candidates: &[&Row], texts: &[Text], probe: usize) -> (Row, Vec<Vec<usize>>) {
    let choices: Vec<Vec<usize>> = texts
        .iter()
        .enumerate()
        .map(|(t, text)| (0..text.passages.len()).map(|p| choose(candidates, t, p, probe)).collect())
        .collect();
    let scores = choices
        .iter()
        .enumerate()
        .map(|(t, choices)| choices.iter().enumerate().map(|(p, &c)| candidates[c].scores[t][p].clone()).collect())
        .collect();
    let slowest = candidates.iter().map(|row| row.tokens_per_second).fold(f64::INFINITY, f64::min);
    (Row { scores, tokens_per_second: slowest }, choices)
}

/// The base with every module active at the same weight.
pub fn all_at(base: &Decoder, modules: &[LoadedModule], weight: f32) -> Decoder {
    let weighted: Vec<(&LoadedModule, f32)> = modules.iter().map(|module| (module, weight)).collect();
    activate(base, &weighted)
}
