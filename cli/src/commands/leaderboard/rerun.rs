//! `lore leaderboard rerun`: the operator asks.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Instant;

use lore_board::Board;
use lore_board::contamination::TrainingText;
use lore_board::folder::BASE;
use lore_board::log::Event;
use lore_board::rerun::Costs;

use super::models::Base;
use crate::clock;
use crate::commands::eval::asked::DataArguments;
use crate::commands::pack::{KeysOption, signing_key};
use crate::error::{Error, Result};
use crate::location::Location;
use crate::session::Session;

/// Ask the base and the submissions everything the board asks, and sign what came out
///
/// Without an ID: the base, if it was not asked yet, and every submission that is waiting. What was interrupted goes
/// on where it was, to the same bytes.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  lore leaderboard rerun board --base runs/rivers/base --data data
  lore leaderboard rerun board brooks --base runs/rivers/base --data data \\
      --documents corpus/documents.parquet --holdout private")]
pub struct RerunArguments {
    /// Folder of the board
    #[arg(value_name = "BOARD")]
    board: PathBuf,
    /// Submissions, or the beginnings of their ids; `base` for the base alone
    #[arg(value_name = "ID")]
    ids: Vec<String>,
    /// The board's base: a directory, a GGUF file or a source
    #[arg(long, value_name = "DIR")]
    base: Location,
    #[command(flatten)]
    data: DataArguments,
    /// A pack that was handed in as a hash; may be repeated
    #[arg(long = "pack", value_name = "FILE")]
    packs: Vec<PathBuf>,
    /// A table of documents (documents.parquet) that a pack's corpus manifest names, to be searched for the items;
    /// may be repeated
    #[arg(long = "documents", value_name = "FILE")]
    documents: Vec<PathBuf>,
    /// Folder of the private tasks with their data
    #[arg(long, value_name = "DIR")]
    holdout: Option<PathBuf>,
    /// Compute every score anew and keep none
    #[arg(long)]
    fresh: bool,
    #[command(flatten)]
    keys: KeysOption,
}

/// Asks and records.
///
/// # Errors
/// A board that is altered; packs, data or models that cannot be used.
pub fn rerun(arguments: &RerunArguments, session: &Session) -> Result<()> {
    let key = signing_key(&arguments.keys.keyring())?;
    let mut board = Board::open(&arguments.board)?;
    if *key.public() != board.operator {
        return Err(Error::Failed(format!("the board belongs to the key {}; --keys names it", board.operator)));
    }
    if !board.settings.holdouts.is_empty() && arguments.holdout.is_none() {
        return Err(Error::Usage("the board promises private tasks: --holdout DIR must name their folder".into()));
    }
    let data = arguments.data.bring(board.tasks.iter_mut(), session)?;
    let questions = board.questions(&data)?;
    let ids = wanted(arguments, &board)?;
    let documents = arguments
        .documents
        .iter()
        .map(|path| TrainingText::open(path))
        .collect::<Result<Vec<_>, lore_datasets::Error>>()?;
    check_named(&board, &ids, &documents, session)?;
    let base = Base::load(&arguments.base, session)?;
    let mut alone = base.alone(arguments.fresh, session)?;
    for id in ids {
        let folder = board.results(&id);
        if id == BASE {
            board.ask(BASE, &questions, &mut base.asked(&mut alone, session))?;
            board.write_controls(&questions)?;
        } else {
            let (path, pack) = board.pack_of(&id, &arguments.packs)?;
            let began = Instant::now();
            let mut module = base.with_pack(&path, arguments.fresh, session)?;
            board.ask(&id, &questions, &mut base.asked(&mut module, session))?;
            if let Some(holdout) = &arguments.holdout {
                let mut of_base = base.asked(&mut alone, session);
                let mut of_module = base.asked(&mut module, session);
                board.ask_holdouts(holdout, &mut of_base, Some((id.as_str(), &mut of_module)))?;
            }
            let texts = named(&board, &id, &documents)?;
            let dirty = board.write_contamination(&id, &data, &texts)?;
            if dirty > 0 {
                session.progress.note(&format!("{id}: {dirty} items stand in its training text"));
            }
            let weights = pack.manifest.member("adapter_model.safetensors").map_or(0, |member| member.bytes);
            board.write_costs(
                &id,
                &Costs {
                    bytes: weights,
                    parameters: pack.manifest.parameters,
                    rank: pack.manifest.rank,
                    load_ms: module.load_ms,
                    rerun_seconds: began.elapsed().as_secs_f64(),
                },
            )?;
        }
        let files = board.files_below(&folder)?;
        board.record(&clock::now_rfc3339(), Event::Rerun { id: id.clone(), files }, &key)?;
        println!("{id}");
    }
    Ok(())
}

fn wanted(arguments: &RerunArguments, board: &Board) -> Result<Vec<String>> {
    let state = board.state();
    let mut ids = Vec::new();
    if state.base.is_none() {
        ids.push(BASE.to_owned());
    }
    if arguments.ids.is_empty() {
        ids.extend(state.pending().map(str::to_owned));
    }
    for id in &arguments.ids {
        let id = if id == BASE { BASE.to_owned() } else { state.find(id)? };
        if !ids.contains(&id) {
            ids.push(id);
        }
    }
    Ok(ids)
}

/// Refuses tables that no submission was made from, before anything is asked, and names those that are none of the
/// submissions at hand.
fn check_named(board: &Board, ids: &[String], documents: &[TrainingText], session: &Session) -> Result<()> {
    let mut of_any: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    let state = board.state();
    for id in state.submissions.keys() {
        for text in board.facts(id)?.corpus.texts {
            of_any.entry(text.documents_sha256).or_default().push(id);
        }
    }
    for text in documents {
        let path = text.path().display();
        match of_any.get(text.sha256()) {
            None => {
                return Err(Error::Failed(format!(
                    "--documents {path}: no submission was made from a table with its sha256, {}; what a pack was made from \
                     is in its corpus.json (`lore pack inspect`)",
                    text.sha256()
                )));
            }
            Some(owners) if !owners.iter().any(|owner| ids.iter().any(|id| id == owner)) => {
                session.progress.note(&format!("{path}: not searched, it belongs to {}", owners.join(", ")));
            }
            Some(_) => {}
        }
    }
    Ok(())
}

/// Those of the tables that a pack's corpus manifest names.
fn named<'a>(board: &Board, id: &str, documents: &'a [TrainingText]) -> Result<Vec<&'a TrainingText>> {
    let corpus = board.facts(id)?.corpus;
    let is_named = |text: &&TrainingText| corpus.texts.iter().any(|known| known.documents_sha256 == text.sha256());
    Ok(documents.iter().filter(is_named).collect())
}
