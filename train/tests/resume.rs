//! Runs that are interrupted, damaged or diverge.
#![allow(missing_docs, clippy::unwrap_used)]

mod toy;

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use lore_datasets::progress::Silent;
use lore_train::{Error, Run, StepMetrics, TrainConfig, Trained, clear_checkpoints, train};
use toy::{Killed, NextToken, Place, bits, decoder, mixture_of};

const PARTS: usize = 2;

fn config() -> TrainConfig {
    TrainConfig {
        steps: 12,
        batch_sequences: 4,
        sequence_length: 16,
        accumulate: PARTS,
        learning_rate: 3e-3,
        warmup_steps: 4,
        weight_decay: 0.1,
        checkpoint_every: 3,
        ..TrainConfig::default()
    }
}

impl Place {
    fn train(&self, config: &TrainConfig, identity: &str) -> Result<Trained, Error> {
        let objective = NextToken(decoder(2, 9));
        let run = Run { config, identity, directory: &self.run, label: "test" };
        train(&run, objective.parameters(), &self.mixture, &objective, &Silent)
    }

    /// Runs until `steps` whole steps and one part of the next are computed.
    fn kill_after(&self, steps: usize) {
        let objective = Killed::after(steps * PARTS + 1, NextToken(decoder(2, 9)));
        let config = config();
        let run = Run { config: &config, identity: "one", directory: &self.run, label: "test" };
        let start = objective.objective.parameters();
        let outcome = catch_unwind(AssertUnwindSafe(|| train(&run, start, &self.mixture, &objective, &Silent)));
        assert!(outcome.is_err(), "it was to be killed");
    }

    fn checkpoints(&self) -> Vec<String> {
        let names = fs::read_dir(&self.run).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<String> = names.filter(|name| name.starts_with("checkpoint")).collect();
        names.sort();
        names
    }

    fn newest(&self) -> PathBuf {
        self.run.join(self.checkpoints().pop().unwrap())
    }
}

/// The figures are the same, up to what reading a number from JSON may change in its last digit.
fn assert_same_figures(found: &[StepMetrics], expected: &[StepMetrics]) {
    let numbers = |m: &StepMetrics| [m.loss, m.target_entropy, m.agreement, m.gradient_norm, m.learning_rate];
    assert_eq!(found.len(), expected.len());
    for (found, expected) in found.iter().zip(expected) {
        assert_eq!((found.step, found.tokens), (expected.step, expected.tokens));
        for (a, b) in numbers(found).into_iter().zip(numbers(expected)) {
            assert!((a - b).abs() <= 2.0 * f64::EPSILON * b.abs(), "step {}: {a} and {b}", found.step);
        }
    }
}

/// The lines of the metrics file to the letter, but for the time each step took.
fn on_disk(run: &Path) -> Vec<String> {
    let text = fs::read_to_string(run.join("metrics.jsonl")).unwrap();
    assert!(text.is_empty() || text.ends_with('\n'));
    text.lines()
        .map(|line| {
            let (figures, time) = line.split_once("\"seconds\":").unwrap();
            assert!(time.ends_with('}') && serde_json::from_str::<StepMetrics>(line).is_ok());
            figures.to_owned()
        })
        .collect()
}

#[test]
fn a_killed_run_goes_on_to_the_same_bytes() {
    let undisturbed = Place::new();
    let straight = undisturbed.train(&config(), "one").unwrap();
    let expected = bits(straight.parameters.iter());
    assert_eq!(straight.metrics.len(), 12);
    assert_ne!(expected, bits(NextToken(decoder(2, 9)).parameters().iter()), "something was learnt");

    let place = Place::new();
    // Before the first checkpoint, right after one, between two, and again at once.
    let mut made = 0;
    for (steps, last) in [(2, 0), (3, 3), (1, 3), (5, 6), (0, 6), (5, 9)] {
        place.kill_after(steps);
        made = (made + steps) / 3 * 3;
        assert_eq!(made, last);
        let names = if last == 0 { vec![] } else { vec![format!("checkpoint-{last:08}")] };
        assert_eq!(place.checkpoints(), names);
    }
    let resumed = place.train(&config(), "one").unwrap();
    assert_eq!(bits(resumed.parameters.iter()), expected);
    assert_same_figures(&resumed.metrics, &straight.metrics);
    assert_eq!(on_disk(&place.run), on_disk(&undisturbed.run));

    // A result that was not stored in time is made again from the last checkpoint.
    let again = place.train(&config(), "one").unwrap();
    assert_eq!(bits(again.parameters.iter()), expected);
    assert_same_figures(&again.metrics, &straight.metrics);
    assert_eq!(on_disk(&place.run), on_disk(&undisturbed.run));

    clear_checkpoints(&place.run).unwrap();
    assert_eq!(place.checkpoints(), Vec::<String>::new());
    assert_eq!(on_disk(&place.run).len(), 12, "metrics stay");
}

#[test]
fn what_a_crash_leaves_half_written_is_ignored() {
    let undisturbed = Place::new();
    let expected = undisturbed.train(&config(), "one").unwrap();
    for half_written in ["checkpoint.partial/state.safetensors", "checkpoint.partial/checkpoint.json"] {
        let place = Place::new();
        place.kill_after(4);
        let partial = place.run.join("checkpoint.partial");
        fs::create_dir(&partial).unwrap();
        fs::write(place.run.join(half_written), b"{\"schema\": 1, \"ident").unwrap();
        let metrics = place.run.join("metrics.jsonl");
        let mut lines = fs::read(&metrics).unwrap();
        lines.truncate(lines.len() - 20);
        fs::write(&metrics, lines).unwrap();
        let found = place.train(&config(), "one").unwrap();
        assert_eq!(bits(found.parameters.iter()), bits(expected.parameters.iter()));
        assert_same_figures(&found.metrics, &expected.metrics);
        assert_eq!(on_disk(&place.run), on_disk(&undisturbed.run));
        assert!(!partial.exists());
    }
}

fn refused(outcome: Result<Trained, Error>) -> Error {
    match outcome {
        Err(error) => error,
        Ok(_) => panic!("it went on from what it should have refused"),
    }
}

#[test]
fn a_checkpoint_of_another_run_is_refused() {
    let place = Place::new();
    place.kill_after(4);
    let error = refused(place.train(&config(), "another"));
    assert!(matches!(&error, Error::Checkpoint { path, .. } if *path == place.newest()), "{error}");
    let text = error.to_string();
    assert!(text.contains("another recipe") && text.contains("remove it to start again"), "{text}");
    assert_eq!(place.checkpoints(), ["checkpoint-00000003"], "it is kept for its own run");
    place.train(&config(), "one").unwrap();
}

/// What is done to a checkpoint's folder.
type Damage = fn(&Path);

#[test]
fn damaged_checkpoints_are_refused_by_name() {
    let damage: [(&str, Damage); 6] = [
        ("state cut short", |folder| {
            let path = folder.join("state.safetensors");
            let bytes = fs::read(&path).unwrap();
            fs::write(path, &bytes[..bytes.len() - 4]).unwrap();
        }),
        ("state emptied", |folder| fs::write(folder.join("state.safetensors"), b"").unwrap()),
        ("state missing", |folder| fs::remove_file(folder.join("state.safetensors")).unwrap()),
        ("manifest cut short", |folder| {
            let path = folder.join("checkpoint.json");
            let text = fs::read_to_string(&path).unwrap();
            fs::write(path, &text[..text.len() / 2]).unwrap();
        }),
        ("manifest missing", |folder| fs::remove_file(folder.join("checkpoint.json")).unwrap()),
        ("manifest of a later program", |folder| {
            let path = folder.join("checkpoint.json");
            let text = fs::read_to_string(&path).unwrap();
            fs::write(path, text.replace("\"schema\": 1", "\"schema\": 2")).unwrap();
        }),
    ];
    for (what, damage) in damage {
        let place = Place::new();
        place.kill_after(4);
        damage(&place.newest());
        let error = refused(place.train(&config(), "one"));
        let text = error.to_string();
        assert!(text.contains("checkpoint-00000003"), "{what}: {text}");
    }
}

#[test]
fn another_number_of_values_is_refused() {
    let place = Place::new();
    place.kill_after(4);
    let objective = NextToken(decoder(3, 9));
    let run = Run { config: &config(), identity: "one", directory: &place.run, label: "test" };
    let error = refused(train(&run, objective.parameters(), &place.mixture, &objective, &Silent));
    assert!(error.to_string().contains("model.layers.2."), "{error}");
}

#[test]
fn a_loss_that_is_no_number_ends_the_run() {
    let place = Place::new();
    let config = TrainConfig { learning_rate: 1e30, warmup_steps: 0, checkpoint_every: 100, ..config() };
    match refused(place.train(&config, "one")) {
        Error::Diverged { step, loss, gradient_norm, learning_rate } => {
            assert!(step >= 1 && !(loss.is_finite() && gradient_norm.is_finite()));
            assert_eq!(learning_rate, 1e30);
            assert_eq!(on_disk(&place.run).len() as u64, step, "only whole steps are recorded");
        }
        other => panic!("{other}"),
    }
}

#[test]
fn texts_of_one_token_teach_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let texts = (0..10).map(|word| format!("w{word}")).collect();
    let mixture = mixture_of(texts, &folder.path().join("tokens"), 1, 4);
    let objective = NextToken(decoder(1, 1));
    let run = Run { config: &config(), identity: "one", directory: &folder.path().join("run"), label: "test" };
    let error = refused(train(&run, objective.parameters(), &mixture, &objective, &Silent));
    assert!(matches!(error, Error::EmptyBatch { step: 0 }), "{error}");
}
