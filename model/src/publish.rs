//! Folders that appear whole or not at all.

use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::Error;
use crate::whole::{folder_beside, folder_of};

/// Every folder this program writes holds a file of this name, a JSON object whose key `lore` says what
/// the folder is: `base` or `module`.
pub const MARKER: &str = "lore.json";

/// Writes a folder: `fill` puts files (no subfolders) into a temporary sibling, which is then renamed. A
/// folder that is empty, or that this program wrote, is replaced.
///
/// `fill` must write [`MARKER`].
///
/// # Errors
/// [`Error::Occupied`] if the folder holds anything else; [`Error::Io`]; errors of `fill`.
pub fn write_folder<T, E: From<Error>>(folder: &Path, fill: impl FnOnce(&Path) -> Result<T, E>) -> Result<T, E> {
    let io = |action, path: &Path| {
        let path = path.to_owned();
        move |error| Error::io(action, &path, error)
    };
    let occupied = is_occupied(folder)?;
    let parent = folder_of(folder);
    fs::create_dir_all(parent).map_err(io("create", parent))?;
    let temporary = folder_beside(parent).map_err(io("write in", parent))?;

    let outcome = fill(temporary.path())?;

    for entry in fs::read_dir(temporary.path()).map_err(io("read", temporary.path()))? {
        let path = entry.map_err(io("read", temporary.path()))?.path();
        fs::File::open(&path).and_then(|file| file.sync_all()).map_err(io("write", &path))?;
    }
    if occupied {
        let old =
            tempfile::Builder::new().prefix(".lore-replaced-").tempdir_in(parent).map_err(io("write in", parent))?;
        fs::rename(folder, old.path()).map_err(io("replace", folder))?;
        fs::rename(temporary.path(), folder).map_err(io("rename to", folder))?;
    } else {
        fs::rename(temporary.path(), folder).map_err(io("rename to", folder))?;
    }
    // Nothing is left at the temporary name.
    let _moved = temporary.keep();
    fs::File::open(parent).and_then(|parent| parent.sync_all()).map_err(io("write", parent))?;
    Ok(outcome)
}

/// Whether the folder holds an earlier result of this program.
fn is_occupied(folder: &Path) -> Result<bool, Error> {
    let mut entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(Error::io("write to", folder, error)),
    };
    if entries.next().is_none() {
        return Ok(false);
    }
    let ours = fs::read(folder.join(MARKER))
        .ok()
        .and_then(|text| serde_json::from_slice::<Value>(&text).ok())
        .is_some_and(|marker| marker.get("lore").is_some());
    if ours { Ok(true) } else { Err(Error::Occupied { path: folder.to_owned() }) }
}
