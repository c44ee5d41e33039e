//! `lore leaderboard`: a board of modules that anyone can check.

mod build;
mod dispute;
mod init;
mod models;
mod rerun;
mod submit;
mod verify;

use clap::Subcommand;

use crate::error::Result;
use crate::session::Session;

/// Rank modules on a board that anyone can check: a folder, a log, a static site
///
/// Authors hand in packs; the operator asks each of them the same items and signs what came out; what cannot be
/// told apart shares a place. docs/leaderboard.md describes the folder and how to run a board.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  lore leaderboard init board --name Rivers --base runs/rivers/base --task rivers.toml --data data
  lore leaderboard submit board brooks-0.1.0.lorepack --by 'Ada Lovelace'
  lore leaderboard rerun board --base runs/rivers/base --data data
  lore leaderboard build board")]
pub struct LeaderboardArguments {
    #[command(subcommand)]
    command: LeaderboardCommand,
}

#[derive(Debug, Subcommand)]
enum LeaderboardCommand {
    Init(init::InitArguments),
    Submit(submit::SubmitArguments),
    Rerun(rerun::RerunArguments),
    Build(build::BuildArguments),
    Serve(build::ServeArguments),
    Verify(verify::VerifyArguments),
    Dispute(dispute::DisputeArguments),
    Settle(dispute::SettleArguments),
}

/// Runs one of the commands on boards.
///
/// # Errors
/// As each says.
pub fn leaderboard(arguments: &LeaderboardArguments, session: &Session) -> Result<()> {
    match &arguments.command {
        LeaderboardCommand::Init(arguments) => init::init(arguments, session),
        LeaderboardCommand::Submit(arguments) => submit::submit(arguments),
        LeaderboardCommand::Rerun(arguments) => rerun::rerun(arguments, session),
        LeaderboardCommand::Build(arguments) => build::build(arguments),
        LeaderboardCommand::Serve(arguments) => build::serve(arguments),
        LeaderboardCommand::Verify(arguments) => verify::verify(arguments, session),
        LeaderboardCommand::Dispute(arguments) => dispute::dispute(arguments),
        LeaderboardCommand::Settle(arguments) => dispute::settle(arguments),
    }
}
