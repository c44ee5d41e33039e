//! Steps that other processes captured.

use super::error::{Error, io};
use super::index::{Binding, Entry, INDEX, SEGMENTS, hash_of_tokens, hex, read_index};
use lore_datasets::batches::Batch;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{ErrorKind, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

/// Their folder, beside the capture of the whole.
pub(super) const SHARES: &str = "shares";

/// Where each step that is found is.
#[derive(Default)]
pub(super) struct Shares {
    steps: BTreeMap<u64, (PathBuf, Entry)>,
}

impl Shares {
    /// Those in `folder` that are bound to the same things; none if there is no such folder.
    pub(super) fn open(folder: &Path, binding: &Binding) -> Result<Self, Error> {
        let mut shares = Self::default();
        let entries = match fs::read_dir(folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(shares),
            Err(error) => return Err(io("read", folder)(error)),
        };
        for entry in entries {
            let share = entry.map_err(io("read", folder))?.path();
            let Some((found, entries)) = read_index(&share.join(INDEX), None)? else { continue };
            if found == *binding {
                let file = share.join(SEGMENTS);
                shares.steps.extend(entries.into_iter().map(|entry| (entry.step, (file.clone(), entry))));
            }
        }
        Ok(shares)
    }

    /// Whether a share holds this step.
    pub(super) fn have(&self, step: u64) -> bool {
        self.steps.contains_key(&step)
    }

    /// The segment of a step, if it is whole and of these tokens; what is not is forgotten.
    pub(super) fn segment(&mut self, step: u64, batch: &Batch) -> Option<Vec<u8>> {
        let (path, entry) = self.steps.remove(&step)?;
        let mut segment = vec![0; usize::try_from(entry.bytes).ok()?];
        let mut file = File::open(path).ok()?;
        file.seek(SeekFrom::Start(entry.offset)).and_then(|_| file.read_exact(&mut segment)).ok()?;
        let whole = hex(&segment) == entry.sha256 && entry.rows == batch.tokens.len();
        (whole && hash_of_tokens(&batch.tokens) == entry.tokens).then_some(segment)
    }
}
