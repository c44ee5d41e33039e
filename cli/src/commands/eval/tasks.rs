//! `lore eval tasks`: what can be asked.

use lore_eval::task::{names, shipped};

use crate::error::Result;

/// List the tasks that come with the program
///
/// A task is a TOML file; these are in the folder eval/tasks of the source. `--task` takes the path of any other.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:
  lore eval tasks")]
pub struct TasksArguments {}

/// Prints a line for each.
///
/// # Errors
/// None: the files are part of the program.
pub fn tasks() -> Result<()> {
    for name in names() {
        let task = shipped(name)?;
        println!("{name:<18} {:<16} {}", task.kind.name(), task.about);
        println!("{:<35} {}, {}", "", task.data.path, task.license.as_deref().unwrap_or("licence unknown"));
    }
    Ok(())
}
