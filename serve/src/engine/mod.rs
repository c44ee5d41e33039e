//! One thread that computes for everybody: requests come in as jobs, what comes out goes to whoever sent them.

mod log_probabilities;
mod scoring;
mod worker;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{self, Sender};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use lore_model::sampling::{Random, Sampling};
use lore_modules::on_demand::{Counts, ModuleSet, OnDemand, PrefixCache, Resident};

use crate::base::Base;
use crate::chooser::{Chooser, Wanted};
use worker::Worker;

pub use log_probabilities::TokenScore;

/// Finds the folders of the modules there are now.
pub type Folders = Box<dyn Fn() -> Result<BTreeMap<String, PathBuf>, String> + Send + Sync>;

/// How much an engine does at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EngineConfig {
    /// Texts written at the same time.
    pub slots: usize,
    /// Tokens of a prompt and its answer, at most.
    pub context: usize,
    /// Jobs that may wait, to be written or to be scored.
    pub queue: usize,
}

/// What is asked of the model.
pub struct Job {
    /// With which modules.
    pub modules: Wanted,
    /// At least one token.
    pub prompt: Vec<u32>,
    /// Tokens to write at most; 0 writes nothing.
    pub max_tokens: usize,
    /// How they are drawn.
    pub sampling: Sampling,
    /// From where.
    pub random: Random,
    /// For each token its log-probability and those of this many of the most likely ones.
    pub alternatives: Option<usize>,
    /// Whether this is wanted of the prompt's tokens too, from the second on.
    pub score_prompt: bool,
    /// Where events go, with `index`.
    pub events: Sender<(usize, Event)>,
    /// Which of its sender's jobs it is.
    pub index: usize,
    /// Set by the sender when it has enough.
    pub cancelled: Arc<AtomicBool>,
}

/// What becomes of a job.
#[derive(Debug)]
pub enum Event {
    /// Its modules are in memory and it is being computed.
    Started(Started),
    /// What the model says of the prompt, from its second token on.
    Prompt(Vec<TokenScore>),
    /// A token, and what the model says of it if that was asked for.
    Token(u32, Option<TokenScore>),
    /// It has ended, and what the model says of the token that ended it, if one did and that was asked for.
    Done(Finish, Option<TokenScore>),
    /// It cannot be done.
    Failed(Failure),
}

/// The modules of a job and what it took to have them.
#[derive(Debug, Clone, PartialEq)]
pub struct Started {
    /// The modules, which somebody may have chosen.
    pub set: ModuleSet,
    /// Bytes of each, in their order.
    pub module_bytes: Vec<u64>,
    /// Modules that had to be read from their files.
    pub loaded: u64,
    /// How long having them took.
    pub took: Duration,
    /// Tokens of the prompt that were known from an earlier text.
    pub known: usize,
}

/// Why a text ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Finish {
    /// The model ended it, or a stop was reached.
    Stop,
    /// As many tokens as were asked for.
    Length,
}

/// Why a job cannot be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failure {
    /// There is no such module.
    NoModule(String),
    /// The request asks for what is impossible.
    Request(String),
    /// The library or the model is at fault.
    Internal(String),
    /// The server is ending.
    Stopping,
}

/// Jobs are not taken now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// Too many wait.
    Full,
    /// The engine's thread has ended.
    Stopped,
}

/// What is in memory.
#[derive(Debug, Clone, Default)]
pub struct Status {
    /// The modules, the last used first.
    pub resident: Vec<Resident>,
    /// What was read and forgotten so far.
    pub counts: Counts,
    /// Bytes that modules may take.
    pub cap: u64,
}

struct Shared {
    /// Places in the queue that are taken.
    waiting: AtomicUsize,
    stopping: AtomicBool,
    status: Mutex<Status>,
}

/// A job's place in the queue, given back when the job is being computed or will never be.
struct Place(Arc<Shared>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The thread that computes. Dropping it ends the jobs and waits for the thread.
pub struct Engine {
    base: Arc<Base>,
    config: EngineConfig,
    folders: Arc<Folders>,
    auto: bool,
    shared: Arc<Shared>,
    jobs: Option<Sender<(Job, Place)>>,
    thread: Option<JoinHandle<()>>,
}

impl Engine {
    /// Starts the thread for a base and its library.
    pub fn start(
        base: Arc<Base>,
        library: OnDemand,
        folders: Folders,
        chooser: Option<Box<dyn Chooser>>,
        config: EngineConfig,
    ) -> Self {
        let (jobs, receiver) = mpsc::channel();
        let folders = Arc::new(folders);
        let status = Status { cap: library.cap(), ..Status::default() };
        let shared =
            Shared { waiting: AtomicUsize::new(0), stopping: AtomicBool::new(false), status: Mutex::new(status) };
        let shared = Arc::new(shared);
        let cache = PrefixCache::new(&base.decoder, config.slots, config.context);
        let auto = chooser.is_some();
        let worker = Worker::new(base.clone(), library, folders.clone(), chooser, cache, receiver, shared.clone());
        let thread = std::thread::spawn(move || worker.run());
        Self { base, config, folders, auto, shared, jobs: Some(jobs), thread: Some(thread) }
    }

    /// The model that answers.
    pub fn base(&self) -> &Base {
        &self.base
    }

    /// How much is done at once.
    pub fn config(&self) -> EngineConfig {
        self.config
    }

    /// Whether somebody chooses modules for `auto`.
    pub fn auto(&self) -> bool {
        self.auto
    }

    /// The folders of the modules there are now, by name.
    ///
    /// # Errors
    /// A library that cannot be read.
    pub fn folders(&self) -> Result<BTreeMap<String, PathBuf>, String> {
        (self.folders)()
    }

    /// What is in memory.
    pub fn status(&self) -> Status {
        self.shared.status.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone()
    }

    /// Whether the thread computes. It ends before the engine does only by a panic, which is a defect.
    pub fn is_alive(&self) -> bool {
        self.thread.as_ref().is_some_and(|thread| !thread.is_finished())
    }

    /// Hands jobs in, all of them or none.
    ///
    /// # Errors
    /// When too many wait, or the engine has ended.
    pub fn submit(&self, jobs: Vec<Job>) -> Result<(), Refused> {
        // Jobs that nobody takes would be counted as waiting for ever.
        if !self.is_alive() {
            return Err(Refused::Stopped);
        }
        let count = jobs.len();
        let more = |waiting: usize| (waiting + count <= self.config.queue).then_some(waiting + count);
        let taken = self.shared.waiting.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more);
        if taken.is_err() {
            return Err(Refused::Full);
        }
        let places: Vec<Place> = (0..count).map(|_| Place(self.shared.clone())).collect();
        let sender = self.jobs.as_ref().ok_or(Refused::Stopped)?;
        for job in jobs.into_iter().zip(places) {
            sender.send(job).map_err(|_| Refused::Stopped)?;
        }
        Ok(())
    }

    /// Ends all jobs, those that run too.
    pub fn stop(&self) {
        self.shared.stopping.store(true, Ordering::Relaxed);
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.stop();
        // The thread ends when nobody can send to it.
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            // A panic there has been reported already.
            let _ = thread.join();
        }
    }
}
