//! `lore pack publish`: to a folder, or to a model hub's repository.

use std::fs;
use std::path::{Path, PathBuf};

use lore_datasets::fetch::{LocalFile, RepositoryState};
use lore_datasets::source::{SourceRequest, SourceUri};
use lore_packs::index::INDEX;
use lore_packs::{Layout, Verified};

use super::folders::KeysOption;
use super::inspect::summary;
use crate::error::{Error, Result};
use crate::quantity;
use crate::session::Session;

/// Publish packs to a folder with an index, or to a Hugging Face repository
///
/// The folder can be served by any web server, or copied: it holds the packs, an index.json, and the newest
/// version of each module as a folder that PEFT opens, with a card.html for people. For hf:owner/repo the same
/// is uploaded in one commit, after the versions that are there already; the repository is made if there is
/// none. The token is taken from HF_TOKEN or the hub's token file, and must be one that may write.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  lore pack publish rivers-0.1.0.lorepack --to shelf
  lore pack publish rivers-0.1.0.lorepack --to hf:owner/rivers --dry-run
  lore pack publish rivers-0.1.0.lorepack --to hf:owner/rivers")]
pub struct PublishArguments {
    /// The packs
    #[arg(value_name = "PACK", required = true)]
    packs: Vec<PathBuf>,
    /// A folder, or hf:owner/repo
    #[arg(long, value_name = "WHERE")]
    to: String,
    /// Prepare the repository in this folder and upload nothing
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Print what would be uploaded, and upload nothing
    #[arg(long, conflicts_with = "out")]
    dry_run: bool,
    /// If the repository is made now, only its owner sees it
    #[arg(long)]
    private: bool,
    #[command(flatten)]
    keys: KeysOption,
}

/// Publishes; what was written goes to stdout.
///
/// # Errors
/// A pack that is refused; a version that was published before with other content; a hub that does not take it.
pub fn publish(arguments: &PublishArguments, session: &Session) -> Result<()> {
    let PublishArguments { packs, to, out, dry_run, private, keys: _ } = arguments;
    let Some((owner, repo)) = repository(to)? else {
        if out.is_some() || *dry_run || *private {
            return Err(Error::Usage(
                "--out, --dry-run and --private are only for hf:owner/repo; --to names the folder".into(),
            ));
        }
        into_folder(arguments, packs, Path::new(to), Layout::Shelf)?;
        eprintln!("Install from there: lore pack install NAME --index {to}");
        return Ok(());
    };
    if let Some(out) = out {
        into_folder(arguments, packs, out, Layout::Repository)?;
        eprintln!("Nothing was uploaded. Without --out this command does it; so does the hub's own tool:");
        println!("hf repo create {owner}/{repo} --exist-ok");
        println!("hf upload {owner}/{repo} {} . --exclude '.*'", out.display());
        println!("lore pack install hf:{owner}/{repo}");
        return Ok(());
    }
    to_hub(arguments, &owner, &repo, session)
}

/// Owner and name of a model repository; nothing if a folder is meant.
fn repository(to: &str) -> Result<Option<(String, String)>> {
    if !to.starts_with("hf:") {
        return Ok(None);
    }
    match to.parse().map_err(|error: lore_datasets::Error| Error::Usage(error.to_string()))? {
        SourceUri::Hf { owner, repo, path: None, revision: None } if !owner.starts_with("datasets/") => {
            Ok(Some((owner, repo)))
        }
        _ => Err(Error::Usage(format!("`{to}`: a model repository is meant, hf:owner/repo"))),
    }
}

fn into_folder(
    arguments: &PublishArguments,
    packs: &[PathBuf],
    folder: &Path,
    layout: Layout,
) -> Result<Vec<Verified>> {
    let keyring = arguments.keys.keyring();
    let mut all = Vec::new();
    for pack in packs {
        let (verified, published) = lore_packs::publish(pack, folder, layout)?;
        eprintln!("{}", summary(&verified, &keyring.judge(&verified, &[])?));
        if arguments.out.is_some() || layout == Layout::Shelf {
            println!("{}", published.pack.display());
        }
        all.push(verified);
    }
    Ok(all)
}

/// Puts the packs beside what a repository holds, in one commit.
fn to_hub(arguments: &PublishArguments, owner: &str, repo: &str, session: &Session) -> Result<()> {
    let fetcher = &session.fetcher;
    let mut state = fetcher.repository_state(owner, repo)?;
    if let Some(state) = &state {
        refuse_others(owner, repo, state)?;
    }
    let scratch = fetcher.scratch()?;
    let folder = scratch.path().join("repository");
    fs::create_dir(&folder).map_err(Error::io(&folder))?;
    if let Some(state) = state.as_ref().filter(|state| state.files.iter().any(|file| file == INDEX)) {
        let uri = SourceUri::Hf {
            owner: owner.into(),
            repo: repo.into(),
            revision: Some(state.commit.clone()),
            path: Some(INDEX.into()),
        };
        let fetched = fetcher.fetch(&SourceRequest::new(uri), session.progress.as_ref())?;
        fs::copy(&fetched.path, folder.join(INDEX)).map_err(Error::io(&fetched.path))?;
    }
    let published = into_folder(arguments, &arguments.packs, &folder, Layout::Repository)?;
    let files = files_in(&folder)?;
    if arguments.dry_run {
        let existing = if state.is_some() { "" } else { ", which would be made" };
        println!("To hf:{owner}/{repo}{existing}:");
        for file in &files {
            let bytes = fs::metadata(&file.path).map_err(Error::io(&file.path))?.len();
            let sha256 = lore_datasets::fetch::sha256_of_file(&file.path)?;
            println!("  {:<28} {:>10}  sha256 {sha256}", file.name, quantity::bytes(bytes));
        }
        eprintln!("Nothing was uploaded.");
        return Ok(());
    }
    if state.is_none() && fetcher.create_repository(owner, repo, arguments.private)? {
        eprintln!("Made the repository {owner}/{repo}.");
        state = fetcher.repository_state(owner, repo)?;
    }
    let names: Vec<String> =
        published.iter().map(|verified| format!("{} {}", verified.manifest.name, verified.manifest.version)).collect();
    let parent = state.as_ref().map(|state| state.commit.as_str());
    let uploaded = fetcher.upload(owner, repo, &files, &names.join(", "), parent, session.progress.as_ref())?;
    let place = uploaded.address.unwrap_or(uploaded.commit);
    eprintln!("Uploaded {} files to hf:{owner}/{repo}: {place}", files.len());
    println!("lore pack install hf:{owner}/{repo}");
    Ok(())
}

/// A repository of something else must not become one of a module by accident.
fn refuse_others(owner: &str, repo: &str, state: &RepositoryState) -> Result<()> {
    let new = |file: &String| [".gitattributes", ".gitignore", "README.md", "LICENSE"].contains(&file.as_str());
    if state.files.iter().all(new) || state.files.iter().any(|file| file == INDEX) {
        return Ok(());
    }
    let others: Vec<&str> = state.files.iter().filter(|file| !new(file)).take(4).map(String::as_str).collect();
    Err(Error::Failed(format!(
        "hf:{owner}/{repo} holds something else ({}) and no {INDEX}; choose another repository, or empty that one",
        others.join(", ").escape_debug()
    )))
}

/// What is to be uploaded; not the lock.
fn files_in(folder: &Path) -> Result<Vec<LocalFile>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).map_err(Error::io(folder))? {
        let entry = entry.map_err(Error::io(folder))?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if !name.starts_with('.') {
            files.push(LocalFile { name, path: entry.path() });
        }
    }
    files.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(files)
}
