//! `lore eval`: asks a model and writes results.

use std::fs;
use std::path::PathBuf;

use lore_eval::engine::Options;
use lore_eval::harness::{self, Date, Exported};
use lore_eval::result::TaskResult;
use lore_eval::sample::Sample;
use lore_eval::task::{Item, Selection};

use super::asked::{DataArguments, ModelArguments, questions};
use super::asking::{Asking, scores_of};
use super::documents::DocumentsArguments;
use super::{signed, table};
use crate::clock;
use crate::commands::pack::open_key;
use crate::error::{Error, Result};
use crate::session::Session;

/// What to evaluate, and how.
#[derive(Debug, clap::Args)]
pub struct RunArguments {
    #[command(flatten)]
    model: ModelArguments,
    /// A task's name (see `lore eval tasks`) or file, or one subset of it; may be repeated
    #[arg(long = "task", value_name = "NAME|FILE[/SUBSET]", required = true)]
    tasks: Vec<String>,
    /// Only the first N items of each subset
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    limit: Option<u32>,
    /// Solved examples before each question, as lm-evaluation-harness puts them
    #[arg(long, value_name = "N", default_value_t = 0)]
    shots: u16,
    /// Draw the items of --limit, the examples of --shots and the distractors of glossaries
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    #[command(flatten)]
    data: DataArguments,
    #[command(flatten)]
    documents: DocumentsArguments,
    /// Do not score choices without their question too
    #[arg(long)]
    no_answer_only: bool,
    /// Compute every score anew and keep none
    #[arg(long)]
    fresh: bool,
    /// Folder for results, samples, and both as lm-evaluation-harness lays them out
    #[arg(long, value_name = "DIR", required = true)]
    out: Option<PathBuf>,
    /// Sign the results with this secret key (`lore pack keygen` makes one); any minisign checks the signatures
    #[arg(long, value_name = "KEY")]
    sign: Option<PathBuf>,
}

/// Asks every task, writing each result as soon as it is there.
///
/// # Errors
/// Tasks, data or models that cannot be used, before anything is computed; or what fails later.
pub fn run(arguments: &RunArguments, session: &Session) -> Result<()> {
    let out = arguments.out.as_ref().ok_or_else(|| Error::Usage("--out is missing".into()))?;
    let key = arguments.sign.as_deref().map(open_key).transpose()?;
    let limit = arguments.limit.map(|limit| limit as usize);
    let selection = Selection { subset: None, limit, seed: arguments.seed, shots: arguments.shots.into() };
    let (asked, folder) = questions(&arguments.tasks, &arguments.data, &selection, session)?;
    let searched = arguments.documents.search(asked.iter().map(|(task, how, _)| (task, how)), &folder, session)?;
    fs::create_dir_all(out).map_err(Error::io(out))?;
    let model = arguments.model.load(session)?;
    let mut cache = scores_of(&model.identity, arguments.fresh, session)?;
    let options = Options { answer_only: !arguments.no_answer_only, ..Options::default() };
    let asking = Asking { options, searched: searched.as_ref(), session };
    let mut done: Vec<(TaskResult, Vec<Item>, Vec<Sample>)> = Vec::new();
    for question in asked {
        let (result, samples) =
            asking.ask(&question, &question.0.name, &model.subject(), &model.identity, &mut cache)?;
        let path = result.write(out, &samples)?;
        if let Some(key) = &key {
            signed::sign(&path, key)?;
        }
        print!("{}", table::result(&result, done.is_empty()));
        session.progress.note(&format!("{}: {}", result.name(), path.display()));
        done.push((result, question.2, samples));
    }
    let exported: Vec<Exported<'_>> =
        done.iter().map(|(result, items, samples)| Exported { result, items, samples }).collect();
    let now = clock::now_rfc3339();
    let date = Date { seconds: clock::now_seconds(), name: now.trim_end_matches('Z').replace(':', "-") + ".000000" };
    let path = harness::write(&out.join("lm-eval"), &exported, &date)?;
    session.progress.note(&format!("as lm-evaluation-harness writes them: {}", path.display()));
    Ok(())
}
