//! A static index: `index.json` beside pack files, on any server, disk or hub.

use std::path::Path;

use lore_model::fingerprint::Fingerprint;
use semver::{Version, VersionReq};
use serde::{Deserialize, Serialize};

use crate::canonical::{canonical_json, is_sha256};
use crate::error::{Error, Problem, Result};
use crate::keyring::{Revocation, write_whole};
use crate::manifest::{Requirement, is_name};

/// File name of an index.
pub const INDEX: &str = "index.json";
/// What `format` says.
const FORMAT: &str = "lore-pack-index";
/// The most bytes an index may have.
const LIMIT: u64 = 32 << 20;

/// The packs that can be had from somewhere.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Index {
    format: String,
    format_version: u32,
    /// By name, then version.
    pub packs: Vec<IndexEntry>,
    /// What the publisher took back: lines as in a revocation list.
    pub revoked: Vec<String>,
}

/// One pack.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IndexEntry {
    /// Name of the module.
    pub name: String,
    /// Its version.
    pub version: Version,
    /// The pack, beside the index.
    pub file: String,
    /// Size of that file.
    pub bytes: u64,
    /// sha256 of that file.
    pub sha256: String,
    /// sha256 of its manifest: the identity of the pack.
    pub manifest_sha256: String,
    /// What it knows about.
    pub topic: String,
    /// One line for people.
    pub summary: String,
    /// Its licence.
    pub license: String,
    /// The base it belongs to.
    pub base: Fingerprint,
    /// Modules it needs.
    pub dependencies: Vec<Requirement>,
    /// The key that signed it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signer: Option<String>,
}

impl Default for Index {
    fn default() -> Self {
        Self { format: FORMAT.into(), format_version: 1, packs: Vec::new(), revoked: Vec::new() }
    }
}

impl Index {
    /// Reads and checks an index.
    ///
    /// # Errors
    /// [`Error::Refused`] if it is not one, or names files that do not lie beside it.
    pub fn read(path: &Path) -> Result<Self> {
        let refused = |problem: String| Problem::of(path)(Problem::Refused(problem));
        let size = std::fs::metadata(path).map_err(Error::io(path))?.len();
        if size > LIMIT {
            return Err(refused(format!("it has {size} bytes; at most {LIMIT} are allowed")));
        }
        let bytes = std::fs::read(path).map_err(Error::io(path))?;
        let index: Self = serde_json::from_slice(&bytes).map_err(|error| refused(error.to_string()))?;
        index.check().map_err(Problem::of(path))?;
        Ok(index)
    }

    fn check(&self) -> Result<(), Problem> {
        if self.format != FORMAT || self.format_version != 1 {
            return Problem::refused(format!("it is not a {FORMAT} of version 1"));
        }
        for entry in &self.packs {
            let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._+-".contains(&byte);
            let beside = entry.file.len() <= 200
                && entry.file.bytes().all(plain)
                && entry.file.starts_with(|c: char| c.is_ascii_alphanumeric())
                && entry.file.ends_with(&format!(".{}", crate::format::EXTENSION));
            if !is_name(&entry.name) || !beside || !is_sha256(&entry.sha256) || !is_sha256(&entry.manifest_sha256) {
                return Problem::refused(format!(
                    "its entry `{}` has an unusable name, hash, or file (a pack beside the index was expected)",
                    entry.name.escape_debug()
                ));
            }
        }
        Ok(())
    }

    /// What the publisher took back.
    ///
    /// # Errors
    /// A line that is no revocation.
    pub fn revocations(&self) -> Result<Vec<(Revocation, String)>> {
        crate::keyring::parse_revocations(INDEX, &self.revoked.join("\n"))
    }

    /// The highest version of a module that is wanted and not revoked.
    pub fn find(&self, name: &str, wanted: &VersionReq) -> Option<&IndexEntry> {
        let taken_back = |entry: &IndexEntry| self.revoked.iter().any(|line| line.contains(&entry.manifest_sha256));
        let fits = |entry: &&IndexEntry| entry.name == name && wanted.matches(&entry.version) && !taken_back(entry);
        self.packs.iter().filter(fits).max_by(|a, b| a.version.cmp(&b.version))
    }

    /// Adds a pack, or the signed file of one that is there unsigned.
    ///
    /// # Errors
    /// [`Error::Request`] if that version is there with other content: versions do not change.
    pub fn add(&mut self, entry: IndexEntry) -> Result<()> {
        let same = |known: &IndexEntry| known.name == entry.name && known.version == entry.version;
        if let Some(known) = self.packs.iter_mut().find(|known| same(known)) {
            if known.manifest_sha256 != entry.manifest_sha256 {
                return Err(Error::Request(format!(
                    "`{}` {} was published before with other content; give the new one a higher version",
                    entry.name, entry.version
                )));
            }
            *known = entry;
            return Ok(());
        }
        self.packs.push(entry);
        self.packs.sort_by(|a, b| (&a.name, &a.version).cmp(&(&b.name, &b.version)));
        Ok(())
    }

    /// Writes the index whole or not at all.
    ///
    /// # Errors
    /// Those of writing.
    pub fn write(&self, path: &Path) -> Result<()> {
        write_whole(path, &canonical_json(self))
    }
}
