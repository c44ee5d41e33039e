//! Tasks whose data is in a dataset repository, on a hub on loopback.

#![allow(clippy::unwrap_used)]

#[path = "../../datasets/tests/hub_server/mod.rs"]
#[allow(dead_code)]
mod hub_server;
mod workbench;

use hub_server::HubServer;
use serde_json::Value;
use workbench::rivers_task::{TASK, items, learnt, rivers_bench};
use workbench::{Answer, Workbench};

struct Setup {
    bench: Workbench,
    hub: HubServer,
}

impl Setup {
    /// A hub with items in one file, examples in another, and something else beside them.
    fn new() -> Self {
        let bench = rivers_bench(1);
        learnt(&bench, "table.parquet", &[1, 2, 3]);
        let (test, train, table) = (items(0..24), items(30..40), bench.read("table.parquet"));
        let hub = HubServer::start(&[
            ("data/test.jsonl", test.as_bytes()),
            ("data/train.jsonl", train.as_bytes()),
            ("tables/part.parquet", &table),
            ("README.md", b"rivers"),
        ]);
        Self { bench, hub }
    }

    fn task(&self, name: &str, data: &str) {
        self.bench.write(name, TASK.replace("{ path = \"rivers.jsonl\" }", data));
    }

    fn run(&self, arguments: &[&str]) -> Answer {
        let mut command = self.bench.command(arguments);
        command.env("HF_ENDPOINT", &self.hub.url).env("HF_HOME", self.bench.path("hf"));
        command.env_remove("HF_HUB_OFFLINE").env_remove("HF_TOKEN");
        Answer::of(command.output().unwrap())
    }

    /// `lore eval` without a folder of data.
    fn eval(&self, task: &str, out: &str, more: &[&str]) -> Answer {
        self.run(&[&["eval", "--base", "base", "--task", task, "--out", out], more].concat())
    }

    fn result(&self, path: &str) -> Value {
        serde_json::from_slice(&self.bench.read(path)).unwrap()
    }
}

#[test]
fn data_on_a_hub_is_fetched_once_and_asked() {
    let setup = Setup::new();
    setup.task("hub.toml", "{ path = \"hf:datasets/owner/repo\", files = [\"data/te*.jsonl\"] }");
    let first = setup.eval("hub.toml", "out", &[]);
    assert_eq!(first.code, 0, "{}", first.stderr);
    assert_eq!(setup.result("out/rivers.json")["items"]["count"], 24);
    let asked = setup.hub.requests();
    assert!(asked.iter().any(|request| request.ends_with("data/test.jsonl")), "{asked:?}");
    assert!(!asked.iter().any(|request| request.contains("README") || request.contains("train")), "{asked:?}");
    // From the cache, and by another command.
    let again = setup.eval("hub.toml", "again", &["--offline", "--fresh"]);
    assert_eq!(again.code, 0, "{}", again.stderr);
    assert_eq!(setup.hub.requests().len(), asked.len());
    let same = |file: &str| setup.bench.read(&format!("out/{file}")) == setup.bench.read(&format!("again/{file}"));
    assert!(same("rivers.json") && same("rivers.samples.jsonl"));
    let verified = setup.run(&["eval", "verify", "out", "--base", "base", "--task", "hub.toml", "--offline"]);
    assert!(verified.stdout.contains("verified"), "{}{}", verified.stdout, verified.stderr);
    // The same items as from a folder: only the task's own text differs.
    setup.bench.write("data/rivers.jsonl", items(0..24));
    setup.bench.succeeds(&["eval", "--base", "base", "--task", "rivers.toml", "--data", "data", "--out", "local"]);
    let samples = |out: &str| setup.bench.read(&format!("{out}/rivers.samples.jsonl"));
    assert!(samples("out") == samples("local"));
}

#[test]
fn a_file_examples_and_tables_of_a_hub() {
    let setup = Setup::new();
    setup.task("one.toml", "{ path = \"hf:datasets/owner/repo@main/data/test.jsonl\" }");
    let text = String::from_utf8(setup.bench.read("one.toml")).unwrap();
    let shots = "\n[shots]\ndata = { path = \"hf:datasets/owner/repo/data/train.jsonl\" }\n";
    // Examples are of the subset of their question.
    setup.bench.write("one.toml", text + shots);
    let answer = setup.eval("one.toml/even", "out", &["--shots", "2"]);
    assert_eq!(answer.code, 0, "{}", answer.stderr);
    let result = setup.result("out/rivers.even.json");
    assert_eq!((&result["items"]["count"], &result["items"]["shots"]), (&12.into(), &2.into()));
    setup.bench.write(
        "tables.toml",
        "name = \"tables\"\nversion = 1\ndata = { path = \"hf:datasets/owner/repo\", format = \"parquet\" }\n\
         id = \"{{ number }}\"\n[rolling]\ntext = \"{{ text }}\"\n",
    );
    let answer = setup.eval("tables.toml", "tables", &[]);
    assert_eq!(answer.code, 0, "{}", answer.stderr);
    assert_eq!(setup.result("tables/tables.json")["items"]["count"], 4);
}

#[test]
fn what_cannot_be_fetched_is_told() {
    let setup = Setup::new();
    setup.task("missing.toml", "{ path = \"hf:datasets/owner/repo/data/none.jsonl\" }");
    let fails = |task: &str, more: &[&str], code: i32, parts: &[&str]| {
        setup.eval(task, "out", more).is_clear_failure(code, parts);
    };
    fails("missing.toml", &[], 1, &["task rivers: its data on the hub cannot be fetched", "data/none.jsonl"]);
    fails("missing.toml", &["--offline"], 1, &["cannot be fetched", "offline"]);
    setup.task("model.toml", "{ path = \"hf:owner/repo\" }");
    fails("model.toml", &[], 2, &["model.toml", "`data.path`", "is a model; data is written hf:datasets/OWNER/SET"]);
    setup.task("bad.toml", "{ path = \"hf:datasets/owner\" }");
    fails("bad.toml", &[], 2, &["bad.toml", "`data.path`", "names no repository"]);
    // A job for volunteers takes its data along.
    setup.task("hub.toml", "{ path = \"hf:datasets/owner/repo/data/test.jsonl\" }");
    let job = ["work", "task", "--base", "base", "--task", "hub.toml", "--data", "data", "--out", "job.tar"];
    setup.run(&job).is_clear_failure(1, &["was not fetched, which is not done here; put it into a folder"]);
}
