//! `lore data build`: documents and tokens of a recipe's topics, without training.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use lore_datasets::prepare::DataReport;
use lore_datasets::source::SourceRequest;

use super::built::CARD;
use super::card::{Built, dataset_card};
use super::terminal::report_lines;
use crate::error::{Error, Result};
use crate::recipe::{Recipe, Topic, request};
use crate::session::Session;
use crate::stages::topic::{Tokens, TopicRequest, prepare_topic};

/// Make documents and tokens of a recipe's topics, without training
///
/// Each topic becomes a folder: documents.parquet, tokens/ by split, data.json (what every step did),
/// duplicates.jsonl and contamination.jsonl where the recipe asks for those steps, and README.md, its card.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:
  lore data build recipes/openstax.toml --topic us-history --out data")]
pub struct BuildArguments {
    /// The recipe
    #[arg(value_name = "RECIPE.toml")]
    recipe: PathBuf,
    /// Only this topic; may be repeated
    #[arg(long = "topic", value_name = "NAME")]
    topics: Vec<String>,
    /// Folder that gets a folder for each topic; those must not exist
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Stop if anything is left out: a file, a link or a record
    #[arg(long)]
    strict: bool,
}

/// Begins the name of a topic's folder while it is built.
const BUILDING: &str = ".building-";

/// Builds; each topic's folder is there whole or not at all.
///
/// # Errors
/// A topic the recipe does not have, a folder that exists, sources that cannot be used.
pub fn build(arguments: &BuildArguments, session: &Session) -> Result<()> {
    let recipe = Recipe::open_with_topics(&arguments.recipe)?;
    let topics = chosen(&recipe, &arguments.topics)?;
    for topic in &topics {
        let target = arguments.out.join(&topic.name);
        if target.exists() {
            return Err(Error::Usage(format!(
                "--out {}: it exists already; remove it, or choose another folder",
                target.display()
            )));
        }
    }
    let fetch = |request: &SourceRequest| -> Result<PathBuf> {
        Ok(session.fetcher.fetch(request, session.progress.as_ref())?.path)
    };
    let teacher = &recipe.teacher;
    let teacher = fetch(&request(&teacher.source, teacher.sha256.as_ref(), &teacher.pip_args))?;
    fs::create_dir_all(&arguments.out).map_err(Error::io(&arguments.out))?;
    let _building = at_work(&arguments.out)?;
    for topic in topics {
        let source = fetch(&request(&topic.source, topic.sha256.as_ref(), &topic.pip_args))?;
        let items = topic
            .against()
            .iter()
            .map(|against| fetch(&request(&against.source, against.sha256.as_ref(), &against.pip_args)))
            .collect::<Result<Vec<_>>>()?;
        let target = arguments.out.join(&topic.name);
        let (report, tokens) = build_topic(topic, &source, &items, &teacher, &target, arguments.strict, session)?;
        println!("{} → {}", topic.name, target.display());
        for line in report_lines(&report, Some(&tokens)) {
            println!("  {line}");
        }
    }
    Ok(())
}

/// Says that a build is at work in a folder, as long as the result lives. If none was, what killed ones left is removed.
fn at_work(folder: &Path) -> Result<Option<File>> {
    // Only Unix opens folders, and some network file systems have no locks: there, what is left stays.
    let Ok(lock) = File::open(folder) else { return Ok(None) };
    if lock.try_lock().is_ok() {
        for entry in fs::read_dir(folder).map_err(Error::io(folder))? {
            let path = entry.map_err(Error::io(folder))?.path();
            let left = path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(BUILDING.as_bytes()));
            if left && path.is_dir() && !path.is_symlink() {
                fs::remove_dir_all(&path).map_err(Error::io(&path))?;
            }
        }
        // Given back: taking the other kind of lock in its place does not work everywhere.
        let _ = lock.unlock();
    }
    let shared = lock.lock_shared();
    Ok(shared.is_ok().then_some(lock))
}

fn build_topic(
    topic: &Topic,
    source: &Path,
    items: &[PathBuf],
    teacher: &Path,
    target: &Path,
    strict: bool,
    session: &Session,
) -> Result<(DataReport, Tokens)> {
    let folder = target.parent().unwrap_or(Path::new("."));
    let partial = tempfile::Builder::new().prefix(BUILDING).tempdir_in(folder).map_err(Error::io(folder))?;
    let request =
        TopicRequest { topic, source, items, teacher, folder: partial.path(), strict, reports: true, session };
    let (report, tokens) = prepare_topic(&request)?;
    let card = dataset_card(&topic.name, &[(topic, Some(Built { report: &report, tokens: Some(&tokens) }))]);
    let path = partial.path().join(CARD);
    fs::write(&path, card).map_err(Error::io(path))?;
    fs::rename(partial.path(), target).map_err(Error::io(target))?;
    // Temporary folders are private; what is built is not.
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        fs::set_permissions(target, fs::Permissions::from_mode(0o755)).map_err(Error::io(target))?;
    }
    Ok((report, tokens))
}

fn chosen<'a>(recipe: &'a Recipe, names: &[String]) -> Result<Vec<&'a Topic>> {
    let known: Vec<&str> = recipe.topics.iter().map(|topic| topic.name.as_str()).collect();
    let unknown: Vec<&String> = names.iter().filter(|name| !known.contains(&name.as_str())).collect();
    if let Some(name) = unknown.first() {
        return Err(Error::Usage(format!("--topic {name}: the recipe has no such topic; it has {}", known.join(", "))));
    }
    Ok(recipe.topics.iter().filter(|topic| names.is_empty() || names.contains(&topic.name)).collect())
}
