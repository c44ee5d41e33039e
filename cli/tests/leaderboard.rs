//! `lore leaderboard` on a tiny model: from packs to a board that a stranger verifies.

#![allow(clippy::unwrap_used)]

mod workbench;
#[path = "../../packs/tests/workshop/mod.rs"]
mod workshop;

use std::fs;
use std::path::Path;

use lore_model::files::ModelFiles;
use lore_model::fingerprint::Fingerprint;
use lore_packs::build;
use serde_json::Value;
use workbench::rivers_task::{TASK, items, learnt, rivers_bench};
use workbench::{Workbench, edit_json};

const KEYS: [&str; 2] = ["--keys", "keys"];
const MODEL: [&str; 4] = ["--base", "base", "--data", "data"];

/// A board of one task, with a private twin of it.
fn bench() -> Workbench {
    let bench = rivers_bench(30);
    bench.write("private/rivers.jsonl", items(100..130));
    bench.write("private/secret.toml", TASK.replace("name = \"rivers\"", "name = \"secret\""));
    bench.succeeds(&[&["pack", "keygen"], &KEYS[..]].concat());
    bench.succeeds(
        &[
            &["leaderboard", "init", "board", "--name", "Rivers", "--task", "rivers.toml", "--items", "10"][..],
            &["--holdout", "private/secret:rivers"][..],
            &MODEL[..],
            &KEYS[..],
        ]
        .concat(),
    );
    bench
}

/// A pack of the tiny module for `base`.
fn pack(bench: &Workbench, name: &str, base: &Path) {
    let files = ModelFiles::open(base).unwrap();
    let fingerprint = Fingerprint::of(&files.config, &*files.weights, &files.tokenizer).unwrap();
    edit_json(&bench.path("module/lore.json"), |facts| facts["base"] = fingerprint.to_string().into());
    let mut draft = workshop::draft(&bench.path("module"));
    draft.name = name.into();
    draft.base.as_mut().unwrap().fingerprint = fingerprint;
    draft.evaluation.as_mut().unwrap().base = fingerprint;
    build(&bench.path(&format!("{name}.lorepack")), &draft).unwrap();
}

fn leaderboard<'a>(command: &[&'a str], more: &[&'a str]) -> Vec<&'a str> {
    [&["leaderboard"], command, more].concat()
}

#[test]
fn from_packs_to_a_board_that_a_stranger_verifies() {
    let bench = bench();
    pack(&bench, "brooks", &bench.path("base"));
    let submit = leaderboard(&["submit", "board", "brooks.lorepack", "--by", "Ada", "--claim", "rivers:acc=0.99"], &[]);
    let id = bench.succeeds(&submit).stdout.trim().to_owned();
    assert!(id.starts_with("brooks-0.1.0-"), "{id}");
    bench.fails(1, &submit, &["handed in before"]);

    let rerun = leaderboard(&["rerun", "board"], &[&MODEL[..], &KEYS[..]].concat());
    bench.fails(2, &rerun, &["--holdout DIR"]);
    let with_holdout = [&rerun[..], &["--holdout", "private"]].concat();
    let answer = bench.succeeds(&with_holdout);
    assert_eq!(answer.stdout, format!("base\n{id}\n"));
    let folder = format!("board/results/{id}");
    assert_eq!(
        bench.listing(&folder),
        ["contamination.json", "costs.json", "holdout.json", "seed-1", "seed-2", "seed-3"]
    );
    // Nothing of the private items is published, beyond counts and a figure.
    let published = String::from_utf8(bench.read(&format!("{folder}/holdout.json"))).unwrap();
    assert!(!published.contains("river 1") && published.contains("\"items\": 30"), "{published}");

    let built = bench.succeeds(&leaderboard(&["build", "board"], &[]));
    assert!(built.stdout.contains(&id) && built.stdout.contains("base"), "{}", built.stdout);
    let page = String::from_utf8(bench.read("board/site/index.html")).unwrap();
    for part in ["Rivers", "brooks", "What authors state", "0.99", "training text not searched", "unsigned"] {
        assert!(page.contains(part), "`{part}` is not on the page");
    }
    for file in ["matrix.html", "compare.html", "method.html", "style.css", "board.js", "data/base.js"] {
        assert!(bench.path(&format!("board/site/{file}")).is_file(), "{file}");
    }
    let all: String = bench.listing("board/site/modules").concat();
    assert_eq!(all, format!("{id}.html"));
    let page = String::from_utf8(bench.read(&format!("board/site/modules/{id}.html"))).unwrap();
    assert!(page.contains(">not searched<"), "nobody showed the training text: {page}");

    // A stranger has the board, the data and the base.
    let verified = bench.succeeds(&leaderboard(&["verify", "board"], &[]));
    assert!(verified.stdout.contains("4 entries") && verified.stdout.contains("6 results"), "{}", verified.stdout);
    let anew = bench.succeeds(&leaderboard(&["verify", "board", "--items", "0"], &MODEL));
    assert_eq!(anew.stdout.matches("items asked anew").count(), 2, "{}", anew.stdout);

    // Asked again from nothing: the same bytes.
    let result = format!("{folder}/seed-2/rivers.samples.jsonl");
    let before = bench.read(&result);
    bench.succeeds(&[&with_holdout[..], &[&id, "--fresh", "--threads", "1"]].concat());
    assert_eq!(bench.read(&result), before);

    let disputed = ["dispute", "board", "brooks", "--by", "Babbage", "--reason", "too good"];
    let entry = bench.succeeds(&leaderboard(&disputed, &[])).stdout.trim().to_owned();
    let settle = leaderboard(&["settle", "board", &entry, "withdrawn", "--reason", "it was"], &KEYS);
    bench.succeeds(&settle);
    bench.fails(1, &settle, &["settled already"]);
    let built = bench.succeeds(&leaderboard(&["build", "board"], &[]));
    assert!(built.stdout.contains("withdrawn: it was"), "{}", built.stdout);

    // One figure made nicer.
    let path = bench.path(&format!("{folder}/seed-1/rivers.json"));
    edit_json(&path, |result| result["metrics"]["acc"]["value"] = 0.99.into());
    for command in ["verify", "build"] {
        bench.fails(1, &leaderboard(&[command, "board"], &[]), &["rivers.json is altered", "the log names"]);
    }
    let log = String::from_utf8(bench.read("board/log.jsonl")).unwrap();
    assert!(!log.contains(bench.path("").to_str().unwrap()), "it says where it was made");
    let lines: Vec<Value> = log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.last().unwrap()["entry"]["what"]["event"], "settled");
}

#[test]
fn what_a_board_refuses() {
    let bench = bench();
    // Nothing was asked yet: pages all the same, and no script that would look for figures.
    bench.succeeds(&leaderboard(&["build", "board"], &[]));
    let page = String::from_utf8(bench.read("board/site/compare.html")).unwrap();
    assert!(page.contains("Nothing was asked yet") && !page.contains("compare.js"), "{page}");
    let other = bench.model("tiny-qwen3", "other");
    pack(&bench, "strange", &other);
    bench.fails(
        1,
        &leaderboard(&["submit", "board", "strange.lorepack", "--by", "Eve"], &[]),
        &["is made for the base", "this board is of base"],
    );
    let init = |more: &[&str]| -> Vec<String> {
        let all = [&["leaderboard", "init", "new", "--name", "x"], &MODEL[..], &KEYS[..], more].concat();
        all.into_iter().map(str::to_owned).collect()
    };
    let fails = |code, more: &[&str], parts: &[&str]| {
        let arguments = init(more);
        bench.fails(code, &arguments.iter().map(String::as_str).collect::<Vec<_>>(), parts);
    };
    fails(2, &["--task", "rivers.toml", "--seeds", "1,2"], &["--seeds must be at least 3 different numbers"]);
    fails(2, &["--task", "rivers.toml", "--task", "rivers.toml"], &["`rivers` is named twice"]);
    fails(2, &["--task", "rivers.toml", "--holdout", "private/secret:hills"], &["`hills` is no task of the board"]);
    bench.write(
        "rivers.yaml",
        "task: rivers\ndataset_path: json\ndataset_kwargs: {data_files: {test: rivers.jsonl}}\ntest_split: test\n\
         output_type: multiple_choice\ndoc_to_text: question\ndoc_to_choice: choices\ndoc_to_target: answer\n",
    );
    fails(2, &["--task", "rivers.yaml"], &["a board keeps task files in TOML only"]);
    bench.write("other/rivers.toml", TASK.replace("version = 1", "version = 2"));
    let both = ["--task", "rivers.toml/even", "--task", "other/rivers.toml/odd"];
    fails(2, &both, &["another task is called `rivers` too"]);
    assert_eq!(bench.listing("new"), Vec::<String>::new());
    bench.fails(1, &leaderboard(&["build", "nowhere"], &[]), &["holds no board", "lore leaderboard init"]);
    bench.fails(1, &leaderboard(&["dispute", "board", "x", "--by", "a", "--reason", "b"], &[]), &["no submission"]);
    // A pack known by its hash must be shown.
    pack(&bench, "brooks", &bench.path("base"));
    let submit = ["submit", "board", "brooks.lorepack", "--by", "Ada", "--hash-only"];
    bench.succeeds(&leaderboard(&submit, &[]));
    let rerun = leaderboard(&["rerun", "board", "--holdout", "private"], &[&MODEL[..], &KEYS[..]].concat());
    bench.fails(1, &rerun, &["was handed in as a hash", "--pack"]);
    let with_pack = [&rerun[..], &["--pack", "brooks.lorepack"]].concat();
    learnt(&bench, "learnt.parquet", &[4]);
    let documents = [&with_pack[..], &["--documents", "learnt.parquet"]].concat();
    bench.fails(1, &documents, &["learnt.parquet: no submission was made from a table with its sha256", "corpus.json"]);
    bench.succeeds(&with_pack);
    // Someone else's key.
    bench.succeeds(&["pack", "keygen", "--keys", "strangers"]);
    let stranger: Vec<&str> = rerun.iter().map(|part| if *part == "keys" { "strangers" } else { part }).collect();
    bench.fails(1, &stranger, &["the board belongs to the key RW"]);
    let index = bench.path("board/site/index.html");
    bench.succeeds(&leaderboard(&["build", "board"], &[]));
    assert!(fs::read_to_string(index).unwrap().contains("brooks"));
}
