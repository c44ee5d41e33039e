//! Jobs: from a stage of a run, and from a task.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use lore_datasets::fetch::files_of;
use lore_datasets::source::SourceUri;
use lore_eval::task::{Task, subset_of};
use lore_train::TrainConfig;

use super::unit::{Evaluation, INPUTS, RECIPE, Training, Unit, Work};
use super::{archive, files};
use crate::error::{Error, Result};
use crate::location::WeightedModule;
use crate::plan;
use crate::recipe::Recipe;
use crate::stages::{Finished, RunFolder, Stage, State, key_of, resolve};

/// Checkpoints that come with the result of a training, at most.
const CHECKPOINTS: u64 = 4;

/// How a stage is trained.
struct How<'a> {
    config: &'a TrainConfig,
    /// Whether it ends when held-out text says so.
    stops: bool,
    /// Whether it is several trainings.
    sweeps: bool,
}

/// How the stage `name` is trained, if it is one that trains.
fn training<'a>(recipe: &'a Recipe, name: &str) -> Option<How<'a>> {
    if name == "base" {
        return Some(How { config: &recipe.base.train, stops: false, sweeps: false });
    }
    let name = name.strip_prefix("module:")?;
    let of_topics = recipe.topics.iter().map(|topic| (&topic.name, &topic.module));
    let of_several = recipe.joint.iter().map(|joint| (&joint.name, &joint.module));
    let (_, module) = of_topics.chain(of_several).find(|(found, _)| *found == name)?;
    let (stops, sweeps) = (module.stopping.is_some(), module.sweep.is_some());
    Some(How { config: &module.train, stops, sweeps })
}

/// Writes a job that trains the stage `wanted` of a recipe, whose inputs are finished in `folder`.
///
/// # Errors
/// A stage that trains nothing, is finished, or has inputs that are not; `out` that exists.
pub fn from_stage(recipe: &Recipe, wanted: &str, folder: &RunFolder, out: &Path) -> Result<Work> {
    let stages = plan::needed_for(plan::stages(recipe), wanted)?;
    let how = training(recipe, wanted).ok_or_else(|| {
        Error::Usage(format!("`{wanted}` trains nothing; jobs are made of `base` and of `module:NAME`"))
    })?;
    if how.sweeps {
        return Err(Error::Usage(format!(
            "`{wanted}` has a `sweep`, which is several trainings; a job is one: choose a learning rate first"
        )));
    }
    let (stage, inputs) = ready(&stages, wanted, folder)?;
    let identities = inputs.iter().map(|(name, input)| (name.clone(), input.manifest.identity.clone())).collect();
    let key = key_of(stage, &identities);
    let job = archive::begin(out)?;
    let mut names = BTreeMap::new();
    for (name, input) in &inputs {
        let copy = format!("{}-{}", name.replace(':', "-"), &input.manifest.key[..12]);
        copy_input(input, stage.reads().contains(name), &job.path().join(INPUTS).join(&copy))?;
        names.insert(name.clone(), copy);
    }
    let text =
        toml::to_string(&for_others(recipe, wanted, &inputs)).map_err(Error::while_doing("writing the recipe"))?;
    let path = job.path().join(RECIPE);
    fs::write(&path, text).map_err(Error::io(path))?;
    let unit = Unit::Training(Training {
        run: recipe.name.clone(),
        stage: wanted.into(),
        key,
        inputs: names,
        steps: how.config.steps,
        // Nobody knows how far a training comes that ends when held-out text says so: it is computed again as a whole.
        checkpoints: if how.stops { Vec::new() } else { checkpoints(how.config) },
        stops: how.stops,
    });
    let work = Work::new(unit, files::list(job.path(), &[])?);
    work.write(job.path())?;
    archive::commit(job, out)?;
    Ok(work)
}

/// The stage, and its inputs, all finished.
fn ready<'a>(
    stages: &'a [Box<dyn Stage>],
    wanted: &str,
    folder: &RunFolder,
) -> Result<(&'a dyn Stage, BTreeMap<String, Finished>)> {
    let (mut identities, mut finished) = (BTreeMap::new(), BTreeMap::new());
    for stage in stages {
        let resolved = resolve(stage.as_ref(), &identities, folder);
        identities.insert(stage.name().to_owned(), resolved.identity);
        match resolved.state {
            State::Finished(_) if stage.name() == wanted => {
                return Err(Error::Failed(format!(
                    "`{wanted}` is finished in {}: nothing is left to do",
                    folder.root().display()
                )));
            }
            State::Finished(done) => drop(finished.insert(stage.name().to_owned(), *done)),
            _ if stage.name() == wanted => {
                let needs = stage.inputs();
                let missing: Vec<&String> = needs.iter().filter(|input| !finished.contains_key(*input)).collect();
                if let Some(first) = missing.first() {
                    return Err(Error::Failed(format!(
                        "`{wanted}` needs what is not finished in {}: {}; `lore run RECIPE --until {first}` first",
                        folder.root().display(),
                        missing.iter().map(|name| name.as_str()).collect::<Vec<_>>().join(", ")
                    )));
                }
                finished.retain(|name, _| needs.contains(name));
                return Ok((stage.as_ref(), finished));
            }
            _ => {}
        }
    }
    unreachable!("`needed_for` gives the wanted stage last")
}

/// Copies what a stage made and, if it is opened, the files elsewhere that it is about; no path of this machine goes along.
fn copy_input(input: &Finished, opened: bool, to: &Path) -> Result<()> {
    fs::create_dir_all(to).map_err(Error::io(to))?;
    let mut manifest = input.manifest.clone();
    if opened {
        for output in &manifest.outputs {
            files::copy(&input.folder.join(&output.path), &to.join(&output.path))?;
        }
    }
    let external = std::mem::take(&mut manifest.external);
    for (number, external) in external.into_iter().enumerate().filter(|_| opened) {
        let from = &external.path;
        let name = from.file_name().ok_or_else(|| Error::Failed(format!("{}: has no name", from.display())))?;
        let relative = Path::new("external").join(number.to_string()).join(name);
        if from.is_file() {
            files::copy(from, &to.join(&relative))?;
        } else {
            for file in files_of(from)? {
                let inside = file
                    .strip_prefix(from)
                    .map_err(|_| Error::Failed(format!("{}: a pattern cannot be packed into a job", from.display())))?;
                files::copy(&file, &to.join(&relative).join(inside))?;
            }
        }
        manifest.external.push(crate::stages::Output { path: relative, ..external });
    }
    manifest.write(to)
}

/// The part of the recipe that the stage depends on; sources on this machine by their last names only.
fn for_others(recipe: &Recipe, wanted: &str, inputs: &BTreeMap<String, Finished>) -> Recipe {
    let mut recipe = recipe.clone();
    recipe.joint.retain(|joint| wanted.strip_prefix("module:") == Some(&joint.name));
    recipe.topics.retain(|topic| inputs.contains_key(&format!("topic:{}", topic.name)));
    let topics = recipe.topics.iter_mut().flat_map(|topic| {
        let against = topic.decontaminate.iter_mut().flat_map(|declared| &mut declared.against);
        against.map(|against| &mut against.source).chain([&mut topic.source])
    });
    let corpus = recipe.general.corpus.iter_mut().map(|corpus| &mut corpus.source);
    for source in topics.chain(corpus).chain([&mut recipe.teacher.source]) {
        if let SourceUri::File(path) = source {
            *path = PathBuf::from(path.file_name().unwrap_or_default());
        }
    }
    recipe
}

/// Which checkpoints come with the result: up to four, evenly spread, the last one always.
fn checkpoints(config: &TrainConfig) -> Vec<u64> {
    let every = config.checkpoint_every.max(1);
    let made = config.steps.saturating_sub(1) / every;
    let count = made.min(CHECKPOINTS);
    (1..=count).map(|number| (number * made).div_ceil(count) * every).collect()
}

/// What a job of a task is made from.
pub struct TaskRequest<'a> {
    /// The base's folder or file.
    pub base: &'a Path,
    /// Modules.
    pub modules: &'a [WeightedModule],
    /// A task's name or file, perhaps with a subset.
    pub task: &'a str,
    /// The folder that the task's path is relative to.
    pub data: &'a Path,
    /// The most items of each subset.
    pub limit: Option<u32>,
}

/// Writes a job that puts a task to a model.
///
/// # Errors
/// A task or data that cannot be used; `out` that exists.
pub fn from_task(request: &TaskRequest<'_>, out: &Path) -> Result<Work> {
    let (task, subset) = subset_of(request.task)?;
    // A task without items, or whose data is not there, is found out here and not on somebody else's machine.
    task.items(request.data, subset.as_deref(), request.limit.map(|limit| limit as usize))?;
    let job = archive::begin(out)?;
    let inputs = job.path().join(INPUTS);
    let base = copy_model(request.base, &inputs, "base")?;
    let mut modules = Vec::new();
    for (number, module) in request.modules.iter().enumerate() {
        modules.push((copy_model(&module.path, &inputs, &format!("modules/{number}"))?, module.weight));
    }
    let from = request.data.join(&task.data.path);
    for file in files_of(&from)? {
        let inside = file.strip_prefix(request.data).unwrap_or(&file);
        files::copy(&file, &inputs.join("data").join(inside))?;
    }
    let unit = Unit::Evaluation(Evaluation {
        base,
        modules,
        task: copy_task(request.task, &task, &inputs)?,
        name: task.name.clone(),
        sha256: task.sha256.clone(),
        subset,
        limit: request.limit,
    });
    let work = Work::new(unit, files::list(job.path(), &[])?);
    work.write(job.path())?;
    archive::commit(job, out)?;
    Ok(work)
}

/// Copies a model's folder or file under its own name, which results repeat; its path in the job.
fn copy_model(from: &Path, inputs: &Path, place: &str) -> Result<String> {
    let whole = from.canonicalize().map_err(Error::io(from))?;
    // A link such as `runs/quickstart/base` is called as it is named, not as what it points to.
    let name = from.file_name().or_else(|| whole.file_name()).unwrap_or_default().to_string_lossy().into_owned();
    for file in files_of(&whole)? {
        let inside = file.strip_prefix(&whole).unwrap_or(Path::new(""));
        let target = inputs.join(place).join(&name);
        files::copy(&file, &if inside.as_os_str().is_empty() { target } else { target.join(inside) })?;
    }
    Ok(format!("{INPUTS}/{place}/{name}"))
}

/// The name of a task that comes with the program; a file is copied, and its path in the job is given.
fn copy_task(argument: &str, task: &Task, inputs: &Path) -> Result<String> {
    let file = [Some(argument), argument.rsplit_once('/').map(|(file, _)| file)].into_iter().flatten();
    match file.map(Path::new).find(|file| file.is_file()) {
        None => Ok(task.name.clone()),
        Some(file) if file.extension().is_some_and(|extension| extension == "yaml" || extension == "yml") => {
            Err(Error::Usage(format!(
                "{}: a job takes a task's name or its own .toml file; a file of lm-evaluation-harness may include others",
                file.display()
            )))
        }
        Some(file) => {
            files::copy(file, &inputs.join("task.toml"))?;
            Ok(format!("{INPUTS}/task.toml"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checkpoints_are_spread_and_hold_the_last() {
        let of =
            |steps, checkpoint_every| checkpoints(&TrainConfig { steps, checkpoint_every, ..TrainConfig::default() });
        assert_eq!(of(60, 3), [15, 30, 45, 57]);
        assert_eq!(of(100, 20), [20, 40, 60, 80]);
        assert_eq!(of(8, 2), [2, 4, 6]);
        assert_eq!(of(1000, 1), [250, 500, 750, 999]);
        for (steps, every) in [(10, 10), (0, 1), (1, 1), (5, 0)] {
            let found = of(steps, every);
            assert!(found.iter().all(|&step| step > 0 && step < steps), "{steps} {every}: {found:?}");
        }
        assert!(of(10, 10).is_empty());
    }
}
