//! The table of documents written row group by row group, so that it may be larger than memory.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use polars::io::parquet::write::BatchedWriter;
use polars::prelude::{DataFrame, ParquetReader, ParquetWriter, PolarsError, SerReader, StatisticsOptions, df};
use sha2::{Digest, Sha256};
use tempfile::NamedTempFile;

use crate::documents::{Origin, hex};
use crate::error::{Error, Result};
use crate::split::Split;

/// A document of the table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// Unique within the table.
    pub id: String,
    /// What it is split by.
    pub group: String,
    /// May be empty.
    pub title: String,
    /// The text, as it is trained on.
    pub text: String,
    /// Its split.
    pub split: Split,
    /// SHA-256 of the text.
    pub sha256: [u8; 32],
    /// Characters (Unicode scalar values) of the text.
    pub characters: u64,
}

/// Writes rows to a Parquet file, which appears when it is complete.
pub(crate) struct TableWriter {
    path: PathBuf,
    origin: Origin,
    /// Absent when it is complete.
    writer: Option<BatchedWriter<Watched>>,
    file: NamedTempFile,
    full: Arc<AtomicBool>,
    hasher: TableHasher,
}

/// Hashes a table as [`Documents::hash`](crate::documents::Documents::hash) says.
#[derive(Default)]
pub(crate) struct TableHasher(Sha256);

impl TableHasher {
    pub fn row(&mut self, values: [&str; 3]) {
        for value in values {
            self.0.update((value.len() as u64).to_le_bytes());
            self.0.update(value.as_bytes());
        }
    }

    pub fn finish(self) -> String {
        hex(&self.0.finalize())
    }
}

/// A file that notes when its disk is full.
struct Watched {
    file: File,
    full: Arc<AtomicBool>,
}

impl Write for Watched {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes);
        if written.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::StorageFull) {
            self.full.store(true, Ordering::Relaxed);
        }
        written
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl TableWriter {
    /// Begins the table at `path`.
    pub fn create(path: &Path, origin: &Origin) -> Result<Self> {
        let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        std::fs::create_dir_all(folder).map_err(|e| Error::io(folder, e))?;
        let file = crate::whole::beside(folder).map_err(|e| Error::io(folder, e))?;
        let hasher = TableHasher::default();
        let (path_of_table, origin, full) = (path.to_owned(), origin.clone(), Arc::default());
        let mut table = Self { path: path_of_table, origin, writer: None, file, full, hasher };
        // The schema, also of a table without rows.
        let schema = table.frame(&[]);
        let file = table.file.reopen().map_err(|e| Error::io(path, e))?;
        let file = Watched { file, full: table.full.clone() };
        let writer = ParquetWriter::new(file)
            // Whole texts would stand in the footer otherwise, as the least and greatest of each row group.
            .with_statistics(StatisticsOptions::empty())
            .batched(schema.schema())
            .map_err(|e| table.failed(&e))?;
        table.writer = Some(writer);
        Ok(table)
    }

    fn failed(&self, error: &PolarsError) -> Error {
        // The writer's own errors do not say why the system refused.
        if self.full.load(Ordering::Relaxed) {
            return Error::NoSpace { path: self.path.clone(), needed: None, available: None };
        }
        Error::Documents { path: self.path.clone(), problem: format!("it cannot be written: {error}") }
    }

    fn frame(&self, rows: &[Row]) -> DataFrame {
        let same = |value: &str| vec![value.to_owned(); rows.len()];
        let texts = |of: fn(&Row) -> &str| rows.iter().map(of).collect::<Vec<&str>>();
        df!(
            "id" => texts(|row| &row.id), "group" => texts(|row| &row.group), "title" => texts(|row| &row.title),
            "text" => texts(|row| &row.text), "source" => same(&self.origin.source),
            "license" => same(&self.origin.license), "topic" => same(&self.origin.topic),
            "split" => texts(|row| row.split.name()),
            "sha256" => rows.iter().map(|row| hex(&row.sha256)).collect::<Vec<_>>(),
            "chars" => rows.iter().map(|row| row.characters).collect::<Vec<_>>(),
            "bytes" => rows.iter().map(|row| row.text.len() as u64).collect::<Vec<_>>(),
        )
        .expect("the columns are equally long and differently named")
    }

    /// Writes rows as a row group.
    pub fn rows(&mut self, rows: &[Row]) -> Result<()> {
        if rows.is_empty() {
            return Ok(());
        }
        for row in rows {
            self.hasher.row([&row.id, row.split.name(), &hex(&row.sha256)]);
        }
        let frame = self.frame(rows);
        let written = self.writer.as_mut().expect("made with the table").write_batch(&frame);
        written.map_err(|e| self.failed(&e))
    }

    /// Completes the file; its hash.
    pub fn finish(mut self) -> Result<String> {
        let written = self.writer.take().expect("made with the table").finish();
        written.map_err(|e| self.failed(&e))?;
        self.file.as_file().sync_all().map_err(|e| Error::io(&self.path, e))?;
        self.file.persist(&self.path).map_err(|e| Error::io(&self.path, e.error))?;
        Ok(self.hasher.finish())
    }
}

/// Gives columns of text of every row, with the row's number; one row group at a time is in memory.
pub(crate) fn read_rows<const N: usize>(
    path: &Path,
    columns: [&str; N],
    mut each: impl FnMut(u64, [&str; N]),
) -> Result<()> {
    let failed = |problem: String| Error::Documents { path: path.to_owned(), problem };
    let unreadable = |e: PolarsError| failed(format!("it is not readable as Parquet: {e}"));
    let file = File::open(path).map_err(|e| Error::io(path, e))?;
    let again = || file.try_clone().map_err(|e| Error::io(path, e));
    let metadata = ParquetReader::new(again()?).get_metadata().map_err(unreadable)?.clone();
    let mut first = 0;
    for group in &metadata.row_groups {
        let names = columns.map(str::to_owned).to_vec();
        let mut reader =
            ParquetReader::new(again()?).with_slice(Some((first, group.num_rows()))).with_columns(Some(names));
        reader.set_metadata(metadata.clone());
        let frame = reader.finish().map_err(unreadable)?;
        let mut texts = Vec::with_capacity(N);
        for name in columns {
            let column = frame.column(name).and_then(|column| column.str());
            texts.push(column.map_err(|e| failed(format!("it is not a table of documents: {e}")))?);
        }
        for row in 0..frame.height() {
            let mut values = [""; N];
            for (value, column) in values.iter_mut().zip(&texts) {
                *value = column.get(row).unwrap_or_default();
            }
            each((first + row) as u64, values);
        }
        first += group.num_rows();
    }
    Ok(())
}

/// Documents, characters and bytes of each split.
#[derive(Debug, Clone, Default)]
pub(crate) struct Sizes(pub BTreeMap<Split, [u64; 3]>);

impl Sizes {
    pub fn add(&mut self, split: Split, characters: u64, bytes: u64) {
        let sizes = self.0.entry(split).or_default();
        for (sum, more) in sizes.iter_mut().zip([1, characters, bytes]) {
            *sum += more;
        }
    }

    /// Takes back what was added.
    pub fn remove(&mut self, split: Split, characters: u64, bytes: u64) {
        if let Some(sizes) = self.0.get_mut(&split) {
            for (sum, less) in sizes.iter_mut().zip([1, characters, bytes]) {
                *sum -= less;
            }
        }
    }
}
