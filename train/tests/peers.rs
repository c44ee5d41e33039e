//! Training shared by several processes, which here are threads: the same losses and weights as one process makes.
#![allow(missing_docs, clippy::unwrap_used)]

mod toy;

use std::cell::Cell;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Barrier, Mutex};

use lore_datasets::progress::Silent;
use lore_model::ops::host::values;
use lore_train::{
    Conditions, Error, HeldOut, Interruption, Measurement, Parameters, Peers, Run, Stopping, TrainConfig, Trained,
    train, train_under,
};
use toy::{NextToken, bits, decoder, mixture};

/// What the threads add up in.
struct Table {
    size: usize,
    barrier: Barrier,
    rows: Mutex<Vec<Vec<f64>>>,
}

struct Thread {
    rank: usize,
    table: Arc<Table>,
}

impl Thread {
    fn together(size: usize) -> Vec<Arc<dyn Peers>> {
        let table = Arc::new(Table { size, barrier: Barrier::new(size), rows: Mutex::new(vec![Vec::new(); size]) });
        (0..size).map(|rank| Arc::new(Self { rank, table: table.clone() }) as Arc<dyn Peers>).collect()
    }

    fn sum(&self, own: Vec<f64>) -> Vec<f64> {
        let count = own.len();
        self.table.rows.lock().unwrap()[self.rank] = own;
        self.table.barrier.wait();
        let rows = self.table.rows.lock().unwrap().clone();
        assert!(rows.iter().all(|row| row.len() == count), "all add up the same values");
        self.table.barrier.wait();
        (0..count).map(|place| rows.iter().map(|row| row[place]).sum()).collect()
    }
}

impl Peers for Thread {
    fn rank(&self) -> usize {
        self.rank
    }

    fn size(&self) -> usize {
        self.table.size
    }

    fn sum_f32(&self, values: &mut [f32]) {
        let sums = self.sum(values.iter().map(|&x| f64::from(x)).collect());
        values.iter_mut().zip(sums).for_each(|(value, sum)| *value = sum as f32);
    }

    fn sum_f64(&self, values: &mut [f64]) {
        let sums = self.sum(values.to_vec());
        values.copy_from_slice(&sums);
    }
}

fn config() -> TrainConfig {
    TrainConfig {
        steps: 9,
        batch_sequences: 6,
        sequence_length: 16,
        learning_rate: 3e-3,
        warmup_steps: 3,
        weight_decay: 0.1,
        checkpoint_every: 2,
        ..TrainConfig::default()
    }
}

/// Trains in `folder`; the data is the same for all.
fn run(folder: &Path, conditions: &Conditions) -> Result<Trained, Error> {
    run_until(folder, conditions, None)
}

fn run_until(folder: &Path, conditions: &Conditions, stopping: Option<Stopping<'_>>) -> Result<Trained, Error> {
    let mixture = mixture(&folder.join("tokens"), 16, 6);
    let objective = NextToken(decoder(2, 9));
    let config = config();
    let directory = folder.join("run");
    let run = Run { config: &config, identity: "one", directory: &directory, label: "test" };
    train_under(conditions, &run, objective.parameters(), &mixture, &objective, stopping, &Silent)
}

/// Each of `size` processes in a folder of its own: the outcomes in order.
fn together(folders: &[tempfile::TempDir], stop_after: Option<u64>) -> Vec<Result<Trained, Error>> {
    let peers = Thread::together(folders.len());
    std::thread::scope(|scope| {
        let started: Vec<_> = folders
            .iter()
            .zip(peers)
            .map(|(folder, peers)| {
                scope.spawn(move || run(folder.path(), &Conditions { peers, stop_after, ..Conditions::default() }))
            })
            .collect();
        started.into_iter().map(|thread| thread.join().unwrap()).collect()
    })
}

fn folders(size: usize) -> Vec<tempfile::TempDir> {
    (0..size).map(|_| tempfile::tempdir().unwrap()).collect()
}

/// ‖a − b‖ / ‖b‖ over all parameters.
fn difference(a: &Trained, b: &Trained) -> f64 {
    let (mut apart, mut length) = (0.0, 0.0);
    for ((name, a), (other, b)) in a.parameters.iter().zip(b.parameters.iter()) {
        assert_eq!(name, other);
        for (a, b) in values(a).into_iter().zip(values(b)) {
            apart += f64::from(a - b).powi(2);
            length += f64::from(b).powi(2);
        }
    }
    (apart / length).sqrt()
}

#[test]
fn processes_together_train_what_one_trains() {
    let folder = tempfile::tempdir().unwrap();
    let alone = run(folder.path(), &Conditions::default()).unwrap();
    // The first makes checkpoints, the others none: they would be of no use.
    let exists =
        |folder: &tempfile::TempDir, step: u64| folder.path().join(format!("run/checkpoint-{step:08}")).exists();
    // Eight processes are more than the six sequences of a batch: some have nothing to compute.
    for size in [2, 3, 8] {
        let folders = folders(size);
        let trained: Vec<Trained> = together(&folders, None).into_iter().map(Result::unwrap).collect();
        for (ours, theirs) in trained[0].metrics.iter().zip(&alone.metrics) {
            let apart = (ours.loss - theirs.loss).abs() / theirs.loss;
            assert!(apart < 1e-5, "{size} processes, step {}: {} and {}", ours.step, ours.loss, theirs.loss);
            assert_eq!((ours.step, ours.tokens), (theirs.step, theirs.tokens));
        }
        assert_eq!(trained[0].metrics.len(), 9);
        assert!(difference(&trained[0], &alone) < 1e-5, "{}", difference(&trained[0], &alone));
        for other in &trained[1..] {
            assert_eq!(bits(other.parameters.iter()), bits(trained[0].parameters.iter()), "all hold the same");
        }
        assert!(exists(&folders[0], 8) && !exists(&folders[1], 8));
    }
}

#[test]
fn the_others_go_on_where_the_first_does() {
    let straight = folders(2);
    let expected = together(&straight, None).remove(0).unwrap();
    let stopped = folders(2);
    for outcome in together(&stopped, Some(5)) {
        assert!(matches!(outcome, Err(Error::Stopped { step: 5 })));
    }
    // The second process comes back on another machine, with nothing.
    let mut again = stopped;
    again[1] = tempfile::tempdir().unwrap();
    let went_on = together(&again, None).remove(0).unwrap();
    assert_eq!(bits(went_on.parameters.iter()), bits(expected.parameters.iter()));
    let losses = |trained: &Trained| -> Vec<f64> { trained.metrics.iter().map(|metrics| metrics.loss).collect() };
    assert_eq!(losses(&went_on), losses(&expected));
    // One process alone goes on as well.
    let alone = folders(1);
    copy(&straight[0].path().join("run"), &alone[0].path().join("run"));
    let went_on = run(alone[0].path(), &Conditions::default()).unwrap();
    assert!(difference(&went_on, &expected) < 1e-5);
}

/// Falls until this step, then rises.
struct Falls {
    until: u64,
    measured: Cell<u64>,
}

impl HeldOut for Falls {
    fn measure(&self, _parameters: &Parameters) -> Result<f64, Box<dyn std::error::Error + Send + Sync>> {
        self.measured.set(self.measured.get() + 1);
        Ok(self.measured.get().abs_diff(self.until) as f64)
    }
}

/// The second process, left to itself, would end four steps earlier, and the first would wait for it.
#[test]
fn all_end_where_the_first_one_measured_best() {
    let folders = folders(2);
    let peers = Thread::together(2);
    let trained: Vec<Trained> = std::thread::scope(|scope| {
        let started: Vec<_> = folders
            .iter()
            .zip(peers)
            .zip([5, 1])
            .map(|((folder, peers), until)| {
                scope.spawn(move || {
                    let held_out = Falls { until, measured: Cell::new(0) };
                    let stopping = Stopping { held_out: &held_out, every: 1, patience: Some(2) };
                    let conditions = Conditions { peers, ..Conditions::default() };
                    run_until(folder.path(), &conditions, Some(stopping)).unwrap()
                })
            })
            .collect();
        started.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    for trained in &trained {
        assert_eq!(trained.best, Some(Measurement { step: 5, value: 0.0 }));
        assert_eq!(trained.metrics.len(), 7);
    }
    assert_eq!(bits(trained[1].parameters.iter()), bits(trained[0].parameters.iter()));
}

/// Asks for an interruption when it has measured this often.
struct Asks {
    after: u64,
    measured: Cell<u64>,
    asked: Arc<AtomicBool>,
}

impl HeldOut for Asks {
    fn measure(&self, _parameters: &Parameters) -> Result<f64, Box<dyn std::error::Error + Send + Sync>> {
        self.measured.set(self.measured.get() + 1);
        self.asked.store(self.measured.get() >= self.after, Ordering::SeqCst);
        Ok(0.0)
    }
}

#[test]
fn whichever_process_is_interrupted_all_end_with_a_checkpoint_of_that_step() {
    let straight = folders(2);
    let expected = together(&straight, None).remove(0).unwrap();
    for asked in 0..2 {
        let folders = folders(2);
        let interruptions = [Interruption::default(), Interruption::default()];
        let asked = interruptions[asked].asked();
        let exists = |folder: &tempfile::TempDir| folder.path().join("run/checkpoint-00000005").exists();
        std::thread::scope(|scope| {
            let peers = Thread::together(2).into_iter().zip(&interruptions);
            for (folder, (peers, interruption)) in folders.iter().zip(peers) {
                let (asked, folders) = (asked.clone(), &folders);
                scope.spawn(move || {
                    // The first process measures for both. Its checkpoints are those of even steps.
                    let held_out = Asks { after: 5, measured: Cell::new(0), asked };
                    let stopping = Stopping { held_out: &held_out, every: 1, patience: None };
                    let interruption = interruption.clone();
                    let conditions = Conditions { peers, interruption, ..Conditions::default() };
                    let outcome = run_until(folder.path(), &conditions, Some(stopping));
                    assert!(matches!(outcome, Err(Error::Stopped { step: 5 })));
                    // Neither ends before it is whole: the program would end the other.
                    assert!(exists(&folders[0]));
                });
            }
        });
        assert!(!exists(&folders[1]));
        // Between trainings nobody would heed it.
        assert!(interruptions.iter().all(|interruption| interruption.unheard().load(Ordering::SeqCst)));
        let went_on = together(&folders, None).remove(0).unwrap();
        assert_eq!(bits(went_on.parameters.iter()), bits(expected.parameters.iter()));
        assert_eq!(went_on.metrics.len(), 9);
    }
}

#[test]
fn a_run_that_stops_early_goes_on_to_the_same_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let straight = {
        let mixture = mixture(&folder.path().join("tokens"), 16, 6);
        let objective = NextToken(decoder(2, 9));
        let (config, directory) = (config(), folder.path().join("straight"));
        let run = Run { config: &config, identity: "one", directory: &directory, label: "test" };
        train(&run, objective.parameters(), &mixture, &objective, &Silent).unwrap()
    };
    let outcome = run(folder.path(), &Conditions { stop_after: Some(5), ..Conditions::default() });
    let error = outcome.err().expect("it was to stop");
    assert_eq!(error.to_string(), "stopped after step 5, as was asked");
    let went_on = run(folder.path(), &Conditions { stop_after: Some(9), ..Conditions::default() }).unwrap();
    assert_eq!(bits(went_on.parameters.iter()), bits(straight.parameters.iter()));
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}
