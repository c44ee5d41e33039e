//! The files inside what was fetched: one file, a folder, or a zip archive such as a wheel.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use super::glob::Glob;
use super::record::NotText;
use crate::error::{Error, Result};
use crate::fetch::pattern;

/// Bytes that a file of which all is read at once may have after decompression.
const MAX_FILE_BYTES: u64 = 1 << 30;
/// Files one folder or archive may list.
const MAX_FILES: usize = 5_000_000;
/// Folders below the first that are looked into.
const MAX_DEPTH: usize = 64;

/// A file to read records from.
pub struct Member<'a> {
    /// Its path inside the source, with `/`, without `.gz` or `.zst`.
    pub name: String,
    /// Its content, decompressed.
    reader: Box<dyn Read + 'a>,
    /// Where it lies as it is.
    path: Option<PathBuf>,
    read: u64,
}

impl Member<'_> {
    /// All of it, at most `most` bytes.
    pub fn whole(&mut self, most: u64) -> std::result::Result<Vec<u8>, String> {
        let most = most.min(MAX_FILE_BYTES);
        let mut bytes = Vec::new();
        self.take(most + 1).read_to_end(&mut bytes).map_err(|e| unreadable(&e))?;
        if bytes.len() as u64 > most {
            return Err(format!("it holds more than {most} bytes"));
        }
        Ok(bytes)
    }

    /// The file, or a temporary copy of what it holds.
    pub fn on_disk(&mut self) -> std::result::Result<File, String> {
        if let Some(path) = &self.path {
            let file = open(path)?;
            self.read = file.metadata().map_err(|e| e.to_string())?.len();
            return Ok(file);
        }
        let mut copy = tempfile::tempfile().map_err(|e| no_copy(&e))?;
        self.copy_to(&mut copy)?;
        Ok(copy)
    }

    /// Copies all of it.
    pub fn copy_to(&mut self, file: &mut File) -> std::result::Result<(), String> {
        let mut bytes = vec![0; 1 << 16];
        loop {
            match self.read(&mut bytes).map_err(|e| unreadable(&e))? {
                0 => return file.flush().map_err(|e| no_copy(&e)),
                read => file.write_all(&bytes[..read]).map_err(|e| no_copy(&e))?,
            }
        }
    }

    /// Whether nothing was in it, after all of it was read.
    pub fn was_empty(&self) -> bool {
        self.read == 0
    }
}

impl Read for Member<'_> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let read = self.reader.read(bytes)?;
        self.read += read as u64;
        Ok(read)
    }
}

/// What is wrong with a file that cannot be read, unless that is said already.
pub(super) fn unreadable(error: &io::Error) -> String {
    if error.get_ref().is_some_and(|error| error.is::<NotText>()) {
        return error.to_string();
    }
    format!("it cannot be read or decompressed: {error}")
}

fn no_copy(error: &io::Error) -> String {
    format!("no temporary copy could be made: {error}")
}

/// The files of a source, by name in byte order.
pub struct Container {
    root: PathBuf,
    kind: Kind,
    /// All names, also those no pattern asks for.
    pub names: Vec<String>,
    /// What was left out while listing: symbolic links and names that are not UTF-8.
    pub left_out: Vec<String>,
}

enum Kind {
    File,
    Folder,
    Zip(Box<zip::ZipArchive<File>>),
}

impl Container {
    /// Lists a file, a folder, a zip archive or what a pattern such as `texts/*.md` matches. Symbolic links
    /// inside a folder are not followed, but for those with which a hub's cache names the files of a snapshot.
    pub fn open(path: &Path) -> Result<Self> {
        if !path.exists()
            && let Some((root, glob)) = pattern(path)
        {
            let mut folder = Self::open(&root)?;
            folder.names.retain(|name| glob.matches(name));
            return Ok(folder);
        }
        let root = path.to_path_buf();
        let is_dir = fs::metadata(path).map_err(|e| Error::io(path, e))?.is_dir();
        let (mut names, mut left_out) = (Vec::new(), Vec::new());
        let kind = if is_dir {
            let blobs = blobs_of(path);
            list_folder(path, "", 0, blobs.as_deref(), &mut names, &mut left_out)?;
            Kind::Folder
        } else if is_zip(path)? {
            let file = File::open(path).map_err(|e| Error::io(path, e))?;
            let archive = zip::ZipArchive::new(file)
                .map_err(|e| Error::Archive { path: root.clone(), problem: e.to_string() })?;
            for name in archive.file_names() {
                match name {
                    Ok(name) if !name.ends_with('/') => names.push(name.into_owned()),
                    Ok(_) => {}
                    Err(e) => left_out.push(format!("a member: {e}")),
                }
            }
            Kind::Zip(Box::new(archive))
        } else {
            names.push(path.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned()));
            Kind::File
        };
        if names.len() > MAX_FILES {
            return Err(Error::Archive { path: root, problem: format!("it lists more than {MAX_FILES} files") });
        }
        names.sort_unstable();
        left_out.sort_unstable();
        Ok(Self { root, kind, names, left_out })
    }

    /// The names that any of `patterns` matches, or all names where there are no patterns.
    pub fn matching(&self, patterns: &[Glob]) -> Vec<String> {
        let wanted = |name: &&String| patterns.is_empty() || patterns.iter().any(|p| p.matches(name));
        self.names.iter().filter(wanted).cloned().collect()
    }

    /// Opens one file; `Err` says what is wrong with it.
    pub fn read(&mut self, name: &str) -> std::result::Result<Member<'_>, String> {
        let plain = plain_name(name);
        let path = match self.kind {
            Kind::File => Some(self.root.clone()),
            Kind::Folder => Some(self.root.join(name)),
            Kind::Zip(_) => None,
        };
        let reader: Box<dyn Read + '_> = match (&mut self.kind, &path) {
            (Kind::Zip(archive), _) => Box::new(archive.by_name(name).map_err(|e| e.to_string())?),
            (_, Some(path)) => Box::new(open(path)?),
            (_, None) => unreachable!("what is in no archive has a path"),
        };
        let reader = decompressed(name, reader)?;
        Ok(Member { name: plain.to_owned(), reader, path: path.filter(|_| plain == name), read: 0 })
    }
}

/// The name without the ending of a compression.
pub(super) fn plain_name(name: &str) -> &str {
    name.strip_suffix(".gz").or_else(|| name.strip_suffix(".zst")).unwrap_or(name)
}

fn open(path: &Path) -> std::result::Result<File, String> {
    File::open(path).map_err(|e| e.to_string())
}

fn is_zip(path: &Path) -> Result<bool> {
    let mut magic = [0; 4];
    let mut file = File::open(path).map_err(|e| Error::io(path, e))?;
    match file.read_exact(&mut magic) {
        Ok(()) => Ok(magic == *b"PK\x03\x04" || magic == *b"PK\x05\x06"),
        Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        Err(e) => Err(Error::io(path, e)),
    }
}

/// Where the files are that the names in a hub's snapshot, `snapshots/COMMIT`, link to.
fn blobs_of(folder: &Path) -> Option<PathBuf> {
    let snapshots = folder.parent().filter(|parent| parent.ends_with("snapshots"))?;
    fs::canonicalize(snapshots.parent()?.join("blobs")).ok()
}

fn list_folder(
    folder: &Path,
    prefix: &str,
    depth: usize,
    blobs: Option<&Path>,
    names: &mut Vec<String>,
    left_out: &mut Vec<String>,
) -> Result<()> {
    for entry in fs::read_dir(folder).map_err(|e| Error::io(folder, e))? {
        let entry = entry.map_err(|e| Error::io(folder, e))?;
        // Hidden ones are no texts, and no part of a source's hash.
        if entry.file_name().as_encoded_bytes().starts_with(b".") {
            continue;
        }
        let kind = entry.file_type().map_err(|e| Error::io(entry.path(), e))?;
        let Some(name) = entry.file_name().to_str().map(|name| format!("{prefix}{name}")) else {
            left_out.push(format!("{}: its name is not UTF-8", entry.path().to_string_lossy()));
            continue;
        };
        let is_blob = || {
            let target = fs::canonicalize(entry.path()).ok();
            blobs.is_some() && target.is_some_and(|target| target.is_file() && target.parent() == blobs)
        };
        if kind.is_symlink() && is_blob() {
            names.push(name);
        } else if kind.is_symlink() {
            left_out.push(format!("{name}: a symbolic link, not followed"));
        } else if kind.is_file() {
            names.push(name);
        } else if kind.is_dir() && depth < MAX_DEPTH {
            list_folder(&entry.path(), &format!("{name}/"), depth + 1, blobs, names, left_out)?;
        } else {
            left_out.push(format!("{name}: neither a file nor a folder, or nested too deeply"));
        }
        if names.len() > MAX_FILES {
            break;
        }
    }
    Ok(())
}

fn decompressed<'a>(name: &str, reader: Box<dyn Read + 'a>) -> std::result::Result<Box<dyn Read + 'a>, String> {
    if name.ends_with(".gz") {
        Ok(Box::new(flate2::read::MultiGzDecoder::new(reader)))
    } else if name.ends_with(".zst") {
        let mut decoder = zstd::Decoder::new(reader).map_err(|e| e.to_string())?;
        decoder.window_log_max(27).map_err(|e| e.to_string())?;
        Ok(Box::new(decoder))
    } else {
        Ok(reader)
    }
}
