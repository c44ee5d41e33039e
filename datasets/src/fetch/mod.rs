//! Brings a source onto this machine, once, and checks that it is the one that was meant; and sends files to a hub.

mod answer;
mod cache;
mod client;
mod hub;
mod hub_files;
mod hub_settings;
mod large_file;
mod local;
mod pip;
mod pypi;
mod redirect;
mod sha256;
mod transfer;
mod upload;
mod wheel;

use std::path::{Path, PathBuf};
use std::time::Duration;

pub use cache::default_cache_dir;
pub use local::files_of;
pub(crate) use local::pattern;
pub use sha256::sha256_of_file;
pub use upload::{LocalFile, RepositoryState, Uploaded};

use crate::error::{Error, Result};
use crate::progress::Progress;
pub use crate::source::SourceRequest;
use crate::source::SourceUri;
use cache::Cache;
use client::Transfer;
use hub_settings::Settings;

/// A source that is on this machine now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fetched {
    /// The file or folder; for a `file:` pattern the pattern, which [`files_of`] expands.
    pub path: PathBuf,
    /// Size, of all files together.
    pub bytes: u64,
    /// sha256 of the file, in lower-case hexadecimal; of the wheel for a `pypi:` source. Absent for
    /// folders, patterns, and local files that are not pinned.
    pub sha256: Option<String>,
    /// Whether nothing had to be downloaded.
    pub from_cache: bool,
}

/// Fetches sources into a cache.
///
/// [`Fetcher::new`] takes the settings of other hub clients from the environment: `HF_ENDPOINT`,
/// `HF_HUB_CACHE`, `HF_HOME`, `HF_TOKEN`, `HF_TOKEN_PATH`, `HF_HUB_OFFLINE`. Hub files are kept where
/// those clients keep them, in their layout, so a model that is already on this machine is used.
#[derive(Debug, Clone)]
pub struct Fetcher {
    cache: Cache,
    offline: bool,
    refresh: bool,
    hub: Settings,
    transfer: Transfer,
    pip: Option<Vec<String>>,
}

impl Fetcher {
    /// A fetcher that keeps what it fetches below `cache_dir` (see [`default_cache_dir`]).
    pub fn new(cache_dir: impl Into<PathBuf>) -> Self {
        let hub = Settings::from_environment();
        Self {
            cache: Cache::new(cache_dir.into()),
            offline: hub.offline,
            refresh: false,
            hub,
            transfer: Transfer::default(),
            pip: None,
        }
    }

    /// Uses only what is in the cache.
    #[must_use]
    pub fn offline(mut self, offline: bool) -> Self {
        self.offline = offline;
        self
    }

    /// Asks the hub what a branch or tag means now, instead of taking the file that was fetched last time.
    #[must_use]
    pub fn refresh(mut self, refresh: bool) -> Self {
        self.refresh = refresh;
        self
    }

    /// The hub's address.
    #[must_use]
    pub fn endpoint(mut self, url: impl Into<String>) -> Self {
        self.hub.endpoint = url.into().trim_end_matches('/').to_owned();
        self
    }

    /// The folder that holds `models--owner--repo`.
    #[must_use]
    pub fn hub_cache(mut self, folder: impl Into<PathBuf>) -> Self {
        self.hub.cache = hf_hub::Cache::new(folder.into());
        self
    }

    /// The token sent to the hub, or none.
    #[must_use]
    pub fn token(mut self, token: Option<String>) -> Self {
        self.hub.token = token;
        self
    }

    /// Which files a whole model repository means, as [patterns](crate::extract::Glob). The default is
    /// configuration, tokenizer and safetensors.
    #[must_use]
    pub fn allow_patterns(mut self, patterns: Vec<String>) -> Self {
        self.hub.allow = Some(patterns);
        self
    }

    /// How often a failing transfer is tried without progress, and the first pause; each pause is twice
    /// the one before.
    #[must_use]
    pub fn retries(mut self, attempts: u32, first_pause: Duration) -> Self {
        self.transfer.attempts = attempts.max(1);
        self.transfer.first_pause = first_pause;
        self
    }

    /// The longest silence of a hub that is waited for.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.transfer.timeout = timeout;
        self
    }

    /// The program and first arguments that are pip, instead of looking for one.
    #[must_use]
    pub fn pip_command(mut self, command: Vec<String>) -> Self {
        self.pip = Some(command);
        self
    }

    /// The folder everything but hub files is kept in.
    pub fn cache_dir(&self) -> &Path {
        self.cache.folder()
    }

    /// The folder hub files are kept in.
    pub fn hub_cache_dir(&self) -> &Path {
        self.hub.cache.path()
    }

    /// A new empty folder on the cache's disk, removed when dropped.
    ///
    /// # Errors
    /// When the cache cannot be written.
    pub fn scratch(&self) -> Result<tempfile::TempDir> {
        self.cache.scratch()
    }

    /// What the pip that would be used says about itself.
    ///
    /// # Errors
    /// [`Error::PipMissing`].
    pub fn pip_version(&self) -> Result<String> {
        Ok(pip::Pip::find(self.pip.as_deref(), "pip")?.version)
    }

    /// Asks the hub for an answer, whatever it is.
    ///
    /// # Errors
    /// [`Error::Network`] when none comes; [`Error::Offline`] in offline mode.
    pub fn check_hub(&self) -> Result<()> {
        if self.offline {
            return Err(Error::Offline { uri: self.hub.endpoint.clone(), cache: self.hub_cache_dir().into() });
        }
        hub::check(&self.hub, &self.transfer)
    }

    /// Fetches a source, or finds it in the cache, and verifies it.
    ///
    /// # Errors
    /// Names the source, what was expected and what to do; see [`Error`]. After an error the cache holds
    /// nothing that a later call would take for complete.
    pub fn fetch(&self, request: &SourceRequest, progress: &dyn Progress) -> Result<Fetched> {
        let uri = request.uri.to_string();
        if !matches!(request.uri, SourceUri::File(_)) {
            // One that was not made by parsing may hold anything.
            uri.parse::<SourceUri>()?;
        }
        let expected = request.sha256.as_deref().map(|hash| normalised_hash(&uri, hash)).transpose()?;
        match &request.uri {
            SourceUri::Hf { owner, repo, revision, path } => {
                let source = hub::HubSource {
                    uri: &uri,
                    repository: hub::repository(owner, repo, revision.as_deref()),
                    settings: &self.hub,
                    transfer: &self.transfer,
                    cache: &self.cache,
                    offline: self.offline,
                    refresh: self.refresh,
                    progress,
                };
                match path {
                    Some(path) => source.file(path, expected.as_deref()),
                    None if expected.is_some() => Err(Error::BadHashRequest {
                        uri,
                        problem: "a sha256 was given for a whole repository. Give it for one file \
                                  (`hf:owner/repo/path`), or pin the repository by a commit (`@revision`)"
                            .into(),
                    }),
                    None => source.whole(),
                }
            }
            SourceUri::Pypi { package, version, path } => pypi::PypiSource {
                uri: &uri,
                package,
                version,
                member: path.as_deref(),
                expected: expected.as_deref(),
                pip_args: &request.pip_args,
                pip: self.pip.as_deref(),
                cache: &self.cache,
                offline: self.offline,
                progress,
            }
            .fetch(),
            SourceUri::File(path) => local::fetch(&uri, path, expected.as_deref(), &self.cache),
        }
    }
}

fn normalised_hash(uri: &str, hash: &str) -> Result<String> {
    let hash = hash.trim().to_ascii_lowercase();
    if hash.len() == 64 && hash.bytes().all(|b| b.is_ascii_hexdigit()) {
        return Ok(hash);
    }
    Err(Error::BadHashRequest {
        uri: uri.into(),
        problem: format!(
            "`{hash}` is not a sha256: 64 hexadecimal digits were expected, not {} characters",
            hash.chars().count()
        ),
    })
}
