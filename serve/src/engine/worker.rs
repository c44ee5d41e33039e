//! The thread's work: what waits, what is being written, one step after another.

mod steps;

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

use lore_model::Decoder;
use lore_modules::on_demand::{ActiveSet, LeaseError, ModuleSet, OnDemand, PrefixCache, SetKey};

use super::{Event, Failure, Finish, Folders, Job, Place, Shared, Started};
use crate::base::Base;
use crate::chooser::{Chooser, Wanted};

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
    receiver: Receiver<(Job, Place)>,
    shared: Arc<Shared>,
    waiting: VecDeque<Waiting>,
    scoring: Vec<(Waiting, ActiveSet)>,
    running: Vec<Running>,
    /// What the last step computed with: it holds modules' memory and is given up before any module is asked for.
    composed: Option<(RowKeys, Decoder)>,
}

struct Waiting {
    job: Job,
    /// Until it is computed.
    place: Option<Place>,
    /// Whether its sender was told that it has started.
    started: bool,
}

impl Waiting {
    fn new((job, place): (Job, Place)) -> Self {
        Self { job, place: Some(place), started: false }
    }
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
        receiver: Receiver<(Job, Place)>,
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
                Ok(job) => self.waiting.push_back(Waiting::new(job)),
                Err(RecvTimeoutError::Timeout) => return true,
                Err(RecvTimeoutError::Disconnected) => return false,
            }
        }
        loop {
            match self.receiver.try_recv() {
                Ok(job) => self.waiting.push_back(Waiting::new(job)),
                Err(TryRecvError::Empty) => return true,
                // What is being done is done to its end, unless it is stopped.
                Err(TryRecvError::Disconnected) => return true,
            }
        }
    }

    fn end_all(&mut self) {
        self.composed = None;
        for waiting in self.waiting.drain(..) {
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

    /// Starts jobs in the order they came, as long as there is room for the next one.
    fn admit(&mut self) {
        if self.waiting.is_empty() {
            return;
        }
        self.composed = None;
        while let Some(first) = self.waiting.front() {
            if first.job.cancelled.load(Ordering::Relaxed) {
                self.waiting.pop_front();
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
            let first = self.waiting.pop_front().expect("looked at above");
            self.start(first, active, started);
        }
        let mut status = self.shared.status.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        status.resident = self.library.resident();
        status.counts = self.library.counts();
    }

    fn fail_first(&mut self, failure: Failure) {
        if let Some(Waiting { job, place, .. }) = self.waiting.pop_front() {
            drop(place);
            send(&job, Event::Failed(failure));
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
        let Waiting { job, place, started: before } = waiting;
        if job.score_prompt {
            if before || send(&job, Event::Started(started)) {
                // It keeps its place, for it waits for others to be scored.
                self.scoring.push((Waiting { job, place, started: true }, active));
            }
            return;
        }
        drop(place);
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
