//! Documents on disk with what is decided about each.

use std::path::Path;

use super::{Sink, Spool, SpoolWriter};
use crate::error::Result;
use crate::extract::Extracted;
use crate::split::Split;

/// Documents and what is decided about each so far: dropped, or the split it belongs to.
pub struct Corpus {
    /// The documents.
    pub spool: Spool,
    marks: Vec<u8>,
}

const DROPPED: u8 = u8::MAX;

impl Corpus {
    /// All documents, for training as long as nothing else is decided.
    pub fn new(spool: Spool) -> Self {
        let marks = vec![Split::Train as u8; spool.len() as usize];
        Self { spool, marks }
    }

    /// The split of a document; `None` for one that is dropped.
    pub fn split(&self, number: u64) -> Option<Split> {
        let mark = self.marks[number as usize];
        Split::ALL.get(usize::from(mark)).copied()
    }

    /// Documents, dropped ones included.
    pub fn len(&self) -> u64 {
        self.spool.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Puts a document into a split.
    pub fn assign(&mut self, number: u64, split: Split) {
        self.marks[number as usize] = split as u8;
    }

    /// Drops a document.
    pub fn drop(&mut self, number: u64) {
        self.marks[number as usize] = DROPPED;
    }

    /// Documents that are not dropped.
    pub fn kept(&self) -> u64 {
        self.marks.iter().filter(|mark| **mark != DROPPED).count() as u64
    }

    /// The documents that are not dropped, in order, a few at a time, each with its number and split.
    pub fn batches(&self) -> impl Iterator<Item = Result<Vec<(u64, Extracted, Split)>>> + '_ {
        self.spool.batches().map(|batch| {
            let kept = batch?.numbered().filter_map(|(number, document)| Some((number, document, self.split(number)?)));
            Ok(kept.collect())
        })
    }

    /// Documents with their splits, in a folder.
    ///
    /// # Errors
    /// A folder that cannot be written.
    pub fn of(documents: impl IntoIterator<Item = (Extracted, Split)>, folder: &Path) -> Result<Self> {
        let mut writer = CorpusWriter::create(folder)?;
        documents.into_iter().try_for_each(|(document, split)| writer.push(document, split))?;
        writer.finish()
    }

    /// The documents that are not dropped, as a list.
    ///
    /// # Errors
    /// What kept them from being read.
    pub fn list(&self) -> Result<Vec<(Extracted, Split)>> {
        let mut list = Vec::new();
        for batch in self.batches() {
            list.extend(batch?.into_iter().map(|(_, document, split)| (document, split)));
        }
        Ok(list)
    }
}

/// Writes documents with their splits.
pub(crate) struct CorpusWriter {
    spool: SpoolWriter,
    marks: Vec<u8>,
}

impl CorpusWriter {
    pub fn create(folder: &Path) -> Result<Self> {
        Ok(Self { spool: SpoolWriter::create(folder)?, marks: Vec::new() })
    }

    pub fn push(&mut self, document: Extracted, split: Split) -> Result<()> {
        self.marks.push(split as u8);
        self.spool.push(document)
    }

    pub fn finish(self) -> Result<Corpus> {
        Ok(Corpus { spool: self.spool.finish()?, marks: self.marks })
    }
}
