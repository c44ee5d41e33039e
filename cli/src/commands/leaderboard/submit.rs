//! `lore leaderboard submit`: a pack is handed in.

use std::path::PathBuf;
use std::str::FromStr;

use lore_board::Board;
use lore_board::log::Claim;
use lore_board::submission::Submission;

use crate::clock;
use crate::error::Result;

/// Hand in a pack; every byte of it is checked, nothing of it runs
///
/// Adds to the board's log, which the operator signs at the next rerun. For a board on git: commit and open a pull
/// request.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  lore leaderboard submit board brooks-0.1.0.lorepack --by 'Ada Lovelace'
  lore leaderboard submit board brooks-0.1.0.lorepack --by Ada --hash-only --claim rivers:acc=0.71")]
pub struct SubmitArguments {
    /// Folder of the board
    #[arg(value_name = "BOARD")]
    board: PathBuf,
    /// The pack
    #[arg(value_name = "PACK")]
    pack: PathBuf,
    /// Who hands it in
    #[arg(long, value_name = "NAME")]
    by: String,
    /// Keep only its hash and facts; the operator then needs the file for the rerun
    #[arg(long)]
    hash_only: bool,
    /// A figure of your own, shown apart from the ranking; may be repeated
    #[arg(long = "claim", value_name = "TASK:METRIC=VALUE")]
    claims: Vec<ClaimArgument>,
}

/// `TASK:METRIC=VALUE`.
#[derive(Debug, Clone)]
struct ClaimArgument(Claim);

impl FromStr for ClaimArgument {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parts = text.split_once('=').and_then(|(what, value)| Some((what.split_once(':')?, value)));
        let ((task, metric), value) = parts.ok_or("it is not TASK:METRIC=VALUE")?;
        let value: f64 = value.parse().map_err(|_| format!("`{value}` is no number"))?;
        if !value.is_finite() || task.is_empty() || metric.is_empty() || text.chars().any(char::is_control) {
            return Err("it is not TASK:METRIC=VALUE with a finite number".into());
        }
        Ok(Self(Claim { task: task.into(), metric: metric.into(), value }))
    }
}

/// Takes the pack; its id goes to stdout.
///
/// # Errors
/// A pack that is refused, or was handed in before.
pub fn submit(arguments: &SubmitArguments) -> Result<()> {
    let mut board = Board::open(&arguments.board)?;
    let claims = arguments.claims.iter().map(|claim| claim.0.clone()).collect();
    let submission = Submission { pack: &arguments.pack, by: &arguments.by, hash_only: arguments.hash_only, claims };
    println!("{}", board.submit(&submission, &clock::now_rfc3339())?);
    Ok(())
}
