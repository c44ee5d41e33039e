//! `lore eval`: tasks, results, comparisons.

pub mod asked;
pub mod asking;
mod compare;
pub mod documents;
mod matrix;
mod run;
mod signed;
mod table;
mod tasks;
mod verify;

use std::path::{Path, PathBuf};

use lore_eval::comparison::Evaluated;
use lore_eval::result::TaskResult;

use crate::error::{Error, Result};
use crate::session::Session;

/// Evaluate a base with modules on tasks; compare and verify results
///
/// Figures come with standard errors, controls, and files that others can verify. Scores are kept in the cache folder: what was interrupted goes on, and what was asked before is not computed again.
#[derive(Debug, clap::Args)]
#[command(
    args_conflicts_with_subcommands = true,
    subcommand_negates_reqs = true,
    after_help = "Examples:
  lore eval --base runs/quickstart/base --module runs/quickstart/modules/geography \\
      --task blimp --task mmlu/astronomy --limit 100 --data data --out results/geography
  lore eval compare results/base results/geography
  lore eval verify results/geography --base runs/quickstart/base \\
      --module runs/quickstart/modules/geography --data data"
)]
pub struct EvalArguments {
    #[command(subcommand)]
    command: Option<EvalCommand>,
    #[command(flatten)]
    run: run::RunArguments,
}

#[derive(Debug, clap::Subcommand)]
enum EvalCommand {
    Compare(compare::CompareArguments),
    Verify(verify::VerifyArguments),
    Matrix(matrix::MatrixArguments),
    Tasks(tasks::TasksArguments),
}

/// Evaluates, compares, verifies or lists.
///
/// # Errors
/// Whatever the command at hand fails with.
pub fn eval(arguments: &EvalArguments, session: &Session) -> Result<()> {
    match &arguments.command {
        None => run::run(&arguments.run, session),
        Some(EvalCommand::Compare(arguments)) => compare::compare(arguments, session),
        Some(EvalCommand::Verify(arguments)) => verify::verify(arguments, session),
        Some(EvalCommand::Matrix(arguments)) => matrix::matrix(arguments, session),
        Some(EvalCommand::Tasks(_)) => tasks::tasks(),
    }
}

/// The result files that an argument means: itself, or all in the folder.
fn result_files(path: &Path) -> Result<Vec<PathBuf>> {
    if !path.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let entries = std::fs::read_dir(path).map_err(Error::io(path))?;
    let mut files = Vec::new();
    for entry in entries {
        let file = entry.map_err(Error::io(path))?.path();
        if file.extension().is_some_and(|extension| extension == "json") {
            files.push(file);
        }
    }
    files.sort();
    if files.is_empty() {
        return Err(Error::Usage(format!("{}: holds no result (*.json) of `lore eval`", path.display())));
    }
    Ok(files)
}

/// The results that an argument means, each with its samples.
fn results(path: &Path) -> Result<Vec<Evaluated>> {
    result_files(path)?.iter().map(|file| Ok(TaskResult::read(file)?)).collect()
}
