//! `lore data`: what is in texts, training data of them, and cards about them.

mod build;
mod built;
mod card;
mod inspect;
mod measure;
mod page;
mod summary;
mod survey;
mod synth;
mod terminal;

use clap::Subcommand;

use crate::error::Result;
use crate::session::Session;

/// Inspect texts, build training data of them, let a model write more, write dataset cards
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  lore data inspect texts/ --html texts.html
  lore data build recipes/openstax.toml --topic us-history --out data
  lore data synth data/us-history --model teacher.gguf --out data/us-history-synth
  lore data card recipes/openstax.toml")]
pub struct DataArguments {
    #[command(subcommand)]
    command: DataCommand,
}

#[derive(Debug, Subcommand)]
enum DataCommand {
    Inspect(inspect::InspectArguments),
    Build(build::BuildArguments),
    Synth(synth::SynthArguments),
    Card(card::CardArguments),
}

/// Runs the chosen command.
///
/// # Errors
/// As the command says.
pub fn data(arguments: &DataArguments, session: &Session) -> Result<()> {
    match &arguments.command {
        DataCommand::Inspect(arguments) => inspect::inspect(arguments, session),
        DataCommand::Build(arguments) => build::build(arguments, session),
        DataCommand::Synth(arguments) => synth::synth(arguments, session),
        DataCommand::Card(arguments) => card::card(arguments, session),
    }
}
