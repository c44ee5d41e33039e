//! `lore module`: what can be done with one module, or with two.

mod diff;
mod export;
mod extract;
mod fold;
mod import;
mod inspect;

use std::path::Path;

use lore_model::files::ModelFiles;
use lore_model::fingerprint::Fingerprint;

use crate::error::Result;
use crate::session::Session;

/// Inspect, compare, convert, fold or extract modules
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:
  lore module inspect modules/geography modules/history --base runs/quickstart/base")]
pub struct ModuleArguments {
    #[command(subcommand)]
    command: ModuleCommand,
}

#[derive(Debug, clap::Subcommand)]
enum ModuleCommand {
    Inspect(inspect::InspectArguments),
    Diff(diff::DiffArguments),
    Export(export::ExportArguments),
    Import(import::ImportArguments),
    Fold(fold::FoldArguments),
    Extract(extract::ExtractArguments),
}

/// Does what the subcommand says.
///
/// # Errors
/// Those of the subcommand.
pub fn run(arguments: &ModuleArguments, session: &Session) -> Result<()> {
    match &arguments.command {
        ModuleCommand::Inspect(arguments) => inspect::run(arguments, session),
        ModuleCommand::Diff(arguments) => diff::run(arguments, session),
        ModuleCommand::Export(arguments) => export::run(arguments, session),
        ModuleCommand::Import(arguments) => import::run(arguments, session),
        ModuleCommand::Fold(arguments) => fold::run(arguments, session),
        ModuleCommand::Extract(arguments) => extract::run(arguments, session),
    }
}

/// A base's files and its fingerprint, which takes reading all of them.
pub fn open_base(path: &Path) -> Result<(ModelFiles, Fingerprint)> {
    let files = ModelFiles::open(path)?;
    let fingerprint = Fingerprint::of(&files.config, &*files.weights, &files.tokenizer)?;
    Ok((files, fingerprint))
}
