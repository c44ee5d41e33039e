//! What the servers of tests have in common: a thread for each connection, and requests taken apart.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::io::BufRead;
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;

use sha2::{Digest, Sha256};

/// Gives every connection and the server's address to `answer`, each in a thread of its own; returns the address.
pub fn serve(answer: impl Fn(TcpStream, &str) + Send + Sync + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let shared = Arc::new((answer, url.clone()));
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let shared = shared.clone();
            thread::spawn(move || (shared.0)(stream, &shared.1));
        }
    });
    url
}

/// What is asked, without its body.
pub struct Request {
    pub method: String,
    pub target: String,
    /// By name in small letters.
    pub headers: BTreeMap<String, String>,
}

impl Request {
    /// The next one; nothing if the connection ends before it.
    pub fn read(reader: &mut impl BufRead) -> Option<Self> {
        let mut request = String::new();
        if reader.read_line(&mut request).unwrap_or(0) == 0 {
            return None;
        }
        let mut headers = BTreeMap::new();
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line).unwrap_or(0) == 0 || line.trim().is_empty() {
                break;
            }
            if let Some((name, value)) = line.split_once(':') {
                headers.insert(name.trim().to_ascii_lowercase(), value.trim().to_owned());
            }
        }
        let mut words = request.split_whitespace().map(str::to_owned);
        let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        Some(Self { method, target, headers })
    }

    /// `METHOD path`, plus ` with token` when one came along.
    pub fn noted(&self) -> String {
        let mark = if self.headers.contains_key("authorization") { " with token" } else { "" };
        format!("{} {}{mark}", self.method, self.target)
    }

    /// Whether it shows this token.
    pub fn shows(&self, token: &str) -> bool {
        self.headers.get("authorization").is_some_and(|shown| *shown == format!("Bearer {token}"))
    }
}

pub fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}
