//! `lore work`: units of a run that are computed elsewhere.

use std::fs;
use std::path::{Path, PathBuf};

use clap::Subcommand;

use super::eval::asked::DataArguments;
use crate::error::{Error, Result};
use crate::location::{Location, ModuleArgument, resolve_modules};
use crate::quantity;
use crate::recipe::Recipe;
use crate::session::Session;
use crate::stages::RunFolder;
use crate::work::make::{TaskRequest, from_stage, from_task};
use crate::work::{Job, Outcome, Sampling, Unit, Verified, Work, run, verify};

/// Hand out units of a run to other machines, and check what comes back
///
/// A job is a folder, or one .tar file, with everything that one training or one task needs; it is computed anywhere
/// without a network, and its result is believed only as far as it was computed again. docs/volunteers.md says how, with
/// BOINC and without any server.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  lore work stage recipes/quickstart.toml module:geography --out geography.tar
  lore work run geography.tar --out result.tar
  lore work verify geography.tar result.tar
  lore work apply geography.tar result.tar --recipe recipes/quickstart.toml")]
pub struct WorkArguments {
    #[command(subcommand)]
    command: WorkCommand,
}

#[derive(Debug, Subcommand)]
enum WorkCommand {
    Stage(StageArguments),
    Task(TaskArguments),
    Run(RunArguments),
    Verify(VerifyArguments),
    Apply(ApplyArguments),
}

/// Make a job of a stage that trains, whose inputs are finished
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:
  lore work stage recipes/quickstart.toml module:geography --out geography.tar")]
struct StageArguments {
    /// The recipe
    #[arg(value_name = "RECIPE.toml")]
    recipe: PathBuf,
    /// `base` or `module:NAME`
    #[arg(value_name = "STAGE")]
    stage: String,
    /// Folder to write, or file if it ends with .tar
    #[arg(long, value_name = "JOB")]
    out: PathBuf,
    /// Folder that holds a folder for each recipe
    #[arg(long, value_name = "DIR", default_value = "runs")]
    runs_dir: PathBuf,
}

/// Make a job of a task that is put to a base with modules
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:
  lore work task --base runs/quickstart/base --module runs/quickstart/modules/geography \\
      --task blimp --data data --out blimp.tar")]
struct TaskArguments {
    /// The base: a directory, a GGUF file or a source
    #[arg(long, value_name = "DIR")]
    base: Location,
    /// A module, a directory or source, and what it is multiplied by [weight: 1]; may be repeated
    #[arg(long = "module", value_name = "DIR[=WEIGHT]")]
    modules: Vec<ModuleArgument>,
    /// A task's name (see `lore eval tasks`) or file, or one subset of it
    #[arg(long, value_name = "NAME|FILE[/SUBSET]")]
    task: String,
    /// Only the first N items of each subset
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    limit: Option<u32>,
    #[command(flatten)]
    data: DataArguments,
    /// Folder to write, or file if it ends with .tar
    #[arg(long, value_name = "JOB")]
    out: PathBuf,
}

/// Compute a job, without a network
///
/// Killed, it goes on from its last checkpoint when it is started again. Beside what it needs itself the working folder
/// holds `fraction_done`, a number from 0 to 1, and `checkpoint`, which changes whenever little would be lost.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:
  lore work run geography.tar --out result.tar")]
struct RunArguments {
    /// The job, a folder or a .tar file
    #[arg(value_name = "JOB")]
    job: PathBuf,
    /// Folder to write the result to, or file if it ends with .tar
    #[arg(long, value_name = "RESULT")]
    out: PathBuf,
    /// Folder for checkpoints; kept [default: RESULT.working]
    #[arg(long, value_name = "DIR")]
    working: Option<PathBuf>,
}

/// Check a result against its job, computing parts of it again
///
/// Fails, with the reason, if it belongs to another job, if a file was altered, or if what is computed again differs by
/// more than rounding.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  lore work verify geography.tar result.tar
  lore work verify geography.tar result.tar --steps 0")]
struct VerifyArguments {
    /// The job
    #[arg(value_name = "JOB")]
    job: PathBuf,
    /// Its result
    #[arg(value_name = "RESULT")]
    result: PathBuf,
    #[command(flatten)]
    sampling: Sampling,
}

/// Check a result and put it where `lore run` finds the stage finished, or into a folder of results
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  lore work apply geography.tar result.tar --recipe recipes/quickstart.toml
  lore work apply blimp.tar answers.tar --out results/geography")]
struct ApplyArguments {
    /// The job
    #[arg(value_name = "JOB")]
    job: PathBuf,
    /// Its result
    #[arg(value_name = "RESULT")]
    result: PathBuf,
    /// The recipe that a training is a stage of
    #[arg(long, value_name = "RECIPE.toml", required_unless_present = "out")]
    recipe: Option<PathBuf>,
    /// Folder that holds a folder for each recipe
    #[arg(long, value_name = "DIR", default_value = "runs")]
    runs_dir: PathBuf,
    /// Folder for the result of a task
    #[arg(long, value_name = "DIR", conflicts_with = "recipe")]
    out: Option<PathBuf>,
    #[command(flatten)]
    sampling: Sampling,
}

/// Makes, computes, checks or takes over.
///
/// # Errors
/// As each says.
pub fn work(arguments: &WorkArguments, session: &Session) -> Result<()> {
    match &arguments.command {
        WorkCommand::Stage(arguments) => {
            let recipe = Recipe::open(&arguments.recipe)?;
            let folder = RunFolder::new(&arguments.runs_dir, &recipe.name);
            made(&from_stage(&recipe, &arguments.stage, &folder, &arguments.out)?, &arguments.out, session);
        }
        WorkCommand::Task(arguments) => {
            let (base, data) = (arguments.base.resolve(session)?, arguments.data.folder()?);
            let modules = resolve_modules(&arguments.modules, session)?;
            let TaskArguments { task, limit, .. } = arguments;
            let request = TaskRequest { base: &base, modules: &modules, task, data: &data, limit: *limit };
            made(&from_task(&request, &arguments.out)?, &arguments.out, session);
        }
        WorkCommand::Run(arguments) => {
            let working = arguments.working.clone().unwrap_or_else(|| {
                let name = arguments.out.file_name().unwrap_or_default().to_string_lossy().into_owned();
                arguments.out.with_file_name(format!("{name}.working"))
            });
            run(&Job::open(&arguments.job)?, &arguments.out, &working, session)?;
            println!("{}", arguments.out.display());
        }
        WorkCommand::Verify(VerifyArguments { job, result, sampling }) => {
            let job = Job::open(job)?;
            let outcome = Outcome::open(result, &job)?;
            let text = match verify(&job, &outcome, sampling, session)? {
                Verified::Training(accepted) => format!(": {}", accepted.summary),
                Verified::Evaluation(_) => String::new(),
            };
            println!("{}: accepted{text}", result.display());
        }
        WorkCommand::Apply(arguments) => apply(arguments, session)?,
    }
    Ok(())
}

/// Says what a job holds; its path goes to stdout.
fn made(work: &Work, out: &Path, session: &Session) {
    let bytes: u64 = work.files.iter().map(|file| file.bytes).sum();
    session.progress.note(&format!("a job of {} files, {}", work.files.len(), quantity::bytes(bytes)));
    println!("{}", out.display());
}

fn apply(arguments: &ApplyArguments, session: &Session) -> Result<()> {
    let job = Job::open(&arguments.job)?;
    match (&job.work.unit, &arguments.recipe, &arguments.out) {
        (Unit::Training(_), None, _) => {
            return Err(Error::Usage("this is the job of a training: give --recipe instead of --out".into()));
        }
        (Unit::Evaluation(_), _, None) => {
            return Err(Error::Usage("this is the job of a task: give --out instead of --recipe".into()));
        }
        _ => {}
    }
    let outcome = Outcome::open(&arguments.result, &job)?;
    match verify(&job, &outcome, &arguments.sampling, session)? {
        Verified::Training(accepted) => {
            let recipe = Recipe::open(arguments.recipe.as_deref().expect("checked above"))?;
            let folder = RunFolder::new(&arguments.runs_dir, &recipe.name);
            session.progress.note(&accepted.summary);
            let new = accepted.install(&recipe, &folder)?;
            let said = if new { "is finished there" } else { "was finished there already; nothing was changed" };
            println!("{}: `{}` {said}", folder.root().display(), accepted.stage());
        }
        Verified::Evaluation(asked) => {
            let out = arguments.out.as_deref().expect("checked above");
            fs::create_dir_all(out).map_err(Error::io(out))?;
            println!("{}", asked.install(out)?.display());
        }
    }
    Ok(())
}
