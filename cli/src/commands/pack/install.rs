//! `lore pack install` and `lore pack update`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use lore_datasets::source::{SourceRequest, SourceUri};
use lore_packs::index::INDEX;
use lore_packs::keyring::Revocation;
use lore_packs::library::Held;
use lore_packs::{Base, Index, Keyring, Policy};
use semver::VersionReq;

use super::folders::{KeysOption, LibraryOption};
use super::inspect::{Accept, open_base, summary};
use super::shelf::Shelf;
use crate::error::{Error, Result};
use crate::location::Location;
use crate::session::Session;

/// Install packs into the library and print their folders
///
/// All of them are installed, with what they need from the index, or nothing is. The folders open in
/// `lore generate --module` and in PEFT.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  lore pack install rivers-0.1.0.lorepack
  lore pack install hf:owner/rivers
  lore pack install rivers 'lakes@^1.2' --index shelf --base hf:owner/base")]
pub struct InstallArguments {
    /// A pack file, hf:owner/repo[/FILE.lorepack], or NAME[@VERSION] from the index
    #[arg(value_name = "PACK", required = true)]
    packs: Vec<String>,
    #[command(flatten)]
    how: How,
    /// Install a lower version than the installed one
    #[arg(long)]
    allow_downgrade: bool,
}

/// Update installed modules to the newest versions of their index
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  lore pack update
  lore pack update rivers --index shelf")]
pub struct UpdateArguments {
    /// Names of modules [default: all that came from an index]
    #[arg(value_name = "NAME")]
    names: Vec<String>,
    #[command(flatten)]
    how: How,
}

/// What installing and updating have in common.
#[derive(Debug, clap::Args)]
struct How {
    /// Folder with an index.json, or hf:owner/repo
    #[arg(long, value_name = "INDEX")]
    index: Option<String>,
    /// A base that the modules must belong to: a directory, a GGUF file or a source
    #[arg(long, value_name = "DIR")]
    base: Option<Location>,
    #[command(flatten)]
    accept: Accept,
    /// Install modules whose licences do not go together
    #[arg(long)]
    accept_licenses: bool,
    #[command(flatten)]
    library: LibraryOption,
    #[command(flatten)]
    keys: KeysOption,
}

/// A pack on this machine, and what its publisher revoked.
struct Chosen {
    path: PathBuf,
    origin: String,
    revoked: Vec<(Revocation, String)>,
    /// What its file must be, if an index said so.
    manifest_sha256: Option<String>,
}

/// Installs; the folders go to stdout.
///
/// # Errors
/// Packs that are refused, not trusted, or do not go together with what is installed.
pub fn install(arguments: &InstallArguments, session: &Session) -> Result<()> {
    let how = &arguments.how;
    let base = open_base(how.base.as_ref(), session)?;
    let shelf = how.index.as_deref().map(Shelf::parse).transpose()?;
    let library = how.library.library(session);
    let mut held = library.lock(&|| session.progress.note("waiting for another process that changes the library"))?;
    let mut chosen = BTreeMap::new();
    for pack in &arguments.packs {
        choose(pack, shelf.as_ref(), &held, session, &mut chosen)?;
    }
    let policy = Policy { accept_licenses: how.accept_licenses, allow_downgrade: arguments.allow_downgrade };
    put(&mut held, chosen, how, base.as_ref(), &policy, session)
}

/// Updates; the folders of what changed go to stdout.
///
/// # Errors
/// As [`install`].
pub fn update(arguments: &UpdateArguments, session: &Session) -> Result<()> {
    let how = &arguments.how;
    let base = open_base(how.base.as_ref(), session)?;
    let library = how.library.library(session);
    let mut held = library.lock(&|| session.progress.note("waiting for another process that changes the library"))?;
    let installed = held.list().clone();
    if let Some(unknown) = arguments.names.iter().find(|name| !installed.contains_key(*name)) {
        return Err(Error::Failed(format!("`{unknown}` is not installed; `lore pack list` shows what is")));
    }
    let mut indexes: BTreeMap<String, (Shelf, Index)> = BTreeMap::new();
    let mut chosen = BTreeMap::new();
    for (name, module) in &installed {
        let named = arguments.names.contains(name);
        if !named && !arguments.names.is_empty() {
            continue;
        }
        let origin = how.index.clone().unwrap_or_else(|| module.origin.clone());
        if origin.ends_with(lore_packs::format::EXTENSION) {
            let note =
                format!("{name} was installed from a file ({origin}); --index says where to look for newer versions");
            if named {
                return Err(Error::Failed(note));
            }
            session.progress.note(&note);
            continue;
        }
        if !indexes.contains_key(&origin) {
            let shelf = Shelf::parse(&origin)?;
            let index = shelf.read(session)?;
            indexes.insert(origin.clone(), (shelf, index));
        }
        let (shelf, index) = &indexes[&origin];
        let newest = index.find(name, &VersionReq::STAR).filter(|entry| entry.version > module.version);
        match newest {
            Some(entry) => {
                let wanted =
                    VersionReq::parse(&format!("={}", entry.version)).map_err(Error::while_doing("a version"))?;
                from_index(name, &wanted, shelf, index, &held, session, &mut chosen)?;
            }
            None => session.progress.note(&format!("{name} {} is the newest", module.version)),
        }
    }
    let policy = Policy { accept_licenses: how.accept_licenses, allow_downgrade: false };
    put(&mut held, chosen, how, base.as_ref(), &policy, session)
}

/// Finds what one argument means.
fn choose(
    pack: &str,
    shelf: Option<&Shelf>,
    held: &Held<'_>,
    session: &Session,
    chosen: &mut BTreeMap<String, Chosen>,
) -> Result<()> {
    let direct = |path: PathBuf, origin: String| Chosen { path, origin, revoked: Vec::new(), manifest_sha256: None };
    let path = Path::new(pack);
    if path.is_file() {
        let origin = std::path::absolute(path).map_err(Error::io(path))?.display().to_string();
        chosen.insert(pack.to_owned(), direct(path.to_owned(), origin));
        return Ok(());
    }
    if ["hf:", "pypi:", "file:"].iter().any(|scheme| pack.starts_with(scheme)) {
        let uri: SourceUri = pack.parse().map_err(|error: lore_datasets::Error| Error::Usage(error.to_string()))?;
        if matches!(uri, SourceUri::Hf { path: None, .. }) {
            let shelf = Shelf::parse(pack)?;
            let index = shelf.read(session)?;
            let mut names: Vec<&str> = index.packs.iter().map(|entry| entry.name.as_str()).collect();
            names.dedup();
            let [name] = names[..] else {
                return Err(Error::Usage(format!(
                    "{pack} holds {} modules ({}): name one, with --index {pack}",
                    names.len(),
                    names.join(", ")
                )));
            };
            return from_index(name, &VersionReq::STAR, &shelf, &index, held, session, chosen);
        }
        let fetched = session.fetcher.fetch(&SourceRequest::new(uri), session.progress.as_ref())?;
        chosen.insert(pack.to_owned(), direct(fetched.path, pack.to_owned()));
        return Ok(());
    }
    let (name, wanted) = pack.split_once('@').unwrap_or((pack, "*"));
    let wanted = VersionReq::parse(wanted).map_err(|error| {
        Error::Usage(format!("`{pack}`: `{wanted}` is not a version requirement such as ^1.2: {error}"))
    })?;
    let Some(shelf) = shelf else {
        return Err(Error::Usage(format!(
            "`{pack}`: no such file, and to install a module by its name --index must say from where"
        )));
    };
    let index = shelf.read(session)?;
    from_index(name, &wanted, shelf, &index, held, session, chosen)
}

/// Fetches a module of an index, and what it needs and is not installed.
fn from_index(
    name: &str,
    wanted: &VersionReq,
    shelf: &Shelf,
    index: &Index,
    held: &Held<'_>,
    session: &Session,
    chosen: &mut BTreeMap<String, Chosen>,
) -> Result<()> {
    if chosen.contains_key(name) {
        return Ok(());
    }
    let entry = index.find(name, wanted).ok_or_else(|| {
        let versions = index.packs.iter().filter(|entry| entry.name == name);
        let versions: Vec<String> = versions.map(|entry| entry.version.to_string()).collect();
        let found = if versions.is_empty() {
            "it has no such module".into()
        } else {
            format!("it has {}", versions.join(", "))
        };
        Error::Failed(format!(
            "the {INDEX} of {} has no `{name}` {wanted} that is not revoked: {found}",
            shelf.origin()
        ))
    })?;
    let path = shelf.fetch(entry, session)?;
    let found = Chosen {
        path,
        origin: shelf.origin(),
        revoked: index.revocations()?,
        manifest_sha256: Some(entry.manifest_sha256.clone()),
    };
    chosen.insert(name.to_owned(), found);
    for dependency in &entry.dependencies {
        let there = held.list().get(&dependency.name);
        let satisfied = there.is_some_and(|installed| dependency.version.matches(&installed.version));
        // What the index does not have may come from another argument; the library has the last word.
        if !satisfied && index.find(&dependency.name, &dependency.version).is_some() {
            from_index(&dependency.name, &dependency.version, shelf, index, held, session, chosen)?;
        }
    }
    Ok(())
}

/// Checks what was chosen and puts it into the library.
fn put(
    held: &mut Held<'_>,
    chosen: BTreeMap<String, Chosen>,
    how: &How,
    base: Option<&Base>,
    policy: &Policy,
    session: &Session,
) -> Result<()> {
    let keyring: Keyring = how.keys.keyring();
    let mut staged = Vec::new();
    for Chosen { path, origin, revoked, manifest_sha256 } in chosen.into_values() {
        let shown = path.display().to_string();
        let new = held.stage(&path, &origin, base)?;
        if manifest_sha256.is_some_and(|expected| expected != new.verified.manifest_sha256) {
            return Err(Error::Failed(format!("{shown} is not the pack that the {INDEX} of {origin} describes")));
        }
        let trust = keyring.judge(&new.verified, &revoked)?;
        how.accept.check(&shown, &trust)?;
        session.progress.note(&summary(&new.verified, &trust));
        staged.push(new);
    }
    for folder in held.commit(staged, policy)? {
        println!("{}", folder.display());
    }
    Ok(())
}
