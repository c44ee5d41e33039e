//! `lore leaderboard init`: a board begins.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use lore_board::Board;
use lore_board::holdout::items_hash;
use lore_board::settings::{BaseSettings, HoldoutSettings, Settings, TaskSettings};
use lore_eval::task::{Task, shipped_text, subset_of};
use lore_model::files::ModelFiles;
use lore_model::fingerprint::Fingerprint;

use crate::clock;
use crate::commands::eval::asked::{DataArguments, name_of};
use crate::commands::pack::{KeysOption, signing_key};
use crate::error::{Error, Result};
use crate::location::Location;
use crate::session::Session;

/// Begin a board: its base, tasks and seeds, which never change afterwards
///
/// The folder is meant for git. Tasks are copied into it, their data is not. The board belongs to the key of
/// `lore pack keygen`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  lore leaderboard init board --name Rivers --base runs/rivers/base --task rivers.toml --data data
  lore leaderboard init board --name OpenStax --base runs/openstax/base --task openstax_review \\
      --task mmlu/anatomy --items 100 --seeds 11,12,13 --holdout private:openstax_review --data data")]
pub struct InitArguments {
    /// Folder of the board
    #[arg(value_name = "BOARD")]
    board: PathBuf,
    /// What it is called
    #[arg(long, value_name = "TEXT")]
    name: String,
    /// What it compares, in a sentence
    #[arg(long, value_name = "TEXT", default_value = "")]
    about: String,
    /// The base whose modules take part: a directory, a GGUF file or a source
    #[arg(long, value_name = "DIR")]
    base: Location,
    /// A task's name (see `lore eval tasks`) or file, or one subset of it; may be repeated
    #[arg(long = "task", value_name = "NAME|FILE[/SUBSET]", required = true)]
    tasks: Vec<String>,
    /// Items of each subset that each seed draws [default: all]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    items: Option<u32>,
    /// Solved examples before each question
    #[arg(long, value_name = "N", default_value_t = 0)]
    shots: u16,
    /// Seeds that draw items, examples and distractors, at least three
    #[arg(long, value_name = "N,N,N", value_delimiter = ',', default_values_t = [1, 2, 3])]
    seeds: Vec<u64>,
    /// A task whose items stay private and the public task it should agree with: FOLDER holds NAME.toml and its
    /// data; only hashes are published; may be repeated
    #[arg(long = "holdout", value_name = "FOLDER/NAME:TASK")]
    holdouts: Vec<String>,
    #[command(flatten)]
    data: DataArguments,
    #[command(flatten)]
    keys: KeysOption,
}

/// Makes the folder.
///
/// # Errors
/// Tasks or data that cannot be used; a folder with a board; no key.
pub fn init(arguments: &InitArguments, session: &Session) -> Result<()> {
    let key = signing_key(&arguments.keys.keyring())?;
    let mut names = BTreeSet::new();
    let mut tasks = Vec::new();
    let mut files: Vec<(String, String)> = Vec::new();
    for argument in &arguments.tasks {
        let (mut task, subset) = subset_of(argument)?;
        let data = arguments.data.bring(std::iter::once(&mut task), session)?;
        let settings = TaskSettings {
            file: format!("tasks/{}.toml", task.name),
            subset,
            items: arguments.items.map(|items| items as usize),
            shots: arguments.shots.into(),
        };
        // What cannot be asked should not begin.
        let items = task.select(&data, &settings.selection(arguments.seeds[0]))?;
        let name = match &settings.subset {
            Some(subset) => format!("{}/{subset}", task.name),
            None => task.name.clone(),
        };
        if !names.insert(name.clone()) {
            return Err(Error::Usage(format!("--task {argument}: `{name}` is named twice")));
        }
        session.progress.note(&format!("{name}: {} items by the first seed", items.len()));
        let text = text_of(argument, &task)?;
        match files.iter().find(|(file, _)| *file == settings.file) {
            Some((_, other)) if *other != text => {
                return Err(Error::Usage(format!("--task {argument}: another task is called `{}` too", task.name)));
            }
            Some(_) => {}
            None => files.push((settings.file.clone(), text)),
        }
        tasks.push(settings);
    }
    let holdouts =
        arguments.holdouts.iter().map(|text| holdout(text, &names)).collect::<Result<Vec<HoldoutSettings>>>()?;
    let path = arguments.base.resolve(session)?;
    let base = ModelFiles::open(&path)?;
    let fingerprint = Fingerprint::of(&base.config, &*base.weights, &base.tokenizer)?.to_string();
    let settings = Settings {
        name: arguments.name.clone(),
        about: arguments.about.clone(),
        base: BaseSettings { name: name_of(&path), fingerprint },
        seeds: arguments.seeds.clone(),
        resamples: 10_000,
        tasks,
        holdouts,
    };
    if let Some((key, message)) = settings.problems().first() {
        return Err(Error::Usage(format!("--{key} {message}")));
    }
    let text = toml::to_string(&settings).map_err(Error::while_doing("writing board.toml"))?;
    let board = Board::create(&arguments.board, &text, &files, &key, &clock::now_rfc3339())?;
    println!("{}", board.root().display());
    session.progress.note(&format!("the board belongs to the key {}", board.operator));
    Ok(())
}

fn text_of(argument: &str, task: &Task) -> Result<String> {
    let path = match argument.rsplit_once('/') {
        Some((file, _)) if !Path::new(argument).is_file() && Path::new(file).is_file() => Path::new(file),
        _ => Path::new(argument),
    };
    let text = match shipped_text(&task.name) {
        Some(text) if !path.is_file() => text.to_owned(),
        _ => fs::read_to_string(path).map_err(Error::io(path))?,
    };
    // The board reads its copy as a file of Lore.
    match Task::parse(&text, path) {
        Ok(copy) if copy.sha256 == task.sha256 => Ok(text),
        _ => Err(Error::Usage(format!(
            "--task {argument}: a board keeps task files in TOML only; write one that asks the same (docs/tasks.md)"
        ))),
    }
}

/// `FOLDER/NAME:TASK` as a promise.
fn holdout(text: &str, tasks: &BTreeSet<String>) -> Result<HoldoutSettings> {
    let wrong = |problem: &str| Err(Error::Usage(format!("--holdout {text}: {problem}")));
    let Some((path, of)) = text.rsplit_once(':') else { return wrong("it does not say `:TASK`") };
    if !tasks.contains(of) {
        return wrong(&format!("`{of}` is no task of the board"));
    }
    let file = PathBuf::from(format!("{path}.toml"));
    if !file.is_file() {
        return wrong(&format!("there is no file {}", file.display()));
    }
    let task = Task::open(&file)?;
    let folder = file.parent().filter(|folder| *folder != Path::new("")).unwrap_or(Path::new("."));
    let items = task.items(folder, None, None)?;
    let name = file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    if name != task.name {
        return wrong(&format!("the task in {} is called `{}`", file.display(), task.name));
    }
    Ok(HoldoutSettings { name, of: of.to_owned(), sha256: task.sha256, items_sha256: items_hash(&items) })
}
