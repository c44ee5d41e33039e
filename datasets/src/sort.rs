//! Sorting more numbers than fit in memory: sorted runs in a temporary file, merged while they are read
//! (Knuth, "The Art of Computer Programming", volume 3, section 5.4.1).

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::collections::binary_heap::PeekMut;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use rayon::prelude::*;

use crate::error::{Error, Result};
use crate::read_at::read_at;

/// Bytes held in memory before a run is written.
const HELD: usize = 24 << 20;
/// Bytes of each run that are read at once.
const READ: usize = 64 << 10;

/// Rows of `N` numbers to be sorted.
pub(crate) struct Sorter<const N: usize> {
    rows: Vec<[u64; N]>,
    most: usize,
    folder: PathBuf,
    file: Option<BufWriter<File>>,
    /// Where each run begins and ends, in bytes.
    runs: Vec<(u64, u64)>,
}

impl<const N: usize> Sorter<N> {
    /// Temporary files, if any are needed, are made in `folder`.
    pub fn new(folder: &Path) -> Self {
        Self::holding(folder, HELD / (8 * N))
    }

    fn holding(folder: &Path, most: usize) -> Self {
        Self { rows: Vec::new(), most, folder: folder.to_owned(), file: None, runs: Vec::new() }
    }

    pub fn push(&mut self, row: [u64; N]) -> Result<()> {
        if self.rows.len() == self.most {
            self.write_run()?;
        }
        self.rows.push(row);
        Ok(())
    }

    fn write_run(&mut self) -> Result<()> {
        self.rows.par_sort_unstable();
        let failed = |e| Error::io(&self.folder, e);
        if self.file.is_none() {
            let file = tempfile::tempfile_in(&self.folder).map_err(failed)?;
            self.file = Some(BufWriter::with_capacity(1 << 20, file));
        }
        let file = self.file.as_mut().expect("made above");
        let begin = self.runs.last().map_or(0, |run| run.1);
        for number in self.rows.iter().flatten() {
            file.write_all(&number.to_le_bytes()).map_err(failed)?;
        }
        self.runs.push((begin, begin + (self.rows.len() * N * 8) as u64));
        self.rows.clear();
        Ok(())
    }

    /// The rows in order.
    pub fn finish(mut self) -> Result<Sorted<N>> {
        self.rows.par_sort_unstable();
        let Some(file) = self.file.take() else {
            return Ok(Sorted { merge: None, rows: self.rows.into_iter() });
        };
        let file = file.into_inner().map_err(|e| Error::io(&self.folder, e.into_error()))?;
        let mut merge = Merge { file, folder: self.folder, runs: Vec::new(), least: BinaryHeap::new() };
        for (at, end) in self.runs {
            merge.runs.push(Run { at, end, read: Vec::new(), next: 0 });
        }
        for run in 0..merge.runs.len() {
            if let Some(row) = merge.take(run)? {
                merge.least.push(Reverse((row, run)));
            }
        }
        Ok(Sorted { merge: Some(merge), rows: self.rows.into_iter() })
    }
}

/// Rows in order.
pub(crate) struct Sorted<const N: usize> {
    merge: Option<Merge<N>>,
    /// What was never written.
    rows: std::vec::IntoIter<[u64; N]>,
}

struct Merge<const N: usize> {
    file: File,
    folder: PathBuf,
    runs: Vec<Run>,
    least: BinaryHeap<Reverse<([u64; N], usize)>>,
}

struct Run {
    at: u64,
    end: u64,
    read: Vec<u8>,
    next: usize,
}

impl<const N: usize> Merge<N> {
    /// The next row of a run.
    fn take(&mut self, run: usize) -> Result<Option<[u64; N]>> {
        let run = &mut self.runs[run];
        if run.next == run.read.len() {
            let length = (READ / (8 * N) * (8 * N)).min((run.end - run.at) as usize);
            if length == 0 {
                return Ok(None);
            }
            run.read.resize(length, 0);
            read_at(&self.file, &mut run.read, run.at).map_err(|e| Error::io(&self.folder, e))?;
            run.at += length as u64;
            run.next = 0;
        }
        let bytes = &run.read[run.next..run.next + 8 * N];
        run.next += 8 * N;
        let mut row = [0; N];
        for (number, bytes) in row.iter_mut().zip(bytes.chunks_exact(8)) {
            *number = u64::from_le_bytes(bytes.try_into().expect("chunks of eight"));
        }
        Ok(Some(row))
    }

    fn peek(&self) -> Option<[u64; N]> {
        self.least.peek().map(|Reverse((row, _))| *row)
    }

    /// Takes the least row.
    fn advance(&mut self) -> Result<()> {
        let Some(Reverse((_, run))) = self.least.peek().copied() else { return Ok(()) };
        let next = self.take(run)?;
        let mut top = self.least.peek_mut().expect("seen above");
        match next {
            Some(row) => *top = Reverse((row, run)),
            None => {
                PeekMut::pop(top);
            }
        }
        Ok(())
    }
}

impl<const N: usize> Iterator for Sorted<N> {
    type Item = Result<[u64; N]>;

    fn next(&mut self) -> Option<Self::Item> {
        let Some(merge) = &mut self.merge else { return self.rows.next().map(Ok) };
        let held = self.rows.as_slice().first();
        let merged = merge.peek();
        match (held, merged) {
            (Some(held), Some(merged)) if *held <= merged => self.rows.next().map(Ok),
            (_, Some(merged)) => Some(merge.advance().map(|()| merged)),
            (Some(_), None) => self.rows.next().map(Ok),
            (None, None) => None,
        }
    }
}

/// Runs of rows with the same first number, one at a time.
pub(crate) struct Groups<const N: usize> {
    sorted: Sorted<N>,
    ahead: Option<[u64; N]>,
}

impl<const N: usize> Sorted<N> {
    pub fn groups(self) -> Groups<N> {
        Groups { sorted: self, ahead: None }
    }
}

impl<const N: usize> Groups<N> {
    /// Fills `group` with the next run; whether there was one.
    pub fn next(&mut self, group: &mut Vec<[u64; N]>) -> Result<bool> {
        group.clear();
        if let Some(row) = self.ahead.take().map_or_else(|| self.sorted.next().transpose(), |row| Ok(Some(row)))? {
            group.push(row);
        }
        while let (Some(first), Some(row)) = (group.first(), self.sorted.next().transpose()?) {
            if row[0] != first[0] {
                self.ahead = Some(row);
                break;
            }
            group.push(row);
        }
        Ok(!group.is_empty())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::words::mix;

    #[test]
    fn rows_come_in_order_whether_they_fit_or_not() {
        let folder = tempfile::tempdir().unwrap();
        let rows: Vec<[u64; 2]> = (0..50_000).map(|i| [mix(i) % 1000, mix(i + 1)]).collect();
        let mut expected = rows.clone();
        expected.sort_unstable();
        for most in [7, 49_999, 50_000, 100_000] {
            let mut sorter = Sorter::holding(folder.path(), most);
            rows.iter().for_each(|row| sorter.push(*row).unwrap());
            let found: Vec<[u64; 2]> = sorter.finish().unwrap().map(Result::unwrap).collect();
            assert!(found == expected, "{most} in memory");
        }
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "nothing is left behind");
    }

    #[test]
    fn groups_share_their_first_number() {
        let folder = tempfile::tempdir().unwrap();
        let mut sorter = Sorter::holding(folder.path(), 4);
        [[3, 0], [1, 2], [3, 1], [1, 1], [2, 9], [1, 3]].into_iter().for_each(|row| sorter.push(row).unwrap());
        let (mut groups, mut group, mut found) = (sorter.finish().unwrap().groups(), Vec::new(), Vec::new());
        while groups.next(&mut group).unwrap() {
            found.push(group.clone());
        }
        assert_eq!(found, [vec![[1, 1], [1, 2], [1, 3]], vec![[2, 9]], vec![[3, 0], [3, 1]]]);
    }
}
