//! Files to a repository on a model hub, in one commit.
//!
//! The `hf-hub` crate only downloads; this speaks the hub's own protocol, as its Python client does: the hub is
//! asked how each file is to be sent ([`Preupload`]), large ones go to its storage ([`large_file`]), and a commit
//! of lines of JSON names them and holds the small ones. Nothing of a repository changes before that commit, and
//! it changes whole.

use std::fs::{self, File};
use std::io::Read;
use std::path::PathBuf;
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use hf_hub::api::RepoInfo;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use ureq::Body;
use ureq::http::Response;

use super::Fetcher;
use super::answer::{Committed, Preupload, UploadMode};
use super::client::{Client, Failure, text};
use super::large_file;
use super::sha256::sha256_of_file;
use crate::error::{Error, Result};
use crate::progress::{Progress, Unit};
use crate::source::check_relative;

/// How much of a file the hub looks at to choose how it is sent.
const SAMPLE_BYTES: u64 = 512;
/// The most bytes of small files in one commit, all of which is held in memory.
const COMMIT_BYTES: u64 = 64 << 20;
const MAX_ANSWER_BYTES: u64 = 16 << 20;
const JSON: &str = "application/json";
const NDJSON: &str = "application/x-ndjson";

/// A file on this machine, by its name in the repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LocalFile {
    /// Name in the repository, with `/` between folders.
    pub name: String,
    /// Where it is.
    pub path: PathBuf,
}

/// A repository as it is now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RepositoryState {
    /// The commit of its `main`.
    pub commit: String,
    /// Names of its files.
    pub files: Vec<String>,
}

/// What an upload did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Uploaded {
    /// The new commit.
    pub commit: String,
    /// Where a person sees it, if the hub said so.
    pub address: Option<String>,
    /// Names of files that went to the storage of large files.
    pub large: Vec<String>,
    /// Those of them that the hub had already, so that nothing was sent.
    pub known: Vec<String>,
}

/// A file, measured.
pub(super) struct Outgoing {
    pub(super) name: String,
    pub(super) path: PathBuf,
    pub(super) bytes: u64,
    pub(super) sha256: String,
}

impl Outgoing {
    fn of(file: &LocalFile) -> Result<Self> {
        let bytes = fs::metadata(&file.path).map_err(|e| Error::io(&file.path, e))?.len();
        let sha256 = sha256_of_file(&file.path)?;
        Ok(Self { name: file.name.clone(), path: file.path.clone(), bytes, sha256 })
    }

    fn sample(&self) -> Result<String> {
        let mut sample = Vec::new();
        let file = File::open(&self.path).map_err(|e| Error::io(&self.path, e))?;
        file.take(SAMPLE_BYTES).read_to_end(&mut sample).map_err(|e| Error::io(&self.path, e))?;
        Ok(BASE64_STANDARD.encode(sample))
    }
}

impl Fetcher {
    /// A model repository as it is now; nothing if there is none, or none that may be read.
    ///
    /// # Errors
    /// When the hub does not answer.
    pub fn repository_state(&self, owner: &str, repo: &str) -> Result<Option<RepositoryState>> {
        let uri = format!("hf:{owner}/{repo}");
        let client = self.upload_client(&uri)?;
        let url = format!("{}/api/models/{owner}/{repo}/revision/main", client.endpoint);
        let bytes = match client.description(&url) {
            Ok(bytes) => bytes,
            // A hub answers 401 for what does not exist, to someone it does not know.
            Err(Error::NotFound { .. }) => return Ok(None),
            Err(Error::Unauthorized { status: 401, .. }) if !client.has_token() => return Ok(None),
            Err(error) => return Err(error),
        };
        let info: RepoInfo = parse(&client, &bytes, "to a question about the repository")?;
        if !is_plain(&info.sha) {
            return Err(not_a_hub(&client, "the commit of the repository is no hash"));
        }
        Ok(Some(RepositoryState {
            commit: info.sha,
            files: info.siblings.into_iter().map(|sibling| sibling.rfilename).collect(),
        }))
    }

    /// Makes a model repository; whether it was made now.
    ///
    /// # Errors
    /// A token that may not make it.
    pub fn create_repository(&self, owner: &str, repo: &str, private: bool) -> Result<bool> {
        let uri = format!("hf:{owner}/{repo}");
        let client = self.upload_client(&uri)?;
        let url = format!("{}/api/repos/create", client.endpoint);
        let request = json!({"type": "model", "name": repo, "organization": owner, "private": private});
        let body = request.to_string().into_bytes();
        client.with_retries(|| {
            let answer =
                client.send_body("POST", &url, true, &[("Content-Type", JSON)], body.len() as u64, &mut &body[..])?;
            if answer.status().as_u16() == 409 {
                return Ok(false);
            }
            client.check_written(&answer, &url)?;
            Ok(true)
        })
    }

    /// Puts files into a model repository's `main` in one commit, all or none of them; other files stay.
    ///
    /// With `parent`, only if that is still the commit of `main`.
    ///
    /// # Errors
    /// A token that may not write ([`Error::Unauthorized`]); files a hub does not take, or a repository that
    /// changed meanwhile ([`Error::Refused`]); a hub that keeps failing ([`Error::Network`]).
    pub fn upload(
        &self,
        owner: &str,
        repo: &str,
        files: &[LocalFile],
        message: &str,
        parent: Option<&str>,
        progress: &dyn Progress,
    ) -> Result<Uploaded> {
        let uri = format!("hf:{owner}/{repo}");
        let client = self.upload_client(&uri)?;
        let refused = |problem: String| Error::Refused { uri: uri.clone(), problem };
        if let Some(file) = files.iter().find(|file| check_relative(&file.name).is_err()) {
            return Err(refused(format!("`{}` cannot name a file in a repository", file.name.escape_debug())));
        }
        let files: Vec<Outgoing> = files.iter().map(Outgoing::of).collect::<Result<_>>()?;
        let repository = format!("{owner}/{repo}");
        let modes = modes(&client, &repository, &files)?;

        let mut lines = vec![json!({"key": "header", "value": header(message, parent)})];
        let mut uploaded = Uploaded { commit: String::new(), address: None, large: Vec::new(), known: Vec::new() };
        let mut small = 0;
        for (file, mode) in files.iter().zip(modes) {
            if mode == UploadMode::Lfs {
                let mut task = progress.task(&format!("upload {}", file.name), Some(file.bytes), Unit::Bytes);
                let sent = large_file::send(&client, &repository, file, task.as_mut())?;
                task.finish(if sent { "uploaded" } else { "there already" });
                uploaded.large.push(file.name.clone());
                if !sent {
                    uploaded.known.push(file.name.clone());
                }
                let value = json!({"path": file.name, "algo": "sha256", "oid": file.sha256, "size": file.bytes});
                lines.push(json!({"key": "lfsFile", "value": value}));
                continue;
            }
            small += file.bytes;
            if small > COMMIT_BYTES {
                return Err(refused(format!(
                    "the hub wants `{}` inside the commit, which would then have more than {COMMIT_BYTES} bytes",
                    file.name
                )));
            }
            let content = fs::read(&file.path).map_err(|e| Error::io(&file.path, e))?;
            let value = json!({"path": file.name, "content": BASE64_STANDARD.encode(content), "encoding": "base64"});
            lines.push(json!({"key": "file", "value": value}));
        }
        let body: Vec<u8> = lines.iter().flat_map(|line| format!("{line}\n").into_bytes()).collect();
        let url = format!("{}/api/models/{repository}/commit/main", client.endpoint);
        let committed: Committed = parse(&client, &client.post(&url, NDJSON, &body)?, "to a commit")?;
        if !is_plain(&committed.commit_oid) {
            return Err(not_a_hub(&client, "the new commit is no hash"));
        }
        let shown =
            |address: &String| address.len() < 500 && !address.contains(|c: char| c.is_control() || !c.is_ascii());
        Ok(Uploaded { commit: committed.commit_oid, address: committed.commit_url.filter(shown), ..uploaded })
    }

    fn upload_client<'a>(&'a self, uri: &'a str) -> Result<Client<'a>> {
        if self.offline {
            let problem = "offline mode is on; leave out --offline and unset HF_HUB_OFFLINE to reach the hub".into();
            return Err(Error::Refused { uri: uri.into(), problem });
        }
        Client::new(&self.transfer, &self.hub.endpoint, self.hub.token.as_deref(), uri)
    }
}

fn header(message: &str, parent: Option<&str>) -> Value {
    let mut header = json!({"summary": message, "description": ""});
    if let Some(parent) = parent {
        header["parentCommit"] = parent.into();
    }
    header
}

/// How the hub wants each file.
fn modes(client: &Client<'_>, repository: &str, files: &[Outgoing]) -> Result<Vec<UploadMode>> {
    let url = format!("{}/api/models/{repository}/preupload/main", client.endpoint);
    let listed: Vec<Value> = files
        .iter()
        .map(|file| Ok(json!({"path": file.name, "sample": file.sample()?, "size": file.bytes})))
        .collect::<Result<_>>()?;
    let answer: Preupload = client.post_json(&url, JSON, &json!({"files": listed}), "to a list of files")?;
    let refused = |problem: String| Error::Refused { uri: client.uri.into(), problem };
    let mode = |file: &Outgoing| {
        let told = answer.files.iter().find(|told| told.path == file.name);
        let told = told.ok_or_else(|| refused(format!("the hub does not say how to send `{}`", file.name)))?;
        if told.should_ignore {
            return Err(refused(format!("the repository's .gitignore leaves out `{}`; change it there", file.name)));
        }
        // A commit cannot hold an empty file in the storage.
        Ok(if file.bytes == 0 { UploadMode::Regular } else { told.upload_mode })
    };
    files.iter().map(mode).collect()
}

impl Client<'_> {
    /// Posts a body until it is taken, and returns the answer's.
    pub(super) fn post(&self, url: &str, kind: &str, body: &[u8]) -> Result<Vec<u8>> {
        self.with_retries(|| {
            let headers = [("Content-Type", kind), ("Accept", if kind == NDJSON { JSON } else { kind })];
            let answer = self.send_body("POST", url, true, &headers, body.len() as u64, &mut &body[..])?;
            self.check_written(&answer, url)?;
            let mut bytes = Vec::new();
            let reader = answer.into_body().into_reader();
            reader
                .take(MAX_ANSWER_BYTES)
                .read_to_end(&mut bytes)
                .map_err(|e| Failure::Passing(e.to_string(), Duration::ZERO))?;
            Ok(bytes)
        })
    }

    /// Posts JSON and reads JSON; `what` completes "the hub's answer ...".
    pub(super) fn post_json<T: DeserializeOwned>(&self, url: &str, kind: &str, body: &Value, what: &str) -> Result<T> {
        parse(self, &self.post(url, kind, &body.to_string().into_bytes())?, what)
    }

    /// As for downloads, but in the words of someone who writes.
    fn check_written(&self, answer: &Response<Body>, url: &str) -> Result<(), Failure> {
        let refused = |problem: &str| Failure::Final(Error::Refused { uri: self.uri.into(), problem: problem.into() });
        match answer.status().as_u16() {
            200..=299 => Ok(()),
            status @ (401 | 403) => {
                let advice = if self.has_token() {
                    "The token in HF_TOKEN (or the hub's token file) may not write there: make one that may write, of an account that owns this repository"
                } else {
                    "Set HF_TOKEN to a token that may write there (or log in with `hf auth login`, which keeps one in the hub's token file)"
                };
                Err(Failure::Final(Error::Unauthorized { uri: self.uri.into(), status, advice: advice.into() }))
            }
            // The first is of a commit whose parent is no longer the newest.
            409 | 412 => Err(refused("the repository changed while this was prepared; nothing was changed, run again")),
            413 => Err(refused("the hub refuses files of this size")),
            400 | 422 => {
                let why = text(answer.headers(), "x-error-message").unwrap_or("it gives no reason");
                Err(refused(&format!("the hub does not accept what was sent: {}", why.escape_debug())))
            }
            _ => self.check_status(answer, url),
        }
    }
}

fn parse<T: DeserializeOwned>(client: &Client<'_>, bytes: &[u8], what: &str) -> Result<T> {
    serde_json::from_slice(bytes).map_err(|e| not_a_hub(client, &format!("the answer {what} cannot be read: {e}")))
}

fn not_a_hub(client: &Client<'_>, problem: &str) -> Error {
    Error::Network {
        uri: client.uri.into(),
        problem: problem.into(),
        attempts: 1,
        advice: "Check that HF_ENDPOINT names a model hub".into(),
    }
}

fn is_plain(commit: &str) -> bool {
    (1..=128).contains(&commit.len()) && commit.bytes().all(|byte| byte.is_ascii_alphanumeric())
}
