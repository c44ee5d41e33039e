//! The engine itself: what becomes of jobs.
#![allow(missing_docs, clippy::unwrap_used)]

mod bench;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use bench::{Bench, Options};
use lore_model::Decoder;
use lore_model::sampling::{Random, Sampling};
use lore_modules::on_demand::ModuleSet;
use lore_serve::engine::{Event, Job, Refused};
use lore_serve::{Chooser, EngineConfig, Wanted};
use serde_json::json;

/// Says when it is asked, and chooses when it is told to.
struct Gate {
    asked: Sender<()>,
    go_on: Receiver<()>,
}

impl Chooser for Gate {
    fn choose(&mut self, _: &Decoder, _: &[u32]) -> Result<ModuleSet, String> {
        self.asked.send(()).map_err(|error| error.to_string())?;
        self.go_on.recv().map_err(|error| error.to_string())?;
        Ok(ModuleSet::none())
    }
}

/// A job, and what comes of it.
fn job(modules: Wanted, score_prompt: bool, max_tokens: usize) -> (Job, Receiver<(usize, Event)>) {
    let (events, receiver) = channel();
    let job = Job {
        modules,
        prompt: vec![1, 2, 3, 4],
        max_tokens,
        sampling: Sampling::greedy(),
        random: Random::new(1, 1),
        alternatives: Some(0),
        score_prompt,
        events,
        index: 0,
        cancelled: Arc::new(AtomicBool::new(false)),
    };
    (job, receiver)
}

#[test]
fn who_left_is_not_scored() {
    let bench = Bench::new();
    let ((asked, ask), (go, go_on)) = (channel(), channel());
    let service = bench.service(1 << 30, None, Some(Box::new(Gate { asked, go_on })), Options::default().engine);
    // Declared later, so dropped earlier than the engine, which waits for its thread.
    let (ask, go) = (ask, go);
    let (first, _first_events) = job(Wanted::Auto, false, 1);
    service.engine.submit(vec![first]).unwrap();
    ask.recv().unwrap();
    // These come in together, while modules are chosen for the first.
    let none = || Wanted::Set(ModuleSet::none());
    let (leaves, left) = job(none(), true, 0);
    let (stays, stayed) = job(none(), true, 0);
    let (last, _last_events) = job(Wanted::Auto, false, 1);
    let gone = leaves.cancelled.clone();
    service.engine.submit(vec![leaves, stays, last]).unwrap();
    go.send(()).unwrap();
    // Two wait to be scored when modules are chosen for the last.
    ask.recv().unwrap();
    gone.store(true, Ordering::Relaxed);
    go.send(()).unwrap();
    let scored = |events: &Receiver<(usize, Event)>| {
        events.iter().filter(|(_, event)| matches!(event, Event::Prompt(_))).count()
    };
    assert_eq!((scored(&left), scored(&stayed)), (0, 1));
}

#[test]
fn who_waits_to_be_scored_has_a_place_in_the_queue() {
    let bench = Bench::new();
    let ((asked, ask), (go, go_on)) = (channel(), channel());
    let engine = EngineConfig { queue: 4, ..Options::default().engine };
    let service = bench.service(1 << 30, None, Some(Box::new(Gate { asked, go_on })), engine);
    let (ask, go) = (ask, go);
    let none = || Wanted::Set(ModuleSet::none());
    let submit = |count: usize| {
        let (jobs, events): (Vec<Job>, Vec<_>) = (0..count).map(|_| job(none(), true, 0)).unzip();
        service.engine.submit(jobs).map(|()| events)
    };
    let (first, of_first) = job(Wanted::Auto, false, 1);
    service.engine.submit(vec![first]).unwrap();
    ask.recv().unwrap();
    // These come in together, while modules are chosen for the first.
    let ((one, of_one), (two, of_two)) = (job(none(), true, 0), job(none(), true, 2));
    let (last, of_last) = job(Wanted::Auto, false, 1);
    service.engine.submit(vec![one, two, last]).unwrap();
    assert_eq!(submit(1).err(), Some(Refused::Full));
    go.send(()).unwrap();
    // Modules are chosen for the last. Two wait to be scored, and with it take three of the four places.
    ask.recv().unwrap();
    assert_eq!(submit(2).err(), Some(Refused::Full));
    go.send(()).unwrap();
    let ended = |events: &Receiver<(usize, Event)>| events.iter().any(|(_, event)| matches!(event, Event::Done(..)));
    assert!([of_first, of_one, of_two, of_last].iter().all(ended));
    // All places are given back, each once.
    assert_eq!(submit(5).err(), Some(Refused::Full));
    assert!(submit(4).unwrap().iter().all(ended));
}

struct Defective;

impl Chooser for Defective {
    fn choose(&mut self, _: &Decoder, _: &[u32]) -> Result<ModuleSet, String> {
        panic!("a defect that the test planted");
    }
}

#[test]
fn a_defect_is_told_to_those_who_wait_and_to_those_who_come_later() {
    let bench = Bench::new();
    let server = bench.start(Options { chooser: Some(Box::new(Defective)), ..Options::default() });
    server.get("/health").ok();
    let body = json!({ "model": "auto", "prompt": "the rain", "max_tokens": 1 });
    let answer = server.post("/v1/completions", &body);
    assert!(answer.status == 500 && answer.body.contains("look at its log"), "{answer:?}");
    let deadline = Instant::now() + Duration::from_secs(10);
    while server.get("/health").status == 200 {
        assert!(Instant::now() < deadline, "a server that cannot answer is called healthy");
        std::thread::sleep(Duration::from_millis(20));
    }
    let answer = server.post("/v1/completions", &body);
    assert!(answer.status == 500 && answer.body.contains("thread has ended"), "{answer:?}");
    assert_eq!(server.get("/health").status, 500);
}
