//! Downloads as a model hub gives them: described first, resumed where they stopped, hashed as they arrive.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::thread;
use std::time::Duration;

use super::client::{Client, Failure, text};
use super::sha256::Hasher;
use crate::error::{Error, Result};
use crate::progress::Task;

const MAX_DESCRIPTION_BYTES: u64 = 64 << 20;
/// An attempt that brought this much is progress, and does not count as failed.
const PROGRESS_BYTES: u64 = 1 << 20;

/// What the hub says about a file before it sends it.
pub(super) struct FileHead {
    pub(super) commit: String,
    pub(super) etag: String,
    pub(super) size: Option<u64>,
}

/// A download that arrived whole.
pub(super) struct Arrived {
    pub(super) sha256: String,
    /// Whether some of it was left by an earlier, interrupted run.
    pub(super) resumed: bool,
}

impl Client<'_> {
    /// Commit, etag and size of a file.
    pub(super) fn head(&self, url: &str) -> Result<FileHead> {
        self.with_retries(|| {
            let response = self.request("HEAD", url, None, true)?;
            if !response.status().is_redirection() {
                self.check_status(&response, url)?;
            }
            let headers = response.headers();
            let etag = text(headers, "x-linked-etag").or_else(|| text(headers, "etag"));
            let (Some(etag), Some(commit)) = (etag, text(headers, "x-repo-commit")) else {
                return Err(Failure::Final(self.network(
                    "the answer has no `etag` or no `x-repo-commit` header, so this is not a model hub".into(),
                    1,
                )));
            };
            let etag = etag.trim_start_matches("W/").trim_matches('"');
            let size = match text(headers, "x-linked-size") {
                Some(size) => size.parse().ok(),
                None if response.status().is_redirection() => None,
                None => text(headers, "content-length").and_then(|size| size.parse().ok()),
            };
            Ok(FileHead { commit: commit.into(), etag: etag.into(), size })
        })
    }

    /// A small answer, such as the description of a repository.
    pub(super) fn description(&self, url: &str) -> Result<Vec<u8>> {
        self.with_retries(|| {
            let response = self.request("GET", url, None, false)?;
            self.check_status(&response, url)?;
            let mut bytes = Vec::new();
            let reader = response.into_body().into_reader();
            reader
                .take(MAX_DESCRIPTION_BYTES)
                .read_to_end(&mut bytes)
                .map_err(|e| Failure::Passing(e.to_string(), Duration::ZERO))?;
            Ok(bytes)
        })
    }

    /// Downloads into `partial`, going on where an earlier attempt stopped.
    pub(super) fn download(
        &self,
        url: &str,
        partial: &Path,
        size: Option<u64>,
        task: &mut dyn Task,
    ) -> Result<Arrived> {
        let open = || File::options().create(true).truncate(false).read(true).write(true).open(partial);
        let mut file = open().map_err(|e| Error::io(partial, e))?;
        let mut hasher = Hasher::default();
        let mut have = hasher.read_all(&mut file).map_err(|e| Error::io(partial, e))?;
        let resumed = have > 0;
        let mut shown = 0;
        let mut failed = 0;
        loop {
            let before = have;
            let attempt = self.attempt(url, partial, &mut file, &mut hasher, &mut have, size, &mut |have| {
                task.advance(have.saturating_sub(shown));
                shown = shown.max(have);
            });
            match attempt {
                Ok(()) => {
                    file.sync_all().map_err(|e| Error::io(partial, e))?;
                    return Ok(Arrived { sha256: hasher.finish(), resumed });
                }
                Err(Failure::Final(error)) => return Err(error),
                Err(Failure::Passing(problem, pause)) => {
                    failed = if have >= before + PROGRESS_BYTES { 1 } else { failed + 1 };
                    if failed >= self.transfer.attempts {
                        return Err(self.network(problem, failed));
                    }
                    task.message(&format!("{problem}; trying again"));
                    thread::sleep(self.pause(failed, pause));
                }
            }
        }
    }

    #[allow(clippy::too_many_arguments)]
    fn attempt(
        &self,
        url: &str,
        partial: &Path,
        file: &mut File,
        hasher: &mut Hasher,
        have: &mut u64,
        size: Option<u64>,
        advance: &mut dyn FnMut(u64),
    ) -> Result<(), Failure> {
        let restart = |file: &mut File, hasher: &mut Hasher, have: &mut u64| {
            *hasher = Hasher::default();
            *have = 0;
            file.set_len(0).and_then(|()| file.seek(SeekFrom::Start(0))).map_err(|e| Error::io(partial, e))
        };
        if size.is_some_and(|size| *have > size) {
            restart(file, hasher, have)?;
        }
        advance(*have);
        if size == Some(*have) {
            return Ok(());
        }
        let response = self.request("GET", url, (*have > 0).then_some(*have), false)?;
        let status = response.status().as_u16();
        if status == 416 && *have > 0 {
            restart(file, hasher, have)?;
            return Err(passing("the server cannot go on where the download stopped"));
        }
        self.check_status(&response, url)?;
        let total = if status == 206 {
            let range = text(response.headers(), "content-range").and_then(parse_content_range);
            let Some((_, total)) = range.filter(|(start, _)| *start == *have) else {
                restart(file, hasher, have)?;
                return Err(passing("the server sent another part of the file than was asked for"));
            };
            total
        } else {
            if *have > 0 {
                restart(file, hasher, have)?;
            }
            text(response.headers(), "content-length").and_then(|length| length.parse().ok())
        };
        if let (Some(said), Some(now)) = (size, total)
            && said != now
        {
            return Err(passing(&format!("the hub announced {said} bytes, but the file has {now}")));
        }
        let total = size.or(total);

        let mut reader = response.into_body().into_reader();
        let mut buffer = vec![0; 1 << 17];
        loop {
            match reader.read(&mut buffer) {
                Ok(0) => break,
                Ok(n) => {
                    if total.is_some_and(|total| *have + n as u64 > total) {
                        restart(file, hasher, have)?;
                        return Err(passing("more bytes arrived than were announced"));
                    }
                    file.write_all(&buffer[..n]).map_err(|e| match e.kind() {
                        io::ErrorKind::StorageFull => {
                            Error::NoSpace { path: partial.into(), needed: total, available: Some(*have) }
                        }
                        _ => Error::io(partial, e),
                    })?;
                    hasher.update(&buffer[..n]);
                    *have += n as u64;
                    advance(*have);
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => {
                    return Err(Failure::Passing(stopped(*have, total, &e.to_string()), Duration::ZERO));
                }
            }
        }
        match total {
            Some(total) if *have < total => {
                Err(Failure::Passing(stopped(*have, Some(total), "the connection was closed"), Duration::ZERO))
            }
            _ => Ok(()),
        }
    }
}

fn passing(problem: &str) -> Failure {
    Failure::Passing(problem.into(), Duration::ZERO)
}

fn stopped(have: u64, total: Option<u64>, why: &str) -> String {
    let total = total.map_or("an unknown number".to_owned(), |total| total.to_string());
    format!("the download stopped after {have} of {total} bytes: {why}")
}

/// Start and total of `bytes start-end/total`.
fn parse_content_range(value: &str) -> Option<(u64, Option<u64>)> {
    let (range, total) = value.strip_prefix("bytes ")?.split_once('/')?;
    let (start, _) = range.split_once('-')?;
    Some((start.parse().ok()?, total.parse().ok()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_ranges() {
        assert_eq!(parse_content_range("bytes 5-9/10"), Some((5, Some(10))));
        assert_eq!(parse_content_range("bytes 5-9/*"), Some((5, None)));
        assert_eq!(parse_content_range("bytes */10"), None);
    }
}
