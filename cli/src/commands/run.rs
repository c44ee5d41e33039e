//! `lore run`: a whole recipe.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use lore_datasets::progress::Silent;

use crate::error::{Error, Result, chain};
use crate::launch::slurm::{Launch, SlurmOptions};
use crate::plan::devices::Devices;
use crate::plan::{self, Plan};
use crate::recipe::Recipe;
use crate::session::Session;
use crate::stages::report::TERMINAL_TABLE;
use crate::stages::{Finished, RunFolder, Runner, Share, Stage, State, resolve};
use crate::together;

/// Run a recipe: fetch, distil, train modules, evaluate, report
///
/// What is finished is kept: the same command goes on where an interrupted run stopped, and does nothing
/// when nothing changed.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  lore run recipes/quickstart.toml
  lore run recipes/quickstart.toml --plan
  lore run recipes/distill-1.7b-gpu.toml --plan --devices h100 --hourly-price 2.50
  lore run recipes/quickstart.toml --force module:geography
  lore run recipes/quickstart.toml --until base
  lore run recipes/quickstart.toml --launcher slurm --partition short --print
  mpirun -n 2 lore run recipes/quickstart.toml --only module:geography --mpi")]
pub struct RunArguments {
    /// The recipe
    #[arg(value_name = "RECIPE.toml")]
    recipe: PathBuf,
    /// Print the stages and what they will cost; run and fetch nothing
    #[arg(long)]
    plan: bool,
    /// With --plan: plan for these GPUs instead of this machine, such as 8xh100
    #[arg(long, value_name = "[N]xKIND", requires = "plan")]
    devices: Option<Devices>,
    /// With --devices: what one of them costs for an hour, in any currency
    #[arg(long, value_name = "PRICE", requires = "devices", value_parser = price)]
    hourly_price: Option<f64>,
    /// Folder that holds a folder for each recipe
    #[arg(long, value_name = "DIR", default_value = "runs")]
    runs_dir: PathBuf,
    /// Run this stage again, and what depends on it: its name, or how the names of several start
    #[arg(long, value_name = "STAGE")]
    force: Vec<String>,
    /// Stop when this stage is finished; run only what it needs
    #[arg(long, value_name = "STAGE")]
    until: Option<String>,
    /// Run this stage alone, whose inputs are finished; other processes may run others at the same time
    #[arg(long, value_name = "STAGE", conflicts_with_all = ["until", "force", "plan"])]
    only: Option<String>,
    /// With --only targets or evaluate: compute this part of so many, for the --only that follows when all parts are done
    #[arg(long, value_name = "PART/PARTS", requires = "only", conflicts_with = "mpi")]
    share: Option<Share>,
    /// Run the stages as jobs of a cluster, modules and parts of the evaluation side by side, and wait for them
    #[arg(long, value_enum, conflicts_with_all = ["only", "plan"])]
    launcher: Option<Launcher>,
    /// With --only base or module:NAME: train it together with the other processes that mpirun or srun started
    #[arg(long, requires = "only")]
    mpi: bool,
    /// With --launcher: print the jobs and submit nothing
    #[arg(long, requires = "launcher")]
    print: bool,
    #[command(flatten)]
    slurm: SlurmOptions,
}

/// Engines that run jobs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Launcher {
    /// Slurm, through sbatch and squeue
    Slurm,
}

fn price(text: &str) -> std::result::Result<f64, String> {
    let price = text.parse().ok().filter(|price: &f64| price.is_finite() && *price >= 0.0);
    price.ok_or_else(|| format!("`{text}` is not a price"))
}

/// Runs or plans a recipe. The report's table goes to stdout.
///
/// # Errors
/// Recipe problems, or the first stage that fails.
pub fn run(arguments: &RunArguments, session: &Session) -> Result<()> {
    let until = arguments.until.as_ref().or(arguments.only.as_ref());
    let recipe = Recipe::open_until(&arguments.recipe, until.map(String::as_str))?;
    let all = plan::stages(&recipe);
    let stages = match until {
        Some(stage) => plan::needed_for(all, stage)?,
        None => all,
    };
    let folder = RunFolder::new(&arguments.runs_dir, &recipe.name);
    if arguments.plan {
        let mut plan = Plan::new(&recipe, &stages, &folder, session, arguments.devices);
        plan.hourly_price = arguments.hourly_price;
        print!("{plan}");
        return Ok(());
    }
    if arguments.launcher == Some(Launcher::Slurm) && submitted(arguments, session, &recipe, &folder, &stages)? {
        return Ok(());
    }
    let runner = Runner { folder: &folder, session, keeps_others: arguments.until.is_some() };
    if let (Some(stage), Some(share)) = (&arguments.only, arguments.share) {
        let said = if runner.share(&stages, stage, share)? { "done" } else { "the stage is finished already" };
        println!("{stage}, part {share}: {said}");
        return Ok(());
    }
    if let Some(stage) = &arguments.only {
        let finished = match arguments.mpi {
            true => trained_together(&folder, session, &stages, stage)?,
            false => Some(runner.only(&stages, stage)?),
        };
        let Some(finished) = finished else { return Ok(()) };
        println!("{}: {}", finished.manifest.stage, finished.manifest.summary);
        return Ok(());
    }
    let summary = runner.run(&stages, &arguments.force)?;
    if summary.ran.is_empty() {
        println!("Nothing to do: all {} stages of `{}` are finished and nothing changed.\n", stages.len(), recipe.name);
    }
    if let Some(report) = summary.finished.get("report") {
        let path = report.folder.join(TERMINAL_TABLE);
        println!("{}", std::fs::read_to_string(&path).map_err(Error::io(path))?.trim_end());
        println!("\nReport: {}", folder.root().join("report.html").display());
    } else if let Some(last) = stages.last().and_then(|stage| summary.finished.get(stage.name())) {
        println!("{}: {}", last.manifest.stage, last.manifest.summary);
        println!("{}", last.folder.display());
    }
    Ok(())
}

/// One stage, trained by all processes; the first one has the result.
fn trained_together(
    folder: &RunFolder,
    session: &Session,
    stages: &[Box<dyn Stage>],
    stage: &str,
) -> Result<Option<Finished>> {
    together::check_stage(stage)?;
    let peers = together::peers()?;
    let mut session = session.clone();
    session.training.peers = peers.clone();
    let outcome = if peers.rank() == 0 {
        session.progress.note(&format!("{} processes train `{stage}` together", peers.size()));
        Runner { folder, session: &session, keeps_others: true }.only(stages, stage).map(Some)
    } else {
        session.progress = Arc::new(Silent);
        Runner { folder, session: &session, keeps_others: true }.help(stages, stage).map(|()| None)
    };
    if let Err(error) = &outcome
        && peers.size() > 1
    {
        eprintln!("error: process {} of {}: {}", peers.rank(), peers.size(), chain(error));
        peers.abandon();
    }
    outcome
}

/// Runs the stages on a cluster, or prints how; whether it was only printed.
fn submitted(
    arguments: &RunArguments,
    session: &Session,
    recipe: &Recipe,
    folder: &RunFolder,
    stages: &[Box<dyn Stage>],
) -> Result<bool> {
    let launch =
        Launch { recipe: &arguments.recipe, runs: &arguments.runs_dir, folder, options: &arguments.slurm, session };
    if arguments.print {
        for (job, script) in launch.scripts(stages)? {
            println!("# {}: {}\n{script}", job.name, job.stages.join(", "));
        }
        return Ok(true);
    }
    if !arguments.force.is_empty() {
        return Err(Error::Usage("--force is not for --launcher: run that stage here, then the rest there".into()));
    }
    let unfinished = || -> Vec<Box<dyn Stage>> {
        let mut stages = plan::stages(recipe);
        if let Some(until) = &arguments.until {
            stages = plan::needed_for(stages, until).unwrap_or_default();
        }
        let mut identities = BTreeMap::new();
        stages.retain(|stage| {
            let resolved = resolve(stage.as_ref(), &identities, folder);
            identities.insert(stage.name().to_owned(), resolved.identity);
            !matches!(resolved.state, State::Finished(_))
        });
        stages
    };
    launch.run(&unfinished)?;
    Ok(false)
}
