//! A real server on a port of this machine, and a client that knows no more than HTTP.
#![allow(dead_code, clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use burn::tensor::Device;
use lore_model::Decoder;
use lore_model::files::ModelFiles;
use lore_model::fingerprint::Fingerprint;
use lore_model::sampling::Random;
use lore_model::save::StoredType;
use lore_modules::on_demand::{OnDemand, folders};
use lore_modules::{Adapter, AdapterConfig, LoadedModule, LowRank, activate, peft};
use lore_serve::{Base, Chooser, Engine, EngineConfig, Server, ServerConfig, Service, Turn};
use serde_json::Value;

pub const TOKEN: &str = "a-token-of-some-length";

/// What a server is made of.
pub struct Bench {
    pub folder: tempfile::TempDir,
    pub decoder: Decoder,
    pub adapters: BTreeMap<String, Adapter>,
    fingerprint: Fingerprint,
}

/// How a server is started.
pub struct Options {
    pub cap: u64,
    pub token: Option<String>,
    pub chooser: Option<Box<dyn Chooser>>,
    pub engine: EngineConfig,
    pub server: ServerConfig,
}

impl Default for Options {
    fn default() -> Self {
        let server = ServerConfig { address: SocketAddr::from(([127, 0, 0, 1], 0)), ..ServerConfig::default() };
        let engine = EngineConfig { slots: 4, context: 128, queue: 200 };
        Self { cap: 1 << 30, token: None, chooser: None, engine, server }
    }
}

/// A server that runs; it ends when this does.
pub struct Running {
    pub address: SocketAddr,
    pub stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<bool>>,
}

pub fn files() -> ModelFiles {
    ModelFiles::open(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../model/tests/fixtures/tiny-llama")).unwrap()
}

impl Bench {
    /// The tiny model with modules `hills`, `lakes` and `rivers`.
    pub fn new() -> Self {
        let files = files();
        let decoder = Decoder::load(&files.config, &*files.weights, &Device::flex()).unwrap();
        let fingerprint = Fingerprint::of(&files.config, &*files.weights, &files.tokenizer).unwrap();
        let mut bench = Self { folder: tempfile::tempdir().unwrap(), decoder, adapters: BTreeMap::new(), fingerprint };
        for (seed, name) in ["hills", "lakes", "rivers"].into_iter().enumerate() {
            bench.add(name, seed as u64);
        }
        bench
    }

    /// Installs one more module.
    pub fn add(&mut self, name: &str, seed: u64) {
        let mut random = Random::new(seed, 9);
        let config = AdapterConfig::uniform(4, 8.0);
        let mut updates = BTreeMap::new();
        for (tensor, shape) in self.decoder.config.expected_tensors() {
            let Some(path) = tensor.strip_suffix("_proj.weight").map(|stem| format!("{stem}_proj")) else { continue };
            let (out_features, in_features) = (shape[0], shape[1]);
            let mut draw = |count: usize| -> Vec<f32> { (0..count).map(|_| random.normal() as f32 * 0.3).collect() };
            let (a, b) = (draw(4 * in_features), draw(out_features * 4));
            updates.insert(path, LowRank { a, b, rank: 4, in_features, out_features, scale: 2.0, magnitude: None });
        }
        let adapter = Adapter { config, updates, base: Some(self.fingerprint), metadata: BTreeMap::new() };
        peft::write(&self.library().join(name), &adapter, StoredType::F32).unwrap();
        self.adapters.insert(name.to_owned(), adapter);
    }

    pub fn library(&self) -> PathBuf {
        self.folder.path().to_owned()
    }

    /// Bytes of one module; all have as many.
    pub fn module_bytes(&self) -> u64 {
        4 * self.adapters["hills"].parameter_count() as u64
    }

    /// The base with modules, put together without the library.
    pub fn with(&self, modules: &[(&str, f32)]) -> Decoder {
        let loaded: Vec<(LoadedModule, f32)> = modules
            .iter()
            .map(|(name, weight)| (LoadedModule::new(&self.adapters[*name], &Device::flex()), *weight))
            .collect();
        let borrowed: Vec<(&LoadedModule, f32)> = loaded.iter().map(|(module, weight)| (module, *weight)).collect();
        activate(&self.decoder, &borrowed)
    }

    pub fn base(&self) -> Base {
        let files = files();
        let start = files.document_start();
        let mut stop = files.config.eos_token_ids.clone();
        stop.push(start);
        let layout = |turns: &[Turn]| {
            if turns.last().is_some_and(|turn| turn.role == "assistant") {
                return Err("the last turn is not a question".to_owned());
            }
            Ok(turns.iter().map(|turn| format!("{}: {}\n", turn.role, turn.content)).collect())
        };
        Base {
            decoder: self.decoder.clone(),
            tokenizer: files.tokenizer,
            start,
            stop,
            fingerprint: self.fingerprint.to_string(),
            layout: Some(Box::new(layout)),
        }
    }

    pub fn service(
        &self,
        cap: u64,
        token: Option<String>,
        chooser: Option<Box<dyn Chooser>>,
        engine: EngineConfig,
    ) -> Service {
        let mut library = OnDemand::new(self.decoder.clone(), self.fingerprint, cap);
        library.set_folders(folders(&self.library()).unwrap());
        let place = self.library();
        let folders = move || folders(&place).map_err(|error| error.to_string());
        let engine = Engine::start(Arc::new(self.base()), library, Box::new(folders), chooser, engine);
        Service::new(engine, token)
    }

    pub fn start(&self, options: Options) -> Running {
        let Options { cap, token, chooser, engine, server } = options;
        let server = Server::bind(server, self.service(cap, token, chooser, engine)).unwrap();
        let (address, stop) = (server.address(), Arc::new(AtomicBool::new(false)));
        let ending = stop.clone();
        let thread = std::thread::spawn(move || server.run(&ending));
        Running { address, stop, thread: Some(thread) }
    }
}

impl Running {
    /// Ends the server; whether all requests were answered.
    pub fn end(mut self) -> bool {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.take().unwrap().join().unwrap()
    }

    pub fn client(&self) -> Client {
        Client::to(self.address)
    }

    pub fn post(&self, path: &str, body: &Value) -> Answer {
        self.client().post(path, body)
    }

    pub fn get(&self, path: &str) -> Answer {
        self.client().request("GET", path, &[], "")
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// One connection.
pub struct Client {
    pub stream: TcpStream,
    reader: BufReader<TcpStream>,
}

/// What came back.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: BTreeMap<String, String>,
    pub body: String,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// The data of a stream's events.
    pub fn events(&self) -> Vec<String> {
        assert_eq!(self.headers["content-type"], "text/event-stream", "{self:?}");
        let events = self.body.split("\n\n").filter(|event| !event.is_empty());
        events.map(|event| event.strip_prefix("data: ").unwrap_or_else(|| panic!("{event}")).to_owned()).collect()
    }

    /// Fails unless it is an answer in the interface's form.
    pub fn ok(&self) -> Value {
        assert_eq!(self.status, 200, "{}", self.body);
        self.json()
    }
}

impl Client {
    pub fn to(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        let reader = BufReader::new(stream.try_clone().unwrap());
        Self { stream, reader }
    }

    pub fn post(&mut self, path: &str, body: &Value) -> Answer {
        self.request("POST", path, &[], &body.to_string())
    }

    pub fn request(&mut self, method: &str, path: &str, headers: &[&str], body: &str) -> Answer {
        self.send(method, path, headers, body);
        self.receive().expect("an answer")
    }

    pub fn send(&mut self, method: &str, path: &str, headers: &[&str], body: &str) {
        let host = if headers.iter().any(|header| header.starts_with("Host:")) { "" } else { "Host: localhost\r\n" };
        let more: String = headers.iter().map(|header| format!("{header}\r\n")).collect();
        let length = body.len();
        let text = format!("{method} {path} HTTP/1.1\r\n{host}Content-Length: {length}\r\n{more}\r\n{body}");
        self.stream.write_all(text.as_bytes()).unwrap();
    }

    /// The next answer, or nothing if the connection ends first.
    pub fn receive(&mut self) -> Option<Answer> {
        let mut line = String::new();
        if self.reader.read_line(&mut line).ok()? == 0 {
            return None;
        }
        let status = line.split(' ').nth(1).unwrap().parse().unwrap();
        if status == 100 {
            self.reader.read_line(&mut line).unwrap();
            return self.receive();
        }
        let mut headers = BTreeMap::new();
        loop {
            let mut line = String::new();
            self.reader.read_line(&mut line).unwrap();
            let Some((name, value)) = line.trim_end().split_once(": ") else { break };
            headers.insert(name.to_ascii_lowercase(), value.to_owned());
        }
        let mut body = Vec::new();
        if headers.get("transfer-encoding").is_some_and(|value| value == "chunked") {
            loop {
                let mut line = String::new();
                self.reader.read_line(&mut line).unwrap();
                let size = usize::from_str_radix(line.trim_end(), 16).unwrap_or_else(|_| panic!("chunk {line:?}"));
                let mut chunk = vec![0; size + 2];
                self.reader.read_exact(&mut chunk).unwrap();
                assert_eq!(&chunk[size..], b"\r\n");
                if size == 0 {
                    break;
                }
                body.extend_from_slice(&chunk[..size]);
            }
        } else if let Some(length) = headers.get("content-length") {
            body.resize(length.parse().unwrap(), 0);
            self.reader.read_exact(&mut body).unwrap();
        } else {
            self.reader.read_to_end(&mut body).unwrap();
        }
        Some(Answer { status, headers, body: String::from_utf8(body).unwrap() })
    }
}
