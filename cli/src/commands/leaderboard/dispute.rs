//! `lore leaderboard dispute` and `settle`.

use std::path::PathBuf;

use lore_board::Board;
use lore_board::log::{Event, Outcome};

use crate::clock;
use crate::commands::pack::{KeysOption, signing_key};
use crate::error::{Error, Result};

/// Record a doubt about a submission; it is shown until it is settled
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:
  lore leaderboard dispute board brooks --by Babbage --reason 'its texts hold the test items'")]
pub struct DisputeArguments {
    /// Folder of the board
    #[arg(value_name = "BOARD")]
    board: PathBuf,
    /// The submission, or the beginning of its id
    #[arg(value_name = "ID")]
    id: String,
    /// Who doubts
    #[arg(long, value_name = "NAME")]
    by: String,
    /// Why
    #[arg(long, value_name = "TEXT")]
    reason: String,
}

/// Settle a dispute: the submission stays, or is withdrawn from the ranking
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:
  lore leaderboard settle board 7 withdrawn --reason 'the items were in the corpus'")]
pub struct SettleArguments {
    /// Folder of the board
    #[arg(value_name = "BOARD")]
    board: PathBuf,
    /// Number of the dispute's entry
    #[arg(value_name = "ENTRY")]
    dispute: u64,
    /// What follows
    #[arg(value_name = "OUTCOME")]
    outcome: OutcomeArgument,
    /// Why
    #[arg(long, value_name = "TEXT")]
    reason: String,
    #[command(flatten)]
    keys: KeysOption,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum OutcomeArgument {
    Kept,
    Withdrawn,
}

fn plain(option: &str, text: &str) -> Result<()> {
    if text.trim().is_empty() || text.chars().any(char::is_control) {
        return Err(Error::Usage(format!("{option} must be one plain line")));
    }
    Ok(())
}

/// Appends the dispute; the number of its entry goes to stdout.
///
/// # Errors
/// A submission that is not there.
pub fn dispute(arguments: &DisputeArguments) -> Result<()> {
    plain("--by", &arguments.by)?;
    plain("--reason", &arguments.reason)?;
    let mut board = Board::open(&arguments.board)?;
    let id = board.state().find(&arguments.id)?;
    let event = Event::Disputed { id, by: arguments.by.clone(), reason: arguments.reason.clone() };
    println!("{}", board.note(&clock::now_rfc3339(), event)?);
    Ok(())
}

/// Appends what followed and signs.
///
/// # Errors
/// A dispute that is not there, or settled; another key than the board's.
pub fn settle(arguments: &SettleArguments) -> Result<()> {
    plain("--reason", &arguments.reason)?;
    let mut board = Board::open(&arguments.board)?;
    let state = board.state();
    match state.disputes.iter().find(|dispute| dispute.entry == arguments.dispute) {
        None => return Err(Error::Failed(format!("entry {} is no dispute", arguments.dispute))),
        Some(dispute) if dispute.settled.is_some() => {
            return Err(Error::Failed(format!("dispute {} is settled already", arguments.dispute)));
        }
        Some(_) => {}
    }
    let outcome = match arguments.outcome {
        OutcomeArgument::Kept => Outcome::Kept,
        OutcomeArgument::Withdrawn => Outcome::Withdrawn,
    };
    let event = Event::Settled { dispute: arguments.dispute, outcome, reason: arguments.reason.clone() };
    board.record(&clock::now_rfc3339(), event, &signing_key(&arguments.keys.keyring())?)?;
    Ok(())
}
