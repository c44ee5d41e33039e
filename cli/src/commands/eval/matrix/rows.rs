//! What is loaded in each row.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use lore_eval::combinations::combinations;
use lore_model::save::StoredType;
use lore_modules::{Adapter, null, peft};

use super::routed;
use crate::commands::eval::asked::name_of;
use crate::error::{Error, Result};
use crate::location::WeightedModule;
use crate::stages::Manifest;

/// One row of the matrix: a name, and modules with their weights.
#[derive(Debug, PartialEq)]
pub(super) struct Loaded {
    /// Names its folder too.
    pub(super) name: String,
    /// Beside the base.
    pub(super) modules: Vec<WeightedModule>,
}

/// Which rows are wanted beside those of every matrix.
#[derive(Default)]
pub(super) struct Wanted {
    /// Sets of 2 to so many modules.
    pub(super) combine: Option<usize>,
    /// No more of them than this.
    pub(super) combinations: usize,
    /// Weight of each module in them.
    pub(super) weight: f32,
    /// Draws sets and the shuffled module.
    pub(super) seed: u64,
    /// Modules of something else.
    pub(super) off_topic: Vec<PathBuf>,
    /// Folder for modules without knowledge, if there are to be some.
    pub(super) controls: Option<PathBuf>,
}

/// The base, each module, sets of those of single topics, all of these summed and averaged, and controls.
///
/// # Errors
/// A folder that is no run; modules that cannot be read; controls that cannot be written.
pub(super) fn rows(run: &Path, wanted: &Wanted) -> Result<Vec<Loaded>> {
    let paths = modules_of(run)?;
    let at = |path: &PathBuf, weight: f32| WeightedModule { path: path.clone(), weight };
    let mut rows = vec![Loaded { name: "base".into(), modules: Vec::new() }];
    rows.extend(paths.iter().map(|path| Loaded { name: name_of(path), modules: vec![at(path, 1.0)] }));
    let all = paths.clone();
    let paths = of_single_topics(paths);
    if let Some(most) = wanted.combine {
        // All of them stand below anyway.
        let most = if wanted.weight == 1.0 { most.min(paths.len().saturating_sub(1)) } else { most };
        for set in combinations(paths.len(), 2..=most, wanted.combinations, wanted.seed) {
            let names: Vec<String> = set.iter().map(|&place| name_of(&paths[place])).collect();
            let at_weight = if wanted.weight == 1.0 { String::new() } else { format!("@{}", wanted.weight) };
            let modules = set.iter().map(|&place| at(&paths[place], wanted.weight)).collect();
            rows.push(Loaded { name: names.join("+") + &at_weight, modules });
        }
    }
    if paths.len() > 1 {
        let all = |weight: f32| -> Vec<WeightedModule> { paths.iter().map(|path| at(path, weight)).collect() };
        rows.push(Loaded { name: "all-summed".into(), modules: all(1.0) });
        rows.push(Loaded { name: "all-averaged".into(), modules: all(1.0 / paths.len() as f32) });
    }
    for path in &wanted.off_topic {
        rows.push(Loaded { name: format!("off-topic-{}", name_of(path)), modules: vec![at(path, 1.0)] });
    }
    if let Some(folder) = &wanted.controls {
        for (name, path) in write_controls(&all, folder, wanted.seed)? {
            rows.push(Loaded { name, modules: vec![at(&path, 1.0)] });
        }
    }
    let mut names: Vec<&str> = rows.iter().map(|row| row.name.as_str()).chain([routed::NAME]).collect();
    names.sort();
    if let Some(pair) = names.windows(2).find(|pair| pair[0] == pair[1]) {
        let message =
            format!("two rows of the matrix are called `{}`; give one of the modules another folder", pair[0]);
        return Err(Error::Usage(message));
    }
    Ok(rows)
}

fn modules_of(run: &Path) -> Result<Vec<PathBuf>> {
    let folder = run.join("modules");
    let mut paths = Vec::new();
    for entry in fs::read_dir(&folder).map_err(Error::io(&folder))? {
        let path = entry.map_err(Error::io(&folder))?.path();
        if path.is_dir() {
            paths.push(path);
        }
    }
    paths.sort();
    if paths.is_empty() {
        return Err(Error::Failed(format!("{} holds no module; a finished `lore run` leaves some", folder.display())));
    }
    Ok(paths)
}

/// The modules of single topics of a run, by name.
///
/// # Errors
/// A folder that is no run.
pub(super) fn single_topics(run: &Path) -> Result<BTreeMap<String, PathBuf>> {
    Ok(of_single_topics(modules_of(run)?).into_iter().map(|path| (name_of(&path), path)).collect())
}

fn of_single_topics(mut modules: Vec<PathBuf>) -> Vec<PathBuf> {
    modules.retain(|path| !is_joint(path));
    modules
}

/// Whether a module of a run was trained on several topics (`[[joint]]`): it is what using their own modules together is
/// compared with, and not one of them.
fn is_joint(module: &Path) -> bool {
    let stage = fs::canonicalize(module).ok().and_then(|module| Manifest::of_intact(module.parent()?));
    stage.is_some_and(|manifest| !manifest.facts["topics"].is_null())
}

/// Modules without knowledge, as large as the largest of the modules. They are files so that anyone can load what was
/// measured.
fn write_controls(modules: &[PathBuf], folder: &Path, seed: u64) -> Result<Vec<(String, PathBuf)>> {
    let read = |path: &PathBuf| Ok((peft::read(path)?, name_of(path)));
    let mut adapters = modules.iter().map(read).collect::<Result<Vec<(Adapter, String)>>>()?;
    // Of equals the first by name.
    adapters.sort_by_key(|(adapter, _)| usize::MAX - adapter.parameter_count());
    let (largest, of) = &adapters[0];
    let mut written = Vec::new();
    for (name, mut control) in [("null", null::null(largest)), ("shuffled", null::shuffled(largest, seed))] {
        control.metadata = [("control".to_owned(), format!("{name}, of {of}"))].into();
        let path = folder.join(name);
        peft::write(&path, &control, StoredType::F32)?;
        written.push((format!("control-{name}"), path));
    }
    Ok(written)
}

#[cfg(all(test, unix))]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::*;

    fn shown(rows: &[Loaded]) -> Vec<(&str, usize)> {
        rows.iter().map(|row| (row.name.as_str(), row.modules.len())).collect()
    }

    #[test]
    fn a_module_of_several_topics_is_not_one_of_all() {
        let run = tempfile::tempdir().unwrap();
        let path = |relative: &str| run.path().join(relative);
        for folder in ["modules/hills", "modules/rivers", "stages/module-both-0/module"] {
            fs::create_dir_all(path(folder)).unwrap();
        }
        std::os::unix::fs::symlink("../stages/module-both-0/module", path("modules/both")).unwrap();
        let manifest: Manifest = serde_json::from_value(json!({
            "stage": "module:both", "key": "0", "identity": "0", "inputs": {}, "config": {}, "program": "0",
            "seconds": 0.0, "summary": "", "facts": { "topics": ["hills", "rivers"] }, "outputs": [], "external": [],
        }))
        .unwrap();
        manifest.write(&path("stages/module-both-0")).unwrap();
        let found = rows(run.path(), &Wanted::default()).unwrap();
        let expected = [("base", 0), ("both", 1), ("hills", 1), ("rivers", 1), ("all-summed", 2), ("all-averaged", 2)];
        assert_eq!(shown(&found), expected);
        // At weight 1 the set of all is there once; at another it is one of its own.
        let pairs = Wanted { combine: Some(2), combinations: 9, weight: 1.0, ..Wanted::default() };
        assert_eq!(shown(&rows(run.path(), &pairs).unwrap()), expected);
        let half = rows(run.path(), &Wanted { weight: 0.5, ..pairs }).unwrap();
        assert_eq!((shown(&half)[4], half[4].modules[1].weight), (("hills+rivers@0.5", 2), 0.5));
        let off_topic = vec![PathBuf::from("elsewhere/hills"), PathBuf::from("other/hills")];
        let message = rows(run.path(), &Wanted { off_topic, ..Wanted::default() }).unwrap_err().to_string();
        assert!(message.contains("two rows of the matrix are called `off-topic-hills`"), "{message}");
        fs::create_dir_all(path("modules/routed")).unwrap();
        let message = rows(run.path(), &Wanted::default()).unwrap_err().to_string();
        assert!(message.contains("two rows of the matrix are called `routed`"), "{message}");
    }
}
