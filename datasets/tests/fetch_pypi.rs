//! `pypi:` sources with a stand-in for pip that copies a prepared wheel.

#![cfg(unix)]
#![allow(clippy::unwrap_used)]

use std::fs;
use std::io::{Cursor, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use lore_datasets::Error;
use lore_datasets::fetch::{Fetched, Fetcher, SourceRequest, sha256_of_file};
use lore_datasets::progress::Silent;
use tempfile::TempDir;
use zip::ZipWriter;
use zip::write::SimpleFileOptions;

/// A pip that counts its calls, and copies the wheel beside it to the folder after `--dest`.
const PIP: &str = r#"#!/bin/sh
here=$(dirname "$0")
[ "$1" = --version ] && { echo "pip 99"; exit 0; }
echo "$@" >> "$here/calls"
while [ $# -gt 0 ]; do
    [ "$1" = --dest ] && dest=$2
    shift
done
cp "$here/wheel" "$dest/thing-1.0-py3-none-any.whl"
"#;

struct Setup {
    folder: TempDir,
    fetcher: Fetcher,
}

fn wheel(members: &[(&str, &[u8])]) -> Vec<u8> {
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    for (name, content) in members {
        zip.start_file(*name, SimpleFileOptions::default()).unwrap();
        zip.write_all(content).unwrap();
    }
    zip.finish().unwrap().into_inner()
}

fn setup(pip: &str, wheel: &[u8]) -> Setup {
    let folder = tempfile::tempdir().unwrap();
    let script = folder.path().join("pip");
    // Given to the shell: a file just written cannot be executed while a fork of another test has it open.
    fs::write(&script, pip).unwrap();
    fs::write(folder.path().join("wheel"), wheel).unwrap();
    let fetcher = Fetcher::new(folder.path().join("cache"))
        .offline(false)
        .pip_command(vec!["sh".into(), script.to_str().unwrap().into()]);
    Setup { folder, fetcher }
}

impl Setup {
    fn fetch(&self, uri: &str) -> Result<Fetched, Error> {
        self.request(uri, None, &[])
    }

    fn request(&self, uri: &str, sha256: Option<&str>, pip_args: &[&str]) -> Result<Fetched, Error> {
        let request = SourceRequest {
            uri: uri.parse().unwrap(),
            sha256: sha256.map(str::to_owned),
            pip_args: pip_args.iter().map(|a| (*a).to_owned()).collect(),
        };
        self.fetcher.fetch(&request, &Silent)
    }

    fn calls(&self) -> Vec<String> {
        let calls = fs::read_to_string(self.folder.path().join("calls")).unwrap_or_default();
        calls.lines().map(str::to_owned).collect()
    }

    fn wheel_hash(&self) -> String {
        sha256_of_file(&self.folder.path().join("wheel")).unwrap()
    }

    /// Files below a folder of the cache.
    fn kept(&self, below: &str) -> Vec<PathBuf> {
        lore_datasets::fetch::files_of(&self.folder.path().join("cache").join(below)).unwrap_or_default()
    }
}

fn plain() -> Setup {
    setup(
        PIP,
        &wheel(&[
            ("thing/a.txt", b"alpha"),
            ("thing/data/b.txt", b"beta"),
            ("thing/data/c/d.txt", b"delta"),
            ("thing/data2.txt", b"no"),
        ]),
    )
}

#[test]
fn a_wheel_is_downloaded_once() {
    let setup = plain();
    let hash = setup.wheel_hash();
    let first = setup.request("pypi:thing==1.0", Some(&hash), &[]).unwrap();
    assert_eq!(first.sha256.as_deref(), Some(hash.as_str()));
    assert_eq!(sha256_of_file(&first.path).unwrap(), hash);
    assert!(first.path.ends_with("pypi/thing-1.0/thing-1.0-py3-none-any.whl") && !first.from_cache);
    let second = setup.request("pypi:thing==1.0", Some(&hash), &[]).unwrap();
    assert_eq!(second, Fetched { from_cache: true, ..first });
    let calls = setup.calls();
    assert_eq!(calls.len(), 1);
    assert!(calls[0].starts_with("download --no-deps") && calls[0].ends_with("thing==1.0"), "{calls:?}");
    assert!(calls[0].contains("--only-binary=:all:"));
    assert!(setup.kept("partial").is_empty());
}

#[test]
fn members_are_extracted_and_kept() {
    let setup = plain();
    let file = setup.fetch("pypi:thing==1.0#thing/a.txt").unwrap();
    assert_eq!((fs::read(&file.path).unwrap(), file.bytes, file.from_cache), (b"alpha".to_vec(), 5, false));
    assert_eq!(file.sha256, Some(setup.wheel_hash()));
    assert!(file.path.ends_with("a.txt"));

    let folder = setup.fetch("pypi:thing==1.0#thing/data").unwrap();
    assert_eq!((folder.bytes, folder.from_cache), (9, true));
    assert_eq!(fs::read(folder.path.join("b.txt")).unwrap(), b"beta");
    assert_eq!(fs::read(folder.path.join("c/d.txt")).unwrap(), b"delta");
    assert_eq!(fs::read_dir(&folder.path).unwrap().count(), 2);
    assert_eq!(setup.fetch("pypi:thing==1.0#thing/data/").unwrap(), folder);
    assert_eq!(setup.calls().len(), 1);
}

#[test]
fn offline_uses_the_cache_only() {
    let setup = plain();
    let offline = Setup { fetcher: setup.fetcher.clone().offline(true), folder: setup.folder };
    assert!(matches!(offline.fetch("pypi:thing==1.0").unwrap_err(), Error::Offline { .. }));
    let online = Setup { fetcher: offline.fetcher.clone().offline(false), folder: offline.folder };
    online.fetch("pypi:thing==1.0").unwrap();
    let offline = Setup { fetcher: online.fetcher.clone().offline(true), folder: online.folder };
    assert_eq!(fs::read(offline.fetch("pypi:thing==1.0#thing/a.txt").unwrap().path).unwrap(), b"alpha");
}

/// Changes one byte, and the time, by more than any file system's step.
fn damage(file: &Path) {
    let mut bytes = fs::read(file).unwrap();
    bytes[2] ^= 1;
    fs::write(file, bytes).unwrap();
    let later = SystemTime::now() + Duration::from_secs(3);
    fs::File::options().write(true).open(file).unwrap().set_modified(later).unwrap();
}

#[test]
fn what_was_changed_in_the_cache_is_fetched_again() {
    let setup = plain();
    let wheel = setup.fetch("pypi:thing==1.0").unwrap();
    damage(&wheel.path);
    let again = setup.fetch("pypi:thing==1.0").unwrap();
    assert_eq!((again.from_cache, sha256_of_file(&again.path).unwrap()), (false, setup.wheel_hash()));

    let member = setup.fetch("pypi:thing==1.0#thing/a.txt").unwrap();
    damage(&member.path);
    assert_eq!(fs::read(setup.fetch("pypi:thing==1.0#thing/a.txt").unwrap().path).unwrap(), b"alpha");
}

#[test]
fn a_wrong_hash_names_both_and_keeps_nothing() {
    let setup = plain();
    let pinned = "0".repeat(64);
    let error = setup.request("pypi:thing==1.0#thing/a.txt", Some(&pinned), &[]).unwrap_err();
    let message = error.to_string();
    assert!(matches!(error, Error::WrongHash { .. }), "{message}");
    assert!(message.contains(&pinned) && message.contains(&setup.wheel_hash()), "{message}");
    assert!(setup.kept("pypi").is_empty() && setup.kept("members").is_empty() && setup.kept("partial").is_empty());

    let error = setup.request("pypi:thing==1.0", Some("abc"), &[]).unwrap_err();
    assert!(error.to_string().contains("64 hexadecimal digits"), "{error}");
}

#[test]
fn a_missing_member_shows_what_is_there() {
    let setup = plain();
    let message = setup.fetch("pypi:thing==1.0#other/a.txt").unwrap_err().to_string();
    assert!(message.contains("`other/a.txt` inside the wheel was not found"), "{message}");
    assert!(message.contains("`thing/a.txt`"), "{message}");
}

#[test]
fn pip_arguments_choose_another_wheel() {
    let setup = plain();
    setup.fetch("pypi:thing==1.0").unwrap();
    setup.request("pypi:thing==1.0", None, &["--python-version", "3.14", "--only-binary=:all:"]).unwrap();
    let calls = setup.calls();
    assert_eq!(calls.len(), 2);
    assert!(calls[1].contains("--python-version 3.14"), "{calls:?}");
    let error = setup.request("pypi:thing==1.0", None, &["--no-binary=:all:"]).unwrap_err();
    assert!(matches!(error, Error::Refused { .. }), "{error}");
}

#[test]
fn no_pip_says_how_to_get_one() {
    let setup = plain();
    let fetcher = setup.fetcher.clone().pip_command(vec!["/nowhere/pip".into()]);
    let message = Setup { fetcher, folder: setup.folder }.fetch("pypi:thing==1.0").unwrap_err().to_string();
    assert!(message.contains("`/nowhere/pip`") && message.contains("apt install python3-pip"), "{message}");
}

#[test]
fn a_failing_pip_is_quoted() {
    let pip =
        "[ \"$1\" = --version ] && exit 0\necho 'ERROR: No matching distribution found for thing==1.0' >&2\nexit 1\n";
    let setup = setup(pip, b"");
    let message = setup.fetch("pypi:thing==1.0").unwrap_err().to_string();
    assert!(message.contains("ERROR: No matching distribution") && message.contains("was not found"), "{message}");

    let pip = "[ \"$1\" = --version ] && exit 0\necho 'OSError: [Errno 28] No space left on device' >&2\nexit 2\n";
    let setup = self::setup(pip, b"");
    let error = setup.fetch("pypi:thing==1.0").unwrap_err();
    assert!(matches!(error, Error::NoSpace { .. }), "{error}");

    let setup = self::setup("exit 0\n", b"");
    let error = setup.fetch("pypi:thing==1.0").unwrap_err();
    assert!(error.to_string().contains("exactly one wheel"), "{error}");
}

#[test]
fn a_bomb_is_not_unpacked() {
    let setup = setup(PIP, &wheel(&[("thing/a.txt", b"a"), ("thing/bomb", &vec![0; 32 << 20])]));
    for member in ["thing/bomb", "thing"] {
        let message = setup.fetch(&format!("pypi:thing==1.0#{member}")).unwrap_err().to_string();
        assert!(message.contains("to 33554432 bytes"), "{message}");
    }
    assert!(setup.kept("members").is_empty() && setup.kept("partial").is_empty());
    setup.fetch("pypi:thing==1.0#thing/a.txt").unwrap();
}

#[test]
fn a_member_longer_or_shorter_than_declared_is_refused() {
    let content = b"0123456789 and a little more";
    let honest = wheel(&[("thing/a.txt", content)]);
    for lie in [5_u32, 100] {
        let mut bytes = honest.clone();
        for (signature, offset) in [(b"PK\x01\x02", 24), (b"PK\x03\x04", 22)] {
            let at = bytes.windows(4).position(|w| w == signature).unwrap() + offset;
            assert_eq!(bytes[at..at + 4], (content.len() as u32).to_le_bytes());
            bytes[at..at + 4].copy_from_slice(&lie.to_le_bytes());
        }
        let setup = setup(PIP, &bytes);
        let error = setup.fetch("pypi:thing==1.0#thing/a.txt").unwrap_err();
        assert!(matches!(error, Error::Archive { .. }), "{error}");
        assert!(setup.kept("members").is_empty());
    }
}

#[test]
fn a_member_that_climbs_out_is_refused() {
    for name in ["thing/../../evil.txt", "thing/..\\..\\evil.txt", "thing//evil.txt"] {
        let setup = setup(PIP, &wheel(&[("thing/a.txt", b"a"), (name, b"evil")]));
        let error = setup.fetch("pypi:thing==1.0#thing").unwrap_err();
        let message = error.to_string();
        assert!(matches!(error, Error::Archive { .. }), "{message}");
        assert!(setup.kept("members").is_empty(), "{message}");
    }
}

#[test]
fn links_and_files_that_are_no_archive_are_refused() {
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    zip.add_symlink("thing/link", "/etc/passwd", SimpleFileOptions::default()).unwrap();
    let setup = setup(PIP, &zip.finish().unwrap().into_inner());
    let error = setup.fetch("pypi:thing==1.0#thing/link").unwrap_err();
    assert!(error.to_string().contains("is a link"), "{error}");

    let setup = self::setup(PIP, b"<html>not a wheel</html>");
    let error = setup.fetch("pypi:thing==1.0#thing").unwrap_err();
    assert!(error.to_string().contains("cannot be read as a zip archive"), "{error}");
}
