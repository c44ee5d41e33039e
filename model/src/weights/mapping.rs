//! Read-only memory maps of files.

use std::fs::File;
use std::ops::Range;
use std::path::Path;

use memmap2::Mmap;

use crate::Error;

/// Maps a whole file for reading. An empty file maps to an empty slice.
///
/// # Errors
/// [`Error::Io`] if it cannot be opened or mapped.
pub fn map(path: &Path) -> Result<Mmap, Error> {
    let file = File::open(path).map_err(|error| Error::io("read", path, error))?;
    let kind = file.metadata().map_err(|error| Error::io("read", path, error))?;
    if kind.is_dir() {
        return Err(Error::io("read", path, std::io::Error::from(std::io::ErrorKind::IsADirectory)));
    }
    // SAFETY: the map is read-only. The slice it gives is sound as long as nobody shortens or rewrites
    // the file meanwhile; Lore's own writers replace files by renaming, which leaves a mapped one whole.
    #[allow(unsafe_code)]
    let map = unsafe { Mmap::map(&file) };
    map.map_err(|error| Error::io("map", path, error))
}

/// Takes bytes that have been read out of memory again; they come back from the file when they are read once
/// more. Without it a model's file stays resident beside the tensors made of it.
pub fn release(map: &Mmap, bytes: Range<usize>) {
    #[cfg(unix)]
    {
        // Only whole pages can go; those at the ends may hold neighbours, which would merely be read again.
        // SAFETY: the map is of a file, read-only and never written to, so its pages hold nothing but the file.
        #[allow(unsafe_code)]
        // A system that keeps them costs memory, nothing else.
        let _ = unsafe { map.unchecked_advise_range(memmap2::UncheckedAdvice::DontNeed, bytes.start, bytes.len()) };
    }
    #[cfg(not(unix))]
    let _ = (map, bytes);
}
