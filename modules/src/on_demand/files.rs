//! Modules as files: where they are, how large they will be, whether they have changed.

use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use lore_model::weights::WeightFile;
use lore_model::weights::safetensors::SafetensorsFiles;

use crate::Error;
use crate::peft::{CONFIG, HEADER_LIMIT, WEIGHTS};

/// What tells one state of a module's files from another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Stamp {
    folder: PathBuf,
    weights: (u64, Option<SystemTime>),
    config: (u64, Option<SystemTime>),
}

impl Stamp {
    /// Of the files as they are now; a link stands for the folder it leads to.
    pub(super) fn of(folder: &Path) -> Result<Self, Error> {
        let folder = fs::canonicalize(folder).map_err(|error| Error::io("read", folder, error))?;
        let file = |name: &str| {
            let path = folder.join(name);
            let metadata = fs::metadata(&path).map_err(|error| Error::io("read", &path, error))?;
            Ok::<_, Error>((metadata.len(), metadata.modified().ok()))
        };
        Ok(Self { weights: file(WEIGHTS)?, config: file(CONFIG)?, folder })
    }

    /// The folder itself.
    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Bytes that the module's matrices will take as `f32`, from the header of its weight file.
    pub(super) fn resident_bytes(&self) -> Result<u64, Error> {
        let file = SafetensorsFiles::open_with_limit(&self.folder.join(WEIGHTS), HEADER_LIMIT)?;
        let values = |shape: &[usize]| shape.iter().map(|&size| size as u64).product::<u64>();
        Ok(file.tensors().values().map(|info| 4 * values(&info.shape)).sum())
    }
}

/// The folders below `library` that hold a module, by name: those of an installed library (`modules/NAME`) or its own.
/// Names with characters that sets are written with (`+`, `=`, `,`, white space) are left out.
///
/// # Errors
/// A folder that cannot be read.
pub fn folders(library: &Path) -> Result<BTreeMap<String, PathBuf>, Error> {
    let installed = library.join("modules");
    let root = if installed.is_dir() { &installed } else { library };
    let entries = match fs::read_dir(root) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(BTreeMap::new()),
        Err(error) => return Err(Error::io("read", root, error)),
    };
    let mut found = BTreeMap::new();
    for entry in entries {
        let entry = entry.map_err(|error| Error::io("read", root, error))?;
        let Ok(name) = entry.file_name().into_string() else { continue };
        let plain =
            !name.starts_with('.') && !name.contains(|c: char| c.is_whitespace() || matches!(c, '+' | '=' | ','));
        if plain && entry.path().join(CONFIG).is_file() {
            found.insert(name, entry.path());
        }
    }
    Ok(found)
}
