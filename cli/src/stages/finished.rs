//! Which finished stages of a run's folder belong together: commands that keep the stages of another recipe leave several of
//! one name.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use super::{Finished, Manifest};
use crate::error::{Error, Result};

/// Every finished, intact stage of a run, in order of folder.
///
/// # Errors
/// A folder without stages, or that cannot be read.
pub fn finished_in(run: &Path) -> Result<Vec<Finished>> {
    let all = run.join("stages");
    if !all.is_dir() {
        let problem = format!("{} is not the folder of a run; make one with `lore run RECIPE`", run.display());
        return Err(Error::Usage(problem));
    }
    let mut finished = Vec::new();
    for entry in fs::read_dir(&all).map_err(Error::io(&all))? {
        let folder = entry.map_err(Error::io(&all))?.path();
        if let Some(manifest) = Manifest::of_intact(&folder) {
            finished.push(Finished { folder, manifest });
        }
    }
    finished.sort_by(|a, b| a.folder.cmp(&b.folder));
    Ok(finished)
}

/// One stage of each name: the first that is `wanted`, then what it was made from and what that was made from; of names
/// that do not occur there, the first.
pub fn behind(finished: &[Finished], wanted: impl Fn(&Finished) -> bool) -> BTreeMap<String, Finished> {
    let mut chosen: BTreeMap<String, Finished> = BTreeMap::new();
    let mut open: Vec<&Finished> = finished.iter().rev().filter(|stage| wanted(stage)).collect();
    while let Some(stage) = open.pop() {
        let Manifest { stage: name, inputs, .. } = &stage.manifest;
        if chosen.contains_key(name) {
            continue;
        }
        chosen.insert(name.clone(), stage.clone());
        let made_from = |other: &&Finished| inputs.get(&other.manifest.stage) == Some(&other.manifest.identity);
        open.extend(finished.iter().filter(made_from));
    }
    for stage in finished {
        chosen.entry(stage.manifest.stage.clone()).or_insert_with(|| stage.clone());
    }
    chosen
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use serde_json::Value;

    use super::*;

    fn stage(name: &str, identity: &str, inputs: &[(&str, &str)]) -> Finished {
        let manifest = Manifest {
            stage: name.into(),
            key: identity.into(),
            identity: identity.into(),
            inputs: inputs.iter().map(|(name, identity)| ((*name).into(), (*identity).into())).collect(),
            config: Value::Null,
            program: String::new(),
            seconds: 0.0,
            peak_memory_bytes: None,
            summary: String::new(),
            facts: Value::Null,
            outputs: Vec::new(),
            external: Vec::new(),
        };
        Finished { folder: PathBuf::from(format!("{name}-{identity}")), manifest }
    }

    #[test]
    fn what_the_wanted_stage_was_made_from_is_chosen() {
        let finished = [
            stage("base", "1", &[]),
            stage("base", "2", &[]),
            stage("module:a", "3", &[("base", "1")]),
            stage("module:a", "4", &[("base", "2")]),
            stage("report", "5", &[("module:a", "4")]),
            stage("topic:b", "6", &[]),
        ];
        let chosen = |wanted: &str| -> Vec<String> {
            let stages = behind(&finished, |stage| stage.manifest.identity == wanted);
            stages.values().map(|stage| stage.manifest.identity.clone()).collect()
        };
        assert_eq!(chosen("5"), ["2", "4", "5", "6"]);
        assert_eq!(chosen("3"), ["1", "3", "5", "6"]);
        assert_eq!(chosen("none"), ["1", "3", "5", "6"]);
    }
}
