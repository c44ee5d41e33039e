//! A small model hub on loopback, with faults on demand.

#![allow(clippy::unwrap_used)]

#[path = "../loopback/mod.rs"]
mod loopback;

use std::collections::{BTreeMap, VecDeque};
use std::fmt::Write as _;
use std::io::{BufReader, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread;

use loopback::Request;
pub use loopback::sha256;

pub const COMMIT: &str = "1111111111111111111111111111111111111111";

/// What goes wrong with the next request for a file's content.
#[derive(Debug, Clone, Copy)]
pub enum Fault {
    /// Answers this status.
    Status(u16),
    /// Announces everything, sends this many bytes, closes.
    CloseAfter(usize),
    /// Sends the whole file although a part was asked for.
    IgnoreRange,
    /// Accepts the request and sends nothing.
    Silence,
}

#[derive(Default)]
pub struct State {
    pub files: BTreeMap<String, Vec<u8>>,
    /// Names listed beside those of `files`.
    pub also_listed: Vec<String>,
    /// Sends the sha256 of a file as its etag, as for large files.
    pub large: bool,
    /// Replaces the etag.
    pub etag: Option<String>,
    pub faults: VecDeque<Fault>,
    pub token: Option<String>,
    /// Sends content from there instead.
    pub storage: Option<String>,
    /// `METHOD path`, plus ` with token` when one came along.
    pub requests: Vec<String>,
}

pub struct HubServer {
    pub url: String,
    state: Arc<Mutex<State>>,
}

impl HubServer {
    pub fn start(files: &[(&str, &[u8])]) -> Self {
        let files = files.iter().map(|(name, bytes)| ((*name).to_owned(), bytes.to_vec())).collect();
        let state = Arc::new(Mutex::new(State { files, ..State::default() }));
        let shared = state.clone();
        let url = loopback::serve(move |stream, _| answer(stream, &shared));
        Self { url, state }
    }

    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    pub fn requests(&self) -> Vec<String> {
        self.state().requests.clone()
    }
}

fn answer(mut stream: TcpStream, shared: &Mutex<State>) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let Some(request) = Request::read(&mut reader) else { return };
    let (method, target) = (request.method.as_str(), request.target.as_str());
    let mut state = shared.lock().unwrap();
    state.requests.push(request.noted());

    if let Some(token) = &state.token
        && !request.shows(token)
    {
        return reply(&mut stream, 401, &[("X-Error-Code", "RepoNotFound")], b"", method);
    }
    if let Some(rest) = target.strip_prefix("/api/") {
        if !rest.starts_with("models/owner/repo/revision/") && !rest.starts_with("datasets/owner/repo/revision/") {
            return reply(&mut stream, 404, &[("X-Error-Code", "RepoNotFound")], b"", method);
        }
        let names: Vec<String> = state.files.keys().chain(&state.also_listed).cloned().collect();
        let siblings: Vec<_> = names.iter().map(|name| serde_json::json!({"rfilename": name})).collect();
        let body = serde_json::json!({"sha": COMMIT, "siblings": siblings}).to_string();
        return reply(&mut stream, 200, &[], body.as_bytes(), method);
    }
    let name = target
        .trim_start_matches("/datasets")
        .strip_prefix("/owner/repo/resolve/")
        .and_then(|rest| rest.split_once('/'))
        .map(|(_, path)| path.replace("%20", " "));
    let Some(bytes) = name.and_then(|name| state.files.get(&name).cloned()) else {
        return reply(&mut stream, 404, &[("X-Error-Code", "EntryNotFound")], b"", method);
    };
    let hash = sha256(&bytes);
    let etag = state.etag.clone().unwrap_or_else(|| if state.large { hash } else { hash[..40].to_owned() });
    let etag = format!("\"{etag}\"");
    let length = bytes.len().to_string();
    let mut extra = vec![("X-Repo-Commit", COMMIT), ("ETag", etag.as_str())];
    let location = state.storage.as_ref().map(|storage| format!("{storage}{target}"));
    if let Some(location) = &location {
        extra.extend([("Location", location.as_str()), ("X-Linked-Etag", etag.as_str()), ("X-Linked-Size", &length)]);
        return reply(&mut stream, 302, &extra, b"", method);
    }
    let fault = if method == "GET" { state.faults.pop_front() } else { None };
    drop(state);
    let start: usize = request
        .headers
        .get("range")
        .and_then(|range| range.strip_prefix("bytes=")?.split('-').next()?.parse().ok())
        .unwrap_or(0);
    match fault {
        Some(Fault::Status(status)) => reply(&mut stream, status, &[], b"", method),
        Some(Fault::Silence) => thread::sleep(std::time::Duration::from_secs(5)),
        Some(Fault::CloseAfter(sent)) => {
            let head = head(if start > 0 { 206 } else { 200 }, &extra, start, bytes.len());
            let end = (start + sent).min(bytes.len());
            let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(&bytes[start..end]));
            let _ = stream.shutdown(Shutdown::Both);
        }
        None if start >= bytes.len() && start > 0 => reply(&mut stream, 416, &extra, b"", method),
        None if start > 0 => {
            let head = head(206, &extra, start, bytes.len());
            let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(&bytes[start..]));
        }
        _ => reply(&mut stream, 200, &extra, &bytes, method),
    }
}

fn head(status: u16, extra: &[(&str, &str)], start: usize, total: usize) -> String {
    let mut head = format!("HTTP/1.1 {status} -\r\nConnection: close\r\nContent-Length: {}\r\n", total - start);
    if status == 206 {
        write!(head, "Content-Range: bytes {start}-{}/{total}\r\n", total.saturating_sub(1)).unwrap();
    }
    for (name, value) in extra {
        write!(head, "{name}: {value}\r\n").unwrap();
    }
    head + "\r\n"
}

fn reply(stream: &mut TcpStream, status: u16, extra: &[(&str, &str)], body: &[u8], method: &str) {
    let _ = stream.write_all(head(status, extra, 0, body.len()).as_bytes());
    if method != "HEAD" {
        let _ = stream.write_all(body);
    }
}
