//! `lore leaderboard verify`: whether a board can be believed.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use lore_board::Board;
use lore_board::folder::BASE;
use lore_board::verify::Claimed;
use lore_eval::engine::{Options, evaluate};
use lore_eval::task::Item;
use lore_eval::verify::{agree, draw};

use super::models::Base;
use crate::commands::eval::asked::DataArguments;
use crate::error::{Error, Result};
use crate::location::Location;
use crate::session::Session;

/// Check a board: log, signature, every file, and that figures follow; with the base, ask items anew
///
/// Nothing is needed for the first but the board. With --data items and figures are made anew from the task files;
/// with --base too, some items of every result are asked again.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  lore leaderboard verify board
  lore leaderboard verify board --data data --base runs/rivers/base --items 50")]
pub struct VerifyArguments {
    /// Folder of the board
    #[arg(value_name = "BOARD")]
    board: PathBuf,
    #[command(flatten)]
    data: DataArguments,
    /// The board's base: a directory, a GGUF file or a source
    #[arg(long, value_name = "DIR")]
    base: Option<Location>,
    /// A pack that was handed in as a hash; may be repeated
    #[arg(long = "pack", value_name = "FILE")]
    packs: Vec<PathBuf>,
    /// Items of each result that are asked anew; 0 for all
    #[arg(long, value_name = "N", default_value_t = 20)]
    items: usize,
    /// Which items are drawn [default: unpredictable]
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
}

/// Checks everything that can be.
///
/// # Errors
/// The first thing that does not agree.
pub fn verify(arguments: &VerifyArguments, session: &Session) -> Result<()> {
    let mut board = Board::open(&arguments.board)?;
    let data = match arguments.data.is_named() {
        true => Some(arguments.data.bring(board.tasks.iter_mut(), session)?),
        false => None,
    };
    if arguments.base.is_some() && data.is_none() {
        return Err(Error::Usage("--base needs --data (or LORE_DATA): the items that are asked anew".into()));
    }
    let checked = board.verify(data.as_deref())?;
    let unsigned = match checked.unsigned {
        0 => String::new(),
        some => format!(", {some} of them not signed yet"),
    };
    let from = if data.is_some() { "task files and data" } else { "their samples" };
    println!(
        "{}: {} entries{unsigned}; {} files as the log says; {} results follow from {from}",
        arguments.board.display(),
        checked.entries,
        checked.files,
        checked.results
    );
    let (Some(location), Some(data)) = (&arguments.base, data) else { return Ok(()) };
    let clock = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos() as u64);
    let seed = arguments.seed.unwrap_or(clock);
    let base = Base::load(location, session)?;
    let mut by_id: BTreeMap<String, Vec<Claimed>> = BTreeMap::new();
    for claim in board.claims(&data)? {
        by_id.entry(claim.id.clone()).or_default().push(claim);
    }
    for (id, claims) in &by_id {
        let mut ready = match id.as_str() {
            BASE => base.alone(true, session)?,
            id => base.with_pack(&board.pack_of(id, &arguments.packs)?.0, true, session)?,
        };
        let asked = base.asked(&mut ready, session);
        let mut count = 0;
        for claim in claims {
            let wanted = if arguments.items == 0 { claim.items.len() } else { arguments.items };
            let places = draw(claim.items.len(), wanted, seed);
            let drawn: Vec<Item> = places.iter().map(|&place| claim.items[place].clone()).collect();
            let options = Options { answer_only: claim.result.items.answer_only, ..Options::default() };
            let name = claim.result.name();
            let anew = evaluate(&asked.subject, &name, &drawn, &options, &mut *asked.cache, asked.progress)?;
            for (&place, anew) in places.iter().zip(&anew) {
                agree(&claim.samples[place], anew)
                    .map_err(|problem| Error::Failed(format!("{id}, {name}: not verified: {problem}")))?;
            }
            count += places.len();
        }
        println!("{id}: {count} items asked anew (seed {seed}), all as the board says");
    }
    Ok(())
}
