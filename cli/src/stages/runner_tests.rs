#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Barrier, Mutex};

use clap::Parser;
use lore_train::Peers;
use serde_json::{Value, json};

use super::*;
use crate::plan::estimate::{Estimate, Facts};
use crate::session::GlobalOptions;
use crate::stages::Publication;

/// Writes its config and its inputs' texts to `text`.
struct Toy {
    name: &'static str,
    inputs: Vec<&'static str>,
    config: u32,
    /// Steps of which each writes a line; resumable when more than one.
    steps: usize,
    /// Fails before this step.
    dies_at: Option<usize>,
    by_content: bool,
    log: Arc<Mutex<Vec<String>>>,
}

impl Stage for Toy {
    fn name(&self) -> &str {
        self.name
    }
    fn inputs(&self) -> Vec<String> {
        self.inputs.iter().map(ToString::to_string).collect()
    }
    fn config(&self) -> Value {
        json!(self.config)
    }
    fn resumable(&self) -> bool {
        self.steps > 1
    }
    fn expected_identity(&self, key: &str) -> Option<String> {
        (!self.by_content).then(|| key.into())
    }
    fn publications(&self) -> Vec<Publication> {
        vec![Publication::new(Path::new("modules").join(self.name), "text")]
    }
    fn estimate(&self, _facts: &Facts) -> Estimate {
        Estimate::default()
    }
    fn run(&self, context: &StageContext<'_>) -> Result<Outcome> {
        let steps = context.folder.join("steps");
        let begun = fs::read_to_string(&steps).unwrap_or_default();
        for step in begun.lines().count()..self.steps {
            if self.dies_at == Some(step) {
                return Err(Error::Failed("killed".into()));
            }
            self.log.lock().unwrap().push(format!("{} {step}", self.name));
            let text = fs::read_to_string(&steps).unwrap_or_default();
            fs::write(&steps, format!("{text}{step}\n")).unwrap();
        }
        let mut text = self.config.to_string();
        for input in self.inputs() {
            text += &fs::read_to_string(context.input(&input)?.folder.join("text")).unwrap();
        }
        fs::write(context.folder.join("text"), &text).unwrap();
        // Its content is the parity of its config.
        let identity = self.by_content.then(|| format!("content {}", self.config % 2));
        Ok(Outcome { identity, ..Outcome::default() })
    }
}

/// `fetch` → `base` → `module:a` and `module:b`.
struct Run {
    runs: tempfile::TempDir,
    name: &'static str,
    log: Arc<Mutex<Vec<String>>>,
    configs: [u32; 4],
    steps: usize,
    dies_at: Option<usize>,
    by_content: bool,
}

impl Run {
    fn new() -> Self {
        let runs = tempfile::tempdir().unwrap();
        Self {
            runs,
            name: "toy",
            log: Arc::default(),
            configs: [1, 2, 3, 4],
            steps: 1,
            dies_at: None,
            by_content: false,
        }
    }

    fn folder(&self) -> RunFolder {
        RunFolder::new(self.runs.path(), self.name)
    }

    fn stages(&self) -> Vec<Box<dyn Stage>> {
        let toy = |name, inputs, config| Toy {
            name,
            inputs,
            config,
            steps: 1,
            dies_at: None,
            by_content: false,
            log: self.log.clone(),
        };
        let [fetch, base, a, b] = self.configs;
        vec![
            Box::new(Toy { by_content: self.by_content, ..toy("fetch", vec![], fetch) }),
            Box::new(Toy { steps: self.steps, dies_at: self.dies_at, ..toy("base", vec!["fetch"], base) }),
            Box::new(toy("module:a", vec!["base"], a)),
            Box::new(toy("module:b", vec!["base"], b)),
        ]
    }

    fn session(&self) -> Session {
        #[derive(Parser)]
        struct Options {
            #[command(flatten)]
            global: GlobalOptions,
        }
        let cache = self.runs.path().join("cache");
        let options = Options::parse_from(["lore", "--quiet", "--cache-dir", cache.to_str().unwrap()]);
        Session::new(&options.global).unwrap()
    }

    /// Runs, and returns what the stages logged.
    fn run(&self, force: &[&str]) -> Result<Vec<String>> {
        let session = self.session();
        let force: Vec<String> = force.iter().map(ToString::to_string).collect();
        let result =
            Runner { folder: &self.folder(), session: &session, keeps_others: false }.run(&self.stages(), &force);
        let log = std::mem::take(&mut *self.log.lock().unwrap());
        let summary = result?;
        let mut ran: Vec<String> = log.iter().map(|line| line.split(' ').next().unwrap().into()).collect();
        ran.dedup();
        assert!(self.steps > 1 || summary.ran == ran, "{:?} {ran:?}", summary.ran);
        Ok(log)
    }

    fn folders(&self) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(self.folder().root().join("stages"))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        names
    }
}

const ALL: [&str; 4] = ["fetch 0", "base 0", "module:a 0", "module:b 0"];

#[test]
fn a_second_run_does_nothing() {
    let run = Run::new();
    assert_eq!(run.run(&[]).unwrap(), ALL);
    assert!(run.run(&[]).unwrap().is_empty());
    assert_eq!(run.folders().len(), 4);
    let published = run.folder().root().join("modules").join("module:b");
    assert_eq!(fs::read_to_string(published).unwrap(), "421");
}

#[test]
fn a_change_runs_only_what_depends_on_it_and_drops_what_it_replaced() {
    let mut run = Run::new();
    run.run(&[]).unwrap();
    run.configs[2] = 30;
    assert_eq!(run.run(&[]).unwrap(), ["module:a 0"]);
    assert_eq!(run.folders().len(), 4);
    run.configs[1] = 20;
    assert_eq!(run.run(&[]).unwrap(), ["base 0", "module:a 0", "module:b 0"]);
    let published = run.folder().root().join("modules").join("module:a");
    assert_eq!(fs::read_to_string(published).unwrap(), "30201");
}

#[test]
fn the_same_content_from_another_config_changes_nothing_later() {
    let mut run = Run { by_content: true, ..Run::new() };
    assert_eq!(run.run(&[]).unwrap(), ALL);
    run.configs[0] = 11;
    assert_eq!(run.run(&[]).unwrap(), ["fetch 0"]);
    run.configs[0] = 12;
    assert_eq!(run.run(&[]).unwrap(), ALL);
}

#[test]
fn keys_after_unknown_content_are_unknown() {
    let run = Run { by_content: true, ..Run::new() };
    let stages = run.stages();
    let mut identities = BTreeMap::new();
    let mut keys = Vec::new();
    for stage in &stages {
        let resolved = resolve(stage.as_ref(), &identities, &run.folder());
        keys.push(resolved.key.is_some());
        identities.insert(stage.name().to_owned(), resolved.identity);
    }
    assert_eq!(keys, [true, false, false, false]);
}

#[test]
fn an_interrupted_stage_goes_on_where_it_stopped() {
    let mut run = Run { steps: 4, dies_at: Some(2), ..Run::new() };
    let error = run.run(&[]).unwrap_err();
    assert!(matches!(&error, Error::Stage { stage, .. } if stage == "base"), "{error}");
    let partial: Vec<String> = run.folders().into_iter().filter(|name| name.ends_with(".partial")).collect();
    assert_eq!(partial.len(), 1);
    assert!(partial[0].starts_with("base-"));
    run.dies_at = None;
    assert_eq!(run.run(&[]).unwrap(), ["base 2", "base 3", "module:a 0", "module:b 0"]);
    assert!(run.folders().iter().all(|name| !name.ends_with(".partial")));
}

#[test]
fn a_stage_that_cannot_resume_starts_afresh() {
    let run = Run::new();
    run.run(&[]).unwrap();
    let folder = run.folder();
    let finished = run.folders().into_iter().find(|name| name.starts_with("base-")).unwrap();
    let finished = folder.root().join("stages").join(finished);
    // As an interruption leaves it: not finished, with a file of an earlier attempt.
    let partial = PathBuf::from(format!("{}.partial", finished.display()));
    fs::rename(&finished, &partial).unwrap();
    fs::remove_file(partial.join("stage.json")).unwrap();
    fs::write(partial.join("rubbish"), "").unwrap();
    assert_eq!(run.run(&[]).unwrap(), ["base 0"]);
    assert!(!finished.join("rubbish").exists());
}

#[test]
fn what_another_run_made_is_taken_over() {
    let mut run = Run { by_content: true, ..Run::new() };
    run.run(&[]).unwrap();
    (run.name, run.configs[2]) = ("other", 30);
    assert_eq!(run.run(&[]).unwrap(), ["module:a 0"]);
    let published =
        |run: &Run, module: &str| fs::read_to_string(run.folder().root().join("modules").join(module)).unwrap();
    assert_eq!([published(&run, "module:a"), published(&run, "module:b")], ["3021", "421"]);
    // It needs nothing of the other any more, and leaves it alone.
    fs::remove_dir_all(run.runs.path().join("toy")).unwrap();
    assert!(run.run(&[]).unwrap().is_empty());
    assert_eq!(published(&run, "module:b"), "421");
}

/// One of two processes, which are threads here.
struct OneOfTwo {
    rank: usize,
    barrier: Arc<Barrier>,
    sum: Arc<Mutex<[f64; 2]>>,
}

impl Peers for OneOfTwo {
    fn rank(&self) -> usize {
        self.rank
    }
    fn size(&self) -> usize {
        2
    }
    fn sum_f32(&self, _values: &mut [f32]) {
        unreachable!("toys have no weights");
    }
    fn sum_f64(&self, values: &mut [f64]) {
        self.sum.lock().unwrap()[self.rank] = values[0];
        self.barrier.wait();
        values[0] = self.sum.lock().unwrap().iter().sum();
        self.barrier.wait();
    }
}

/// Brings `stage` to its end by two processes, and returns what they logged.
fn together(run: &Run, stage: &str) -> Vec<String> {
    let (barrier, sum) = (Arc::new(Barrier::new(2)), Arc::<Mutex<[f64; 2]>>::default());
    std::thread::scope(|scope| {
        for rank in [0, 1] {
            let peers = Arc::new(OneOfTwo { rank, barrier: barrier.clone(), sum: sum.clone() });
            scope.spawn(move || {
                let mut session = run.session();
                session.training.peers = peers;
                let runner = Runner { folder: &run.folder(), session: &session, keeps_others: true };
                match rank {
                    0 => drop(runner.only(&run.stages(), stage).unwrap()),
                    _ => runner.help(&run.stages(), stage).unwrap(),
                }
            });
        }
    });
    std::mem::take(&mut *run.log.lock().unwrap())
}

#[test]
fn a_process_helps_with_what_the_first_one_computes_and_with_nothing_else() {
    let mut run = Run::new();
    assert_eq!(together(&run, "fetch"), ["fetch 0", "fetch 0"]);
    assert_eq!(together(&run, "base"), ["base 0", "base 0"]);
    assert!(together(&run, "base").is_empty());
    // Another run in the same folder has what the first one made; the second process must not wait for a first that does
    // not compute.
    run.name = "other";
    assert!(together(&run, "fetch").is_empty());
    assert!(together(&run, "base").is_empty());
    assert_eq!(together(&run, "module:a"), ["module:a 0", "module:a 0"]);
}

#[test]
fn what_is_forced_or_damaged_elsewhere_runs_here() {
    let mut run = Run::new();
    run.run(&[]).unwrap();
    let name = run.folders().into_iter().find(|name| name.starts_with("module-b-")).unwrap();
    fs::write(run.folder().root().join("stages").join(name).join("text"), "cut off").unwrap();
    run.name = "other";
    assert_eq!(run.run(&["base"]).unwrap(), ["base 0", "module:a 0", "module:b 0"]);
    run.name = "third";
    // The first one's `module:b` is damaged, the other's is not.
    assert!(run.run(&[]).unwrap().is_empty());
}

#[test]
fn a_damaged_stage_runs_again() {
    let run = Run::new();
    run.run(&[]).unwrap();
    let name = run.folders().into_iter().find(|name| name.starts_with("module-b-")).unwrap();
    fs::write(run.folder().root().join("stages").join(name).join("text"), "cut off").unwrap();
    assert_eq!(run.run(&[]).unwrap(), ["module:b 0"]);
}

#[test]
fn force_runs_a_stage_and_what_depends_on_it() {
    let run = Run::new();
    run.run(&[]).unwrap();
    assert_eq!(run.run(&["module:a"]).unwrap(), ["module:a 0"]);
    assert_eq!(run.run(&["module"]).unwrap(), ["module:a 0", "module:b 0"]);
    assert_eq!(run.run(&["base"]).unwrap(), ["base 0", "module:a 0", "module:b 0"]);
    let error = run.run(&["modle"]).unwrap_err();
    assert_eq!(error.exit_code(), 2);
    assert!(error.to_string().contains("module:b"), "{error}");
}

#[test]
fn a_forced_stage_that_is_interrupted_is_not_finished() {
    let mut run = Run { steps: 2, ..Run::new() };
    run.run(&[]).unwrap();
    run.dies_at = Some(1);
    run.run(&["base"]).unwrap_err();
    run.dies_at = None;
    assert_eq!(run.run(&[]).unwrap(), ["base 1", "module:a 0", "module:b 0"]);
}

#[test]
fn two_runs_do_not_share_a_folder() {
    let run = Run::new();
    let lock = run.folder().lock().unwrap();
    let message = run.run(&[]).unwrap_err().to_string();
    assert!(message.contains(&format!("process {}", std::process::id())), "{message}");
    drop(lock);
    assert_eq!(run.run(&[]).unwrap(), ALL);
}
