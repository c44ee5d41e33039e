//! `lore pack list` and `lore pack remove`.

use super::folders::LibraryOption;
use crate::error::Result;
use crate::session::Session;

/// List the installed modules
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:
  lore pack list")]
pub struct ListArguments {
    #[command(flatten)]
    library: LibraryOption,
}

/// Remove installed modules
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:
  lore pack remove rivers")]
pub struct RemoveArguments {
    /// Names of modules
    #[arg(value_name = "NAME", required = true)]
    names: Vec<String>,
    #[command(flatten)]
    library: LibraryOption,
}

/// Prints a line for each installed module: name, version, licence, folder.
///
/// # Errors
/// A damaged library.
pub fn list(arguments: &ListArguments, session: &Session) -> Result<()> {
    let library = arguments.library.library(session);
    let installed = library.list()?;
    if installed.is_empty() {
        session.progress.note(&format!("nothing is installed in {}", library.root().display()));
    }
    let width = installed.keys().map(String::len).max().unwrap_or_default();
    for (name, module) in &installed {
        let folder = library.folder(name, module);
        println!("{name:<width$}  {:<10} {:<16} {}", module.version, module.license, folder.display());
    }
    Ok(())
}

/// Removes modules.
///
/// # Errors
/// A module that is not installed, or that others need.
pub fn remove(arguments: &RemoveArguments, session: &Session) -> Result<()> {
    let library = arguments.library.library(session);
    let mut held = library.lock(&|| session.progress.note("waiting for another process that changes the library"))?;
    for name in &arguments.names {
        let removed = held.remove(name)?;
        println!("removed {name} {}", removed.version);
    }
    Ok(())
}
