//! Answers to a task, and whether they can be believed: both by `lore eval`, which does the same for anyone's results.

use std::fs;
use std::path::{Path, PathBuf};

use clap::Parser;
use lore_eval::result::{TaskResult, file_name, samples_name};
use lore_eval::task::{Selection, subset_of};

use super::outcome::Outcome;
use super::unit::{Evaluation, INPUTS, Job};
use super::{Sampling, files, refused};
use crate::commands::eval::{EvalArguments, eval};
use crate::error::{Error, Result};
use crate::session::Session;

/// Where the answers are in a result.
pub const ANSWERS: &str = "answers";

/// Answers that were accepted.
pub struct Asked {
    file: PathBuf,
}

impl Asked {
    /// Copies result and samples into a folder; the result's path there.
    ///
    /// # Errors
    /// Files that cannot be written.
    pub fn install(&self, out: &Path) -> Result<PathBuf> {
        let samples = TaskResult::read(&self.file)?.0.samples.file;
        let result = self.file.file_name().unwrap_or_default();
        // The samples first: a result without them is none.
        files::copy(&self.file.with_file_name(&samples), &out.join(&samples))?;
        files::copy(&self.file, &out.join(result))?;
        Ok(out.join(result))
    }
}

#[derive(Parser)]
#[command(name = "lore eval")]
struct Line {
    #[command(flatten)]
    eval: EvalArguments,
}

/// Runs `lore eval` with these arguments.
fn lore_eval(arguments: Vec<String>, session: &Session) -> Result<()> {
    let line = Line::try_parse_from([vec!["lore eval".to_owned()], arguments].concat());
    let line = line.map_err(|error| Error::Failed(format!("the job's evaluation: {error}")))?;
    eval(&line.eval, session)
}

/// `--base … --module … --data …`
fn model(job: &Job, unit: &Evaluation) -> Vec<String> {
    let path = |relative: &str| job.folder.join(relative).display().to_string();
    let mut arguments = vec!["--base".into(), path(&unit.base)];
    for (module, weight) in &unit.modules {
        arguments.extend(["--module".into(), format!("{}={weight}", path(module))]);
    }
    arguments.extend(["--data".into(), path(&format!("{INPUTS}/data"))]);
    arguments
}

/// The task as `lore eval` takes it, without its subset; a shipped one must be the one that was meant.
fn task(job: &Job, unit: &Evaluation) -> Result<String> {
    let file = job.folder.join(&unit.task);
    let argument = if file.is_file() { file.display().to_string() } else { unit.task.clone() };
    let (found, _) = subset_of(&argument)?;
    if found.sha256 != unit.sha256 || found.name != unit.name {
        return Err(Error::Failed(format!(
            "the task `{}` of this program is not the one the job was made for",
            unit.name
        )));
    }
    Ok(argument)
}

/// Puts the task to the model and writes its answers to `out`.
///
/// # Errors
/// Whatever `lore eval` fails with.
pub fn answer(job: &Job, unit: &Evaluation, out: &Path, session: &Session) -> Result<()> {
    let mut argument = task(job, unit)?;
    if let Some(subset) = &unit.subset {
        argument = format!("{argument}/{subset}");
    }
    let mut arguments = model(job, unit);
    arguments.extend(["--task".into(), argument, "--out".into(), out.display().to_string()]);
    if let Some(limit) = unit.limit {
        arguments.extend(["--limit".into(), limit.to_string()]);
    }
    lore_eval(arguments, session)?;
    // Made from the same answers, with the time of day in it.
    let other = out.join("lm-eval");
    fs::remove_dir_all(&other).map_err(Error::io(other))
}

/// Checks answers against the job, and asks some of the items anew.
///
/// # Errors
/// Everything that is wrong with them.
pub fn verify(
    job: &Job,
    unit: &Evaluation,
    outcome: &Outcome,
    sampling: &Sampling,
    session: &Session,
) -> Result<Asked> {
    let folder = outcome.folder.join(ANSWERS);
    let mut files = Vec::new();
    for entry in fs::read_dir(&folder).map_err(|_| refused(outcome, &[format!("it has no folder `{ANSWERS}`")]))? {
        files.push(entry.map_err(Error::io(&folder))?.path());
    }
    files.retain(|path| path.extension().is_some_and(|extension| extension == "json"));
    let [file] = files.as_slice() else {
        return Err(refused(outcome, &[format!("it has {} results instead of 1", files.len())]));
    };
    let (result, _) = TaskResult::read(file).map_err(|error| refused(outcome, &[error.to_string()]))?;
    let mut problems = Vec::new();
    let mut same = |what: &str, good: bool| {
        if !good {
            problems.push(format!("it answers another {what} than the job asks"));
        }
    };
    same("task", result.task.sha256 == unit.sha256 && result.task.name == unit.name);
    same("subset", result.task.subset == unit.subset);
    let limit = unit.limit.map(|limit| limit as usize);
    same("number of items", result.items.limit == limit);
    // Not drawn by a seed of the worker's choice, and without solved examples.
    let asked = Selection { subset: unit.subset.clone(), limit, ..Selection::default() };
    same("set of questions", result.items.answer_only && result.selection() == asked);
    // What is accepted is put beside other results, under these names.
    let subset = unit.subset.as_deref();
    let names = [file_name(&unit.name, subset), samples_name(&unit.name, subset)];
    let named = file.file_name().is_some_and(|name| name == names[0].as_str()) && result.samples.file == names[1];
    if !named {
        problems.push(format!("its files are not called `{}` and `{}`", names[0], names[1]));
    }
    if !problems.is_empty() {
        return Err(refused(outcome, &problems));
    }
    let mut arguments = vec!["verify".to_owned(), file.display().to_string()];
    arguments.extend(model(job, unit));
    let task = task(job, unit)?;
    if Path::new(&task).is_file() {
        arguments.extend(["--task".into(), task]);
    }
    arguments.extend(["--items".into(), sampling.items.to_string(), "--seed".into(), sampling.seed().to_string()]);
    lore_eval(arguments, session).map_err(|error| refused(outcome, &[crate::error::chain(&error)]))?;
    Ok(Asked { file: file.clone() })
}
