//! `hf:` sources: one file of a repository on a model hub, or the files that make the model.
//!
//! The `hf-hub` crate gives repository names, addresses and the cache layout shared with other hub
//! clients. Bytes are moved by [`super::transfer`] and [`super::client`], which checks their number and hash, resumes,
//! retries, has time limits, and shows the token to the hub only.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use hf_hub::api::RepoInfo;
use hf_hub::{Repo, RepoType};
use serde::{Deserialize, Serialize};

use super::Fetched;
use super::cache::{Cache, create_folder, read_json, write_atomically, write_json};
use super::client::{Client, Transfer};
use super::hub_files::{choose, is_refused};
use super::hub_settings::Settings;
use super::sha256::sha256_of_text;
use super::transfer::FileHead;
use crate::error::{Error, Result};
use crate::progress::{Progress, Unit};
use crate::source::check_relative;

pub(super) fn repository(owner: &str, repo: &str, revision: Option<&str>) -> Repo {
    let (kind, owner) = match owner.strip_prefix("datasets/") {
        Some(owner) => (RepoType::Dataset, owner),
        None => (RepoType::Model, owner),
    };
    Repo::with_revision(format!("{owner}/{repo}"), kind, revision.unwrap_or("main").into())
}

pub(super) fn check(settings: &Settings, transfer: &Transfer) -> Result<()> {
    Client::new(transfer, &settings.endpoint, None, &settings.endpoint)?.reach()
}

pub(super) struct HubSource<'a> {
    pub(super) uri: &'a str,
    pub(super) repository: Repo,
    pub(super) settings: &'a Settings,
    pub(super) transfer: &'a Transfer,
    pub(super) cache: &'a Cache,
    pub(super) offline: bool,
    pub(super) refresh: bool,
    pub(super) progress: &'a dyn Progress,
}

/// Written after all files of a repository are there.
#[derive(Serialize, Deserialize)]
struct Snapshot {
    commit: String,
    files: BTreeMap<String, u64>,
}

impl HubSource<'_> {
    /// One file.
    pub(super) fn file(&self, path: &str, expected: Option<&str>) -> Result<Fetched> {
        if is_refused(path) {
            return Err(self.refused(format!(
                "`{path}` is a kind of file that can run code when it is loaded. Use safetensors, GGUF or text files"
            )));
        }
        let _lock = self.lock()?;
        let believes_cache = self.offline || !self.refresh || is_commit(self.repository.revision());
        if let Some((file, sha256)) = self.cached_file(path)?.filter(|_| believes_cache) {
            match expected {
                Some(expected) if expected != sha256 => {
                    if self.offline {
                        return Err(Error::WrongHash {
                            uri: self.uri.into(),
                            expected: expected.into(),
                            found: sha256,
                        });
                    }
                }
                _ => return fetched(file, Some(sha256), true),
            }
        }
        self.refuse_offline()?;
        let client = self.client()?;
        let url = self.url(self.repository.revision(), path);
        let head = self.checked_head(&client, &url)?;
        let (sha256, from_cache) = self.bring(&client, &url, &head, path, expected)?;
        let file = self.link(&head.commit, &head.etag, path)?;
        self.write_reference(&head.commit)?;
        fetched(file, Some(sha256), from_cache)
    }

    /// The files of a repository that are allowed, all at one commit.
    pub(super) fn whole(&self) -> Result<Fetched> {
        let _lock = self.lock()?;
        let receipt = self.receipt_path()?;
        if let Some(snapshot) = read_json::<Snapshot>(&receipt)
            && self.is_complete(&snapshot)?
        {
            return Ok(self.fetched_whole(&snapshot, true));
        }
        self.refuse_offline()?;
        let client = self.client()?;
        let url = format!("{}/api/{}", self.settings.endpoint, self.repository.api_url());
        let info: RepoInfo = serde_json::from_slice(&client.description(&url)?).map_err(|e| Error::Network {
            uri: self.uri.into(),
            problem: format!("the hub's description of the repository cannot be read: {e}"),
            attempts: 1,
            advice: "Check that HF_ENDPOINT names a model hub".into(),
        })?;
        self.check_label("commit", &info.sha)?;
        let names: Vec<String> = info.siblings.into_iter().map(|sibling| sibling.rfilename).collect();
        let is_dataset = self.repository.url().starts_with("datasets/");
        let chosen = choose(self.uri, &names, self.settings.allow.as_deref(), is_dataset)?;

        let mut snapshot = Snapshot { commit: info.sha, files: BTreeMap::new() };
        let mut from_cache = true;
        for name in chosen {
            let url = self.url(&snapshot.commit, &name);
            let head = self.checked_head(&client, &url)?;
            from_cache &= self.bring(&client, &url, &head, &name, None)?.1;
            let file = self.link(&snapshot.commit, &head.etag, &name)?;
            let size = fs::metadata(&file).map_err(|e| Error::io(&file, e))?.len();
            snapshot.files.insert(name, size);
        }
        self.write_reference(&snapshot.commit)?;
        write_json(&receipt, &snapshot)?;
        Ok(self.fetched_whole(&snapshot, from_cache))
    }

    fn fetched_whole(&self, snapshot: &Snapshot, from_cache: bool) -> Fetched {
        let path = self.hub_repository().pointer_path(&snapshot.commit);
        Fetched { path, bytes: snapshot.files.values().sum(), sha256: None, from_cache }
    }

    /// Makes sure the blob is there and right; returns its sha256 and whether it was there before.
    fn bring(
        &self,
        client: &Client<'_>,
        url: &str,
        head: &FileHead,
        name: &str,
        expected: Option<&str>,
    ) -> Result<(String, bool)> {
        let blob = self.hub_repository().blob_path(&head.etag);
        let promised = is_sha256(&head.etag).then_some(head.etag.as_str());
        let wrong =
            |expected: &str, found: String| Error::WrongHash { uri: self.uri.into(), expected: expected.into(), found };
        if let Ok(metadata) = fs::metadata(&blob)
            && head.size.is_none_or(|size| size == metadata.len())
        {
            let sha256 = self.cache.sha256(&blob)?;
            let is_promised = promised.is_none_or(|promised| promised == sha256);
            match expected {
                Some(expected) if expected == sha256 => return Ok((sha256, true)),
                // The hub's own hash says that this is what it would send again.
                Some(expected) if promised == Some(sha256.as_str()) => {
                    return Err(wrong(expected, sha256));
                }
                None if is_promised => return Ok((sha256, true)),
                _ => {}
            }
        }
        if let (Some(expected), Some(promised)) = (expected, promised)
            && expected != promised
        {
            return Err(wrong(expected, promised.into()));
        }

        create_folder(blob.parent().unwrap_or(Path::new(".")))?;
        let partial = PathBuf::from(format!("{}.lore-partial", blob.display()));
        let remove = || match fs::remove_file(&partial) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(Error::io(&partial, e)),
            _ => Ok(()),
        };
        let mut task = self.progress.task(&format!("download {name}"), head.size, Unit::Bytes);
        let mut arrived = client.download(url, &partial, head.size, task.as_mut())?;
        let wanted = expected.or(promised);
        // What an earlier run left may be damaged: then the whole file is asked for once more.
        if arrived.resumed && wanted.is_some_and(|wanted| wanted != arrived.sha256) {
            remove()?;
            arrived = client.download(url, &partial, head.size, task.as_mut())?;
        }
        if let Some(wanted) = wanted
            && wanted != arrived.sha256
        {
            remove()?;
            return Err(wrong(wanted, arrived.sha256));
        }
        fs::rename(&partial, &blob).map_err(|e| Error::io(&blob, e))?;
        self.cache.remember_sha256(&blob, &arrived.sha256)?;
        task.finish("downloaded");
        Ok((arrived.sha256, false))
    }

    /// Lets the file be found under its name in the snapshot of a commit.
    fn link(&self, commit: &str, etag: &str, name: &str) -> Result<PathBuf> {
        let repository = self.hub_repository();
        let blob = repository.blob_path(etag);
        let pointer = repository.pointer_path(commit).join(name);
        let folder = pointer.parent().unwrap_or(Path::new("."));
        create_folder(folder)?;
        let temporary = folder.join(format!(".{}.lore-partial", &sha256_of_text(name)[..16]));
        let place = || -> std::io::Result<()> {
            if temporary.symlink_metadata().is_ok() {
                fs::remove_file(&temporary)?;
            }
            #[cfg(unix)]
            {
                // Relative, so that the cache can be moved: up from the file's folder to `blobs`.
                let up = "../".repeat(name.split('/').count() + 1);
                std::os::unix::fs::symlink(format!("{up}blobs/{etag}"), &temporary)?;
            }
            #[cfg(not(unix))]
            if fs::hard_link(&blob, &temporary).is_err() {
                fs::copy(&blob, &temporary)?;
            }
            fs::rename(&temporary, &pointer)
        };
        place().map_err(|e| Error::io(&pointer, e))?;
        debug_assert!(blob.exists(), "a blob is linked after it was brought");
        Ok(pointer)
    }

    /// The file of the commit this revision last meant here, unless it is damaged, and its sha256.
    fn cached_file(&self, path: &str) -> Result<Option<(PathBuf, String)>> {
        let Some(commit) = self.known_commit() else {
            return Ok(None);
        };
        let pointer = self.hub_repository().pointer_path(&commit).join(path);
        if !pointer.is_file() {
            return Ok(None);
        }
        let sha256 = self.cache.sha256(&pointer)?;
        Ok(is_undamaged(&pointer, &sha256).then_some((pointer, sha256)))
    }

    fn is_complete(&self, snapshot: &Snapshot) -> Result<bool> {
        if self.check_label("commit", &snapshot.commit).is_err() {
            return Ok(false);
        }
        let folder = self.hub_repository().pointer_path(&snapshot.commit);
        for (name, size) in &snapshot.files {
            let file = folder.join(name);
            let there = check_relative(name).is_ok() && fs::metadata(&file).is_ok_and(|m| m.len() == *size);
            if !there || !is_undamaged(&file, &self.cache.sha256(&file)?) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn known_commit(&self) -> Option<String> {
        let revision = self.repository.revision();
        if is_commit(revision) {
            return Some(revision.into());
        }
        let commit = fs::read_to_string(self.reference_path()).ok()?.trim().to_owned();
        self.check_label("commit", &commit).ok().map(|()| commit)
    }

    fn write_reference(&self, commit: &str) -> Result<()> {
        if is_commit(self.repository.revision()) {
            return Ok(());
        }
        write_atomically(&self.reference_path(), commit.as_bytes())
    }

    fn reference_path(&self) -> PathBuf {
        let folder = self.settings.cache.path().join(self.repository.folder_name());
        folder.join("refs").join(self.repository.revision())
    }

    fn receipt_path(&self) -> Result<PathBuf> {
        let patterns = self.settings.allow.as_ref().map(|patterns| patterns.join("\0"));
        let place = self.settings.cache.path().display();
        let key = format!("{place}\0{}\0{}\0{patterns:?}", self.repository.url(), self.repository.revision());
        Ok(self.cache.subfolder("hub")?.join(format!("{}.json", &sha256_of_text(&key)[..32])))
    }

    fn checked_head(&self, client: &Client<'_>, url: &str) -> Result<FileHead> {
        let head = client.head(url)?;
        self.check_label("commit", &head.commit)?;
        self.check_label("etag", &head.etag)?;
        Ok(head)
    }

    /// Commits and etags come from the server and become file names.
    fn check_label(&self, what: &str, label: &str) -> Result<()> {
        let plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
        if !label.is_empty() && label.len() <= 128 && !label.starts_with('.') && label.chars().all(plain) {
            return Ok(());
        }
        Err(self.refused(format!("the hub sent the {what} `{}`, which cannot be a file name", label.escape_debug())))
    }

    fn client(&self) -> Result<Client<'_>> {
        Client::new(self.transfer, &self.settings.endpoint, self.settings.token.as_deref(), self.uri)
    }

    fn hub_repository(&self) -> hf_hub::CacheRepo {
        self.settings.cache.repo(self.repository.clone())
    }

    fn url(&self, revision: &str, path: &str) -> String {
        let path: Vec<String> = path.split('/').map(percent_encoded).collect();
        let revision = percent_encoded(revision);
        format!("{}/{}/resolve/{revision}/{}", self.settings.endpoint, self.repository.url(), path.join("/"))
    }

    fn lock(&self) -> Result<fs::File> {
        self.cache.lock(&format!("hf:{}", self.repository.url()), self.progress)
    }

    fn refuse_offline(&self) -> Result<()> {
        if !self.offline {
            return Ok(());
        }
        Err(Error::Offline { uri: self.uri.into(), cache: self.settings.cache.path().clone() })
    }

    fn refused(&self, problem: String) -> Error {
        Error::Refused { uri: self.uri.into(), problem }
    }
}

fn fetched(path: PathBuf, sha256: Option<String>, from_cache: bool) -> Result<Fetched> {
    let bytes = fs::metadata(&path).map_err(|e| Error::io(&path, e))?.len();
    Ok(Fetched { path, bytes, sha256, from_cache })
}

fn is_sha256(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

fn is_commit(text: &str) -> bool {
    text.len() == 40 && text.bytes().all(|b| b.is_ascii_hexdigit())
}

/// Large files are kept under their sha256, so damage shows.
fn is_undamaged(pointer: &Path, sha256: &str) -> bool {
    let Ok(blob) = fs::canonicalize(pointer) else {
        return false;
    };
    let name = blob.file_name().unwrap_or_default().to_string_lossy();
    !is_sha256(&name) || name == sha256
}

pub(super) fn percent_encoded(text: &str) -> String {
    text.bytes().fold(String::with_capacity(text.len()), |mut encoded, byte| {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(byte.into());
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
        encoded
    })
}
