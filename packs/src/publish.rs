//! Publishing to a folder: the pack, its content as a folder that PEFT opens, a page for people, and the index.

use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

use lore_model::whole::WRITING;
use sha2::{Digest, Sha256};

use crate::canonical::hex;
use crate::draft::file_name;
use crate::error::{Error, Result};
use crate::format::{ADAPTER_CONFIG, ENVELOPE, FACTS, OPTIONAL};
use crate::index::{INDEX, Index, IndexEntry};
use crate::keyring::{sync_folder, write_whole};
use crate::library::wait_for_lock;
use crate::page::page;
use crate::verify::{Verified, unpack};

/// The facts as a page for people, beside the content.
const PAGE: &str = "card.html";

/// Where the content of a published pack lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// In a folder with the module's name: for a shelf of many modules.
    Shelf,
    /// Beside the index: for a model hub's repository of one module.
    Repository,
}

/// What was published.
#[derive(Debug, Clone, PartialEq)]
pub struct Published {
    /// The pack.
    pub pack: PathBuf,
    /// The folder that PEFT opens.
    pub adapter: PathBuf,
    /// The index.
    pub index: PathBuf,
}

/// Publishes a pack to `folder`. The index is written last, so readers see whole packs only.
///
/// # Errors
/// Those of verifying; a version that was published before with other content; in a [`Layout::Repository`],
/// another module; writing.
pub fn publish(pack: &Path, folder: &Path, layout: Layout) -> Result<(Verified, Published)> {
    fs::create_dir_all(folder).map_err(Error::io(folder))?;
    let _lock = wait_for_lock(&folder.join(".lore-lock"), &|| ())?;
    let index_path = folder.join(INDEX);
    let mut index = if index_path.exists() { Index::read(&index_path)? } else { Index::default() };
    remove_abandoned(folder)?;
    let scratch = tempfile::Builder::new().prefix(WRITING).tempdir_in(folder).map_err(Error::io(folder))?;
    let copy = scratch.path().join("pack");
    let (bytes, sha256) = copy_hashed(pack, &copy)?;
    let content = scratch.path().join("content");
    fs::create_dir(&content).map_err(Error::io(&content))?;
    let verified = unpack(&copy, &content, None)?;
    write_whole(&content.join(PAGE), page(&verified)?.as_bytes())?;
    let manifest = &verified.manifest;
    if layout == Layout::Repository
        && let Some(other) = index.packs.iter().find(|entry| entry.name != manifest.name)
    {
        return Err(Error::Request(format!(
            "{} is the repository of `{}`; a repository holds the versions of one module, choose another folder",
            folder.display(),
            other.name
        )));
    }
    let newest = !index.packs.iter().any(|entry| entry.name == manifest.name && entry.version > manifest.version);
    let file = file_name(manifest);
    index.add(IndexEntry {
        name: manifest.name.clone(),
        version: manifest.version.clone(),
        file: file.clone(),
        bytes,
        sha256,
        manifest_sha256: verified.manifest_sha256.clone(),
        topic: manifest.topic.clone(),
        summary: manifest.summary.clone(),
        license: manifest.license.clone(),
        base: manifest.base.fingerprint,
        dependencies: manifest.dependencies.clone(),
        signer: verified.signer.as_ref().map(ToString::to_string),
    })?;
    let published = Published {
        pack: folder.join(&file),
        adapter: match layout {
            Layout::Shelf => folder.join(&manifest.name),
            Layout::Repository => folder.to_owned(),
        },
        index: index_path,
    };
    remove_envelope(&content)?;
    let new_index = scratch.path().join(INDEX);
    index.write(&new_index)?;
    // Everything is written; from here on it is only moved, which needs no room.
    fs::rename(&copy, &published.pack).map_err(Error::io(&published.pack))?;
    if newest {
        place_content(&content, &published.adapter, scratch.path(), layout)?;
    }
    sync_folder(folder).map_err(Error::io(folder))?;
    fs::rename(&new_index, &published.index).map_err(Error::io(&published.index))?;
    sync_folder(folder).map_err(Error::io(folder))?;
    Ok((verified, published))
}

/// What a process that was killed left: whoever wrote there held the lock, and is gone.
fn remove_abandoned(folder: &Path) -> Result<()> {
    for entry in fs::read_dir(folder).map_err(Error::io(folder))? {
        let path = entry.map_err(Error::io(folder))?.path();
        let abandoned = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(WRITING));
        if abandoned && path.is_dir() {
            fs::remove_dir_all(&path).map_err(Error::io(path))?;
        }
    }
    Ok(())
}

/// The envelope stays in the pack: a hub would show its manifest as if it were the repository's.
fn remove_envelope(content: &Path) -> Result<()> {
    for (name, _) in ENVELOPE {
        match fs::remove_file(content.join(name)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(Error::io(content.join(name))(error));
            }
            _ => {}
        }
    }
    Ok(())
}

/// Puts the content of the newest version where PEFT looks for it.
fn place_content(content: &Path, target: &Path, scratch: &Path, layout: Layout) -> Result<()> {
    if layout == Layout::Shelf {
        if target.exists() {
            // Only what was published before is replaced.
            if ![FACTS, ADAPTER_CONFIG].iter().all(|name| target.join(name).is_file()) {
                return Err(Error::Request(format!("{} holds something else; move it away", target.display())));
            }
            fs::rename(target, scratch.join("replaced")).map_err(Error::io(target))?;
        }
        return fs::rename(content, target).map_err(Error::io(target));
    }
    // A version without an optional member must not show the one of the version before.
    for (name, _) in OPTIONAL {
        if target.join(name).is_file() && !content.join(name).exists() {
            fs::remove_file(target.join(name)).map_err(Error::io(target.join(name)))?;
        }
    }
    for entry in fs::read_dir(content).map_err(Error::io(content))? {
        let entry = entry.map_err(Error::io(content))?;
        let place = target.join(entry.file_name());
        fs::rename(entry.path(), &place).map_err(Error::io(place))?;
    }
    Ok(())
}

fn copy_hashed(from: &Path, to: &Path) -> Result<(u64, String)> {
    let mut input = File::open(from).map_err(Error::io(from))?;
    let mut options = File::options();
    options.write(true).create_new(true);
    let mut output = options.open(to).map_err(Error::io(to))?;
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 1 << 16];
    let mut size = 0;
    loop {
        let read = input.read(&mut buffer).map_err(Error::io(from))?;
        if read == 0 {
            output.sync_all().map_err(Error::io(to))?;
            return Ok((size, hex(&hash.finalize())));
        }
        hash.update(&buffer[..read]);
        std::io::Write::write_all(&mut output, &buffer[..read]).map_err(Error::io(to))?;
        size += read as u64;
    }
}
