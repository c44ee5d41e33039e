//! Modules of a library: `lore generate --modules`, `lore serve` and `lore chat`.

#![allow(clippy::unwrap_used)]

mod workbench;

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use workbench::{Answer, Workbench, edit_json};

/// A base with a chat template, and a library of two modules: the second is the first at another alpha.
fn bench() -> Workbench {
    let bench = Workbench::new();
    let base = bench.model("tiny-llama", "base");
    let template = "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}{% if add_generation_prompt %}assistant:{% endif %}";
    edit_json(&bench.path("base/tokenizer_config.json"), |keys| keys["chat_template"] = template.into());
    bench.module("library/one", &base);
    bench.module("library/two", &base);
    edit_json(&bench.path("library/two/adapter_config.json"), |keys| keys["lora_alpha"] = 3.into());
    bench
}

fn generate(bench: &Workbench, more: &[&str]) -> Answer {
    let arguments = ["generate", "--base", "base", "--prompt", "the rain", "--max-tokens", "12"];
    bench.succeeds(&[&arguments[..], more].concat())
}

#[test]
fn modules_of_a_library_are_what_their_folders_are() {
    let bench = bench();
    let base = generate(&bench, &[]).stdout;
    for (names, folders) in [
        ("one", &["--module", "library/one"][..]),
        ("one=0.75,two=-0.5", &["--module", "library/one=0.75", "--module", "library/two=-0.5"]),
    ] {
        let answer = generate(&bench, &["--library", "library", "--modules", names]);
        assert_eq!(answer.stdout, generate(&bench, folders).stdout, "{names}");
        assert_ne!(answer.stdout, base);
        assert!(answer.stderr.contains("of 512.0 MB for modules"), "{}", answer.stderr);
    }
    let ask = |more: &[&'static str]| -> Vec<&'static str> {
        let start: [&'static str; 7] = ["generate", "--base", "base", "--prompt", "a", "--library", "library"];
        [&start[..], more].concat()
    };
    bench.fails(1, &ask(&["--modules", "three"]), &["no module `three`", "there are one, two"]);
    bench.fails(1, &ask(&["--modules", "one,two", "--memory", "20kB"]), &["one+two take", "at most 20000 are allowed"]);
    bench.fails(2, &ask(&["--modules", "one,one"]), &["`one` is named twice"]);
    bench.fails(2, &ask(&["--modules", "one=much"]), &["`much` of module `one` is not a number"]);
    bench.fails(2, &ask(&["--modules", "one", "--memory", "lots"]), &["expected a size such as 512MB"]);
    // Said by the argument parser, in two paragraphs.
    let both = bench.run(&ask(&["--modules", "one", "--module", "library/one"]));
    assert!(both.code == 2 && both.stderr.contains("cannot be used with"), "{}", both.stderr);
    bench.fails(2, &ask(&["--modules", "auto"]), &["`auto` needs a router"]);
    edit_json(&bench.path("library/two/lore.json"), |facts| {
        facts["base"] = format!("lore-base-v1:{}", "3".repeat(64)).into()
    });
    bench.fails(1, &ask(&["--modules", "two"]), &["module `two`", "was trained on lore-base-v1:3333"]);
    bench.succeeds(&ask(&["--modules", "two", "--allow-base-mismatch"]));
}

/// A server, and where it listens.
struct Server {
    child: Child,
    address: String,
}

impl Server {
    fn start(bench: &Workbench, more: &[&str]) -> Self {
        let arguments = ["serve", "--base", "base", "--library", "library", "--port", "0"];
        let mut command = bench.command(&[&arguments[..], more].concat());
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let address = line.trim().strip_prefix("http://").and_then(|rest| rest.strip_suffix("/v1"));
        let Some(address) = address.map(str::to_owned) else {
            let mut text = String::new();
            child.stderr.take().unwrap().read_to_string(&mut text).unwrap();
            panic!("{line} {text}");
        };
        Self { child, address }
    }

    fn post(&self, path: &str, body: &Value, headers: &str) -> (u16, Value) {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        let text = body.to_string();
        let length = text.len();
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n{headers}Content-Length: {length}\r\n\r\n",
            self.address
        );
        stream.write_all((head + &text).as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head.split(' ').nth(1).unwrap().parse().unwrap(), serde_json::from_str(body).unwrap())
    }

    #[cfg(unix)]
    fn signal(&self, name: &str) {
        let id = self.child.id().to_string();
        assert!(std::process::Command::new("kill").args([name, &id]).status().unwrap().success());
    }

    fn end(mut self) -> (Option<i32>, String) {
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                let mut text = String::new();
                self.child.stderr.take().unwrap().read_to_string(&mut text).unwrap();
                return (status.code(), text);
            }
            assert!(Instant::now() < deadline, "the server does not end");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[cfg(unix)]
#[test]
fn a_server_answers_until_a_signal() {
    let bench = bench();
    for (signal, modules, flags) in [
        ("-TERM", "base", &[][..]),
        ("-INT", "base+one=0.75+two=-0.5", &["--modules", "one=0.75,two=-0.5", "--library", "library"]),
    ] {
        let server = Server::start(&bench, &[]);
        let body = json!({ "model": modules, "prompt": "the rain", "max_tokens": 12, "temperature": 0 });
        let (status, answer) = server.post("/v1/completions", &body, "");
        assert_eq!(status, 200, "{answer}");
        let text = format!("the rain{}\n", answer["choices"][0]["text"].as_str().unwrap());
        assert_eq!(text, generate(&bench, flags).stdout);
        let body =
            json!({ "model": modules, "messages": [{ "role": "user", "content": "the rain" }], "max_tokens": 5 });
        let (status, answer) = server.post("/v1/chat/completions", &body, "");
        assert_eq!((status, answer["object"].as_str()), (200, Some("chat.completion")), "{answer}");
        server.signal(signal);
        let (code, stderr) = server.end();
        assert_eq!(code, Some(0), "{stderr}");
        assert!(stderr.contains("modules: one, two; 4 texts at once of up to 128 tokens"), "{stderr}");
    }
}

#[test]
fn a_server_that_others_reach_needs_a_token() {
    let bench = bench();
    let serve = ["serve", "--base", "base", "--library", "library", "--port", "0"];
    bench.fails(2, &[&serve[..], &["--host", "0.0.0.0"]].concat(), &["--host 0.0.0.0", "--token-file"]);
    bench.write("short", "abc\n");
    bench.fails(2, &[&serve[..], &["--token-file", "short"]].concat(), &["short: the token must be at least 16"]);
    bench.fails(1, &[&serve[..], &["--token-file", "nowhere"]].concat(), &["nowhere"]);
    bench.fails(2, &[&serve[..], &["--context", "129"]].concat(), &["--context 129", "128 positions"]);
    bench.write("token", "0123456789abcdef\n");
    let mut server = Server::start(&bench, &["--host", "0.0.0.0", "--token-file", "token"]);
    let body = json!({ "model": "base", "prompt": "a", "max_tokens": 1 });
    let port = server.address.rsplit_once(':').unwrap().1.to_owned();
    server.address = format!("127.0.0.1:{port}");
    assert_eq!(server.post("/v1/completions", &body, "").0, 401);
    assert_eq!(server.post("/v1/completions", &body, "Authorization: Bearer 0123456789abcdef\r\n").0, 200);
}

fn chat(bench: &Workbench, more: &[&str], typed: &str) -> Answer {
    let arguments = ["chat", "--base", "base", "--library", "library", "--temperature", "0", "--max-tokens", "8"];
    let mut command = bench.command(&[&arguments[..], more].concat());
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // A program that ended before it read all of it has said why.
    let _ = child.stdin.take().unwrap().write_all(typed.as_bytes());
    Answer::of(child.wait_with_output().unwrap())
}

#[test]
fn a_conversation_with_changing_modules() {
    let bench = bench();
    let answer = chat(
        &bench,
        &[],
        "the rain\n\n/modules\n/load one=0.5\n/modules\nand the sea\n/drop one\n/drop\n/reset\nthe rain\n/quit\nnot read\n",
    );
    assert_eq!(answer.code, 0, "{}", answer.stderr);
    let answers: Vec<&str> = answer.stdout.lines().collect();
    assert_eq!(answers.len(), 3, "{answers:?}");
    assert_eq!(answers[0], answers[2], "a new conversation begins anew");
    for part in [
        "[base; 0 of ",
        "from the next question on: base+one=0.5",
        "[base+one=0.5, 14.8 kB, loaded in ",
        "tokens/s]",
        "from the next question on: base\n",
        "a new conversation",
    ] {
        assert!(answer.stderr.contains(part), "`{part}` is not in: {}", answer.stderr);
    }
    let rows: Vec<&str> = answer.stderr.lines().filter(|line| line.starts_with("one ")).collect();
    assert!(
        rows.len() == 2 && rows.iter().all(|row| row.ends_with("on disk")) && rows[1].contains(" 0.5 "),
        "{rows:?}"
    );
    // What was known under other modules is not used: the second answer is that of a conversation with them.
    let with = chat(&bench, &["--modules", "one=0.5", "--quiet"], "the rain\n");
    assert_eq!((with.code, with.stderr.as_str()), (0, ""));
    assert_ne!(with.stdout.lines().next(), Some(answers[0]));

    let answer = chat(&bench, &[], "/load three\n/load one=x\n/drop two\n/nothing\n/help\n/load auto\n");
    assert_eq!((answer.code, answer.stdout.as_str()), (0, ""));
    for part in [
        "no module three; there are one, two",
        "`x` of module `one` is not a number",
        "`two` is not active",
        "no command /nothing",
        "/load NAME[=WEIGHT]",
        "`auto` needs a router",
    ] {
        assert!(answer.stderr.contains(part), "`{part}` is not in: {}", answer.stderr);
    }
    let long = chat(&bench, &[], &format!("{}\n", "rain ".repeat(200)));
    assert_eq!(long.code, 1);
    assert!(long.stderr.contains("there is room for 128"), "{}", long.stderr);
}

#[test]
fn who_cannot_talk_says_so() {
    let bench = bench();
    let answer = chat(&bench, &["--modules", "three"], "a\n");
    answer.is_clear_failure(2, &["no module three", "there are one, two"]);
    chat(&bench, &["--modules", "auto"], "a\n").is_clear_failure(2, &["`auto` needs a router"]);
    edit_json(&bench.path("base/tokenizer_config.json"), |keys| {
        drop(keys.as_object_mut().unwrap().remove("chat_template"))
    });
    chat(&bench, &[], "a\n").is_clear_failure(1, &["has no chat template", "lore generate"]);
    fs::write(bench.path("base/chat_template.jinja"), "{{ raise_exception('only poems') }}").unwrap();
    let answer = chat(&bench, &[], "a\n");
    assert!(answer.code == 1 && answer.stderr.contains("only poems"), "{}", answer.stderr);
}
