//! Making the list the truth, and the folders follow it.

use std::collections::BTreeSet;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use super::{Held, STATE, State};
use crate::canonical::canonical_json;
use crate::error::{Error, Result};
use crate::keyring::write_whole;

impl Held<'_> {
    /// Makes `state` the truth, then everything else follow it.
    ///
    /// Links are made before the list is replaced, so that afterwards things are only moved and removed, which
    /// works on a full disk too.
    pub(super) fn replace(&mut self, state: State) -> Result<()> {
        let links = self.new_links(&state)?;
        write_whole(&self.library.root.join(STATE), &canonical_json(&state))?;
        self.state = state;
        links.place()?;
        self.clear()
    }

    /// Makes links follow the truth and clears what nothing needs.
    pub(super) fn tidy(&self) -> Result<()> {
        self.clear_temporary()?;
        self.new_links(&self.state)?.place()?;
        self.clear()
    }

    /// The links that `state` asks for and that are not there, beside their places.
    fn new_links(&self, state: &State) -> Result<Links> {
        let mut links = Links::default();
        #[cfg(unix)]
        {
            let root = &self.library.root;
            for (name, installed) in &state.modules {
                let link = root.join("modules").join(name);
                let target = Path::new("..").join("store").join(&installed.folder);
                if fs::read_link(&link).is_ok_and(|current| current == target) {
                    continue;
                }
                let scratch = match &links.scratch {
                    Some(scratch) => scratch.path(),
                    None => {
                        let scratch = tempfile::tempdir_in(root.join("tmp")).map_err(Error::io(&link))?;
                        links.scratch.insert(scratch).path()
                    }
                };
                let new = scratch.join(name);
                std::os::unix::fs::symlink(&target, &new).map_err(Error::io(&link))?;
                links.moves.push((new, link));
            }
        }
        #[cfg(not(unix))]
        let _ = state;
        Ok(links)
    }

    /// Clears what nothing needs.
    fn clear(&self) -> Result<()> {
        let (root, store) = (&self.library.root, self.library.store());
        let modules = root.join("modules");
        for name in names_in(&modules)? {
            if !self.state.modules.contains_key(&name) && modules.join(&name).is_symlink() {
                let path = modules.join(name);
                fs::remove_file(&path).map_err(Error::io(path))?;
            }
        }
        let used: BTreeSet<&str> = self.state.modules.values().map(|installed| installed.folder.as_str()).collect();
        for name in names_in(&store)?.into_iter().filter(|name| !used.contains(name.as_str())) {
            remove_folder(&store.join(name))?;
        }
        self.clear_temporary()
    }

    /// Whoever wrote there held the lock, and is gone.
    fn clear_temporary(&self) -> Result<()> {
        let tmp = self.library.root.join("tmp");
        for name in names_in(&tmp)? {
            remove_folder(&tmp.join(name))?;
        }
        Ok(())
    }
}

/// Links that wait to be moved to their places.
#[derive(Default)]
struct Links {
    scratch: Option<tempfile::TempDir>,
    moves: Vec<(PathBuf, PathBuf)>,
}

impl Links {
    fn place(self) -> Result<()> {
        for (from, to) in &self.moves {
            fs::rename(from, to).map_err(Error::io(to))?;
        }
        Ok(())
    }
}

fn names_in(folder: &Path) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(folder).map_err(Error::io(folder))? {
        names.push(entry.map_err(Error::io(folder))?.file_name().to_string_lossy().into_owned());
    }
    Ok(names)
}

fn remove_folder(path: &Path) -> Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() == ErrorKind::NotADirectory => fs::remove_file(path).map_err(Error::io(path)),
        Err(error) if error.kind() != ErrorKind::NotFound => Err(Error::io(path)(error)),
        _ => Ok(()),
    }
}
