//! HTTP/1.1 over a socket, as much of it as the server needs.

mod request;
mod respond;

pub(crate) use request::{Connection, Incoming, Request};
pub(crate) use respond::Responder;

/// What a connection may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of a body.
    pub body: usize,
    /// How long a request may take to arrive once it has begun.
    pub arrival: std::time::Duration,
    /// How long a connection may be without a request.
    pub idle: std::time::Duration,
}

impl Default for Limits {
    fn default() -> Self {
        let seconds = std::time::Duration::from_secs;
        Self { body: 4 << 20, arrival: seconds(30), idle: seconds(60) }
    }
}
