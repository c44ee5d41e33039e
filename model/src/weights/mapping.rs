//! Read-only memory maps of files.

use std::fs::File;
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
