//! HTTP as a model hub speaks it: redirects, retries, and whom the token is shown to.

use std::env;
use std::fs;
use std::io::Read;
use std::path::Path;
use std::thread;
use std::time::Duration;

use ureq::http::{HeaderMap, Response};
use ureq::tls::{PemItem, RootCerts, TlsConfig, parse_pem};
use ureq::{Agent, Body, SendBody};

use super::redirect::{origin, redirected};
use crate::error::{Error, Result};

const MAX_REDIRECTS: usize = 10;
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

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

pub(super) struct Client<'a> {
    agent: Agent,
    pub(super) transfer: &'a Transfer,
    pub(super) endpoint: &'a str,
    token: Option<&'a str>,
    pub(super) uri: &'a str,
}

/// Why one attempt brought nothing.
pub(super) enum Failure {
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
            .timeout_per_write(timeout)
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

    pub(super) fn with_retries<T>(&self, attempt: impl Fn() -> Result<T, Failure>) -> Result<T> {
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

    pub(super) fn pause(&self, failed: u32, at_least: Duration) -> Duration {
        let doubled = self.transfer.first_pause.saturating_mul(1 << (failed - 1).min(16));
        doubled.max(at_least).min(LONGEST_PAUSE)
    }

    /// Sends a request and follows redirects; with `stay`, only those within the hub, because the
    /// hub's answer carries the headers that a storage server does not know.
    pub(super) fn request(
        &self,
        method: &str,
        url: &str,
        from: Option<u64>,
        stay: bool,
    ) -> Result<Response<Body>, Failure> {
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
        if let Some(authorization) = self.authorization(url) {
            request = request.header("Authorization", authorization);
        }
        request.call().map_err(|e| self.failure(url, e))
    }

    /// Sends a body once and follows no redirect; what is read of `body` must be `length` bytes.
    ///
    /// The token goes along only to the hub itself, and only if `authorised`.
    pub(super) fn send_body(
        &self,
        method: &str,
        url: &str,
        authorised: bool,
        headers: &[(&str, &str)],
        length: u64,
        body: &mut dyn Read,
    ) -> Result<Response<Body>, Failure> {
        let mut request = if method == "PUT" { self.agent.put(url) } else { self.agent.post(url) };
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request = request.header("Content-Length", length.to_string()).header("Accept-Encoding", "identity");
        if let Some(authorization) = self.authorization(url).filter(|_| authorised) {
            request = request.header("Authorization", authorization);
        }
        request.send(SendBody::from_reader(body)).map_err(|e| self.failure(url, e))
    }

    fn authorization(&self, url: &str) -> Option<String> {
        let is_hub = origin(url).is_some() && origin(url) == origin(self.endpoint);
        self.token.filter(|_| is_hub).map(|token| format!("Bearer {token}"))
    }

    fn failure(&self, url: &str, error: ureq::Error) -> Failure {
        match error {
            ureq::Error::BadUri(_) | ureq::Error::Http(_) | ureq::Error::InvalidProxyUrl => {
                Failure::Final(self.network(format!("`{url}` cannot be asked for: {error}"), 1))
            }
            error => error.into(),
        }
    }

    /// Whether a token is known; its text stays here.
    pub(super) fn has_token(&self) -> bool {
        self.token.is_some()
    }

    pub(super) fn check_status(&self, response: &Response<Body>, url: &str) -> Result<(), Failure> {
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

    pub(super) fn network(&self, problem: String, attempts: u32) -> Error {
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

pub(super) fn text<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    headers.get(name)?.to_str().ok()
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
