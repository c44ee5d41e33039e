//! Sources that cannot be downloaded as they should, with a stand-in for pip, and disks that fill up.

#![cfg(unix)]
#![allow(clippy::unwrap_used)]

mod workbench;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use sha2::{Digest, Sha256};
use workbench::tiny_recipe::{RECIPE, tiny_run};
use workbench::{Answer, Workbench};

/// Answers `--version`, and `download` by copying the wheel beside it to the folder after `--dest`.
const PIP: &str = r#"#!/bin/sh
[ "$1" = --version ] && { echo "pip 99"; exit 0; }
while [ $# -gt 0 ]; do
    [ "$1" = --dest ] && dest=$2
    shift
done
/bin/cp WHEEL "$dest/rivers-1.0-py3-none-any.whl"
"#;

/// A recipe whose first topic is in a wheel, and a folder `bin` with nothing but `pip` in it.
fn with_pip(pip: &str) -> (Workbench, String) {
    let bench = tiny_run();
    let members: Vec<(String, Vec<u8>)> =
        (0..40).map(|n| (format!("rivers/{n}.txt"), bench.read(&format!("rivers/{n}.txt")))).collect();
    let wheel = zip(&members);
    bench.write("wheel", &wheel);
    let script = bench.write("pip.sh", pip.replace("WHEEL", bench.path("wheel").to_str().unwrap()));
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
    fs::create_dir(bench.path("bin")).unwrap();
    // Copied by another process: what this one has just written cannot be executed while a fork of another test has it open.
    assert!(Command::new("cp").arg("-p").arg(script).arg(bench.path("bin/pip")).status().unwrap().success());
    let hash = Sha256::digest(&wheel).iter().map(|byte| format!("{byte:02x}")).collect();
    (bench, hash)
}

fn recipe(bench: &Workbench, sha256: &str) {
    let pinned = format!("pypi:rivers==1.0\"\nsha256 = \"{sha256}\"");
    let text = RECIPE.replace("file:rivers\"", &pinned).replacen("\"*.txt\"", "\"rivers/*.txt\"", 1);
    bench.write("recipe.toml", text);
}

fn run_with_path(bench: &Workbench) -> Answer {
    Answer::of(bench.command(&["run", "recipe.toml"]).env("PATH", bench.path("bin")).output().unwrap())
}

/// Wheels and unfinished downloads in the cache.
fn kept(bench: &Workbench) -> Vec<String> {
    let wheels = bench.listing("cache/pypi/rivers-1.0").into_iter().filter(|name| name.ends_with(".whl"));
    wheels.chain(bench.listing("cache/partial")).collect()
}

/// A zip archive of stored members, as APPNOTE.TXT of PKWARE lays it out.
fn zip(members: &[(String, Vec<u8>)]) -> Vec<u8> {
    let (mut file, mut directory) = (Vec::new(), Vec::new());
    for (name, content) in members {
        let offset = file.len() as u32;
        let mut shared = Vec::new();
        // Version 2.0, no flags, stored, midnight of 1 January 1980.
        for field in [20_u16, 0, 0, 0, 0x21] {
            shared.extend(field.to_le_bytes());
        }
        for field in [crc32(content), content.len() as u32, content.len() as u32] {
            shared.extend(field.to_le_bytes());
        }
        shared.extend((name.len() as u16).to_le_bytes());
        shared.extend(0_u16.to_le_bytes());
        file.extend(b"PK\x03\x04");
        file.extend(&shared);
        file.extend(name.as_bytes());
        file.extend(content);
        directory.extend(b"PK\x01\x02\x14\x00");
        directory.extend(&shared);
        directory.extend([0; 10]);
        directory.extend(offset.to_le_bytes());
        directory.extend(name.as_bytes());
    }
    let (start, count) = (file.len() as u32, members.len() as u16);
    file.extend(&directory);
    file.extend(b"PK\x05\x06\0\0\0\0");
    file.extend([count.to_le_bytes(), count.to_le_bytes()].concat());
    file.extend([(directory.len() as u32).to_le_bytes(), start.to_le_bytes()].concat());
    file.extend([0, 0]);
    file
}

fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |crc, &byte| {
        (0..8).fold(crc ^ u32::from(byte), |crc, _| if crc & 1 == 1 { crc >> 1 ^ 0xedb8_8320 } else { crc >> 1 })
    })
}

#[test]
fn a_checksum_as_others_compute_it() {
    // The check value of CRC-32 in the catalogue of parametrised CRC algorithms.
    assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
}

#[test]
fn a_wheel_is_fetched_checked_and_read() {
    let (bench, hash) = with_pip(PIP);
    recipe(&bench, &hash);
    let answer = run_with_path(&bench);
    assert_eq!(answer.code, 0, "{}", answer.stderr);
    assert_eq!(kept(&bench), ["rivers-1.0-py3-none-any.whl"]);
}

#[test]
fn a_wheel_with_another_hash() {
    let (bench, found) = with_pip(PIP);
    let expected = "5".repeat(64);
    recipe(&bench, &expected);
    let answer = run_with_path(&bench);
    answer.is_clear_failure(
        1,
        &[
            "stage `fetch:rivers` failed",
            "pypi:rivers==1.0: the file has sha256",
            &found,
            &expected,
            "Nothing was kept",
        ],
    );
    assert!(kept(&bench).is_empty(), "{:?}", kept(&bench));
}

#[test]
fn a_wheel_that_is_not_one() {
    let (bench, _) = with_pip(PIP);
    let mut wheel = bench.read("wheel");
    wheel.truncate(wheel.len() / 2);
    let hash: String = Sha256::digest(&wheel).iter().map(|byte| format!("{byte:02x}")).collect();
    bench.write("wheel", wheel);
    recipe(&bench, &hash);
    run_with_path(&bench).is_clear_failure(1, &["rivers-1.0-py3-none-any.whl"]);
}

#[test]
fn no_pip() {
    let (bench, hash) = with_pip(PIP);
    fs::remove_file(bench.path("bin/pip")).unwrap();
    recipe(&bench, &hash);
    let parts = ["pypi:rivers==1.0", "Python's pip", "none was found", "`python3 -m pip`", "apt install python3-pip"];
    run_with_path(&bench).is_clear_failure(1, &parts);
    assert!(kept(&bench).is_empty());
    let mut fetch = bench.command(&["fetch", "pypi:rivers==1.0"]);
    Answer::of(fetch.env("PATH", bench.path("bin")).output().unwrap()).is_clear_failure(1, &parts);
}

#[test]
fn a_pip_that_fails() {
    let (bench, hash) = with_pip(
        "#!/bin/sh\n[ \"$1\" = --version ] && { echo pip 99; exit 0; }\necho 'ERROR: No matching distribution found for rivers==1.0' >&2\nexit 1\n",
    );
    recipe(&bench, &hash);
    let answer = run_with_path(&bench);
    answer.is_clear_failure(1, &["pypi:rivers==1.0", "pip download", "No matching distribution found"]);
    assert!(kept(&bench).is_empty());
}

#[test]
fn offline_with_nothing_in_the_cache() {
    let (bench, hash) = with_pip(PIP);
    recipe(&bench, &hash);
    bench.fails(1, &["run", "recipe.toml", "--offline"], &["pypi:rivers==1.0: not in the cache", "--offline"]);
}

#[cfg(target_os = "linux")]
mod full_disks {
    use super::*;

    /// Mounts a disk of `$2` bytes at `$1`, runs the rest, and lists what is left on the disk. The mount ends with the
    /// namespace.
    const ON_A_SMALL_DISK: &str = r#"
mount -t tmpfs -o "size=$2,mode=777" tmpfs "$1" || exit 77
disk=$1
shift 2
"$@"
code=$?
echo "left on the disk:"
find "$disk" -type f
exit $code
"#;

    /// Runs the program with a disk of `bytes` mounted at `disk`; `None` where mounting is not allowed.
    fn run_on(bench: &Workbench, disk: &str, bytes: u64, arguments: &[&str], path: &str) -> Option<Answer> {
        fs::create_dir_all(bench.path(disk)).unwrap();
        for flags in [&["--mount"][..], &["--user", "--map-root-user", "--mount"]] {
            let mut command = Command::new("unshare");
            bench.prepare(&mut command);
            command.args(flags).args(["sh", "-c", ON_A_SMALL_DISK, "sh"]);
            command.arg(bench.path(disk)).arg(bytes.to_string()).arg("env").arg(format!("PATH={path}"));
            let output = command.arg(env!("CARGO_BIN_EXE_lore")).args(arguments).output();
            match output {
                Ok(output) if output.status.code() == Some(77) || output.stderr.starts_with(b"unshare:") => {}
                Ok(output) => return Some(Answer::of(output)),
                Err(_) => break,
            }
        }
        println!("SKIPPED: a small disk cannot be mounted here");
        None
    }

    #[test]
    fn the_cache_does_not_fit() {
        let (bench, hash) = with_pip(PIP);
        recipe(&bench, &hash);
        let path = bench.path("bin");
        let arguments = ["run", "recipe.toml", "--cache-dir", "disk"];
        let Some(answer) = run_on(&bench, "disk", 8192, &arguments, path.to_str().unwrap()) else { return };
        answer.is_clear_failure(
            1,
            &["stage `fetch:rivers` failed", "no space left on the disk", "/disk", "free some space"],
        );
        let left = answer.stdout.split_once("left on the disk:").unwrap().1;
        assert!(!left.contains(".whl") && !left.contains("receipt"), "{left}");
    }

    #[test]
    fn the_run_does_not_fit() {
        // From too little for anything to nearly enough: every writer meets the end of the disk.
        for kilobytes in [4, 24, 48, 96, 160, 320, 480, 800, 900, 950, 1000] {
            let bench = tiny_run();
            let arguments = ["run", "recipe.toml", "--runs-dir", "disk"];
            let Some(answer) = run_on(&bench, "disk", kilobytes << 10, &arguments, "/usr/bin:/bin") else { return };
            if answer.code == 0 {
                continue;
            }
            answer.is_clear_failure(1, &["disk", "free some space", "--runs-dir"]);
            println!("{kilobytes} kB: {}", answer.error());
        }
    }

    #[test]
    fn a_converted_model_does_not_fit() {
        let bench = Workbench::new();
        bench.model("tiny-llama", "base");
        let arguments = ["convert", "base", "--out", "disk/model"];
        let Some(answer) = run_on(&bench, "disk", 64 << 10, &arguments, "/usr/bin:/bin") else { return };
        answer.is_clear_failure(1, &["disk", "free some space"]);
        assert_eq!(answer.stdout.trim_end(), "left on the disk:");
    }
}
