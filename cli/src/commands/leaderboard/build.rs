//! `lore leaderboard build` and `serve`.

use std::path::PathBuf;

use lore_board::Board;
use lore_board::standing::Standing;

use crate::error::Result;

/// Rank everything and make the site: pages that work from a folder
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:
  lore leaderboard build board --out public")]
pub struct BuildArguments {
    /// Folder of the board
    #[arg(value_name = "BOARD")]
    board: PathBuf,
    /// Folder of the site [default: BOARD/site]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

/// Show the site on this machine
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:
  lore leaderboard serve board --address 127.0.0.1:8080")]
pub struct ServeArguments {
    /// Folder of the board
    #[arg(value_name = "BOARD")]
    board: PathBuf,
    /// Where to listen
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:8080")]
    address: String,
    /// Folder of the site [default: BOARD/site]
    #[arg(long, value_name = "DIR")]
    site: Option<PathBuf>,
}

/// Makes the site and prints the ranking.
///
/// # Errors
/// A board that is altered; a folder that cannot be written.
pub fn build(arguments: &BuildArguments) -> Result<()> {
    let board = Board::open(&arguments.board)?;
    board.check(None)?;
    let standing = Standing::of(&board)?;
    let folder = arguments.out.clone().unwrap_or_else(|| arguments.board.join("site"));
    let program = concat!("lore ", env!("CARGO_PKG_VERSION"));
    let site = lore_board::site::build(&board, &standing, &folder, program)?;
    for row in &standing.rows {
        let group = row.group.map_or_else(|| "–".to_owned(), |group| (group + 1).to_string());
        let gain = row.gain.map_or_else(String::new, |gain| format!("{:+.1} points", 100.0 * gain.difference));
        let note = row.unranked.clone().unwrap_or_default();
        println!("{}", format!("{group:>5}  {:<44} {gain:>14}  {note}", row.id).trim_end());
    }
    eprintln!("{}: {} files", folder.join("index.html").display(), site.files);
    Ok(())
}

/// Serves until the program is stopped.
///
/// # Errors
/// No site; an address that is taken.
pub fn serve(arguments: &ServeArguments) -> Result<()> {
    let folder = arguments.site.clone().unwrap_or_else(|| arguments.board.join("site"));
    Ok(lore_board::serve::serve(&folder, &arguments.address, |address| println!("{address}"))?)
}
