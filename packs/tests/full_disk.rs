//! A disk that fills at any point leaves the old or the new version, and nothing half done.
//!
//! On a small tmpfs whose free pages and inodes are set exactly, in a mount namespace of the test's own; where none can
//! be made the test says so and is skipped.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used)]

mod workshop;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use lore_packs::{Index, Layout, Library, Policy, build, publish, verify_file, verify_folder};
use workshop::Workshop;

/// Set in the process that has a mount namespace of its own.
const INSIDE: &str = "LORE_FULL_DISK_TEST";
const PAGE: u64 = 4096;

/// Whether this process may mount; if not, `test` is run by one that may, where that is permitted.
fn may_mount(test: &str) -> bool {
    if std::env::var_os(INSIDE).is_some() {
        return true;
    }
    let unshared = |program: &Path| {
        let mut command = Command::new("unshare");
        command.args(["--map-root-user", "--mount"]).arg(program).stdin(Stdio::null());
        command
    };
    let folder = tempfile::tempdir().unwrap();
    let mount = unshared(Path::new("mount")).args(["-t", "tmpfs", "tmpfs"]).arg(folder.path()).output();
    match mount {
        Ok(output) if output.status.success() => {}
        Ok(output) => {
            let why = String::from_utf8_lossy(&output.stderr).trim().to_owned();
            eprintln!("skipped: no file system can be mounted here ({why})");
            return false;
        }
        Err(error) => {
            eprintln!("skipped: no file system can be mounted here (unshare: {error})");
            return false;
        }
    }
    let this = std::env::current_exe().unwrap();
    let output = unshared(&this).args(["--exact", test, "--nocapture"]).env(INSIDE, "1").output().unwrap();
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && out.contains("1 passed"), "{out}\n{err}");
    eprintln!("{err}");
    false
}

/// A file system whose free space is what it is told.
struct Disk(tempfile::TempDir);

impl Disk {
    fn new() -> Self {
        let disk = Self(tempfile::tempdir().unwrap());
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", "size=64m", "tmpfs"]).arg(disk.path()).status();
        assert!(mounted.unwrap().success());
        disk
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    /// Free pages and inodes from now on.
    fn leave(&self, pages: u64, inodes: u64) {
        let output = Command::new("stat").args(["-f", "-c", "%b %f %c %d %S"]).arg(self.path()).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let [blocks, free, nodes, free_nodes, size] =
            text.split_whitespace().map(|word| word.parse::<u64>().unwrap()).collect::<Vec<_>>()[..]
        else {
            panic!("{text}")
        };
        assert_eq!(size, PAGE, "tmpfs counts pages");
        // Zero would mean without limit.
        let size = ((blocks - free + pages) * PAGE).max(PAGE);
        let inodes = (nodes - free_nodes + inodes).max(1);
        let options = format!("remount,size={size},nr_inodes={inodes}");
        let mounted = Command::new("mount").args(["-o", &options]).arg(self.path()).status().unwrap();
        assert!(mounted.success(), "{options}");
    }

    fn plenty(&self) {
        self.leave(10_000, 10_000);
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(self.path()).status();
    }
}

/// Every file and link below a folder with its content, but for locks.
fn snapshot(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut left = vec![folder.to_owned()];
    while let Some(folder) = left.pop() {
        let Ok(entries) = fs::read_dir(&folder) else { continue };
        for entry in entries {
            let path = entry.unwrap().path();
            if path.is_symlink() {
                let target = fs::read_link(&path).unwrap();
                found.insert(path, target.into_os_string().into_encoded_bytes());
            } else if path.is_dir() {
                left.push(path);
            } else if !path.file_name().is_some_and(|name| name == "lock" || name == ".lore-lock") {
                let content = fs::read(&path).unwrap();
                found.insert(path, content);
            }
        }
    }
    found
}

/// Does something with every small number of free pages, then of free inodes, from the same beginning; it must leave
/// what was there or all of what it makes. Returns how often it did which.
fn at_every_size(
    disk: &Disk,
    what: &str,
    begin: impl Fn(),
    act: impl Fn() -> Result<(), lore_packs::Error>,
    check: impl Fn(bool),
) {
    let begin = || {
        disk.plenty();
        begin();
    };
    begin();
    let old = snapshot(disk.path());
    act().unwrap();
    let new = snapshot(disk.path());
    assert_ne!(old, new, "{what} does something");
    let (mut refused, mut done) = (0, 0);
    let pages = (0_u64..).map(|pages| (pages, 10_000_u64));
    let inodes = (0_u64..).map(|inodes| (10_000_u64, inodes));
    for sizes in [Box::new(pages) as Box<dyn Iterator<Item = (u64, u64)>>, Box::new(inodes)] {
        let mut succeeded = 0;
        for (pages, inodes) in sizes {
            begin();
            disk.leave(pages, inodes);
            let place = format!("{what} with {pages} pages and {inodes} inodes free");
            let outcome = act();
            disk.plenty();
            let found = snapshot(disk.path());
            let same = |expected: &BTreeMap<PathBuf, Vec<u8>>| {
                let names = |one: &BTreeMap<PathBuf, Vec<u8>>, two: &BTreeMap<PathBuf, Vec<u8>>| {
                    one.iter()
                        .filter(|(name, content)| two.get(*name) != Some(content))
                        .map(|(name, _)| name.clone())
                        .collect::<Vec<_>>()
                };
                format!("more or other: {:?}, less or other: {:?}", names(&found, expected), names(expected, &found))
            };
            match outcome {
                Ok(()) => {
                    assert!(found == new, "{place}: it succeeded, and {}", same(&new));
                    succeeded += 1;
                    done += 1;
                }
                Err(error) => {
                    assert_eq!(succeeded, 0, "{place}: with less it succeeded: {error}");
                    assert!(found == old, "{place}: {error}, and {}", same(&old));
                    let text = error.to_string();
                    assert!(text.contains("No space left on device"), "{place}: {text}");
                    refused += 1;
                }
            }
            check(succeeded > 0);
            if succeeded == 3 {
                break;
            }
            assert!(pages < 500 || inodes < 500, "{place}: it never succeeds");
        }
    }
    eprintln!("{what}: the old state {refused} times, the new one {done} times");
    assert!(refused > 2);
}

fn two_versions(workshop: &Workshop) -> [PathBuf; 2] {
    ["1.0.0", "2.0.0"].map(|version| {
        workshop.pack(&format!("{version}.lorepack"), |draft| {
            draft.version = Some(version.parse().unwrap());
            draft.summary = format!("Rivers, version {version}");
        })
    })
}

fn install(library: &Library, pack: &Path) -> Result<(), lore_packs::Error> {
    let mut held = library.lock(&|| ())?;
    let staged = held.stage(pack, "test", None)?;
    held.commit(vec![staged], &Policy { allow_downgrade: true, ..Policy::default() }).map(drop)
}

#[test]
fn installing_and_updating() {
    if !may_mount("installing_and_updating") {
        return;
    }
    let (workshop, disk) = (Workshop::new(), Disk::new());
    let [old, new] = two_versions(&workshop);
    let library = Library::new(disk.path().join("library"));
    let version = || {
        let installed = library.list().unwrap();
        let module = installed.get("rivers")?;
        let folder = verify_folder(&library.folder("rivers", module), None).unwrap();
        assert_eq!(folder.manifest.version, module.version, "the folder is of the version that is listed");
        Some(folder.manifest.version.major)
    };
    let empty = || drop(fs::remove_dir_all(library.root()));
    at_every_size(
        &disk,
        "install",
        empty,
        || install(&library, &old),
        |done| {
            assert_eq!(version(), done.then_some(1));
        },
    );
    at_every_size(
        &disk,
        "update",
        || install(&library, &old).unwrap(),
        || install(&library, &new),
        |done| {
            assert_eq!(version(), Some(if done { 2 } else { 1 }));
        },
    );
    // The list of what is left is written before room is made, and may find none.
    disk.plenty();
    install(&library, &new).unwrap();
    disk.leave(0, 0);
    let removed = library.lock(&|| ()).and_then(|mut held| held.remove("rivers"));
    disk.plenty();
    assert_eq!(version(), if removed.is_ok() { None } else { Some(2) }, "it does all or nothing: {removed:?}");
}

#[test]
fn building() {
    if !may_mount("building") {
        return;
    }
    let (workshop, disk) = (Workshop::new(), Disk::new());
    let [old, _] = two_versions(&workshop);
    let place = disk.path().join("rivers.lorepack");
    let copy = || {
        fs::copy(&old, &place).unwrap();
    };
    let check = |_| drop(verify_file(&place, None).unwrap());
    let mut draft = workshop.draft();
    draft.version = Some("2.0.0".parse().unwrap());
    at_every_size(&disk, "build", copy, || build(&place, &draft).map(drop), check);
}

#[test]
fn publishing() {
    if !may_mount("publishing") {
        return;
    }
    let (workshop, disk) = (Workshop::new(), Disk::new());
    let [old, new] = two_versions(&workshop);
    for layout in [Layout::Shelf, Layout::Repository] {
        let shelf = disk.path().join("shelf");
        let begin = || {
            let _ = fs::remove_dir_all(&shelf);
            publish(&old, &shelf, layout).unwrap();
        };
        let what = format!("publish as {layout:?}");
        at_every_size(
            &disk,
            &what,
            begin,
            || publish(&new, &shelf, layout).map(drop),
            |done| {
                let index = Index::read(&shelf.join("index.json")).unwrap();
                assert_eq!(index.packs.len(), if done { 2 } else { 1 });
                for entry in &index.packs {
                    verify_file(&shelf.join(&entry.file), None).unwrap();
                }
            },
        );
    }
}
