//! What the server understands: OpenAI's completions, chat completions and list of models.

mod answer;
mod chat;
mod completions;
mod error;
mod models;
mod parameters;
mod run;

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use lore_model::sampling::Random;
use serde_json::json;

use crate::engine::{Engine, Finish};
use crate::http::{Request, Responder};

pub use error::ApiError;

/// What answers requests.
pub struct Service {
    /// Who computes.
    pub engine: Engine,
    /// What clients must send as `Authorization: Bearer ..`, if anything.
    token: Option<String>,
    began: u64,
    requests: AtomicU64,
}

/// Why a request is not answered.
pub(crate) enum Trouble {
    /// The client has gone.
    Gone(io::Error),
    /// It is told why.
    Refused(ApiError),
}

impl From<io::Error> for Trouble {
    fn from(error: io::Error) -> Self {
        Self::Gone(error)
    }
}

impl From<ApiError> for Trouble {
    fn from(error: ApiError) -> Self {
        Self::Refused(error)
    }
}

impl Service {
    /// Answers with `engine` those who send `token`, or everybody.
    pub fn new(engine: Engine, token: Option<String>) -> Self {
        Self { engine, token, began: now(), requests: AtomicU64::new(0) }
    }

    /// Whether clients need a token.
    pub fn has_token(&self) -> bool {
        self.token.is_some()
    }

    /// Answers one request.
    ///
    /// # Errors
    /// A client that has gone.
    pub(crate) fn answer(&self, request: &Request, out: &mut Responder<'_>) -> io::Result<()> {
        match self.route(request, out) {
            Ok(()) => Ok(()),
            Err(Trouble::Gone(error)) => Err(error),
            Err(Trouble::Refused(error)) => out.refuse(&error),
        }
    }

    fn route(&self, request: &Request, out: &mut Responder<'_>) -> Result<(), Trouble> {
        let (path, method) = (request.path(), request.method.as_str());
        if path == "/health" {
            if !self.engine.is_alive() {
                return Err(ApiError::engine_ended().into());
            }
            return Ok(out.json(200, &json!({ "status": "ok" }))?);
        }
        self.admit(request)?;
        match (method, path) {
            ("POST", "/v1/completions") => completions::completions(self, &request.body, out),
            ("POST", "/v1/chat/completions") => chat::chat_completions(self, &request.body, out),
            ("GET" | "HEAD", "/v1/models") => Ok(out.json(200, &models::list(self)?)?),
            ("GET" | "HEAD", _) if path.starts_with("/v1/models/") => {
                Ok(out.json(200, &models::one(self, &path["/v1/models/".len()..])?)?)
            }
            (_, "/v1/completions" | "/v1/chat/completions") => Err(wrong_method(method, path, "POST").into()),
            (_, "/v1/models") => Err(wrong_method(method, path, "GET").into()),
            _ => Err(ApiError::http(404, "not_found", format!("there is no {path} here; see /v1/models")).into()),
        }
    }

    /// Who may ask: with a token whoever sends it, without one whoever came to this machine by its own name and not
    /// through a page of another site.
    fn admit(&self, request: &Request) -> Result<(), ApiError> {
        let Some(token) = &self.token else {
            let host = request.header("host").map(host_of);
            let origin = request
                .header("origin")
                .map(|origin| host_of(origin.split_once("://").map_or(origin, |(_, host)| host)));
            let foreign = [host, origin].into_iter().flatten().find(|name| !is_local(name));
            return match foreign {
                Some(name) => {
                    let message =
                        format!("this server answers only to names of this machine, not to `{}`", name.escape_debug());
                    Err(ApiError::http(403, "forbidden", message))
                }
                None => Ok(()),
            };
        };
        let sent = request.header("authorization").and_then(|value| {
            let (scheme, token) = value.split_once(' ')?;
            scheme.eq_ignore_ascii_case("bearer").then_some(token.trim())
        });
        match sent {
            Some(sent) if same(sent.as_bytes(), token.as_bytes()) => Ok(()),
            Some(_) => Err(ApiError::http(401, "invalid_api_key", "the token is not this server's")),
            None => {
                Err(ApiError::http(401, "invalid_api_key", "send this server's token: `Authorization: Bearer TOKEN`"))
            }
        }
    }

    /// A seed for those who give none, and part of the names of answers.
    fn random(&self) -> u64 {
        let count = self.requests.fetch_add(1, Ordering::Relaxed);
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Random::new(since.as_nanos() as u64, count).bits()
    }
}

fn wrong_method(method: &str, path: &str, right: &str) -> ApiError {
    ApiError::http(405, "method_not_allowed", format!("{path} takes {right}, not {}", method.escape_debug()))
}

/// A host without its port.
fn host_of(host: &str) -> &str {
    match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or(rest),
        None => host.split(':').next().unwrap_or(host),
    }
}

fn is_local(name: &str) -> bool {
    name.eq_ignore_ascii_case("localhost")
        || name.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// Compares all bytes, so that time does not tell how many are right.
fn same(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && a.iter().zip(b).fold(0, |different, (a, b)| different | (a ^ b)) == 0
}

/// Seconds since 1970.
fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

fn finish_name(finish: Finish) -> &'static str {
    match finish {
        Finish::Stop => "stop",
        Finish::Length => "length",
    }
}

#[cfg(test)]
mod tests {
    use super::{host_of, is_local, same};

    #[test]
    fn hosts_of_this_machine() {
        for name in ["localhost", "LOCALHOST:80", "127.0.0.1:8080", "127.3.2.1", "[::1]:80", "[::1]"] {
            assert!(is_local(host_of(name)), "{name}");
        }
        for name in
            ["example.org", "127.0.0.1.example.org", "10.0.0.1:80", "localhost.example.org", "", "[::2]", "null"]
        {
            assert!(!is_local(host_of(name)), "{name}");
        }
    }

    #[test]
    fn tokens_are_compared_whole() {
        assert!(same(b"secret", b"secret"));
        for other in [&b""[..], b"secre", b"secreT", b"secret1"] {
            assert!(!same(b"secret", other));
        }
    }
}
