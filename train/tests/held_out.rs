//! Early stopping: what is measured when, what is kept, and that an interruption changes nothing.
#![allow(missing_docs, clippy::unwrap_used)]

mod toy;

use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};

use lore_datasets::progress::Silent;
use lore_train::{
    HeldOut, Measurement, Objective, Parameters, Run, Stopping, TrainConfig, Trained, train, train_until,
};
use toy::{Killed, NextToken, Place, bits, decoder};

/// The steps at which it was asked, and what it answers: the values in turn, by step.
struct Told<'a> {
    values: &'a dyn Fn(u64) -> f64,
    every: u64,
    last: u64,
    asked: RefCell<u64>,
}

impl HeldOut for Told<'_> {
    fn measure(&self, _parameters: &Parameters) -> Result<f64, Box<dyn std::error::Error + Send + Sync>> {
        let mut asked = self.asked.borrow_mut();
        *asked = (*asked + self.every).min(self.last);
        Ok((self.values)(*asked))
    }
}

fn config() -> TrainConfig {
    TrainConfig {
        steps: 14,
        batch_sequences: 4,
        sequence_length: 16,
        learning_rate: 3e-3,
        warmup_steps: 2,
        checkpoint_every: 3,
        ..TrainConfig::default()
    }
}

impl Place {
    fn train(&self, objective: &dyn Objective, stopping: Option<Stopping<'_>>) -> Trained {
        let config = config();
        let run = Run { config: &config, identity: "one", directory: &self.run, label: "test" };
        let start = NextToken(decoder(2, 9)).parameters();
        train_until(&run, start, &self.mixture, objective, stopping, &Silent).unwrap()
    }
}

/// The parameters after this many steps of the whole schedule.
fn after(steps: u64) -> Vec<(String, Vec<u32>)> {
    // Each step is better than the one before until then.
    let place = Place::new();
    let told = Told {
        values: &|step| if step <= steps { -(step as f64) } else { 0.0 },
        every: 1,
        last: 14,
        asked: RefCell::new(0),
    };
    let stopping = Stopping { held_out: &told, every: 1, patience: None };
    let trained = place.train(&NextToken(decoder(2, 9)), Some(stopping));
    assert_eq!(trained.best.unwrap().step, steps);
    bits(trained.parameters.iter())
}

#[test]
fn the_best_is_kept_and_patience_ends_the_run() {
    let values = |step: u64| [9.0, 5.0, 4.0, 6.0, 4.0, 3.0, 7.0][(step as usize / 2).min(6)];
    for (patience, made, best) in [(Some(1), 6, 4), (Some(2), 8, 4), (Some(3), 14, 10), (None, 14, 10)] {
        let place = Place::new();
        let told = Told { values: &values, every: 2, last: 14, asked: RefCell::new(0) };
        let stopping = Stopping { held_out: &told, every: 2, patience };
        let trained = place.train(&NextToken(decoder(2, 9)), Some(stopping));
        assert_eq!(trained.metrics.len() as u64, made, "{patience:?}");
        assert_eq!(trained.best, Some(Measurement { step: best, value: values(best) }), "{patience:?}");
        assert_eq!(bits(trained.parameters.iter()), after(best), "{patience:?}");
        let measured: Vec<(u64, f64)> = trained.metrics.iter().filter_map(|m| Some((m.step, m.held_out?))).collect();
        assert_eq!(measured, (1..=made / 2).map(|i| (2 * i, values(2 * i))).collect::<Vec<_>>());
    }
}

#[test]
fn the_last_step_is_always_measured_and_no_number_is_never_best() {
    let place = Place::new();
    let told =
        Told { values: &|step| if step == 5 { f64::NAN } else { 2.0 }, every: 5, last: 14, asked: RefCell::new(0) };
    let trained = place.train(&NextToken(decoder(2, 9)), Some(Stopping { held_out: &told, every: 5, patience: None }));
    let measured: Vec<u64> = trained.metrics.iter().filter(|m| m.held_out.is_some()).map(|m| m.step).collect();
    assert_eq!(trained.metrics.len(), 14);
    assert_eq!(measured, [5, 10, 14]);
    assert_eq!(trained.best, Some(Measurement { step: 10, value: 2.0 }));
}

#[test]
fn without_it_training_is_what_it_was() {
    let (with, without) = (Place::new(), Place::new());
    let plain = {
        let config = config();
        let run = Run { config: &config, identity: "one", directory: &without.run, label: "test" };
        let objective = NextToken(decoder(2, 9));
        train(&run, objective.parameters(), &without.mixture, &objective, &Silent).unwrap()
    };
    assert_eq!(plain.best, None);
    // Measured once, at the end, which is then the best.
    let told = Told { values: &|_| 1.0, every: 14, last: 14, asked: RefCell::new(0) };
    let stopping = Stopping { held_out: &told, every: u64::MAX, patience: None };
    let measured = with.train(&NextToken(decoder(2, 9)), Some(stopping));
    assert_eq!(bits(measured.parameters.iter()), bits(plain.parameters.iter()));
    assert_eq!(measured.best.unwrap().step, 14);
}

/// What a run's held-out measure is when it is a function of the parameters alone, as in earnest.
struct OfParameters;

impl HeldOut for OfParameters {
    fn measure(&self, parameters: &Parameters) -> Result<f64, Box<dyn std::error::Error + Send + Sync>> {
        let (_, first) = parameters.iter().next().unwrap();
        // It falls and rises again: the distance from where the embedding is after a few steps.
        let sum: f64 = lore_model::ops::host::values(first).iter().map(|&x| f64::from(x).abs()).sum();
        Ok((sum * 1e3).sin())
    }
}

#[test]
fn a_checkpoint_brings_no_best_into_a_run_that_measures_nothing() {
    let place = Place::new();
    let killed = Killed::after(7, NextToken(decoder(2, 9)));
    let stopping = Stopping { held_out: &OfParameters, every: 2, patience: None };
    catch_unwind(AssertUnwindSafe(|| place.train(&killed, Some(stopping)))).err().expect("it was killed");
    let resumed = place.train(&NextToken(decoder(2, 9)), None);
    assert_eq!(resumed.best, None);
    assert!(resumed.metrics[5].held_out.is_some() && resumed.metrics[7].held_out.is_none(), "it went on after step 6");
    let straight = Place::new().train(&NextToken(decoder(2, 9)), None);
    assert_eq!(bits(resumed.parameters.iter()), bits(straight.parameters.iter()));
}

#[test]
fn a_killed_run_keeps_the_same_best() {
    let stopping = |patience| Some(Stopping { held_out: &OfParameters, every: 2, patience });
    for patience in [None, Some(2)] {
        let straight = Place::new().train(&NextToken(decoder(2, 9)), stopping(patience));
        let place = Place::new();
        for steps in [4, 1, 3, 5] {
            let killed = Killed::after(steps, NextToken(decoder(2, 9)));
            // With patience it may have come to its end instead.
            let _ = catch_unwind(AssertUnwindSafe(|| place.train(&killed, stopping(patience))));
        }
        let resumed = place.train(&NextToken(decoder(2, 9)), stopping(patience));
        assert_eq!(resumed.best, straight.best);
        assert_eq!(bits(resumed.parameters.iter()), bits(straight.parameters.iter()));
        assert_eq!(resumed.metrics.len(), straight.metrics.len());
        // Once more from what is left: the end is the same.
        let again = place.train(&NextToken(decoder(2, 9)), stopping(patience));
        assert_eq!((again.best, bits(again.parameters.iter())), (straight.best, bits(straight.parameters.iter())));
    }
}
