//! `lore route`: which modules a text needs.

mod ask;
mod build;
mod of_run;
mod test;

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::error::{Error, Result};
use crate::session::Session;

/// Tokens that the probe reads.
const PROBE: usize = 64;

/// Choose modules for a text, or make what that needs
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:
  lore route ask --base runs/quickstart/base --module runs/quickstart/modules/geography \\
      --module runs/quickstart/modules/cybersecurity --prompt 'SQL injection happens when'")]
pub struct RouteArguments {
    #[command(subcommand)]
    command: RouteCommand,
}

#[derive(Debug, clap::Subcommand)]
enum RouteCommand {
    Build(build::BuildArguments),
    Ask(ask::AskArguments),
    Test(test::TestArguments),
}

/// Does what the subcommand says.
///
/// # Errors
/// Those of the subcommand.
pub fn route(arguments: &RouteArguments, session: &Session) -> Result<()> {
    match &arguments.command {
        RouteCommand::Build(arguments) => build::build(arguments, session),
        RouteCommand::Ask(arguments) => ask::ask(arguments, session),
        RouteCommand::Test(arguments) => test::test(arguments, session),
    }
}

/// Modules by the names of their folders.
///
/// # Errors
/// Two of one name.
fn by_name(paths: &[PathBuf]) -> Result<BTreeMap<String, PathBuf>> {
    let mut folders = BTreeMap::new();
    for path in paths {
        let name = crate::commands::compose::name(path);
        if folders.insert(name.clone(), path.clone()).is_some() {
            return Err(Error::Usage(format!("two modules are called `{name}`; a router tells them by their names")));
        }
    }
    Ok(folders)
}

/// Prints JSON.
///
/// # Errors
/// Values that cannot be JSON.
fn print_json(value: &impl serde::Serialize) -> Result<()> {
    let text = serde_json::to_string_pretty(value).map_err(Error::while_doing("writing JSON"))?;
    println!("{text}");
    Ok(())
}
