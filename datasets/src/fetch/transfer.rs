//! HTTP as a model hub speaks it: redirects, resumed downloads, retries, and whom the token is shown to.

use std::env;
use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::thread;
use std::time::Duration;

use ureq::http::{HeaderMap, Response};
use ureq::tls::{PemItem, RootCerts, TlsConfig, parse_pem};
use ureq::{Agent, Body};

use super::redirect::{origin, redirected};
use super::sha256::Hasher;
use crate::error::{Error, Result};
use crate::progress::Task;

const MAX_REDIRECTS: usize = 10;
const MAX_DESCRIPTION_BYTES: u64 = 64 << 20;
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// An attempt that brought this much is progress, and does not count as failed.
const PROGRESS_BYTES: u64 = 1 << 20;

/// How patient transfers are.
#[derive(Debug, Clone)]
pub(super) struct Transfer {
    pub(super) attempts: u32,
    pub(super) first_pause: Duration,
    pub(super) timeout: Duration,
}

impl Default for Transfer {
    fn default() -> Self {
        Self { attempts: 5, first_pause: Duration::from_millis(500), timeout: Duration::from_secs(60) }
    }
}

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

pub(super) struct Client<'a> {
    agent: Agent,
    transfer: &'a Transfer,
    endpoint: &'a str,
    token: Option<&'a str>,
    uri: &'a str,
}

enum Failure {
    /// Worth another attempt, after at least this pause.
    Passing(String, Duration),
    Final(Error),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Final(error)
    }
}

impl From<ureq::Error> for Failure {
    fn from(error: ureq::Error) -> Self {
        Self::Passing(error.to_string(), Duration::ZERO)
    }
}

impl<'a> Client<'a> {
    pub(super) fn new(transfer: &'a Transfer, endpoint: &'a str, token: Option<&'a str>, uri: &'a str) -> Result<Self> {
        let timeout = Some(transfer.timeout);
        let agent = Agent::config_builder()
            // Redirects are followed here, so that the token goes to nobody but the hub.
            .max_redirects(0)
            .max_redirects_will_error(false)
            .http_status_as_error(false)
            .timeout_resolve(timeout)
            .timeout_connect(timeout)
            .timeout_recv_response(timeout)
            .timeout_per_read(timeout)
            .user_agent(concat!("lore/", env!("CARGO_PKG_VERSION")))
            .tls_config(TlsConfig::builder().root_certs(root_certificates()?).build())
            .build();
        Ok(Self { agent: agent.into(), transfer, endpoint, token, uri })
    }

    /// Whether the hub answers at all.
    pub(super) fn reach(&self) -> Result<()> {
        match self.request("HEAD", self.endpoint, None, true) {
            Ok(_) => Ok(()),
            Err(Failure::Final(error)) => Err(error),
            Err(Failure::Passing(problem, _)) => Err(self.network(problem, 1)),
        }
    }

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

    fn with_retries<T>(&self, attempt: impl Fn() -> Result<T, Failure>) -> Result<T> {
        let mut failed = 0;
        loop {
            match attempt() {
                Ok(value) => return Ok(value),
                Err(Failure::Final(error)) => return Err(error),
                Err(Failure::Passing(problem, pause)) => {
                    failed += 1;
                    if failed >= self.transfer.attempts {
                        return Err(self.network(problem, failed));
                    }
                    thread::sleep(self.pause(failed, pause));
                }
            }
        }
    }

    fn pause(&self, failed: u32, at_least: Duration) -> Duration {
        let doubled = self.transfer.first_pause.saturating_mul(1 << (failed - 1).min(16));
        doubled.max(at_least).min(LONGEST_PAUSE)
    }

    /// Sends a request and follows redirects; with `stay`, only those within the hub, because the
    /// hub's answer carries the headers that a storage server does not know.
    fn request(&self, method: &str, url: &str, from: Option<u64>, stay: bool) -> Result<Response<Body>, Failure> {
        let mut url = url.to_owned();
        for _ in 0..=MAX_REDIRECTS {
            let response = self.send(method, &url, from)?;
            let location = text(response.headers(), "location");
            if !response.status().is_redirection() || location.is_none() {
                return Ok(response);
            }
            let next = redirected(&url, location.unwrap_or_default()).ok_or_else(|| {
                Failure::Final(self.network("the hub redirects to an address that is not accepted".into(), 1))
            })?;
            if stay && origin(&next) != origin(&url) {
                return Ok(response);
            }
            url = next;
        }
        Err(Failure::Final(self.network(format!("more than {MAX_REDIRECTS} redirects"), 1)))
    }

    fn send(&self, method: &str, url: &str, from: Option<u64>) -> Result<Response<Body>, Failure> {
        let mut request = match method {
            "HEAD" => self.agent.head(url),
            _ => self.agent.get(url),
        };
        // A compressed answer has another length than the file.
        request = request.header("Accept-Encoding", "identity");
        if let Some(from) = from {
            request = request.header("Range", format!("bytes={from}-"));
        }
        if let Some(token) = self.token
            && origin(url).is_some()
            && origin(url) == origin(self.endpoint)
        {
            request = request.header("Authorization", format!("Bearer {token}"));
        }
        request.call().map_err(|e| match e {
            ureq::Error::BadUri(_) | ureq::Error::Http(_) | ureq::Error::InvalidProxyUrl => {
                Failure::Final(self.network(format!("`{url}` cannot be asked for: {e}"), 1))
            }
            e => e.into(),
        })
    }

    fn check_status(&self, response: &Response<Body>, url: &str) -> Result<(), Failure> {
        let status = response.status().as_u16();
        let code = text(response.headers(), "x-error-code").unwrap_or_default();
        let uri = self.uri.to_owned();
        Err(match status {
            200 | 206 => return Ok(()),
            401 | 403 => {
                let advice = if code == "GatedRepo" {
                    "This repository is gated: accept its conditions on its page, then set HF_TOKEN to a token of that account"
                } else if self.token.is_none() {
                    "Either the name is wrong (a hub answers so for repositories that do not exist) or it is private: then set HF_TOKEN to a token that may read it"
                } else {
                    "The token in HF_TOKEN (or the hub's token file) may not read it, has expired, or the name is wrong"
                };
                Failure::Final(Error::Unauthorized { uri, status, advice: advice.into() })
            }
            404 | 410 => {
                let (what, advice) = match code {
                    "RepoNotFound" => ("this repository", "Check owner and name"),
                    "RevisionNotFound" => ("this revision", "Check the part after `@`"),
                    "EntryNotFound" => ("this file in the repository", "Check the path; upper and lower case differ"),
                    _ => (
                        "the repository, the revision or the file",
                        "Check each part of the name; upper and lower case differ",
                    ),
                };
                Failure::Final(Error::NotFound {
                    uri,
                    what: format!("{what} (on {})", self.endpoint),
                    advice: advice.into(),
                })
            }
            408 | 425 | 429 | 500..=599 => {
                let pause =
                    text(response.headers(), "retry-after").and_then(|seconds| seconds.parse().ok()).unwrap_or(0);
                Failure::Passing(format!("the hub answered {status}"), Duration::from_secs(pause))
            }
            _ => Failure::Final(self.network(format!("the hub answered {status} to {url}"), 1)),
        })
    }

    fn network(&self, problem: String, attempts: u32) -> Error {
        Error::Network {
            uri: self.uri.into(),
            problem,
            attempts,
            advice: format!(
                "The hub is {}. Check the connection, HTTPS_PROXY and HF_ENDPOINT, then run again; what has arrived is kept",
                self.endpoint
            ),
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

fn text<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    headers.get(name)?.to_str().ok()
}

/// Start and total of `bytes start-end/total`.
fn parse_content_range(value: &str) -> Option<(u64, Option<u64>)> {
    let (range, total) = value.strip_prefix("bytes ")?.split_once('/')?;
    let (start, _) = range.split_once('-')?;
    Some((start.parse().ok()?, total.parse().ok()))
}

/// The certificates named by `SSL_CERT_FILE` or `REQUESTS_CA_BUNDLE`, as behind a company's proxy, else
/// those this program was built with.
fn root_certificates() -> Result<RootCerts> {
    let Some(path) = ["SSL_CERT_FILE", "REQUESTS_CA_BUNDLE"]
        .into_iter()
        .find_map(|name| env::var_os(name).filter(|v| !v.is_empty()))
    else {
        return Ok(RootCerts::WebPki);
    };
    let path = Path::new(&path);
    let pem = fs::read(path).map_err(|e| Error::io(path, e))?;
    let certificates = parse_pem(&pem).filter_map(|item| match item {
        Ok(PemItem::Certificate(certificate)) => Some(certificate),
        _ => None,
    });
    Ok(certificates.into())
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
