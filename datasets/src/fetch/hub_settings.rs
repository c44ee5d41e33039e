//! How to reach the hub and where its files are kept, as other hub clients are told.

use std::env;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use hf_hub::Cache as HubCache;

const DEFAULT_ENDPOINT: &str = "https://huggingface.co";

#[derive(Clone)]
pub(super) struct Settings {
    pub(super) endpoint: String,
    pub(super) cache: HubCache,
    pub(super) token: Option<String>,
    pub(super) offline: bool,
    pub(super) allow: Option<Vec<String>>,
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings")
            .field("endpoint", &self.endpoint)
            .field("cache", &self.cache)
            .field("token", &self.token.as_ref().map(|_| "(hidden)"))
            .field("offline", &self.offline)
            .field("allow", &self.allow)
            .finish()
    }
}

impl Settings {
    pub(super) fn from_environment() -> Self {
        let value = |name: &str| env::var(name).ok().map(|v| v.trim().to_owned()).filter(|v| !v.is_empty());
        let home = value("HF_HOME")
            .map(PathBuf::from)
            .or_else(|| value("XDG_CACHE_HOME").map(|cache| Path::new(&cache).join("huggingface")))
            .or_else(|| env::home_dir().map(|home| home.join(".cache").join("huggingface")))
            .unwrap_or_else(|| PathBuf::from(".huggingface"));
        let cache = HubCache::new(value("HF_HUB_CACHE").map_or_else(|| home.join("hub"), PathBuf::from));
        let token_file = value("HF_TOKEN_PATH").map_or_else(|| home.join("token"), PathBuf::from);
        let stored = || fs::read_to_string(token_file).ok().map(|t| t.trim().to_owned()).filter(|t| !t.is_empty());
        let endpoint = value("HF_ENDPOINT").unwrap_or_else(|| DEFAULT_ENDPOINT.into());
        let offline = value("HF_HUB_OFFLINE")
            .is_some_and(|v| ["1", "true", "yes", "on"].contains(&v.to_ascii_lowercase().as_str()));
        Self {
            endpoint: endpoint.trim_end_matches('/').to_owned(),
            cache,
            token: value("HF_TOKEN").or_else(stored),
            offline,
            allow: None,
        }
    }
}
