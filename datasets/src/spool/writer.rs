//! Taking documents in order: into memory, or onto disk.

use std::fs::File;
use std::io::{BufWriter, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use super::{HEAD, Spool, lengths};
use crate::error::{Error, Result};
use crate::extract::Extracted;
use crate::read_at::read_at;

/// Takes documents in order.
pub trait Sink {
    /// Takes the next one.
    ///
    /// # Errors
    /// What kept it from being written.
    fn push(&mut self, document: Extracted) -> Result<()>;

    /// Documents taken.
    fn taken(&self) -> u64;

    /// Forgets all but the first `count`.
    ///
    /// # Errors
    /// What kept them from being forgotten.
    fn forget(&mut self, count: u64) -> Result<()>;
}

impl Sink for Vec<Extracted> {
    fn push(&mut self, document: Extracted) -> Result<()> {
        Vec::push(self, document);
        Ok(())
    }

    fn taken(&self) -> u64 {
        self.len() as u64
    }

    fn forget(&mut self, count: u64) -> Result<()> {
        self.truncate(count as usize);
        Ok(())
    }
}

/// Writes documents to temporary files, which are gone when nothing uses them.
pub struct SpoolWriter {
    folder: PathBuf,
    documents: BufWriter<File>,
    /// Where each document begins, u64 each.
    offsets: BufWriter<File>,
    bytes: u64,
    count: u64,
    text_bytes: u64,
}

impl SpoolWriter {
    /// Makes the files in `folder`.
    ///
    /// # Errors
    /// A folder that cannot be written.
    pub fn create(folder: &Path) -> Result<Self> {
        let file = || tempfile::tempfile_in(folder).map_err(|e| Error::io(folder, e));
        Ok(Self {
            folder: folder.to_owned(),
            documents: BufWriter::with_capacity(1 << 20, file()?),
            offsets: BufWriter::new(file()?),
            bytes: 0,
            count: 0,
            text_bytes: 0,
        })
    }

    /// The documents.
    ///
    /// # Errors
    /// What kept them from being written.
    pub fn finish(mut self) -> Result<Spool> {
        self.write(&[], &[])?;
        let failed = |e: std::io::IntoInnerError<BufWriter<File>>| Error::io(&self.folder, e.into_error());
        Ok(Spool {
            documents: self.documents.into_inner().map_err(failed)?,
            offsets: self.offsets.into_inner().map_err(failed)?,
            count: self.count,
            text_bytes: self.text_bytes,
            folder: self.folder,
        })
    }

    fn write(&mut self, head: &[u8], parts: &[&str]) -> Result<()> {
        let mut write = || {
            self.offsets.write_all(&self.bytes.to_le_bytes())?;
            self.documents.write_all(head)?;
            parts.iter().try_for_each(|part| self.documents.write_all(part.as_bytes()))
        };
        write().map_err(|e| Error::io(&self.folder, e))
    }
}

impl Sink for SpoolWriter {
    fn push(&mut self, document: Extracted) -> Result<()> {
        let parts = [&document.id, &document.group, &document.title, &document.text].map(String::as_str);
        let mut head = [0; HEAD];
        for (length, part) in head.chunks_exact_mut(4).zip(parts) {
            let bytes = u32::try_from(part.len()).expect("no text has more bytes than `max_document_bytes`");
            length.copy_from_slice(&bytes.to_le_bytes());
        }
        self.write(&head, &parts)?;
        self.bytes += (HEAD + parts.iter().map(|part| part.len()).sum::<usize>()) as u64;
        self.text_bytes += document.text.len() as u64;
        self.count += 1;
        Ok(())
    }

    fn taken(&self) -> u64 {
        self.count
    }

    fn forget(&mut self, count: u64) -> Result<()> {
        if count == self.count {
            return Ok(());
        }
        let mut cut = || -> std::io::Result<()> {
            self.documents.flush()?;
            self.offsets.flush()?;
            let (mut offset, mut length) = ([0; 8], [0; 4]);
            read_at(self.offsets.get_ref(), &mut offset, 8 * count)?;
            let begin = u64::from_le_bytes(offset);
            let mut at = begin;
            while at < self.bytes {
                let mut head = [0; HEAD];
                read_at(self.documents.get_ref(), &mut head, at)?;
                length.copy_from_slice(&head[12..]);
                self.text_bytes -= u64::from(u32::from_le_bytes(length));
                at += (HEAD + lengths(&head).iter().sum::<usize>()) as u64;
            }
            self.bytes = begin;
            for (file, end) in [(&mut self.documents, begin), (&mut self.offsets, 8 * count)] {
                file.get_mut().set_len(end)?;
                file.seek(SeekFrom::Start(end))?;
            }
            Ok(())
        };
        cut().map_err(|e| Error::io(&self.folder, e))?;
        self.count = count;
        Ok(())
    }
}
