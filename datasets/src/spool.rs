//! Documents on disk, one after another: what a corpus is between two steps of its preparation, so that it may be
//! larger than memory. A document takes a byte of memory.

mod corpus;
mod writer;

use std::fs::File;
use std::path::{Path, PathBuf};

pub use corpus::Corpus;
pub(crate) use corpus::CorpusWriter;
pub use writer::{Sink, SpoolWriter};

use crate::error::{Error, Result};
use crate::extract::Extracted;
use crate::read_at::read_at;

/// Bytes of text that are worked on at once.
const BATCH_BYTES: u64 = 4 << 20;
/// Documents that are worked on at once.
const BATCH: u64 = 4096;
/// Lengths before a document's texts, u32 each.
const HEAD: usize = 16;

/// Documents on disk, to be read in order or by number.
#[derive(Debug)]
pub struct Spool {
    folder: PathBuf,
    documents: File,
    offsets: File,
    count: u64,
    text_bytes: u64,
}

impl Spool {
    /// The documents of a list.
    ///
    /// # Errors
    /// A folder that cannot be written.
    pub fn of(documents: impl IntoIterator<Item = Extracted>, folder: &Path) -> Result<Self> {
        let mut writer = SpoolWriter::create(folder)?;
        documents.into_iter().try_for_each(|document| writer.push(document))?;
        writer.finish()
    }

    /// The same documents once more.
    ///
    /// # Errors
    /// What the operating system says.
    pub fn again(&self) -> Result<Self> {
        let again = |file: &File| file.try_clone().map_err(|e| Error::io(&self.folder, e));
        let (documents, offsets) = (again(&self.documents)?, again(&self.offsets)?);
        let Self { count, text_bytes, .. } = *self;
        Ok(Self { folder: self.folder.clone(), documents, offsets, count, text_bytes })
    }

    /// How many documents there are.
    pub fn len(&self) -> u64 {
        self.count
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Bytes of text.
    pub fn text_bytes(&self) -> u64 {
        self.text_bytes
    }

    /// Where the files are.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    fn offsets(&self, first: u64, count: u64) -> Result<Vec<u64>> {
        let mut bytes = vec![0; 8 * count as usize];
        read_at(&self.offsets, &mut bytes, 8 * first).map_err(|e| Error::io(&self.folder, e))?;
        Ok(bytes.chunks_exact(8).map(|b| u64::from_le_bytes(b.try_into().expect("chunks of eight"))).collect())
    }

    fn read(&self, from: u64, to: u64) -> Result<Vec<u8>> {
        let mut bytes = vec![0; (to - from) as usize];
        read_at(&self.documents, &mut bytes, from).map_err(|e| Error::io(&self.folder, e))?;
        Ok(bytes)
    }

    /// Document `number`.
    ///
    /// # Errors
    /// What kept it from being read.
    ///
    /// # Panics
    /// If there is no such document.
    pub fn get(&self, number: u64) -> Result<Extracted> {
        assert!(number < self.count, "document {number} of {}", self.count);
        let offsets = self.offsets(number, 2)?;
        Ok(document(&self.read(offsets[0], offsets[1])?))
    }

    /// The id of document `number`.
    ///
    /// # Errors
    /// What kept it from being read.
    pub fn id(&self, number: u64) -> Result<String> {
        let begin = self.offsets(number, 1)?[0];
        let [id, ..] = lengths(&self.read(begin, begin + HEAD as u64)?);
        let begin = begin + HEAD as u64;
        Ok(String::from_utf8(self.read(begin, begin + id as u64)?).expect("written from text"))
    }

    /// Bytes `range` of the text of document `number`; both ends are boundaries of characters.
    ///
    /// # Errors
    /// What kept it from being read.
    pub fn text_part(&self, number: u64, range: std::ops::Range<u64>) -> Result<String> {
        let begin = self.offsets(number, 1)?[0];
        let [id, group, title, _] = lengths(&self.read(begin, begin + HEAD as u64)?);
        let text = begin + (HEAD + id + group + title) as u64;
        Ok(String::from_utf8(self.read(text + range.start, text + range.end)?).expect("cut between characters"))
    }

    /// The documents in order, a few at a time.
    pub fn batches(&self) -> Batches<'_> {
        Batches { spool: self, next: 0 }
    }
}

/// Documents that are worked on at once.
pub struct DocumentBatch {
    /// The number of the first.
    pub first: u64,
    /// They and the next ones.
    pub documents: Vec<Extracted>,
}

impl DocumentBatch {
    /// The documents with their numbers.
    pub fn numbered(self) -> impl Iterator<Item = (u64, Extracted)> {
        (self.first..).zip(self.documents)
    }
}

/// Batches of a spool, in order.
pub struct Batches<'a> {
    spool: &'a Spool,
    next: u64,
}

impl Batches<'_> {
    fn read(&mut self) -> Result<DocumentBatch> {
        let first = self.next;
        let offsets = self.spool.offsets(first, (self.spool.count - first).min(BATCH) + 1)?;
        // At least one document.
        let fit = offsets[1..].partition_point(|end| end - offsets[0] <= BATCH_BYTES).max(1);
        self.next += fit as u64;
        let bytes = self.spool.read(offsets[0], offsets[fit])?;
        let bounds = offsets[..=fit].windows(2).map(|pair| (pair[0] - offsets[0], pair[1] - offsets[0]));
        let documents = bounds.map(|(start, end)| document(&bytes[start as usize..end as usize])).collect();
        Ok(DocumentBatch { first, documents })
    }
}

impl Iterator for Batches<'_> {
    type Item = Result<DocumentBatch>;

    fn next(&mut self) -> Option<Self::Item> {
        (self.next < self.spool.count).then(|| self.read())
    }
}

fn lengths(head: &[u8]) -> [usize; 4] {
    let mut lengths = [0; 4];
    for (length, bytes) in lengths.iter_mut().zip(head.chunks_exact(4)) {
        *length = u32::from_le_bytes(bytes.try_into().expect("chunks of four")) as usize;
    }
    lengths
}

fn document(bytes: &[u8]) -> Extracted {
    let mut rest = &bytes[HEAD..];
    let [id, group, title, text] = lengths(bytes).map(|length| {
        let (part, after) = rest.split_at(length);
        rest = after;
        String::from_utf8(part.to_vec()).expect("written from text")
    });
    Extracted { id, group, title, text }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::split::Split;

    fn made(number: usize) -> Extracted {
        let text = "é".repeat(number * 37 % 5000);
        Extracted { id: number.to_string(), group: format!("g{number}"), title: String::new(), text }
    }

    #[test]
    fn what_was_written_is_read_in_order_and_by_number() {
        let folder = tempfile::tempdir().unwrap();
        let spool = Spool::of((0..3000).map(made), folder.path()).unwrap();
        let mut number = 0;
        for batch in spool.batches() {
            let batch = batch.unwrap();
            assert_eq!(batch.first, number as u64);
            for document in batch.documents {
                assert_eq!(document, made(number));
                number += 1;
            }
        }
        assert_eq!((number, spool.len()), (3000, 3000));
        assert_eq!(spool.get(2999).unwrap(), made(2999));
        assert_eq!(spool.id(1234).unwrap(), "1234");
        assert_eq!(spool.text_part(1, 2..6).unwrap(), "éé");
        assert_eq!(spool.text_bytes(), (0..3000).map(|n| made(n).text.len() as u64).sum::<u64>());
    }

    #[test]
    fn what_is_forgotten_leaves_no_trace() {
        let folder = tempfile::tempdir().unwrap();
        let mut writer = SpoolWriter::create(folder.path()).unwrap();
        (0..10).for_each(|n| writer.push(made(n)).unwrap());
        writer.forget(4).unwrap();
        (20..23).for_each(|n| writer.push(made(n)).unwrap());
        assert_eq!(writer.taken(), 7);
        let spool = writer.finish().unwrap();
        let texts: Vec<Extracted> = spool.batches().flat_map(|batch| batch.unwrap().documents).collect();
        let expected: Vec<Extracted> = (0..4).chain(20..23).map(made).collect();
        assert_eq!(texts, expected);
        assert_eq!(spool.text_bytes(), expected.iter().map(|d| d.text.len() as u64).sum::<u64>());
    }

    #[test]
    fn dropped_documents_are_passed_over() {
        let folder = tempfile::tempdir().unwrap();
        let mut corpus = Corpus::new(Spool::of((0..5).map(made), folder.path()).unwrap());
        corpus.drop(1);
        corpus.assign(3, Split::Test);
        assert_eq!((corpus.kept(), corpus.split(1), corpus.split(3)), (4, None, Some(Split::Test)));
        let list = corpus.list().unwrap();
        let found: Vec<(&str, Split)> = list.iter().map(|(d, split)| (d.id.as_str(), *split)).collect();
        assert_eq!(found, [("0", Split::Train), ("2", Split::Train), ("3", Split::Test), ("4", Split::Train)]);
    }
}
