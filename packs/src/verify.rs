//! Reading a pack, or an installed one, and believing none of it before it is checked.

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;

use lore_model::config::ModelConfig;
use lore_model::fingerprint::Fingerprint;
use lore_modules::Layout;

use crate::archive::{ArchiveReader, Members};
use crate::canonical::sha256_hex;
use crate::content::{expect, read_content, read_small};
use crate::documents::{Corpus, Evaluation};
use crate::error::{Error, Problem, Result};
use crate::folder::FolderMembers;
use crate::format::{MANIFEST, MARKER, SIGNATURE, SIGNER};
use crate::manifest::{Manifest, Marker};
use crate::meaning::check_meaning;
use crate::signature::{self, PublicKey, trusted_comment};

/// A pack whose every byte was checked.
#[derive(Debug, Clone, PartialEq)]
pub struct Verified {
    /// What it says about itself.
    pub manifest: Manifest,
    /// sha256 of the manifest: the identity of the pack, signed or not.
    pub manifest_sha256: String,
    /// The key of its signature, which is good; nothing if it has none.
    pub signer: Option<PublicKey>,
    /// What it was made from.
    pub corpus: Corpus,
    /// How well it does.
    pub evaluation: Evaluation,
    /// Its updates.
    pub layout: Layout,
    /// The model card.
    pub card: String,
}

/// A base to compare a pack with.
#[derive(Debug, Clone)]
pub struct Base {
    /// What it is.
    pub config: ModelConfig,
    /// Its identity.
    pub fingerprint: Fingerprint,
}

/// Checks a pack in one pass, holding no more than its small members in memory.
///
/// # Errors
/// [`Error::Refused`] for a broken rule, [`Error::Altered`] where hash or signature do not agree.
pub fn verify_file(path: &Path, base: Option<&Base>) -> Result<Verified> {
    let mut members = open(path)?;
    check(&mut members, None, base).map_err(Problem::of(path))
}

/// As [`verify_file`], of bytes from anywhere; `name` is what errors call them.
///
/// # Errors
/// As [`verify_file`].
pub fn verify_reader(name: &Path, input: impl Read, base: Option<&Base>) -> Result<Verified> {
    check(&mut ArchiveReader::new(input), None, base).map_err(Problem::of(name))
}

/// As [`verify_file`], writing the members into the empty folder `into` as they pass. On error what is there
/// must be thrown away.
///
/// # Errors
/// As [`verify_file`], and those of writing.
pub(crate) fn unpack(path: &Path, into: &Path, base: Option<&Base>) -> Result<Verified> {
    let mut members = open(path)?;
    check(&mut members, Some(into), base).map_err(Problem::of(path))
}

/// Checks the folder of an installed pack in the same way.
///
/// # Errors
/// As [`verify_file`].
pub fn verify_folder(path: &Path, base: Option<&Base>) -> Result<Verified> {
    let mut members = FolderMembers::open(path).map_err(Problem::of(path))?;
    check(&mut members, None, base).map_err(Problem::of(path))
}

fn open(path: &Path) -> Result<ArchiveReader<BufReader<File>>> {
    let file = File::open(path).map_err(Error::io(path))?;
    let metadata = file.metadata().map_err(Error::io(path))?;
    if !metadata.is_file() {
        return Err(Error::Refused { path: path.to_owned(), problem: "it is not a plain file".into() });
    }
    Ok(ArchiveReader::new(BufReader::with_capacity(1 << 17, file)))
}

/// The one way a pack is read.
pub(crate) fn check(members: &mut dyn Members, into: Option<&Path>, base: Option<&Base>) -> Result<Verified, Problem> {
    let entry = expect(members.next()?, MARKER)?;
    let marker = Marker::parse(MARKER, &read_small(members, entry, into)?)?;
    let entry = expect(members.next()?, MANIFEST)?;
    let manifest_bytes = read_small(members, entry, into)?;
    let manifest_sha256 = sha256_hex(&manifest_bytes);
    if manifest_sha256 != marker.manifest_sha256 {
        return Problem::altered(format!("`{MANIFEST}` does not have the sha256 that `{MARKER}` names"));
    }
    let manifest = Manifest::parse(MANIFEST, &manifest_bytes)?;
    let mut entry = members.next()?;
    let mut signer = None;
    if entry.is_some_and(|entry| entry.name == SIGNATURE) {
        let signature = read_small(members, expect(entry, SIGNATURE)?, into)?;
        let key = expect(members.next()?, SIGNER)?;
        let key = read_small(members, key, into)?;
        let comment = trusted_comment(&manifest.name, &manifest.version);
        signer = Some(signature::verify(&manifest_bytes, &comment, &signature, &key)?);
        entry = members.next()?;
    }
    let content = read_content(members, entry, &manifest, into)?;
    check_meaning(manifest, manifest_sha256, signer, &content, base)
}
