//! A model hub on loopback that takes uploads, as strictly as a real one, with faults on demand.

#![allow(clippy::unwrap_used)]

#[path = "../loopback/mod.rs"]
mod loopback;

use std::collections::{BTreeMap, VecDeque};
use std::io::{BufReader, Read, Write};
use std::net::TcpStream;
use std::sync::{Arc, Mutex, MutexGuard};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use loopback::Request;
pub use loopback::sha256;
use serde_json::{Value, json};

/// What goes wrong with the next file that is put into the storage.
#[derive(Debug, Clone, Copy)]
pub enum Fault {
    /// Takes everything and answers this status.
    Status(u16),
    /// Takes this many bytes and closes the connection.
    CloseAfter(usize),
}

pub struct State {
    pub exists: bool,
    pub commits: u32,
    pub files: BTreeMap<String, Vec<u8>>,
    /// By sha256.
    pub stored: BTreeMap<String, Vec<u8>>,
    parts: BTreeMap<String, BTreeMap<usize, Vec<u8>>>,
    /// Files of at least this many bytes are large.
    pub large_from: usize,
    /// Files of more bytes than this go in parts of so many.
    pub part_bytes: usize,
    /// What a request that changes something must show.
    pub token: Option<String>,
    pub faults: VecDeque<Fault>,
    /// Someone else commits once after the next answer about the repository.
    pub overtaken: bool,
    /// Messages of commits.
    pub messages: Vec<String>,
    pub private: bool,
    /// `METHOD path`, plus ` with token` when one came along.
    pub requests: Vec<String>,
}

pub struct UploadHub {
    pub url: String,
    state: Arc<Mutex<State>>,
}

impl UploadHub {
    pub fn start() -> Self {
        let state = State {
            exists: false,
            commits: 0,
            files: BTreeMap::new(),
            stored: BTreeMap::new(),
            parts: BTreeMap::new(),
            large_from: 1000,
            part_bytes: usize::MAX,
            token: None,
            faults: VecDeque::new(),
            overtaken: false,
            messages: Vec::new(),
            private: false,
            requests: Vec::new(),
        };
        let state = Arc::new(Mutex::new(state));
        let shared = state.clone();
        let url = loopback::serve(move |stream, address| answer(stream, &shared, address));
        Self { url, state }
    }

    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    pub fn requests(&self) -> Vec<String> {
        self.state().requests.clone()
    }
}

impl State {
    fn commit(&self) -> String {
        format!("{:040x}", self.commits)
    }
}

struct Reply {
    status: u16,
    headers: Vec<(&'static str, String)>,
    body: Vec<u8>,
}

fn status(status: u16) -> Reply {
    Reply { status, headers: vec![], body: vec![] }
}

fn json_reply(body: &Value) -> Reply {
    Reply { body: body.to_string().into_bytes(), ..status(200) }
}

fn bad(why: &str) -> Reply {
    Reply { headers: vec![("X-Error-Message", why.to_owned())], ..status(400) }
}

fn answer(mut stream: TcpStream, shared: &Mutex<State>, url: &str) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let Some(request) = Request::read(&mut reader) else { return };
    let (method, target) = (request.method.as_str(), request.target.as_str());
    let length: usize = request.headers.get("content-length").map_or(0, |length| length.parse().unwrap());
    let is_put = method == "PUT";
    let (allowed, fault) = {
        let mut state = shared.lock().unwrap();
        state.requests.push(request.noted());
        let public = is_put || method != "POST" || target.starts_with("/storage/");
        let allowed = public || state.token.as_ref().is_none_or(|token| request.shows(token));
        (allowed, if is_put { state.faults.pop_front() } else { None })
    };
    let mut body = vec![0; length];
    if let Some(Fault::CloseAfter(taken)) = fault {
        let _ = reader.read_exact(&mut body[..taken.min(length)]);
        return;
    }
    if reader.read_exact(&mut body).is_err() {
        return;
    }
    let reply = match fault {
        Some(Fault::Status(code)) => status(code),
        _ if !allowed => status(401),
        _ if is_put && request.headers.contains_key("transfer-encoding") => bad("the storage wants to know the length"),
        _ => route(&mut shared.lock().unwrap(), method, target, &body, url, &request.headers),
    };
    let mut head =
        format!("HTTP/1.1 {} -\r\nConnection: close\r\nContent-Length: {}\r\n", reply.status, reply.body.len());
    for (name, value) in &reply.headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    let _ = stream.write_all(format!("{head}\r\n").as_bytes());
    if method != "HEAD" {
        let _ = stream.write_all(&reply.body);
    }
}

fn route(
    state: &mut State,
    method: &str,
    target: &str,
    body: &[u8],
    url: &str,
    headers: &BTreeMap<String, String>,
) -> Reply {
    let value = || serde_json::from_slice::<Value>(body).unwrap_or_default();
    match (method, target) {
        ("POST", "/api/repos/create") => {
            let value = value();
            if value["organization"] != "owner" || value["name"] != "repo" {
                return status(403);
            }
            if state.exists {
                return status(409);
            }
            (state.exists, state.private) = (true, value["private"] == true);
            state.files.insert(".gitattributes".into(), b"*.safetensors filter=lfs\n".to_vec());
            json_reply(&json!({"url": format!("{url}/owner/repo")}))
        }
        _ if !state.exists => Reply { headers: vec![("X-Error-Code", "RepoNotFound".into())], ..status(404) },
        ("GET", "/api/models/owner/repo/revision/main") => {
            let names: Vec<Value> = state.files.keys().map(|name| json!({"rfilename": name})).collect();
            let reply = json_reply(&json!({"sha": state.commit(), "siblings": names}));
            if std::mem::take(&mut state.overtaken) {
                state.commits += 1;
            }
            reply
        }
        ("POST", "/api/models/owner/repo/preupload/main") => {
            let value = value();
            let files = value["files"].as_array().unwrap().iter().map(|file| {
                let sample = BASE64_STANDARD.decode(file["sample"].as_str().unwrap()).unwrap();
                let size = file["size"].as_u64().unwrap() as usize;
                assert_eq!(sample.len(), size.min(512), "the sample is the file's beginning");
                let mode = if size >= state.large_from { "lfs" } else { "regular" };
                json!({"path": file["path"], "uploadMode": mode, "shouldIgnore": file["path"] == "ignored.txt"})
            });
            json_reply(&json!({"files": files.collect::<Vec<_>>()}))
        }
        ("POST", "/owner/repo.git/info/lfs/objects/batch") => batch(state, &value(), url),
        ("PUT", _) => put(state, target, body),
        ("POST", "/verify") => {
            let value = value();
            let stored = state.stored.get(value["oid"].as_str().unwrap_or_default());
            status(if stored.is_some_and(|stored| value["size"] == stored.len()) { 200 } else { 404 })
        }
        ("POST", _) if target.starts_with("/storage/") => complete(state, target, &value()),
        ("POST", "/api/models/owner/repo/commit/main") => {
            assert_eq!(headers["content-type"], "application/x-ndjson");
            commit(state, body, url)
        }
        ("GET" | "HEAD", _) => download(state, target),
        _ => status(405),
    }
}

fn batch(state: &State, request: &Value, url: &str) -> Reply {
    let object = &request["objects"][0];
    let (oid, size) = (object["oid"].as_str().unwrap(), object["size"].as_u64().unwrap() as usize);
    if request["operation"] != "upload" || request["hash_algo"] != "sha256" || oid.len() != 64 {
        return bad("this is no offer of a large file");
    }
    let mut answer = json!({"oid": oid, "size": size});
    if !state.stored.contains_key(oid) {
        let upload = if size > state.part_bytes {
            let count = size.div_ceil(state.part_bytes);
            let mut header = json!({"chunk_size": state.part_bytes.to_string()});
            for part in 1..=count {
                header[format!("{part:05}")] = format!("{url}/storage/{oid}/{part}").into();
            }
            json!({"href": format!("{url}/storage/{oid}"), "header": header})
        } else {
            json!({"href": format!("{url}/storage/{oid}"), "header": {"X-Kind": "large"}})
        };
        answer["actions"] = json!({"upload": upload, "verify": {"href": format!("{url}/verify")}});
    }
    json_reply(&json!({"transfer": "basic", "objects": [answer]}))
}

fn put(state: &mut State, target: &str, body: &[u8]) -> Reply {
    let place = target.strip_prefix("/storage/").unwrap();
    if let Some((oid, part)) = place.split_once('/') {
        state.parts.entry(oid.into()).or_default().insert(part.parse().unwrap(), body.to_vec());
        return Reply { headers: vec![("ETag", format!("\"{}\"", &sha256(body)[..8]))], ..status(200) };
    }
    if sha256(body) != place {
        return bad("the file has another sha256");
    }
    state.stored.insert(place.into(), body.to_vec());
    status(200)
}

fn complete(state: &mut State, target: &str, request: &Value) -> Reply {
    let oid = target.strip_prefix("/storage/").unwrap().to_owned();
    let parts = state.parts.remove(&oid).unwrap_or_default();
    let told = request["parts"].as_array().unwrap();
    let agree = told.len() == parts.len()
        && told.iter().zip(&parts).all(|(told, (number, bytes))| {
            told["partNumber"] == *number && told["etag"] == format!("\"{}\"", &sha256(bytes)[..8])
        });
    let whole = parts.into_values().flatten().collect::<Vec<u8>>();
    if !agree || request["oid"] != oid.as_str() || sha256(&whole) != oid {
        return bad("the parts are not the file");
    }
    state.stored.insert(oid, whole);
    status(200)
}

fn commit(state: &mut State, body: &[u8], url: &str) -> Reply {
    let mut files = state.files.clone();
    for (index, line) in std::str::from_utf8(body).unwrap().lines().enumerate() {
        let line: Value = serde_json::from_str(line).unwrap();
        let value = &line["value"];
        let path = || value["path"].as_str().unwrap().to_owned();
        match line["key"].as_str().unwrap() {
            "header" => {
                assert_eq!(index, 0, "the header comes first");
                if value.get("parentCommit").is_some_and(|parent| *parent != state.commit()) {
                    return status(412);
                }
                state.messages.push(value["summary"].as_str().unwrap().into());
            }
            "file" => {
                assert_eq!(value["encoding"], "base64");
                files.insert(path(), BASE64_STANDARD.decode(value["content"].as_str().unwrap()).unwrap());
            }
            "lfsFile" => match state.stored.get(value["oid"].as_str().unwrap()) {
                Some(stored) if value["size"] == stored.len() && value["algo"] == "sha256" => {
                    files.insert(path(), stored.clone());
                }
                _ => return bad("a large file was not uploaded"),
            },
            other => return bad(&format!("unknown key {other}")),
        }
    }
    state.files = files;
    state.commits += 1;
    let oid = state.commit();
    json_reply(&json!({"success": true, "commitOid": oid, "commitUrl": format!("{url}/owner/repo/commit/{oid}")}))
}

fn download(state: &State, target: &str) -> Reply {
    let file = target.strip_prefix("/owner/repo/resolve/").and_then(|rest| rest.split_once('/'));
    let Some((revision, bytes)) = file.and_then(|(revision, name)| Some((revision, state.files.get(name)?))) else {
        return Reply { headers: vec![("X-Error-Code", "EntryNotFound".into())], ..status(404) };
    };
    let commit = if revision == "main" { state.commit() } else { revision.to_owned() };
    let headers = vec![("X-Repo-Commit", commit), ("ETag", format!("\"{}\"", sha256(bytes)))];
    // A HEAD has the length of the content that it does not send.
    Reply { headers, body: bytes.clone(), ..status(200) }
}
