//! The thread's work: what waits, what is being written, one step after another.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

use lore_model::Decoder;
use lore_model::ops::head::logits;
use lore_model::ops::host::{matrix, values};
use lore_modules::on_demand::{ActiveSet, LeaseError, ModuleSet, OnDemand, PrefixCache, SetKey, by_rows};
use rayon::prelude::*;

use super::log_probabilities::TokenScore;
use super::scoring::{Prompt, score};
use super::{Event, Failure, Finish, Folders, Job, Shared, Started};
use crate::base::Base;
use crate::chooser::{Chooser, Wanted};

/// Rows of prompts computed in one step, beside the texts that are being written.
const PROMPT_ROWS: usize = 512;
/// Rows of prompts scored at once, or one prompt.
const SCORED_ROWS: usize = 2048;
/// How often a thread without work looks whether it should end.
const IDLE: Duration = Duration::from_millis(200);

/// Which rows of a batch have which modules.
type RowKeys = Vec<(Range<usize>, SetKey)>;

pub(super) struct Worker {
    base: Arc<Base>,
    library: OnDemand,
    folders: Arc<Folders>,
    chooser: Option<Box<dyn Chooser>>,
    cache: PrefixCache,
    receiver: Receiver<Job>,
    shared: Arc<Shared>,
    waiting: VecDeque<Waiting>,
    scoring: Vec<(Waiting, ActiveSet)>,
    running: Vec<Running>,
    /// What the last step computed with: it holds modules' memory and is given up before any module is asked for.
    composed: Option<(RowKeys, Decoder)>,
}

struct Waiting {
    job: Job,
    started: bool,
}

struct Running {
    job: Job,
    active: ActiveSet,
    slot: usize,
    /// Tokens whose keys and values are not computed yet; never empty between steps.
    pending: Vec<u32>,
    written: usize,
}

impl Worker {
    pub(super) fn new(
        base: Arc<Base>,
        library: OnDemand,
        folders: Arc<Folders>,
        chooser: Option<Box<dyn Chooser>>,
        cache: PrefixCache,
        receiver: Receiver<Job>,
        shared: Arc<Shared>,
    ) -> Self {
        let (waiting, scoring, running) = (VecDeque::new(), Vec::new(), Vec::new());
        Self { base, library, folders, chooser, cache, receiver, shared, waiting, scoring, running, composed: None }
    }

    pub(super) fn run(mut self) {
        while self.receive() {
            if self.shared.stopping.load(Ordering::Relaxed) {
                self.end_all();
                continue;
            }
            self.admit();
            self.score_some();
            self.write_some();
        }
    }

    /// Takes what has been sent, waiting for it when there is nothing to do; false when nothing will come any more.
    fn receive(&mut self) -> bool {
        use std::sync::mpsc::{RecvTimeoutError, TryRecvError};
        let idle = self.waiting.is_empty() && self.scoring.is_empty() && self.running.is_empty();
        if idle {
            match self.receiver.recv_timeout(IDLE) {
                Ok(job) => self.waiting.push_back(Waiting { job, started: false }),
                Err(RecvTimeoutError::Timeout) => return true,
                Err(RecvTimeoutError::Disconnected) => return false,
            }
        }
        loop {
            match self.receiver.try_recv() {
                Ok(job) => self.waiting.push_back(Waiting { job, started: false }),
                Err(TryRecvError::Empty) => return true,
                // What is being done is done to its end, unless it is stopped.
                Err(TryRecvError::Disconnected) => return true,
            }
        }
    }

    fn end_all(&mut self) {
        self.composed = None;
        while let Some(waiting) = self.take_first() {
            send(&waiting.job, Event::Failed(Failure::Stopping));
        }
        for (waiting, _) in self.scoring.drain(..) {
            send(&waiting.job, Event::Failed(Failure::Stopping));
        }
        for running in self.running.drain(..) {
            self.cache.release(running.slot);
            send(&running.job, Event::Failed(Failure::Stopping));
        }
    }

    fn take_first(&mut self) -> Option<Waiting> {
        let first = self.waiting.pop_front()?;
        if !first.started {
            self.shared.waiting.fetch_sub(1, Ordering::Relaxed);
        }
        Some(first)
    }

    /// Starts jobs in the order they came, as long as there is room for the next one.
    fn admit(&mut self) {
        if self.waiting.is_empty() {
            return;
        }
        self.composed = None;
        while let Some(first) = self.waiting.front() {
            if first.job.cancelled.load(Ordering::Relaxed) {
                self.take_first();
                continue;
            }
            let scores = first.job.score_prompt;
            if !scores && first.job.max_tokens > 0 && self.cache.free() == 0 {
                break;
            }
            let (began, loaded) = (Instant::now(), self.library.counts().loaded);
            let answer = self.lease_for_first();
            let others = !self.running.is_empty() || !self.scoring.is_empty();
            let active = match answer {
                Ok(active) => active,
                Err(Refusal::Later(_)) if others => break,
                Err(Refusal::Later(message)) => {
                    self.fail_first(Failure::Internal(message));
                    continue;
                }
                Err(Refusal::Never(failure)) => {
                    self.fail_first(failure);
                    continue;
                }
            };
            let started = Started {
                set: active.set().clone(),
                module_bytes: active.module_bytes(),
                loaded: self.library.counts().loaded - loaded,
                took: began.elapsed(),
                known: 0,
            };
            let first = self.take_first().expect("looked at above");
            self.start(first, active, started);
        }
        let mut status = self.shared.status.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        status.resident = self.library.resident();
        status.counts = self.library.counts();
    }

    fn fail_first(&mut self, failure: Failure) {
        if let Some(first) = self.take_first() {
            send(&first.job, Event::Failed(failure));
        }
    }

    /// The modules of the first job that waits.
    fn lease_for_first(&mut self) -> Result<ActiveSet, Refusal> {
        let job = &mut self.waiting.front_mut().expect("somebody waits").job;
        let set = match &job.modules {
            Wanted::Set(set) => set.clone(),
            Wanted::Auto => {
                let Some(chooser) = &mut self.chooser else {
                    let message = "`auto` needs a router, and this library has none".to_owned();
                    return Err(Refusal::Never(Failure::Request(message)));
                };
                let set = chooser.choose(&self.base.decoder, &job.prompt);
                set.map_err(|message| Refusal::Never(Failure::Internal(message)))?
            }
        };
        // The choice stands if the job has to wait.
        job.modules = Wanted::Set(set.clone());
        match self.lease(&set) {
            // A module may have been installed since.
            Err(LeaseError::Unknown { .. }) => {
                let folders = (self.folders)().map_err(|message| Refusal::Never(Failure::Internal(message)))?;
                self.library.set_folders(folders);
                self.lease(&set).map_err(Refusal::from)
            }
            other => other.map_err(Refusal::from),
        }
    }

    fn lease(&mut self, set: &ModuleSet) -> Result<ActiveSet, LeaseError> {
        if set.is_empty() { Ok(ActiveSet::none()) } else { self.library.lease(set) }
    }

    fn start(&mut self, waiting: Waiting, active: ActiveSet, mut started: Started) {
        let Waiting { job, started: before } = waiting;
        if job.score_prompt {
            if before || send(&job, Event::Started(started)) {
                self.scoring.push((Waiting { job, started: true }, active));
            }
            return;
        }
        if job.max_tokens == 0 {
            send(&job, Event::Started(started));
            send(&job, Event::Done(Finish::Length, None));
            return;
        }
        let claim = self.cache.claim(&active.key(), &job.prompt).expect("a slot is free");
        started.known = claim.known;
        let pending = job.prompt[claim.known..].to_vec();
        if before || send(&job, Event::Started(started)) {
            self.running.push(Running { job, active, slot: claim.slot, pending, written: 0 });
        } else {
            self.cache.release(claim.slot);
        }
    }

    /// Scores prompts of one set of modules.
    fn score_some(&mut self) {
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
    fn write_some(&mut self) {
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

/// Why a job does not start.
enum Refusal {
    Later(String),
    Never(Failure),
}

impl From<LeaseError> for Refusal {
    fn from(error: LeaseError) -> Self {
        let message = crate::error::chain(&error);
        match error {
            LeaseError::Busy { .. } => Self::Later(message),
            LeaseError::Unknown { .. } => Self::Never(Failure::NoModule(message)),
            LeaseError::OverCap { .. } => Self::Never(Failure::Request(message)),
            _ => Self::Never(Failure::Internal(message)),
        }
    }
}

/// Whether somebody still listens.
fn send(job: &Job, event: Event) -> bool {
    job.events.send((job.index, event)).is_ok()
}

/// One bad value makes the sum of a row not a number.
fn finite(logits: &[f32]) -> bool {
    logits.iter().sum::<f32>().is_finite()
}

fn not_numbers() -> Event {
    let message = "the model's scores are not numbers; a module's weight is too large, or its values are";
    Event::Failed(Failure::Request(message.to_owned()))
}
