//! Answers to a socket.

use std::io::{self, ErrorKind, Write};
use std::net::TcpStream;

use serde_json::Value;

use super::request::Request;
use crate::api::ApiError;

/// Where the answer to one request goes.
pub(crate) struct Responder<'a> {
    stream: &'a TcpStream,
    head_only: bool,
    chunks: bool,
    /// Whether the connection can be used again.
    pub(crate) keep_alive: bool,
}

/// Whoever waits for an answer.
#[derive(Clone, Copy)]
pub(crate) struct Client<'a>(&'a TcpStream);

impl Client<'_> {
    /// Whether the connection is open.
    pub(crate) fn is_there(&self) -> bool {
        // The socket's reads wait for a tenth of a second at most.
        match self.0.peek(&mut [0]) {
            Ok(count) => count > 0,
            Err(error) => matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted),
        }
    }
}

impl<'a> Responder<'a> {
    pub(crate) fn to(request: &Request, stream: &'a TcpStream, keep_alive: bool) -> Self {
        let keep_alive = keep_alive && request.keep_alive;
        Self { stream, head_only: request.method == "HEAD", chunks: request.chunks, keep_alive }
    }

    /// To a client whose request could not be read.
    pub(crate) fn last(stream: &'a TcpStream) -> Self {
        Self { stream, head_only: false, chunks: false, keep_alive: false }
    }

    pub(crate) fn client(&self) -> Client<'a> {
        Client(self.stream)
    }

    /// A whole answer.
    pub(crate) fn json(&mut self, status: u16, body: &Value) -> io::Result<()> {
        self.whole(status, "", body)
    }

    /// An error.
    pub(crate) fn refuse(&mut self, error: &ApiError) -> io::Result<()> {
        let more = match error.status {
            401 => "WWW-Authenticate: Bearer\r\n",
            503 => "Retry-After: 1\r\n",
            _ => "",
        };
        self.whole(error.status, more, &error.body())
    }

    fn whole(&mut self, status: u16, more: &str, body: &Value) -> io::Result<()> {
        let body = body.to_string() + "\n";
        let mut text = format!(
            "HTTP/1.1 {status} {}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n{more}{}\r\n",
            reason(status),
            body.len(),
            self.connection(),
        );
        if !self.head_only {
            text.push_str(&body);
        }
        self.stream.write_all(text.as_bytes())
    }

    fn connection(&self) -> &'static str {
        if self.keep_alive { "" } else { "Connection: close\r\n" }
    }

    /// Begins an answer in events.
    pub(crate) fn start_events(&mut self) -> io::Result<()> {
        // Without chunks the end of the connection is the end of the answer.
        self.keep_alive &= self.chunks;
        let encoding = if self.chunks { "Transfer-Encoding: chunked\r\n" } else { "" };
        let head = format!(
            "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nCache-Control: no-cache\r\n{encoding}{}\r\n",
            self.connection()
        );
        self.stream.write_all(head.as_bytes())
    }

    /// One event, whose data is one line.
    pub(crate) fn event(&mut self, data: &str) -> io::Result<()> {
        let event = format!("data: {data}\n\n");
        let bytes = if self.chunks { format!("{:x}\r\n{event}\r\n", event.len()) } else { event };
        self.stream.write_all(bytes.as_bytes())
    }

    /// The end of the events.
    pub(crate) fn end_events(&mut self) -> io::Result<()> {
        if self.chunks { self.stream.write_all(b"0\r\n\r\n") } else { Ok(()) }
    }
}

fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
        411 => "Length Required",
        413 => "Content Too Large",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        503 => "Service Unavailable",
        _ => "Error",
    }
}
