//! How the server treats clients: wrong ones, impatient ones, too many of them, and its own end.
#![allow(missing_docs, clippy::unwrap_used)]

mod bench;

use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use bench::{Bench, Client, Options, TOKEN};
use lore_serve::{EngineConfig, Error, Limits, Server, ServerConfig};
use serde_json::{Value, json};

const COMPLETIONS: &str = "/v1/completions";
const CHAT: &str = "/v1/chat/completions";

fn body(more: Value) -> Value {
    let mut body = json!({ "model": "base", "prompt": "the rain", "max_tokens": 4, "temperature": 0 });
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    body
}

#[test]
fn every_wrong_request_is_told_what_is_wrong() {
    let bench = Bench::new();
    let server = bench.start(Options::default());
    let mut client = server.client();
    for (path, more, status, param, part) in [
        (COMPLETIONS, json!({ "model": null }), 400, "model", "`model` is missing"),
        (COMPLETIONS, json!({ "model": "gpt-4" }), 404, "model", "there is no model `gpt-4`"),
        (COMPLETIONS, json!({ "prompt": null }), 400, "prompt", "`prompt` is missing"),
        (COMPLETIONS, json!({ "prompt": [] }), 400, "prompt", "an empty list"),
        (COMPLETIONS, json!({ "prompt": [[]] }), 400, "prompt", "no tokens"),
        (COMPLETIONS, json!({ "prompt": [320] }), 400, "prompt", "token 320, but the vocabulary only 320"),
        (COMPLETIONS, json!({ "prompt": [-1] }), 400, "prompt", "a list of token numbers"),
        (COMPLETIONS, json!({ "prompt": { "text": "a" } }), 400, "prompt", "`prompt` is not text"),
        (COMPLETIONS, json!({ "prompt": ["a", 1] }), 400, "prompt", "`prompt` is not text"),
        (COMPLETIONS, json!({ "max_tokens": -1 }), 400, "max_tokens", "a whole number from 0"),
        (COMPLETIONS, json!({ "max_tokens": 200 }), 400, "prompt", "room for 128 together"),
        (COMPLETIONS, json!({ "logprobs": 21 }), 400, "logprobs", "from 0 to 20"),
        (COMPLETIONS, json!({ "echo": "yes" }), 400, "echo", "true or false"),
        (COMPLETIONS, json!({ "best_of": 3 }), 400, "best_of", "other than `n`"),
        (COMPLETIONS, json!({ "suffix": "b" }), 400, "suffix", "not supported"),
        (COMPLETIONS, json!({ "n": 100, "prompt": ["a", "b"] }), 400, "prompt", "at most 128 together"),
        (COMPLETIONS, json!({ "prompt": vec![""; 129] }), 400, "prompt", "a list of 129 prompts; at most 128"),
        (CHAT, json!({}), 400, "messages", "`messages` is missing"),
        (CHAT, json!({ "messages": [] }), 400, "messages", "at least one"),
        (CHAT, json!({ "messages": [{ "role": "user" }] }), 400, "messages", "message 0 has no text"),
        (CHAT, json!({ "messages": [{ "role": "tool", "content": "" }] }), 400, "messages", "no role out of"),
        (
            CHAT,
            json!({ "messages": [{ "role": "user", "content": [{ "type": "image_url" }] }] }),
            400,
            "messages",
            "not text",
        ),
        (CHAT, json!({ "tools": [1], "messages": [] }), 400, "tools", "not supported"),
        (
            CHAT,
            json!({ "messages": [{ "role": "user", "content": "a" }], "top_logprobs": 2 }),
            400,
            "top_logprobs",
            "needs `logprobs`",
        ),
    ] {
        let answer = client.post(path, &body(more.clone()));
        let error = &answer.json()["error"];
        assert_eq!((answer.status, error["param"].as_str()), (status, Some(param)), "{more} {error}");
        assert!(error["message"].as_str().unwrap().contains(part), "{more} {error}");
        assert!(error["type"].as_str().is_some_and(|kind| !kind.is_empty()));
    }
    // After all that the same connection still answers.
    client.post(COMPLETIONS, &body(json!({}))).ok();
    for (method, path, status) in
        [("GET", "/", 404), ("GET", COMPLETIONS, 405), ("POST", "/v1/models", 405), ("GET", "/v1/modelsx", 404)]
    {
        let answer = client.request(method, path, &[], "");
        assert_eq!(answer.status, status, "{method} {path}");
        assert!(answer.json()["error"]["message"].is_string());
    }
    assert_eq!(client.request("GET", "/health", &[], "").ok(), json!({ "status": "ok" }));
    assert_eq!(client.request("POST", COMPLETIONS, &[], "{\"model\"").status, 400);
}

fn raw(address: SocketAddr, text: &str) -> Option<bench::Answer> {
    let mut client = Client::to(address);
    client.stream.write_all(text.as_bytes()).unwrap();
    client.receive()
}

#[test]
fn bytes_that_are_no_request_are_refused() {
    let bench = Bench::new();
    let limits = Limits { body: 1000, arrival: Duration::from_millis(600), ..Limits::default() };
    let server =
        bench.start(Options { server: ServerConfig { limits, ..Options::default().server }, ..Options::default() });
    let status = |text: &str| raw(server.address, text).map(|answer| answer.status);
    assert_eq!(status("nonsense\r\n\r\n"), Some(400));
    assert_eq!(status("\u{0}\u{1}\u{2}"), Some(400));
    let post = "POST /v1/completions HTTP/1.1\r\nHost: localhost\r\n";
    assert_eq!(status(&format!("{post}Content-Length: x\r\n\r\n")), Some(400));
    assert_eq!(status(&format!("{post}Content-Length: 1\r\nContent-Length: 2\r\n\r\nab")), Some(400));
    assert_eq!(status(&format!("{post}Content-Length: +1\r\n\r\na")), Some(400));
    assert_eq!(status(&format!("{post}Content-Length: 99999999999999999999999\r\n\r\n")), Some(400));
    assert_eq!(status(&format!("{post}Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n")), Some(411));
    assert_eq!(status(&format!("{post}Content-Length: 1001\r\n\r\n{}", "a".repeat(1001))), Some(413));
    assert_eq!(status(&format!("GET / HTTP/1.1\r\nX: {}\r\n\r\n", "a".repeat(20_000))), Some(431));
    let many: String = (0..80).map(|i| format!("X-{i}: 1\r\n")).collect();
    assert_eq!(status(&format!("GET / HTTP/1.1\r\n{many}\r\n")), Some(431));
    // Half a request does not hold a connection for ever.
    assert_eq!(status(&format!("{post}Content-Length: 10\r\n\r\nabc")), Some(408));
    assert_eq!(status("GET / HT"), Some(408));
    // Old clients, and those that ask before they send.
    let answer = raw(server.address, "GET /health HTTP/1.0\r\n\r\n").unwrap();
    assert_eq!((answer.status, answer.headers["connection"].as_str()), (200, "close"));
    let text = body(json!({})).to_string();
    let mut client = server.client();
    let head = format!("{post}Content-Length: {}\r\nExpect: 100-continue\r\n\r\n", text.len());
    client.stream.write_all(head.as_bytes()).unwrap();
    std::thread::sleep(Duration::from_millis(50));
    client.stream.write_all(text.as_bytes()).unwrap();
    client.receive().unwrap().ok();
    // Two requests at once on one connection are answered one after the other.
    let twice = format!("{post}Content-Length: {}\r\n\r\n{text}", text.len()).repeat(2);
    client.stream.write_all(twice.as_bytes()).unwrap();
    assert_eq!(client.receive().unwrap().ok()["choices"], client.receive().unwrap().ok()["choices"]);
    // A stream for a client that knows no chunks ends with its connection.
    let streamed = body(json!({ "stream": true })).to_string();
    let old = format!(
        "POST /v1/completions HTTP/1.0\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n{streamed}",
        streamed.len()
    );
    assert_eq!(raw(server.address, &old).unwrap().events().last().unwrap(), "[DONE]");
}

#[test]
fn other_machines_need_a_token() {
    let bench = Bench::new();
    let engine = Options::default().engine;
    let open = SocketAddr::from(([0, 0, 0, 0], 0));
    let config = ServerConfig { address: open, ..ServerConfig::default() };
    let refused = Server::bind(config, bench.service(1 << 20, None, None, engine)).err().unwrap();
    assert!(matches!(refused, Error::TokenNeeded { .. }) && refused.to_string().contains("set a token"));
    let server = bench.start(Options { token: Some(TOKEN.to_owned()), ..Options::default() });
    let ask = |headers: &[&str]| server.client().request("GET", "/v1/models", headers, "");
    let right = format!("Authorization: Bearer {TOKEN}");
    for headers in [
        &[][..],
        &["Authorization: Bearer wrong"],
        &[&format!("Authorization: Basic {TOKEN}")],
        &[&format!("{right}x")],
    ] {
        let answer = ask(headers);
        assert_eq!((answer.status, answer.headers["www-authenticate"].as_str()), (401, "Bearer"), "{headers:?}");
        assert!(!answer.body.contains(TOKEN));
    }
    // With a token any name of the machine will do.
    ask(&[&right, "Host: example.org"]).ok();
    // Whether it lives may be asked by everybody.
    assert_eq!(server.get("/health").status, 200);
    assert_eq!(server.post(COMPLETIONS, &body(json!({}))).status, 401);
}

#[test]
fn pages_of_other_sites_are_not_answered() {
    let bench = Bench::new();
    let server = bench.start(Options::default());
    let ask = |headers: &[&str]| server.client().request("GET", "/v1/models", headers, "").status;
    assert_eq!(ask(&["Host: evil.example:8080"]), 403);
    assert_eq!(ask(&["Origin: http://evil.example"]), 403);
    assert_eq!(ask(&["Origin: null"]), 403);
    assert_eq!(ask(&["Host: 127.0.0.1:8080", "Origin: http://localhost:3000"]), 200);
    assert_eq!(ask(&["Host: [::1]:8080"]), 200);
}

#[test]
fn too_many_are_told_to_come_again() {
    let bench = Bench::new();
    let options = Options {
        engine: EngineConfig { slots: 1, context: 128, queue: 3 },
        server: ServerConfig { connections: 3, ..Options::default().server },
        ..Options::default()
    };
    let server = bench.start(options);
    // More prompts than may wait.
    let answer = server.post(COMPLETIONS, &body(json!({ "prompt": ["a", "b", "c", "d"] })));
    assert_eq!((answer.status, answer.headers["retry-after"].as_str()), (503, "1"));
    assert_eq!(answer.json()["error"]["code"], "overloaded");
    server.post(COMPLETIONS, &body(json!({ "prompt": ["a", "b", "c"] }))).ok();
    // More connections than there may be; those above are closed by now or will be in a moment.
    let deadline = Instant::now() + Duration::from_secs(10);
    let held: Vec<Client> = (0..3)
        .map(|_| {
            loop {
                let mut client = server.client();
                if client.request("GET", "/health", &[], "").status == 200 {
                    break client;
                }
                assert!(Instant::now() < deadline);
                std::thread::sleep(Duration::from_millis(20));
            }
        })
        .collect();
    let answer = server.client().receive().unwrap();
    assert_eq!((answer.status, answer.json()["error"]["code"].as_str()), (503, Some("overloaded")));
    drop(held);
    let answered = || server.client().request("GET", "/health", &[], "").status == 200;
    while !answered() {
        assert!(Instant::now() < deadline, "the connections are not given back");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn who_leaves_gives_the_place_back() {
    let bench = Bench::new();
    let engine = EngineConfig { slots: 1, context: 128, queue: 100 };
    let server = bench.start(Options { engine, ..Options::default() });
    for stream in [true, false] {
        for _ in 0..4 {
            let long = body(json!({ "max_tokens": 100, "n": 20, "temperature": 1, "stream": stream }));
            let mut client = server.client();
            client.send("POST", COMPLETIONS, &[], &long.to_string());
            drop(client);
        }
        server.post(COMPLETIONS, &body(json!({}))).ok();
    }
}

#[test]
fn the_end_waits_for_answers() {
    let bench = Bench::new();
    let server = bench.start(Options::default());
    let long = body(json!({ "max_tokens": 110, "n": 4, "stream": true }));
    let mut client = server.client();
    client.send("POST", COMPLETIONS, &[], &long.to_string());
    let mut idle = server.client();
    idle.request("GET", "/health", &[], "").ok();
    let address = server.address;
    // The request has arrived, for the other one that came later was answered.
    let answering = std::thread::spawn(move || client.receive().unwrap());
    std::thread::sleep(Duration::from_millis(50));
    assert!(server.end(), "answers were cut off");
    assert_eq!(answering.join().unwrap().events().last().unwrap(), "[DONE]");
    assert!(idle.receive().is_none(), "an idle connection is closed");
    assert!(TcpStream::connect_timeout(&address, Duration::from_millis(300)).is_err(), "nobody listens any more");
}

#[test]
fn the_end_does_not_wait_for_ever() {
    let bench = Bench::new();
    let server = ServerConfig { grace: Duration::ZERO, ..Options::default().server };
    let engine = EngineConfig { slots: 1, context: 128, queue: 200 };
    let server = bench.start(Options { server, engine, ..Options::default() });
    let long = body(json!({ "max_tokens": 120, "n": 100, "temperature": 1, "stream": true }));
    let mut client = server.client();
    client.send("POST", COMPLETIONS, &[], &long.to_string());
    std::thread::sleep(Duration::from_millis(100));
    let stop = server.stop.clone();
    assert!(!stop.load(Ordering::Relaxed));
    assert!(!server.end(), "a hundred texts were written in a tenth of a second");
    let answer = client.receive().unwrap();
    let last = answer.events().pop().unwrap();
    assert!(last.contains("the server is ending"), "{last}");
}
