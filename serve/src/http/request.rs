//! Requests from a socket.

use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::Limits;
use crate::api::ApiError;

/// Bytes of a request's first lines.
const HEAD: usize = 16 << 10;
const HEADERS: usize = 64;
/// How often a waiting connection looks whether the server ends.
const LOOK: Duration = Duration::from_millis(100);

/// A request.
#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) method: String,
    target: String,
    headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
    /// Whether another request may follow.
    pub(crate) keep_alive: bool,
    /// Whether the client knows chunks.
    pub(crate) chunks: bool,
}

impl Request {
    /// The target without its query.
    pub(crate) fn path(&self) -> &str {
        self.target.split(['?', '#']).next().unwrap_or_default()
    }

    /// The value of a header, by its name in lower case.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(other, _)| other == name).map(|(_, value)| value.as_str())
    }
}

/// What comes from a connection.
pub(crate) enum Incoming {
    /// A request.
    Request(Request),
    /// Bytes that are none, to be answered with this and closed.
    Refused(ApiError),
    /// Nothing more.
    End,
}

/// A client's socket and what has been read from it.
pub(crate) struct Connection {
    pub(crate) stream: TcpStream,
    buffer: Vec<u8>,
}

/// What stands before a body.
struct Head {
    request: Request,
    length: usize,
    body: usize,
    asks_to_go_on: bool,
}

enum Parsed {
    Partial,
    Whole(Box<Head>),
}

impl Connection {
    pub(crate) fn new(stream: TcpStream) -> io::Result<Self> {
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(LOOK))?;
        stream.set_write_timeout(Some(Duration::from_secs(30)))?;
        Ok(Self { stream, buffer: Vec::new() })
    }

    /// Waits for the next request; ends when the client does, stays silent too long, or `stopping` is set between
    /// requests.
    pub(crate) fn next(&mut self, limits: &Limits, stopping: &AtomicBool) -> Incoming {
        let idle_since = Instant::now();
        while self.buffer.is_empty() {
            if stopping.load(Ordering::Relaxed) || idle_since.elapsed() > limits.idle {
                return Incoming::End;
            }
            match self.fill() {
                Ok(Some(0)) | Err(_) => return Incoming::End,
                Ok(_) => {}
            }
        }
        let deadline = Instant::now() + limits.arrival;
        match self.read(limits, deadline) {
            Ok(Some(request)) => Incoming::Request(request),
            Ok(None) => Incoming::End,
            Err(error) => Incoming::Refused(error),
        }
    }

    fn read(&mut self, limits: &Limits, deadline: Instant) -> Result<Option<Request>, ApiError> {
        let Head { mut request, length, body, asks_to_go_on } = loop {
            match parse(&self.buffer, limits)? {
                Parsed::Whole(head) => break *head,
                Parsed::Partial if self.buffer.len() > HEAD => return Err(too_large_head()),
                Parsed::Partial => {}
            }
            if !self.more(deadline)? {
                return Ok(None);
            }
        };
        if asks_to_go_on && self.buffer.len() < length + body {
            // Whoever does not take this has gone, which the next reading finds out.
            let _ = self.stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n");
        }
        while self.buffer.len() < length + body {
            if !self.more(deadline)? {
                return Ok(None);
            }
        }
        let rest = self.buffer.split_off(length + body);
        request.body = self.buffer.split_off(length);
        self.buffer = rest;
        Ok(Some(request))
    }

    /// Reads some more of a request; false when the client has ended.
    fn more(&mut self, deadline: Instant) -> Result<bool, ApiError> {
        loop {
            if Instant::now() > deadline {
                return Err(ApiError::http(408, "timeout", "the request took too long to arrive"));
            }
            match self.fill() {
                Ok(Some(0)) | Err(_) => return Ok(false),
                Ok(Some(_)) => return Ok(true),
                Ok(None) => {}
            }
        }
    }

    /// Reads what is there; nothing if that takes longer than a look.
    fn fill(&mut self) -> io::Result<Option<usize>> {
        let mut bytes = [0; 8192];
        match self.stream.read(&mut bytes) {
            Ok(count) => {
                self.buffer.extend_from_slice(&bytes[..count]);
                Ok(Some(count))
            }
            Err(error)
                if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted) =>
            {
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// Reads and forgets what a refused client still sends, so that it reads why.
    pub(crate) fn linger(&mut self) {
        let _ = self.stream.shutdown(std::net::Shutdown::Write);
        let (deadline, mut left) = (Instant::now() + Duration::from_secs(1), 16_usize << 20);
        while left > 0 && Instant::now() < deadline {
            self.buffer.clear();
            match self.fill() {
                Ok(Some(0)) | Err(_) => return,
                Ok(Some(count)) => left = left.saturating_sub(count),
                Ok(None) => {}
            }
        }
    }
}

fn too_large_head() -> ApiError {
    ApiError::http(431, "headers_too_large", format!("the first lines of the request are longer than {HEAD} bytes"))
}

fn parse(buffer: &[u8], limits: &Limits) -> Result<Parsed, ApiError> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS];
    let mut parsed = httparse::Request::new(&mut headers);
    let length = match parsed.parse(buffer) {
        Ok(httparse::Status::Partial) => return Ok(Parsed::Partial),
        Ok(httparse::Status::Complete(length)) => length,
        Err(httparse::Error::TooManyHeaders) => return Err(too_large_head()),
        Err(error) => return Err(ApiError::http(400, "not_http", format!("this is not HTTP/1.1: {error}"))),
    };
    if length > HEAD {
        return Err(too_large_head());
    }
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    let headers: Vec<(String, String)> =
        parsed.headers.iter().map(|header| (header.name.to_ascii_lowercase(), text(header.value))).collect();
    let chunks = parsed.version == Some(1);
    let request = Request {
        method: parsed.method.unwrap_or_default().to_owned(),
        target: parsed.path.unwrap_or_default().to_owned(),
        headers,
        body: Vec::new(),
        keep_alive: false,
        chunks,
    };
    if request.header("transfer-encoding").is_some() {
        return Err(ApiError::http(411, "length_required", "send the body whole, with its `Content-Length`"));
    }
    let mut lengths =
        request.headers.iter().filter(|(name, _)| name == "content-length").map(|(_, value)| value.as_str());
    let body = match lengths.next() {
        None => 0,
        Some(value) => {
            let digits = !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit());
            let number = if digits { value.parse::<u64>().ok() } else { None };
            match number {
                Some(number) if lengths.all(|other| other == value) => usize::try_from(number).unwrap_or(usize::MAX),
                _ => return Err(ApiError::http(400, "not_http", "the `Content-Length` is not one number")),
            }
        }
    };
    if body > limits.body {
        let message = format!("the body has {body} bytes; at most {} are taken", limits.body);
        return Err(ApiError::http(413, "body_too_large", message));
    }
    let connection = request.header("connection").map(str::to_ascii_lowercase).unwrap_or_default();
    let says = |word: &str| connection.split(',').any(|part| part.trim() == word);
    let keep_alive = if chunks { !says("close") } else { says("keep-alive") };
    let asks_to_go_on = request.header("expect").is_some_and(|value| value.eq_ignore_ascii_case("100-continue"));
    let request = Request { keep_alive, ..request };
    Ok(Parsed::Whole(Box::new(Head { request, length, body, asks_to_go_on })))
}
