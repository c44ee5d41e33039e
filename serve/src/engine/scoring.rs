//! Log-probabilities of prompts.
//!
//! As in `lore score`, what is said of a prompt on the CPU does not depend on what it is computed with, to the last
//! bit: nothing is padded, and no product has so few rows that it would be rounded in another way.

use std::sync::Arc;

use lore_model::Decoder;
use lore_model::ops::head::logits;
use lore_model::ops::host::values;
use lore_model::ops::sequences::Sequences;
use rayon::prelude::*;

use super::log_probabilities::TokenScore;

/// Rows computed at once at least, and tokens of one sequence that only fills them up; see `lore_eval::score`.
const FEWEST_ROWS: usize = 257;
const FILLING: usize = 32;
/// Rows of which logits exist at the same time, and how many at least.
const CHUNK: usize = 128;
const FEWEST_LOGITS: usize = 65;

/// A prompt to score.
pub struct Prompt<'a> {
    /// At least one token.
    pub tokens: &'a [u32],
    /// So many of the most likely tokens for each.
    pub alternatives: usize,
}

/// What is said of a prompt.
pub struct Scored {
    /// Of its second token and those after it.
    pub scores: Vec<TokenScore>,
    /// Logits of what follows its last token.
    pub next: Vec<f32>,
}

/// Scores prompts with one decoder.
pub fn score(decoder: &Decoder, prompts: &[Prompt<'_>]) -> Vec<Scored> {
    let mut tokens: Vec<u32> = prompts.iter().flat_map(|prompt| prompt.tokens.iter().copied()).collect();
    let mut lengths: Vec<usize> = prompts.iter().map(|prompt| prompt.tokens.len()).collect();
    let rows = tokens.len();
    while tokens.len() < FEWEST_ROWS {
        let filling = FILLING.min(decoder.max_positions());
        tokens.extend(std::iter::repeat_n(tokens[0], filling));
        lengths.push(filling);
    }
    // For each row the token after it and the alternatives wanted; none after a prompt's last token.
    let mut wanted: Vec<Option<(u32, usize)>> = Vec::with_capacity(rows);
    for prompt in prompts {
        wanted.extend(prompt.tokens[1..].iter().map(|&token| Some((token, prompt.alternatives))));
        wanted.push(None);
    }
    let hidden = decoder.hidden(Arc::new(tokens), Arc::new(Sequences::whole(&lengths)));
    let [all_rows, width] = hidden.dims();
    let mut said: Vec<Said> = Vec::with_capacity(rows);
    for start in (0..rows).step_by(CHUNK) {
        let end = (start + CHUNK).min(rows);
        // Rows that are computed twice, or those that fill up.
        let computed = if end < FEWEST_LOGITS {
            0..FEWEST_LOGITS.min(all_rows)
        } else {
            end.saturating_sub(FEWEST_LOGITS).min(start)..end
        };
        let again = start - computed.start;
        let chunk = values(&logits(hidden.clone().slice([computed, 0..width]), decoder.head()));
        let vocabulary = decoder.config.vocab_size;
        let one = |(row, wanted): (&[f32], &Option<(u32, usize)>)| match wanted {
            Some((token, alternatives)) => Said::Token(TokenScore::of(row, *token, *alternatives)),
            None => Said::Next(row.to_vec()),
        };
        let rows: Vec<&[f32]> = chunk.chunks_exact(vocabulary).skip(again).collect();
        said.par_extend(rows.into_par_iter().zip(&wanted[start..end]).map(one));
    }
    let mut said = said.into_iter();
    let mut one = |prompt: &Prompt<'_>| {
        let mut scores = Vec::with_capacity(prompt.tokens.len() - 1);
        loop {
            match said.next().expect("a row for each token") {
                Said::Token(score) => scores.push(score),
                Said::Next(next) => return Scored { scores, next },
            }
        }
    };
    prompts.iter().map(&mut one).collect()
}

enum Said {
    Token(TokenScore),
    Next(Vec<f32>),
}
