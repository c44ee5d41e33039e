//! The folder of an installed pack, read as the file it came from is.

use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

use crate::archive::{Entry, Members};
use crate::error::Problem;
use crate::format::{check_name, members};

/// The members of an installed pack.
pub(crate) struct FolderMembers {
    folder: PathBuf,
    left: std::vec::IntoIter<Entry>,
    current: Option<Entry>,
}

impl FolderMembers {
    pub(crate) fn open(folder: &Path) -> Result<Self, Problem> {
        let mut found = Vec::new();
        for entry in fs::read_dir(folder).map_err(Problem::io(folder))? {
            let entry = entry.map_err(Problem::io(folder))?;
            let (name, limit) = check_name(entry.file_name().as_encoded_bytes())?;
            let metadata = entry.path().symlink_metadata().map_err(Problem::io(&entry.path()))?;
            if !metadata.is_file() {
                return Problem::refused(format!("`{name}` is not a plain file"));
            }
            if metadata.len() > limit {
                return Problem::refused(format!("`{name}` has {} bytes; at most {limit} are allowed", metadata.len()));
            }
            found.push(Entry { name, size: metadata.len() });
        }
        let order = |entry: &Entry| members().position(|(name, _)| *name == entry.name);
        found.sort_by_key(order);
        Ok(Self { folder: folder.to_owned(), left: found.into_iter(), current: None })
    }
}

impl Members for FolderMembers {
    fn next(&mut self) -> Result<Option<Entry>, Problem> {
        self.current = self.left.next();
        Ok(self.current)
    }

    fn read(&mut self, sink: &mut dyn FnMut(&[u8]) -> Result<(), Problem>) -> Result<(), Problem> {
        let Some(Entry { name, size }) = self.current.take() else { return Ok(()) };
        let path = self.folder.join(name);
        let mut file = File::open(&path).map_err(Problem::io(&path))?;
        let mut buffer = vec![0; 1 << 16];
        let mut left = size;
        while left > 0 {
            let piece = buffer.len().min(left as usize);
            match file.read(&mut buffer[..piece]).map_err(Problem::io(&path))? {
                0 => return Problem::altered(format!("`{name}` became shorter while it was read")),
                read => {
                    sink(&buffer[..read])?;
                    left -= read as u64;
                }
            }
        }
        Ok(())
    }
}
