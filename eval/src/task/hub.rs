//! Data of tasks that stands in a dataset repository of a model hub: `path = "hf:datasets/owner/set"`.

use std::path::{Path, PathBuf};

use lore_datasets::fetch::{Fetcher, SourceRequest};
use lore_datasets::progress::Progress;
use lore_datasets::source::SourceUri;

use super::{Data, DataFormat, Error, Task};

/// What a path on a hub begins with.
const SCHEME: &str = "hf:";

/// Whether a path of task data is meant for a hub; whether it is a good one is another question.
pub(super) fn is_on_hub(path: &str) -> bool {
    path.starts_with(SCHEME)
}

/// What is wrong with a path on a hub; `None` for a dataset repository, a file in it, or a path that is on none.
pub(super) fn problem(path: &str) -> Option<String> {
    match is_on_hub(path).then(|| path.parse::<SourceUri>())? {
        Ok(SourceUri::Hf { owner, .. }) if owner.starts_with("datasets/") => None,
        Ok(_) => Some(format!("`{path}` is a model; data is written hf:datasets/OWNER/SET[@REVISION][/FILE]")),
        Err(error) => Some(error.to_string()),
    }
}

impl Data {
    /// The file or folder of the records: below `folder`, or where it was fetched to.
    ///
    /// # Errors
    /// What is on a hub and was not fetched, in words.
    pub(super) fn place(&self, folder: &Path) -> Result<PathBuf, String> {
        match &self.fetched {
            Some(path) => Ok(path.clone()),
            None if is_on_hub(&self.path) => {
                Err(format!("its data {} was not fetched, which is not done here; put it into a folder", self.path))
            }
            None => Ok(folder.join(&self.path)),
        }
    }

    fn fetch(&mut self, task: &str, fetcher: &Fetcher, progress: &dyn Progress) -> Result<(), Error> {
        if !is_on_hub(&self.path) {
            return Ok(());
        }
        let wrong = |source| Error::Hub { task: task.to_owned(), source: Box::new(source) };
        let uri: SourceUri = self.path.parse().map_err(wrong)?;
        let whole = matches!(&uri, SourceUri::Hf { path: None, .. });
        if whole && self.files.is_empty() {
            self.files = vec![self.format.pattern().to_owned()];
        }
        let fetcher = match whole {
            true => fetcher.clone().allow_patterns(self.files.clone()),
            false => fetcher.clone(),
        };
        self.fetched = Some(fetcher.fetch(&SourceRequest::new(uri), progress).map_err(wrong)?.path);
        Ok(())
    }
}

impl DataFormat {
    /// The files of a repository that are read when the task names none.
    fn pattern(self) -> &'static str {
        match self {
            Self::Jsonl => "**/*.jsonl",
            Self::Csv => "**/*.csv",
            Self::Parquet => "**/*.parquet",
            Self::Text => "**/*.txt",
        }
    }
}

impl Task {
    /// Brings what stands on a hub, records and examples, into the cache of `fetcher`; nothing is done for data that is
    /// in a folder. Only then can items be made.
    ///
    /// # Errors
    /// A repository or file that cannot be fetched.
    pub fn fetch(&mut self, fetcher: &Fetcher, progress: &dyn Progress) -> Result<(), Error> {
        for data in [Some(&mut self.data), self.shots.data.as_mut()].into_iter().flatten() {
            data.fetch(&self.name, fetcher, progress)?;
        }
        Ok(())
    }

    /// Whether some of its data is below a folder that must be named.
    pub fn needs_folder(&self) -> bool {
        [Some(&self.data), self.shots.data.as_ref()].into_iter().flatten().any(|data| !is_on_hub(&data.path))
    }
}
