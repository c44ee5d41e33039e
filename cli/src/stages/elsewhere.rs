//! What another run in the same folder of runs has made already: a stage with the same key makes the same.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::manifest::{self, Manifest};
use super::{Finished, RunFolder};

/// The finished, intact stage of this name and key of another run beside `folder`.
pub fn find(folder: &RunFolder, stage: &str, key: &str) -> Option<Finished> {
    let here = folder.finished(stage, key);
    let place = here.strip_prefix(folder.root()).ok()?;
    let mut runs: Vec<PathBuf> =
        fs::read_dir(folder.root().parent()?).ok()?.filter_map(|entry| Some(entry.ok()?.path())).collect();
    runs.sort();
    runs.into_iter().filter(|run| run != folder.root()).find_map(|run| {
        let folder = run.join(place);
        let manifest =
            Manifest::of_intact(&folder).filter(|manifest| manifest.key == key && manifest.stage == stage)?;
        Some(Finished { folder, manifest })
    })
}

/// The name of the run that a finished stage is of.
pub fn run_of(finished: &Finished) -> String {
    let run = finished.folder.ancestors().nth(2).and_then(Path::file_name);
    run.map_or_else(|| "another run".into(), |name| name.to_string_lossy().into_owned())
}

/// Takes over a finished stage's files, its manifest last, into `to`: as links where the file system can, since finished
/// stages are only read, else as copies.
///
/// # Errors
/// A file that cannot be read or written; then `to` is not finished.
pub fn take_over(from: &Finished, to: &Path) -> io::Result<()> {
    let files = from.manifest.outputs.iter().map(|output| output.path.as_path());
    for path in files.chain([Path::new(manifest::NAME)]) {
        let (source, target) = (from.folder.join(path), to.join(path));
        if let Some(parent) = target.parent() {
            fs::create_dir_all(parent)?;
        }
        if fs::hard_link(&source, &target).is_err() {
            fs::copy(&source, &target)?;
        }
    }
    Ok(())
}
