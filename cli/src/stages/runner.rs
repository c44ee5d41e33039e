//! Runs stages in order, skipping what is finished.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::json;

use super::folder::remove_folder;
use super::manifest::{Manifest, Output, outputs_of};
use super::{Finished, Outcome, RunFolder, Stage, StageContext, elsewhere, sha256_of};
use crate::error::{Error, Result};
use crate::memory::{give_back, peak_resident, reset_peak};
use crate::quantity;
use crate::session::Session;

/// Raised when the layout of stage folders changes.
const SCHEMA: u32 = 1;

/// Where a stage stands.
#[derive(Debug, Clone)]
pub enum State {
    /// Finished earlier.
    Finished(Box<Finished>),
    /// Finished by another run in the same folder of runs, from which it can be taken over.
    Elsewhere(Box<Finished>),
    /// To be run, going on from what an interrupted run left.
    Interrupted,
    /// To be run.
    Missing,
}

/// A stage with its key, as far as that is known.
#[derive(Debug, Clone)]
pub struct Resolved {
    /// Hash over everything that goes in; absent while an input's content is not known.
    pub key: Option<String>,
    /// Stands for what comes out in the keys of later stages; absent while not known.
    pub identity: Option<String>,
    /// Where it stands.
    pub state: State,
}

/// Finds a stage's key and state from the identities of the stages before it.
pub fn resolve(stage: &dyn Stage, identities: &BTreeMap<String, Option<String>>, folder: &RunFolder) -> Resolved {
    let inputs: Option<BTreeMap<String, String>> = stage
        .inputs()
        .into_iter()
        .map(|input| {
            let identity = identities.get(&input).cloned().flatten()?;
            Some((input, identity))
        })
        .collect();
    let Some(inputs) = inputs else {
        return Resolved { key: None, identity: None, state: State::Missing };
    };
    let key = key_of(stage, &inputs);
    let path = folder.finished(stage.name(), &key);
    if let Some(manifest) = Manifest::of_intact(&path).filter(|manifest| manifest.key == key) {
        let identity = Some(manifest.identity.clone());
        let state = State::Finished(Box::new(Finished { folder: path, manifest }));
        return Resolved { key: Some(key), identity, state };
    }
    if let Some(found) = elsewhere::find(folder, stage.name(), &key) {
        let identity = Some(found.manifest.identity.clone());
        return Resolved { key: Some(key), identity, state: State::Elsewhere(Box::new(found)) };
    }
    let interrupted = stage.resumable() && folder.partial(stage.name(), &key).exists();
    let identity = stage.expected_identity(&key);
    let state = if interrupted { State::Interrupted } else { State::Missing };
    Resolved { key: Some(key), identity, state }
}

/// The hash over everything that goes into a stage whose inputs have these identities.
pub fn key_of(stage: &dyn Stage, inputs: &BTreeMap<String, String>) -> String {
    sha256_of(&json!([SCHEMA, stage.schema(), stage.name(), stage.config(), inputs]))
}

/// Runs a stage in `folder`, which may hold what an interrupted run of it left, and writes its manifest there.
///
/// # Errors
/// The stage's.
pub fn run_in(
    folder: &Path,
    stage: &dyn Stage,
    key: &str,
    inputs: &BTreeMap<String, Finished>,
    session: &Session,
) -> Result<Manifest> {
    let start = Instant::now();
    give_back();
    reset_peak();
    let Outcome { summary, facts, identity, external } = stage.run(&StageContext { folder, inputs, session })?;
    let manifest = Manifest {
        stage: stage.name().into(),
        key: key.into(),
        identity: identity.unwrap_or_else(|| key.into()),
        inputs: inputs.iter().map(|(input, f)| (input.clone(), f.manifest.identity.clone())).collect(),
        config: stage.config(),
        program: env!("CARGO_PKG_VERSION").into(),
        seconds: start.elapsed().as_secs_f64(),
        peak_memory_bytes: peak_resident(),
        summary,
        facts,
        outputs: outputs_of(folder)?,
        external: external.iter().map(|path| Output::outside(path)).collect(),
    };
    manifest.write(folder)?;
    Ok(manifest)
}

/// Runs the stages of one recipe.
pub struct Runner<'a> {
    /// Where they are kept.
    pub folder: &'a RunFolder,
    /// Device, sources, progress.
    pub session: &'a Session,
    /// Whether folders of stages that are not among those it runs are left alone.
    pub keeps_others: bool,
}

/// What a run did.
#[derive(Debug, Default)]
pub struct Summary {
    /// Stages that ran now.
    pub ran: Vec<String>,
    /// Every stage, finished.
    pub finished: BTreeMap<String, Finished>,
}

impl Runner<'_> {
    /// Brings every stage to its end. Stages come in an order in which inputs come first. Those named in
    /// `force`, or starting with it, run again, and so does all that depends on them.
    ///
    /// # Errors
    /// The first failure; what was finished before stays finished.
    pub fn run(&self, stages: &[Box<dyn Stage>], force: &[String]) -> Result<Summary> {
        let forced = forced(stages, force)?;
        let _lock = self.folder.lock()?;
        for stage in &forced {
            self.folder.forget(stage)?;
        }
        let mut summary = Summary::default();
        let mut identities = BTreeMap::new();
        let mut current = Vec::new();
        for (index, stage) in stages.iter().enumerate() {
            let name = stage.name();
            let resolved = resolve(stage.as_ref(), &identities, self.folder);
            let finished = match resolved.state {
                State::Finished(finished) => *finished,
                state => {
                    let key = resolved.key.ok_or_else(|| {
                        Error::Failed(format!("stage `{name}` depends on one that does not come before it"))
                    })?;
                    let taken = match &state {
                        State::Elsewhere(found) if !forced.contains(name) => self.take_over(name, &key, found)?,
                        _ => None,
                    };
                    if let Some(taken) = taken {
                        taken
                    } else {
                        let goes_on = if matches!(state, State::Interrupted) { ", going on" } else { "" };
                        self.session.progress.note(&format!("[{}/{}] {name}{goes_on}", index + 1, stages.len()));
                        let finished = self
                            .run_one(stage.as_ref(), &key, &summary.finished)
                            .map_err(|error| Error::Stage { stage: name.into(), source: Box::new(error) })?;
                        summary.ran.push(name.into());
                        finished
                    }
                }
            };
            self.folder.publish(&finished.folder, &stage.publications())?;
            identities.insert(name.into(), Some(finished.manifest.identity.clone()));
            current.push(finished.folder.clone());
            summary.finished.insert(name.into(), finished);
        }
        if !self.keeps_others {
            self.folder.keep_only(&current)?;
        }
        self.folder.drop_broken_links()?;
        Ok(summary)
    }

    /// A stage that another run finished, as one of this run; nothing if its files went away meanwhile.
    pub(super) fn take_over(&self, name: &str, key: &str, found: &Finished) -> Result<Option<Finished>> {
        let partial = self.folder.partial(name, key);
        remove_folder(&partial)?;
        if elsewhere::take_over(found, &partial).is_err() {
            remove_folder(&partial)?;
            return Ok(None);
        }
        let folder = self.folder.commit(name, key)?;
        self.session.progress.note(&format!("{name}: taken from the run `{}`", elsewhere::run_of(found)));
        Ok(Some(Finished { folder, manifest: found.manifest.clone() }))
    }

    pub(super) fn run_one(
        &self,
        stage: &dyn Stage,
        key: &str,
        finished: &BTreeMap<String, Finished>,
    ) -> Result<Finished> {
        let name = stage.name();
        let folder = self.folder.partial(name, key);
        if !stage.resumable() && folder.exists() {
            fs::remove_dir_all(&folder).map_err(Error::io(&folder))?;
        }
        fs::create_dir_all(&folder).map_err(Error::io(&folder))?;
        let inputs = inputs_of(stage, finished);
        let manifest = run_in(&folder, stage, key, &inputs, self.session)?;
        let folder = self.folder.commit(name, key)?;
        let time = quantity::duration(Duration::from_secs_f64(manifest.seconds));
        let remark = if manifest.summary.is_empty() { "done" } else { &manifest.summary };
        self.session.progress.note(&format!("      {name}: {remark} ({time})"));
        Ok(Finished { folder, manifest })
    }
}

/// Those of the finished stages that `stage` needs.
pub(super) fn inputs_of(stage: &dyn Stage, finished: &BTreeMap<String, Finished>) -> BTreeMap<String, Finished> {
    let named =
        stage.inputs().into_iter().filter_map(|input| finished.get_key_value(&input).map(|(_, f)| (input, f.clone())));
    named.collect()
}

/// The stages that `force` names, and all that depend on them.
fn forced(stages: &[Box<dyn Stage>], force: &[String]) -> Result<BTreeSet<String>> {
    for wanted in force {
        if !stages.iter().any(|stage| stage.name().starts_with(wanted.as_str())) {
            let names: Vec<&str> = stages.iter().map(|stage| stage.name()).collect();
            return Err(Error::Usage(format!(
                "--force {wanted}: no stage has this name or starts with it. The stages are {}",
                names.join(", ")
            )));
        }
    }
    let mut forced = BTreeSet::new();
    for stage in stages {
        let name = stage.name();
        // `module:geo` alone if there is one; else all that start so.
        let named = |wanted: &String| {
            wanted == name || (!stages.iter().any(|s| s.name() == wanted) && name.starts_with(wanted.as_str()))
        };
        if force.iter().any(named) || stage.inputs().iter().any(|input| forced.contains(input)) {
            forced.insert(name.to_owned());
        }
    }
    Ok(forced)
}

#[cfg(test)]
#[path = "runner_tests.rs"]
mod tests;
