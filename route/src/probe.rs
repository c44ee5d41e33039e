//! The base-perplexity probe: each module reads the first tokens of a passage, and what it saves is measured.
//!
//! The surest of the ways and the dearest: every module must be in memory and read. It needs no entry.

use std::sync::Arc;

use lore_model::Decoder;
use lore_model::ops::head::log_likelihoods;
use lore_model::ops::sequences::Sequences;
use lore_modules::{LoadedModule, activate};

/// Nats per token that each module saves on the first `tokens` tokens of each passage, against the base alone: positive
/// where the module is of use. One list for each passage, in the order of the modules. Each passage begins with the
/// token that begins a text; one without others saves nothing.
///
/// # Panics
/// When a passage is empty or longer than the base's positions.
pub fn savings(base: &Decoder, modules: &[&LoadedModule], passages: &[Vec<u32>], tokens: usize) -> Vec<Vec<f64>> {
    let alone = losses(base, passages, tokens);
    let with: Vec<Vec<f64>> =
        modules.iter().map(|module| losses(&activate(base, &[(module, 1.0)]), passages, tokens)).collect();
    let saved = |(passage, alone): (usize, &f64)| with.iter().map(|losses| alone - losses[passage]).collect();
    alone.iter().enumerate().map(saved).collect()
}

/// Mean loss of each passage's first tokens, nats per token.
fn losses(decoder: &Decoder, passages: &[Vec<u32>], tokens: usize) -> Vec<f64> {
    let head = decoder.head();
    let loss = |passage: &Vec<u32>| {
        let labels = &passage[1..passage.len().min(1 + tokens)];
        if labels.is_empty() {
            return 0.0;
        }
        let read = passage[..labels.len()].to_vec();
        let hidden = decoder.hidden(Arc::new(read), Arc::new(Sequences::whole(&[labels.len()])));
        let asked: Vec<(usize, u32)> = labels.iter().copied().enumerate().collect();
        let scores = log_likelihoods(&hidden, &head, &asked);
        -scores.iter().map(|(score, _)| f64::from(*score)).sum::<f64>() / labels.len() as f64
    };
    passages.iter().map(loss).collect()
}
