//! Runs the machine's own pip, so that its configured index and proxy apply.

use std::ffi::OsStr;
use std::fs;
use std::io::Read;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use crate::error::{Error, Result};
use crate::progress::Task;

/// Arguments a recipe may add. Others could make pip run code or fetch something else.
const ACCEPTED: [&str; 10] = [
    "--python-version",
    "--platform",
    "--implementation",
    "--abi",
    "--only-binary",
    "--pre",
    "--index-url",
    "--extra-index-url",
    "--find-links",
    "--no-index",
];

const TAIL_LINES: usize = 12;
const TAIL_CHARACTERS: usize = 2000;

pub(super) struct Pip {
    command: Vec<String>,
    pub(super) version: String,
}

impl Pip {
    /// The given command, or the first pip on this machine that runs.
    pub(super) fn find(given: Option<&[String]>, uri: &str) -> Result<Self> {
        let candidates: Vec<Vec<String>> = match given {
            Some(command) => vec![command.to_vec()],
            None => {
                [&["python3", "-m", "pip"][..], &["python", "-m", "pip"], &["pip3"], &["pip"], &["py", "-m", "pip"]]
                    .iter()
                    .map(|words| words.iter().map(|word| (*word).to_owned()).collect())
                    .collect()
            }
        };
        for command in &candidates {
            let Some((program, arguments)) = command.split_first() else {
                continue;
            };
            let output = Command::new(program).args(arguments).arg("--version").stdin(Stdio::null()).output();
            if let Ok(output) = output
                && output.status.success()
            {
                let version = String::from_utf8_lossy(&output.stdout).trim().to_owned();
                return Ok(Self { command: command.clone(), version });
            }
        }
        let tried: Vec<String> = candidates.iter().map(|command| format!("`{}`", command.join(" "))).collect();
        Err(Error::PipMissing { uri: uri.into(), tried: tried.join(", ") })
    }

    /// Downloads the wheel of `requirement` into `folder`, which pip's temporary files share.
    pub(super) fn download(
        &self,
        uri: &str,
        requirement: &str,
        pip_args: &[String],
        folder: &Path,
        task: &mut dyn Task,
    ) -> Result<()> {
        let destination = folder.join("wheel");
        let temporary = folder.join("tmp");
        for new in [&destination, &temporary] {
            fs::create_dir(new).map_err(|e| Error::io(new, e))?;
        }
        let mut arguments: Vec<&OsStr> = Vec::new();
        arguments.extend(self.command[1..].iter().map(OsStr::new));
        arguments
            .extend(["download", "--no-deps", "--no-cache-dir", "--no-input", "--progress-bar", "off"].map(OsStr::new));
        arguments.push(OsStr::new("--disable-pip-version-check"));
        arguments.extend(pip_args.iter().map(OsStr::new));
        // Last, so that it wins: to look at a source distribution, pip would run its code.
        arguments.extend([OsStr::new("--only-binary=:all:"), OsStr::new("--dest"), destination.as_os_str()]);
        arguments.push(OsStr::new(requirement));

        let mut shown: Vec<&str> = self.command.iter().map(String::as_str).collect();
        shown.extend(["download", "--no-deps"]);
        shown.extend(pip_args.iter().map(String::as_str));
        shown.extend(["--only-binary=:all:", requirement]);
        let shown = shown.join(" ");

        let mut child = Command::new(&self.command[0])
            .args(&arguments)
            .env("TMPDIR", &temporary)
            .env("TEMP", &temporary)
            .env("TMP", &temporary)
            .env("PYTHONUTF8", "1")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|e| Error::io(&self.command[0], e))?;
        let mut stderr = child.stderr.take().expect("stderr is piped above");
        let reader = thread::spawn(move || {
            let mut text = Vec::new();
            // A pipe that breaks shortens the message; the exit status still tells success from failure.
            let _ = stderr.read_to_end(&mut text);
            String::from_utf8_lossy(&text).into_owned()
        });
        let (mut seen, mut most_on_disk) = (0, 0);
        let status = loop {
            if let Some(status) = child.try_wait().map_err(|e| Error::io(&self.command[0], e))? {
                break status;
            }
            thread::sleep(Duration::from_millis(50));
            // pip moves or copies the finished file: count the larger of the two places, never both.
            let (temporary, destination) = (size_of(&temporary), size_of(&destination));
            let size = temporary.max(destination);
            most_on_disk = most_on_disk.max(temporary + destination);
            task.advance(size.saturating_sub(seen));
            seen = seen.max(size);
        };
        let message = reader.join().unwrap_or_default();
        if status.success() {
            return Ok(());
        }
        if message.contains("No space left on device") || message.contains("[Errno 28]") {
            return Err(Error::NoSpace { path: folder.into(), needed: None, available: Some(most_on_disk) });
        }
        Err(Error::PipFailed {
            uri: uri.into(),
            command: shown,
            advice: advice(&message).into(),
            message: tail(&message),
        })
    }
}

/// Checks the pip arguments of a recipe against what is accepted.
pub(super) fn check_arguments(uri: &str, pip_args: &[String]) -> Result<()> {
    let mut refused = Vec::new();
    let mut value_may_follow = false;
    for argument in pip_args {
        let name = argument.split('=').next().unwrap_or(argument);
        if ACCEPTED.contains(&name) {
            value_may_follow = !argument.contains('=') && !["--pre", "--no-index"].contains(&name);
        } else if value_may_follow && !argument.starts_with('-') {
            value_may_follow = false;
        } else {
            refused.push(format!("`{argument}`"));
            value_may_follow = false;
        }
    }
    if refused.is_empty() {
        return Ok(());
    }
    Err(Error::Refused {
        uri: uri.into(),
        problem: format!(
            "pip_args holds {}, which is not accepted. Accepted are {}",
            refused.join(", "),
            ACCEPTED.join(", ")
        ),
    })
}

fn size_of(folder: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(folder) else {
        return 0;
    };
    entries
        .flatten()
        .map(|entry| match entry.metadata() {
            Ok(metadata) if metadata.is_dir() => size_of(&entry.path()),
            Ok(metadata) => metadata.len(),
            Err(_) => 0,
        })
        .sum()
}

fn advice(message: &str) -> &'static str {
    let has = |parts: &[&str]| parts.iter().any(|part| message.contains(part));
    if has(&[
        "Max retries exceeded",
        "Retrying (Retry",
        "NewConnectionError",
        "Failed to establish a new connection",
        "Temporary failure in name resolution",
        "ReadTimeout",
        "ProxyError",
        "SSLError",
        "ConnectionResetError",
        "Network is unreachable",
    ]) {
        "pip could not reach its package index: check the connection, the proxy, and `pip config list`"
    } else if has(&["require a different python version", "Requires-Python"]) {
        "This version asks for another Python: pass pip_args = [\"--python-version\", \"3.x\"] with a version it accepts"
    } else if has(&["No matching distribution", "Could not find a version"]) {
        "The package, this version, or a wheel of it was not found: check both names; a package without a wheel cannot be used"
    } else if has(&["401", "403", "Unauthorized", "Forbidden"]) {
        "The package index refused access: check the credentials in pip's configuration"
    } else {
        "Run the command by hand to see more"
    }
}

fn tail(message: &str) -> String {
    let lines: Vec<&str> = message.lines().map(str::trim_end).filter(|line| !line.is_empty()).collect();
    let text = lines[lines.len().saturating_sub(TAIL_LINES)..].join("\n");
    let skip = text.chars().count().saturating_sub(TAIL_CHARACTERS);
    let text: String = text.chars().skip(skip).collect();
    if text.is_empty() { "(nothing)".into() } else { text }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn check(arguments: &[&str]) -> Result<()> {
        let arguments: Vec<String> = arguments.iter().map(|a| (*a).to_owned()).collect();
        check_arguments("pypi:a==1", &arguments)
    }

    #[test]
    fn arguments_that_only_choose_a_wheel_are_accepted() {
        check(&["--python-version", "3.14", "--only-binary=:all:", "--platform", "any", "--pre"]).unwrap();
        for refused in [
            &["--no-binary=:all:"][..],
            &["other-package"],
            &["--python-version", "3.14", "other-package"],
            &["--pre", "other-package"],
            &["--index-url=x", "other-package"],
            &["-r", "list.txt"],
            &["--platform", "--dest"],
        ] {
            assert!(matches!(check(refused), Err(Error::Refused { .. })), "{refused:?}");
        }
    }

    #[test]
    fn advice_names_the_network_before_the_version() {
        let unreachable = "WARNING: Retrying (Retry(total=4)) after connection broken\nERROR: Could not find a version";
        assert!(advice(unreachable).contains("connection"));
        assert!(advice("ERROR: No matching distribution found for a==9").contains("this version"));
    }

    #[test]
    fn the_tail_is_the_end() {
        let message: String = (0..40).map(|i| format!("line {i}\n\n")).collect();
        let tail = tail(&message);
        assert!(tail.starts_with("line 28\n") && tail.ends_with("line 39"), "{tail}");
    }
}
