//! Where an index and its packs are: a folder, or a repository on a hub.

use std::path::{Path, PathBuf};

use lore_datasets::source::{SourceRequest, SourceUri};
use lore_packs::index::INDEX;
use lore_packs::{Index, IndexEntry};

use crate::error::{Error, Result};
use crate::session::Session;

/// A place with an index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Shelf {
    /// A folder on this machine.
    Folder(PathBuf),
    /// `hf:owner/repo[@revision]`.
    Hub(SourceUri),
}

impl Shelf {
    /// A folder, an `index.json`, or a repository.
    ///
    /// # Errors
    /// When it is none of these.
    pub fn parse(text: &str) -> Result<Self> {
        let unknown = |why: &str| {
            Error::Usage(format!(
                "`{text}` is no index: {why}; give a folder with {INDEX}, the file itself, or hf:owner/repo"
            ))
        };
        if text.starts_with("hf:") {
            let uri: SourceUri = text.parse().map_err(|error: lore_datasets::Error| Error::Usage(error.to_string()))?;
            return match uri {
                SourceUri::Hf { owner, repo, revision, path: None } => {
                    Ok(Self::Hub(SourceUri::Hf { owner, repo, revision, path: None }))
                }
                SourceUri::Hf { owner, repo, revision, path: Some(path) } if path == INDEX => {
                    Ok(Self::Hub(SourceUri::Hf { owner, repo, revision, path: None }))
                }
                _ => Err(unknown("it names a file in a repository")),
            };
        }
        let path = Path::new(text);
        let folder = if path.is_dir() { Some(path) } else { path.parent().filter(|_| path.ends_with(INDEX)) };
        match folder {
            Some(folder) if folder.join(INDEX).is_file() => {
                let folder = std::path::absolute(folder).map_err(Error::io(folder))?;
                Ok(Self::Folder(folder))
            }
            _ => Err(unknown("there is no such folder or file")),
        }
    }

    /// What an installed module remembers it by.
    pub fn origin(&self) -> String {
        match self {
            Self::Folder(folder) => folder.display().to_string(),
            Self::Hub(uri) => uri.to_string(),
        }
    }

    /// The index as it is now.
    ///
    /// # Errors
    /// When it cannot be fetched or is not one.
    pub fn read(&self, session: &Session) -> Result<Index> {
        let path = match self {
            Self::Folder(folder) => folder.join(INDEX),
            // What was fetched last time may be old by now.
            Self::Hub(_) => {
                let fetcher = session.fetcher.clone().refresh(true);
                fetcher.fetch(&SourceRequest::new(self.file(INDEX)), session.progress.as_ref())?.path
            }
        };
        Ok(Index::read(&path)?)
    }

    /// Brings a pack onto this machine; what arrives is the file the index means.
    ///
    /// # Errors
    /// When it cannot be fetched or has another hash.
    pub fn fetch(&self, entry: &IndexEntry, session: &Session) -> Result<PathBuf> {
        let uri = self.file(&entry.file);
        let request = SourceRequest { uri, sha256: Some(entry.sha256.clone()), pip_args: Vec::new() };
        Ok(session.fetcher.fetch(&request, session.progress.as_ref())?.path)
    }

    fn file(&self, name: &str) -> SourceUri {
        match self {
            Self::Folder(folder) => SourceUri::File(folder.join(name)),
            Self::Hub(SourceUri::Hf { owner, repo, revision, .. }) => SourceUri::Hf {
                owner: owner.clone(),
                repo: repo.clone(),
                revision: revision.clone(),
                path: Some(name.to_owned()),
            },
            Self::Hub(other) => other.clone(),
        }
    }
}
