//! `lore eval verify`: whether a result can be believed.

use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use lore_eval::cache::ScoreCache;
use lore_eval::engine::{Options, evaluate};
use lore_eval::result::{ModelIdentity, TaskResult};
use lore_eval::task::{Item, Selection, Task, shipped};
use lore_eval::verify::{agree, check, draw};
use lore_model::quantised::Blocks;

use super::asked::{Asked, DataArguments, ModelArguments};
use super::documents::DocumentsArguments;
use super::{result_files, signed};
use crate::commands::pack::KeysOption;
use crate::error::{Error, Result};
use crate::session::Session;

/// Check that a result follows from its samples, and ask some of its items anew
///
/// Fails if model, modules, task or data are others than the result says, if a file was altered, or if an item gives
/// another score.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:
  lore eval verify results/geography --base runs/quickstart/base \\
      --module runs/quickstart/modules/geography --data data --items 50")]
pub struct VerifyArguments {
    /// A result: a file, or a folder of them
    #[arg(value_name = "RESULT")]
    result: PathBuf,
    #[command(flatten)]
    model: ModelArguments,
    /// The file of a task that does not come with the program; may be repeated
    #[arg(long = "task", value_name = "FILE")]
    tasks: Vec<PathBuf>,
    #[command(flatten)]
    data: DataArguments,
    #[command(flatten)]
    documents: DocumentsArguments,
    /// Items of each result that are asked anew; 0 for all
    #[arg(long, value_name = "N", default_value_t = 20)]
    items: usize,
    /// Which items are drawn [default: unpredictable]
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    #[command(flatten)]
    keys: KeysOption,
}

/// Verifies every result.
///
/// # Errors
/// Everything that is wrong with the first result that is wrong.
pub fn verify(arguments: &VerifyArguments, session: &Session) -> Result<()> {
    let files = result_files(&arguments.result)?;
    let tasks = arguments.tasks.iter().map(|path| Ok(Task::open(path)?)).collect::<Result<Vec<Task>>>()?;
    let clock = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos() as u64);
    let seed = arguments.seed.unwrap_or(clock);
    let mut results = Vec::new();
    for file in &files {
        let (result, samples) = TaskResult::read(file)?;
        let signer = signed::check(file, &arguments.keys.keyring())?;
        let task = match tasks.iter().find(|task| task.name == result.task.name) {
            Some(task) => task.clone(),
            None => shipped(&result.task.name)?,
        };
        results.push((file, result, samples, task, signer));
    }
    let folder = arguments.data.bring(results.iter_mut().map(|(_, _, _, task, _)| task), session)?;
    let selections: Vec<Selection> = results.iter().map(|(_, result, ..)| result.selection()).collect();
    let asked = results.iter().zip(&selections).map(|((_, _, _, task, _), selection)| (task, selection));
    let searched = arguments.documents.search(asked, &folder, session)?;
    let mut claims = Vec::new();
    for (file, result, samples, task, signer) in results {
        let items = task.select(&folder, &result.selection())?;
        check(&result, &samples, &task, &items).map_err(|problems| refuse(file, &problems))?;
        if let Some(searched) = &searched {
            let anew = result.clone().with_contamination(&samples, searched.tables.clone(), &searched.of(&task.name));
            if anew.contamination != result.contamination {
                let problem = "the tables of --documents hold other items than the result says";
                return Err(refuse(file, &[problem.to_owned()]));
            }
        }
        claims.push((file, result, samples, items, signer));
    }
    let asked = arguments.model.load(session)?;
    for (file, result, samples, items, signer) in claims {
        same_model(&result.model, &asked).map_err(|problem| refuse(file, &[problem]))?;
        let count = if arguments.items == 0 { items.len() } else { arguments.items };
        let places = draw(items.len(), count, seed);
        let drawn: Vec<Item> = places.iter().map(|&place| items[place].clone()).collect();
        let options = Options { answer_only: result.items.answer_only, ..Options::default() };
        let mut cache = ScoreCache::in_memory("");
        let progress = session.progress.as_ref();
        let anew = evaluate(&asked.subject(), &result.task.name, &drawn, &options, &mut cache, progress)?;
        let compared = places.iter().zip(&anew).map(|(&place, anew)| agree(&samples[place], anew));
        let problems: Vec<String> = compared.filter_map(std::result::Result::err).collect();
        if !problems.is_empty() {
            return Err(refuse(file, &problems));
        }
        println!(
            "{}: verified; {} of {} items asked anew (seed {seed}), all figures follow from the samples; {signer}",
            file.display(),
            places.len(),
            items.len()
        );
    }
    Ok(())
}

fn refuse(file: &Path, problems: &[String]) -> Error {
    const QUOTED: usize = 5;
    let more = problems.len().saturating_sub(QUOTED);
    let more = if more > 0 { format!("; and {more} more") } else { String::new() };
    let quoted = problems.iter().take(QUOTED).map(String::as_str).collect::<Vec<_>>().join("; ");
    Error::Failed(format!("{}: not verified: {quoted}{more}", file.display()))
}

fn same_model(claimed: &ModelIdentity, asked: &Asked) -> Result<(), String> {
    let found = &asked.identity;
    if claimed.fingerprint != found.fingerprint {
        return Err(format!("it is of another base: {} instead of {}", claimed.fingerprint, found.fingerprint));
    }
    if claimed.blocks != found.blocks {
        let kept = |blocks: Option<Blocks>| blocks.map_or("f32", Blocks::name);
        let problem = "the base was kept in other blocks";
        return Err(format!("{problem}: {}, not {}; see --blocks", kept(claimed.blocks), kept(found.blocks)));
    }
    let modules = |model: &ModelIdentity| -> Vec<(String, f32)> {
        model.modules.iter().map(|module| (module.sha256.clone(), module.weight)).collect()
    };
    if modules(claimed) != modules(found) {
        let names = |model: &ModelIdentity| match model.modules.as_slice() {
            [] => "none".to_owned(),
            some => some.iter().map(|m| format!("{}={}", m.name, m.weight)).collect::<Vec<_>>().join(", "),
        };
        return Err(format!("it is of other modules or weights: {}, not {}", names(claimed), names(found)));
    }
    Ok(())
}
