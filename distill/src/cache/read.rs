//! Reading for training.

use super::error::{Error, io};
use super::index::{Binding, Entry, INDEX, SEGMENTS, hash_of_tokens, hex, read_index};
use half::f16;
use lore_datasets::mixture::Mixture;
use lore_model::ops::head::SparseTargets;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

/// A finished capture, read a step at a time.
#[derive(Debug)]
pub struct TargetCache {
    binding: Binding,
    entries: Vec<Entry>,
    path: PathBuf,
    file: File,
}

impl TargetCache {
    /// Opens a capture of `steps` steps and checks that it is bound to the same things, that every segment is what was
    /// written, and that every step holds the tokens that `mixture` gives it.
    ///
    /// # Errors
    /// A capture of something else, unfinished or damaged.
    pub fn open(folder: &Path, binding: &Binding, mixture: &Mixture, steps: u64) -> Result<Self, Error> {
        let index = folder.join(INDEX);
        let other = |reason: String| Error::Other { path: index.clone(), reason };
        let damaged = |reason: String| Error::Damaged { path: index.clone(), reason };
        let (found, entries) =
            read_index(&index, Some(0))?.ok_or_else(|| damaged("its first line cannot be read".into()))?;
        let differing = [
            ("from another teacher, other tokens or another order of them", found.identity != binding.identity),
            ("for another vocabulary", found.vocabulary != binding.vocabulary),
            ("with another number of samples", found.samples != binding.samples),
            ("with another seed", found.seed != binding.seed),
            ("by another version of this program", found.schema != binding.schema),
        ];
        if let Some((reason, _)) = differing.into_iter().find(|(_, differs)| *differs) {
            return Err(other(reason.into()));
        }
        if (entries.len() as u64) < steps {
            return Err(other(format!("for {} steps, but {steps} are needed", entries.len())));
        }
        let path = folder.join(SEGMENTS);
        let file = File::open(&path).map_err(io("open", &path))?;
        let mut cache = Self { binding: binding.clone(), entries, path, file };
        for step in 0..steps {
            let segment = cache.segment(step)?;
            let entry = &cache.entries[step as usize];
            if hex(&segment) != entry.sha256 || cache.decode(&segment, entry.rows).is_none() {
                let reason = format!("the segment of step {step} is not what was written");
                return Err(Error::Damaged { path: cache.path, reason });
            }
            if hash_of_tokens(&mixture.batch(step).tokens) != entry.tokens {
                return Err(other(format!("from other tokens in step {step}")));
            }
        }
        Ok(cache)
    }

    fn segment(&mut self, step: u64) -> Result<Vec<u8>, Error> {
        let entry = &self.entries[step as usize];
        let mut bytes = vec![0; entry.bytes as usize];
        let read = self.file.seek(SeekFrom::Start(entry.offset)).and_then(|_| self.file.read_exact(&mut bytes));
        read.map_err(io("read", &self.path))?;
        Ok(bytes)
    }

    fn decode(&self, segment: &[u8], rows: usize) -> Option<SparseTargets> {
        let width = self.binding.id_bytes();
        let mut targets = SparseTargets { offsets: vec![0], ..SparseTargets::default() };
        let mut rest = segment;
        for _ in 0..rows {
            let (head, tail) = rest.split_at_checked(4)?;
            let (drawn, tail) = tail.split_at_checked(usize::from(head[0]) * width)?;
            let (counts, tail) = tail.split_at_checked(usize::from(head[1]))?;
            if head[1] > head[0] {
                return None;
            }
            rest = tail;
            let mut total = 0;
            for (token, count) in drawn.chunks_exact(width).zip(counts.iter().chain(std::iter::repeat(&1))) {
                let id = token.iter().rev().fold(0u32, |id, &byte| id << 8 | u32::from(byte));
                if id as usize >= self.binding.vocabulary {
                    return None;
                }
                total += usize::from(*count);
                targets.ids.push(id);
                targets.probabilities.push(f32::from(*count) / self.binding.samples as f32);
            }
            if total != self.binding.samples {
                return None;
            }
            targets.entropies.push(f16::from_le_bytes([head[2], head[3]]).to_f32());
            targets.offsets.push(targets.ids.len());
        }
        rest.is_empty().then_some(targets)
    }

    /// What was drawn for some rows of a step's batch.
    ///
    /// # Panics
    /// For a step that was not captured, or when the file is taken away or changed after it was opened.
    pub fn targets(&self, step: u64, rows: &[usize]) -> SparseTargets {
        let entry = &self.entries[usize::try_from(step).expect("a step number")];
        let mut bytes = vec![0; entry.bytes as usize];
        let mut file = &self.file;
        file.seek(SeekFrom::Start(entry.offset))
            .and_then(|_| file.read_exact(&mut bytes))
            .unwrap_or_else(|error| panic!("{} can no longer be read: {error}", self.path.display()));
        let whole = self.decode(&bytes, entry.rows).expect("checked when it was opened");
        let mut targets = SparseTargets { offsets: vec![0], ..SparseTargets::default() };
        for &row in rows {
            for (id, probability) in whole.row(row) {
                targets.ids.push(id);
                targets.probabilities.push(probability);
            }
            targets.entropies.push(whole.entropies[row]);
            targets.offsets.push(targets.ids.len());
        }
        targets
    }
}
