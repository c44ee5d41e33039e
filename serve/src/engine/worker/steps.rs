//! What is computed in one step: prompts that are scored, rows of the texts that are being written.

use std::ops::Range;
use std::sync::atomic::Ordering;

use lore_model::ops::head::logits;
use lore_model::ops::host::{matrix, values};
use lore_modules::on_demand::{ActiveSet, SetKey, by_rows};
use rayon::prelude::*;

use super::super::log_probabilities::TokenScore;
use super::super::scoring::{Prompt, score};
use super::super::{Event, Failure, Finish};
use super::{Waiting, Worker, send};

/// Rows of prompts computed in one step, beside the texts that are being written.
const PROMPT_ROWS: usize = 512;
/// Rows of prompts scored at once, or one prompt.
const SCORED_ROWS: usize = 2048;

impl Worker {
    /// Scores prompts of one set of modules, but for those whose sender has enough.
    pub(super) fn score_some(&mut self) {
        self.scoring.retain(|(waiting, _)| !waiting.job.cancelled.load(Ordering::Relaxed));
        let Some((_, first)) = self.scoring.first() else { return };
        let (key, mut rows) = (first.key(), 0);
        let mut batch = Vec::new();
        let mut place = 0;
        while place < self.scoring.len() {
            let (waiting, active) = &self.scoring[place];
            let fits = batch.is_empty() || rows + waiting.job.prompt.len() <= SCORED_ROWS;
            if fits && active.key() == key {
                rows += waiting.job.prompt.len();
                batch.push(self.scoring.remove(place));
            } else {
                place += 1;
            }
        }
        batch.iter_mut().for_each(|(waiting, _)| waiting.place = None);
        let decoder = batch[0].1.on(&self.base.decoder);
        let prompts: Vec<Prompt<'_>> = batch
            .iter()
            .map(|(Waiting { job, .. }, _)| Prompt { tokens: &job.prompt, alternatives: job.alternatives.unwrap_or(0) })
            .collect();
        let scored = score(&decoder, &prompts);
        drop(decoder);
        for ((mut waiting, _), scored) in batch.into_iter().zip(scored) {
            let job = &mut waiting.job;
            if !finite(&scored.next) || scored.scores.iter().any(|score| !score.log_probability.is_finite()) {
                send(job, not_numbers());
                continue;
            }
            if !send(job, Event::Prompt(scored.scores)) {
                continue;
            }
            match job.max_tokens {
                0 => drop(send(job, Event::Done(Finish::Length, None))),
                // No need to read the prompt again for one token.
                1 => {
                    let token = job.sampling.draw(&scored.next, &mut job.random);
                    let said = job.alternatives.map(|count| TokenScore::of(&scored.next, token, count));
                    if self.base.stop.contains(&token) {
                        send(job, Event::Done(Finish::Stop, said));
                    } else if send(job, Event::Token(token, said)) {
                        send(job, Event::Done(Finish::Length, None));
                    }
                }
                _ => {
                    job.score_prompt = false;
                    self.waiting.push_front(waiting);
                }
            }
        }
    }

    /// Computes the next rows of every text that is being written, and draws its next token where its prompt is read.
    pub(super) fn write_some(&mut self) {
        let cache = &mut self.cache;
        self.running.retain(|running| {
            let goes_on = !running.job.cancelled.load(Ordering::Relaxed);
            if !goes_on {
                cache.release(running.slot);
            }
            goes_on
        });
        if self.running.is_empty() {
            self.composed = None;
            return;
        }
        // Texts with the same modules are neighbours.
        let keys: Vec<SetKey> = self.running.iter().map(|running| running.active.key()).collect();
        let first_of = |place: usize| keys.iter().position(|key| *key == keys[place]).unwrap_or(place);
        let mut order: Vec<usize> = (0..keys.len()).collect();
        order.sort_by_key(|&place| (first_of(place), place));
        let (mut budget, mut rows) = (PROMPT_ROWS, 0);
        let mut parts: Vec<(usize, usize)> = Vec::new();
        let mut ranges: Vec<(Range<usize>, usize)> = Vec::new();
        for &place in &order {
            let pending = self.running[place].pending.len();
            let count = if pending == 1 { 1 } else { pending.min(budget) };
            if count == 0 {
                continue;
            }
            budget -= count.min(budget);
            parts.push((place, count));
            match ranges.last_mut() {
                Some((range, other)) if keys[*other] == keys[place] => range.end += count,
                _ => ranges.push((rows..rows + count, place)),
            }
            rows += count;
        }
        let described: Vec<(Range<usize>, SetKey)> =
            ranges.iter().map(|(range, place)| (range.clone(), keys[*place].clone())).collect();
        if self.composed.as_ref().is_none_or(|(last, _)| *last != described) {
            self.composed = None;
            let sets: Vec<(Range<usize>, &ActiveSet)> =
                ranges.iter().map(|(range, place)| (range.clone(), &self.running[*place].active)).collect();
            self.composed = Some((described, by_rows(&self.base.decoder, &sets)));
        }
        let decoder = self.composed.as_ref().map(|(_, decoder)| decoder).expect("made just now");
        let tokens: Vec<(usize, &[u32])> = parts
            .iter()
            .map(|&(place, count)| (self.running[place].slot, &self.running[place].pending[..count]))
            .collect();
        let hidden = match self.cache.advance(decoder, &tokens) {
            Ok(hidden) => values(&hidden),
            Err(error) => {
                for running in self.running.drain(..) {
                    self.cache.release(running.slot);
                    send(&running.job, Event::Failed(Failure::Internal(error.to_string())));
                }
                return;
            }
        };
        self.draw(&parts, &hidden);
    }

    fn draw(&mut self, parts: &[(usize, usize)], hidden: &[f32]) {
        let width = self.base.decoder.config.hidden_size;
        let (mut end, mut last, mut drawing) = (0, Vec::new(), Vec::new());
        for &(place, count) in parts {
            end += count;
            self.running[place].pending.drain(..count);
            if self.running[place].pending.is_empty() {
                last.extend_from_slice(&hidden[(end - 1) * width..end * width]);
                drawing.push(place);
            }
        }
        if drawing.is_empty() {
            return;
        }
        let decoder = &self.base.decoder;
        let last = matrix(last, drawing.len(), width, &decoder.embedding.device());
        let scores = values(&logits(last, decoder.head()));
        let rows: Vec<&[f32]> = scores.chunks_exact(scores.len() / drawing.len()).collect();
        let jobs = drawing.iter().map(|&place| {
            let job = &self.running[place].job;
            (place, job.sampling.clone(), job.random.clone(), job.alternatives)
        });
        let jobs: Vec<_> = jobs.zip(rows).collect();
        let drawn: Vec<_> = jobs
            .into_par_iter()
            .map(|((place, sampling, mut random, alternatives), row)| {
                let token = finite(row).then(|| sampling.draw(row, &mut random));
                let drawn = token.map(|token| (token, alternatives.map(|count| TokenScore::of(row, token, count))));
                (place, drawn, random)
            })
            .collect();
        let mut ended = Vec::new();
        for (place, drawn, random) in drawn {
            let running = &mut self.running[place];
            running.job.random = random;
            let goes_on = match drawn {
                None => {
                    send(&running.job, not_numbers());
                    false
                }
                Some((token, score)) if self.base.stop.contains(&token) => {
                    send(&running.job, Event::Done(Finish::Stop, score));
                    false
                }
                Some((token, score)) => {
                    running.written += 1;
                    running.pending = vec![token];
                    let heard = send(&running.job, Event::Token(token, score));
                    let all = running.written >= running.job.max_tokens;
                    if all {
                        send(&running.job, Event::Done(Finish::Length, None));
                    }
                    heard && !all
                }
            };
            if !goes_on {
                ended.push(place);
            }
        }
        ended.sort_unstable();
        for place in ended.into_iter().rev() {
            let running = self.running.remove(place);
            self.cache.release(running.slot);
        }
    }
}

/// One bad value makes the sum of a row not a number.
fn finite(logits: &[f32]) -> bool {
    logits.iter().sum::<f32>().is_finite()
}

fn not_numbers() -> Event {
    let message = "the model's scores are not numbers; a module's weight is too large, or its values are";
    Event::Failed(Failure::Request(message.to_owned()))
}
