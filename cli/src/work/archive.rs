//! A folder as one file and back: POSIX tar of plain files, the same bytes for the same folder.

use std::fs::{self, File};
use std::io::{self, BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};

use tar::{Archive, Builder, EntryType, Header};
use tempfile::TempDir;

use super::files::{self, is_plain};
use crate::error::{Error, Result};

/// How a file of this kind ends.
const EXTENSION: &str = "tar";

/// A folder that will appear under `out`, or as the file `out` where that ends with `.tar`, whole or not at all.
///
/// # Errors
/// Something that is there already; a folder that cannot be written.
pub fn begin(out: &Path) -> Result<TempDir> {
    if out.exists() {
        return Err(Error::Usage(format!("{}: exists already; give another path, or remove it", out.display())));
    }
    let parent = parent(out);
    fs::create_dir_all(&parent).map_err(Error::io(&parent))?;
    let mut builder = tempfile::Builder::new();
    builder.prefix(".lore-work-");
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o777));
    builder.tempdir_in(&parent).map_err(Error::io(&parent))
}

/// Gives the folder of [`begin`] its name.
///
/// # Errors
/// Files that cannot be written.
pub fn commit(folder: TempDir, out: &Path) -> Result<()> {
    if out.extension().is_some_and(|extension| extension == EXTENSION) {
        let mut file = lore_datasets::whole::beside(&parent(out)).map_err(Error::io(out))?;
        pack(folder.path(), file.as_file_mut()).map_err(Error::io(out))?;
        file.as_file().sync_all().map_err(Error::io(out))?;
        file.persist(out).map_err(|error| error.error).map_err(Error::io(out))?;
        return Ok(());
    }
    fs::rename(folder.path(), out).map_err(Error::io(out))?;
    // Nothing is left at the temporary name.
    let _moved = folder.keep();
    Ok(())
}

fn parent(path: &Path) -> PathBuf {
    path.parent().filter(|parent| *parent != Path::new("")).unwrap_or(Path::new(".")).to_owned()
}

fn pack(folder: &Path, output: &mut File) -> io::Result<()> {
    let files = files::list(folder, &[]).map_err(io::Error::other)?;
    let mut archive = Builder::new(BufWriter::new(output));
    for file in files {
        let mut header = Header::new_ustar();
        header.set_path(&file.path)?;
        header.set_mode(0o644);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        header.set_size(file.bytes);
        header.set_entry_type(EntryType::Regular);
        header.set_cksum();
        archive.append(&header, BufReader::new(File::open(folder.join(&file.path))?))?;
    }
    archive.into_inner()?.flush()
}

/// Writes the plain files of an archive into `folder`, which is new. Nothing in it is longer than the archive itself.
///
/// # Errors
/// Anything in it but plain files that stay below the folder, each once.
pub fn unpack(file: &Path, folder: &Path) -> Result<()> {
    let refuse = |problem: String| Error::Failed(format!("{}: {problem}", file.display()));
    let damaged = |error: io::Error| refuse(format!("not a whole tar archive: {error}"));
    let mut archive = Archive::new(BufReader::new(File::open(file).map_err(Error::io(file))?));
    for entry in archive.entries().map_err(damaged)? {
        let mut entry = entry.map_err(damaged)?;
        let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        if entry.header().entry_type() != EntryType::Regular || !is_plain(&name) {
            return Err(refuse(format!("`{}` is not a plain file with a plain name", name.escape_debug())));
        }
        let target = folder.join(&name);
        let parent = parent(&target);
        fs::create_dir_all(&parent).map_err(Error::io(&parent))?;
        let mut output = File::create_new(&target).map_err(Error::io(&target))?;
        let copied = io::copy(&mut entry, &mut output).map_err(damaged)?;
        if copied != entry.size() {
            return Err(refuse(format!("`{name}` is cut off")));
        }
    }
    Ok(())
}

/// The folder that `path` is, or an archive's, unpacked into a temporary one. `expected` says what it should be and
/// where that comes from.
///
/// # Errors
/// Nothing at `path`; as [`unpack`].
pub fn open(path: &Path, expected: &str) -> Result<(PathBuf, Option<TempDir>)> {
    if path.is_dir() {
        return Ok((path.to_owned(), None));
    }
    if matches!(path.try_exists(), Ok(false)) {
        return Err(Error::Failed(format!("{}: no such file or folder; expected {expected}", path.display())));
    }
    let folder = tempfile::tempdir().map_err(Error::while_doing("making a temporary folder"))?;
    unpack(path, folder.path())?;
    Ok((folder.path().to_owned(), Some(folder)))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn hostile(change: impl FnOnce(&mut Header)) -> String {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a.tar");
        let mut archive = Builder::new(File::create(&file).unwrap());
        let mut header = Header::new_ustar();
        header.set_path("name").unwrap();
        header.set_size(2);
        header.set_mode(0o644);
        header.set_entry_type(EntryType::Regular);
        change(&mut header);
        header.set_cksum();
        archive.append(&header, &b"hi"[..]).unwrap();
        archive.into_inner().unwrap();
        let out = folder.path().join("out");
        fs::create_dir(&out).unwrap();
        let error = unpack(&file, &out).unwrap_err().to_string();
        assert!(!folder.path().join("evil").exists());
        error
    }

    #[test]
    fn the_same_folder_is_the_same_file_and_comes_back() {
        let folder = tempfile::tempdir().unwrap();
        let mut archives = Vec::new();
        for name in ["one.tar", "two.tar"] {
            let out = folder.path().join(name);
            let made = begin(&out).unwrap();
            fs::create_dir(made.path().join("deep")).unwrap();
            fs::write(made.path().join("deep/b"), [7; 1000]).unwrap();
            fs::write(made.path().join("a"), "hello").unwrap();
            commit(made, &out).unwrap();
            archives.push(fs::read(&out).unwrap());
        }
        assert_eq!(archives[0], archives[1]);
        assert!(begin(&folder.path().join("one.tar")).is_err(), "nothing is replaced");
        let (unpacked, _held) = open(&folder.path().join("one.tar"), "an archive").unwrap();
        assert_eq!(fs::read(unpacked.join("deep/b")).unwrap(), [7; 1000]);
        assert_eq!(files::list(&unpacked, &[]).unwrap().len(), 2);
        let cut = &archives[0][..700];
        fs::write(folder.path().join("cut.tar"), cut).unwrap();
        assert!(open(&folder.path().join("cut.tar"), "an archive").unwrap_err().to_string().contains("cut.tar"));
        let missing = open(&folder.path().join("nowhere.tar"), "an archive").unwrap_err().to_string();
        assert!(missing.ends_with("nowhere.tar: no such file or folder; expected an archive"), "{missing}");
    }

    #[test]
    fn nothing_leaves_the_folder() {
        let name = |text: &'static str| {
            move |header: &mut Header| {
                let bytes = header.as_mut_bytes();
                bytes[..text.len()].copy_from_slice(text.as_bytes());
                bytes[text.len()] = 0;
            }
        };
        for text in ["../evil", "/evil", "a/../../evil"] {
            assert!(hostile(name(text)).contains("not a plain file"), "{text}");
        }
        for kind in [EntryType::Symlink, EntryType::Link, EntryType::Fifo, EntryType::Directory, EntryType::Char] {
            assert!(hostile(|header| header.set_entry_type(kind)).contains("not a plain file"), "{kind:?}");
        }
    }
}
