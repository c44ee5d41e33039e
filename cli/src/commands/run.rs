//! `lore run`: a whole recipe.

use std::path::PathBuf;

use crate::error::{Error, Result};
use crate::plan::{self, Plan};
use crate::recipe::Recipe;
use crate::session::Session;
use crate::stages::report::TERMINAL_TABLE;
use crate::stages::{RunFolder, Runner};

/// Run a recipe: fetch, distil, train modules, evaluate, report
///
/// What is finished is kept: the same command goes on where an interrupted run stopped, and does nothing
/// when nothing changed.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  lore run recipes/quickstart.toml
  lore run recipes/quickstart.toml --plan
  lore run recipes/quickstart.toml --force module:geography
  lore run recipes/quickstart.toml --until base")]
pub struct RunArguments {
    /// The recipe
    #[arg(value_name = "RECIPE.toml")]
    recipe: PathBuf,
    /// Print the stages and what they will cost; run and fetch nothing
    #[arg(long)]
    plan: bool,
    /// Folder that holds a folder for each recipe
    #[arg(long, value_name = "DIR", default_value = "runs")]
    runs_dir: PathBuf,
    /// Run this stage again, and what depends on it: its name, or how the names of several start
    #[arg(long, value_name = "STAGE")]
    force: Vec<String>,
    /// Stop when this stage is finished; run only what it needs
    #[arg(long, value_name = "STAGE")]
    until: Option<String>,
}

/// Runs or plans a recipe. The report's table goes to stdout.
///
/// # Errors
/// Recipe problems, or the first stage that fails.
pub fn run(arguments: &RunArguments, session: &Session) -> Result<()> {
    let recipe = Recipe::open(&arguments.recipe)?;
    let all = plan::stages(&recipe);
    let stages = match &arguments.until {
        Some(stage) => plan::needed_for(all, stage)?,
        None => all,
    };
    let folder = RunFolder::new(&arguments.runs_dir, &recipe.name);
    if arguments.plan {
        print!("{}", Plan::new(&recipe, &stages, &folder, session));
        return Ok(());
    }
    let runner = Runner { folder: &folder, session, keeps_others: arguments.until.is_some() };
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
