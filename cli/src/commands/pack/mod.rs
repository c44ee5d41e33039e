//! `lore pack`: modules that strangers exchange.

mod build;
pub mod folders;
mod inspect;
mod install;
mod keys;
mod library;
mod new;
mod project;
mod publish;
mod run_facts;
mod shelf;

use clap::Subcommand;
pub use folders::KeysOption;
pub use keys::{open_key, signing_key};

use crate::error::Result;
use crate::session::Session;

/// Make, check, sign, install and publish module packs
///
/// A pack is one file that says what a module is, what it was made from and how well it does, and that
/// proves it was not changed. docs/pack-format.md specifies it, docs/make-a-module.md shows how to make one.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  lore pack new rivers --texts my-texts --license CC-BY-4.0 --author 'Ada Lovelace'
  lore pack build rivers --sign
  lore pack install rivers-0.1.0.lorepack")]
pub struct PackArguments {
    #[command(subcommand)]
    command: PackCommand,
}

#[derive(Debug, Subcommand)]
enum PackCommand {
    New(new::NewArguments),
    Build(build::BuildArguments),
    Inspect(inspect::InspectArguments),
    Verify(inspect::VerifyArguments),
    Keygen(keys::KeygenArguments),
    Sign(keys::SignArguments),
    Trust(keys::TrustArguments),
    Revoke(keys::RevokeArguments),
    Install(install::InstallArguments),
    Remove(library::RemoveArguments),
    List(library::ListArguments),
    Update(install::UpdateArguments),
    Publish(publish::PublishArguments),
}

/// Runs one of the commands on packs.
///
/// # Errors
/// As each says.
pub fn pack(arguments: &PackArguments, session: &Session) -> Result<()> {
    match &arguments.command {
        PackCommand::New(arguments) => new::new(arguments),
        PackCommand::Build(arguments) => build::build(arguments, session),
        PackCommand::Inspect(arguments) => inspect::inspect(arguments, session),
        PackCommand::Verify(arguments) => inspect::verify(arguments, session),
        PackCommand::Keygen(arguments) => keys::keygen(arguments),
        PackCommand::Sign(arguments) => keys::sign(arguments),
        PackCommand::Trust(arguments) => keys::trust(arguments),
        PackCommand::Revoke(arguments) => keys::revoke(arguments),
        PackCommand::Install(arguments) => install::install(arguments, session),
        PackCommand::Remove(arguments) => library::remove(arguments, session),
        PackCommand::List(arguments) => library::list(arguments, session),
        PackCommand::Update(arguments) => install::update(arguments, session),
        PackCommand::Publish(arguments) => publish::publish(arguments, session),
    }
}
