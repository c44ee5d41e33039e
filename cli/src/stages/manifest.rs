//! `stage.json`: what a finished stage is made of. Written last, so that its presence means finished.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::hash::sha256_of_file;
use crate::error::{Error, Result};
use crate::walk::walk;

/// File name of a manifest.
pub const NAME: &str = "stage.json";
/// Files up to this size are recorded with their hash.
const SMALL: u64 = 1 << 20;

/// A stage's record of itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// Its name.
    pub stage: String,
    /// Hash over everything that went in.
    pub key: String,
    /// Stands for what came out in the keys of later stages.
    pub identity: String,
    /// Identities of its inputs.
    pub inputs: BTreeMap<String, String>,
    /// Its resolved part of the recipe.
    pub config: Value,
    /// Version of the program.
    pub program: String,
    /// Seconds it ran, after the last interruption.
    pub seconds: f64,
    /// Most bytes resident while it ran, where the system tells.
    #[serde(default)]
    pub peak_memory_bytes: Option<u64>,
    /// One line about what it made.
    pub summary: String,
    /// What later stages and the report read.
    pub facts: Value,
    /// Its files.
    pub outputs: Vec<Output>,
    /// Files and folders elsewhere.
    pub external: Vec<Output>,
}

/// A file of a stage.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Output {
    /// Relative to the stage's folder, or absolute.
    pub path: PathBuf,
    /// Size; absent for folders.
    pub bytes: Option<u64>,
    /// sha256 of small files.
    pub sha256: Option<String>,
}

impl Output {
    /// Records a file or folder elsewhere, by its absolute path.
    pub fn outside(path: &Path) -> Self {
        let size = fs::metadata(path).ok().filter(fs::Metadata::is_file).map(|m| m.len());
        // It fails only for an empty path and where there is no current folder.
        let path = std::path::absolute(path).unwrap_or_else(|_| path.into());
        Self { path, bytes: size, sha256: None }
    }

    fn intact(&self, folder: &Path) -> bool {
        let path = folder.join(&self.path);
        match (fs::metadata(&path), self.bytes) {
            (Ok(metadata), Some(bytes)) => metadata.len() == bytes,
            // A pattern such as `texts/*.md` exists only as its matches.
            (_, None) if path.to_string_lossy().contains(['*', '?', '[']) => true,
            (Ok(_), None) => true,
            (Err(_), _) => false,
        }
    }
}

impl Manifest {
    /// The manifest of a finished stage whose files are all there in their recorded sizes.
    pub fn of_intact(folder: &Path) -> Option<Self> {
        let manifest: Self = serde_json::from_slice(&fs::read(folder.join(NAME)).ok()?).ok()?;
        let intact = manifest.outputs.iter().chain(&manifest.external).all(|file| file.intact(folder));
        intact.then_some(manifest)
    }

    /// Writes it whole or not at all.
    pub fn write(&self, folder: &Path) -> Result<()> {
        let path = folder.join(NAME);
        let mut text = serde_json::to_vec_pretty(self).map_err(Error::while_doing("writing a manifest"))?;
        text.push(b'\n');
        let mut file = lore_datasets::whole::beside(folder).map_err(Error::io(folder))?;
        file.write_all(&text).map_err(Error::io(&path))?;
        file.as_file().sync_all().map_err(Error::io(&path))?;
        file.persist(&path).map_err(|error| error.error).map_err(Error::io(&path))?;
        Ok(())
    }
}

/// Records every file in a stage's folder, in order of path.
pub fn outputs_of(folder: &Path) -> Result<Vec<Output>> {
    let mut outputs = Vec::new();
    for (path, metadata) in walk(folder)?.into_iter().filter(|(_, metadata)| metadata.is_file()) {
        let bytes = metadata.len();
        let sha256 = (bytes <= SMALL).then(|| sha256_of_file(&folder.join(&path))).transpose()?;
        outputs.push(Output { path, bytes: Some(bytes), sha256 });
    }
    outputs.retain(|output| output.path != Path::new(NAME));
    outputs.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(outputs)
}
