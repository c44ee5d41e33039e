//! `generate`, `score` and the options of every command with values they cannot use.

#![allow(clippy::unwrap_used)]

mod workbench;

use serde_json::Value;
use workbench::Workbench;

fn bench() -> Workbench {
    let bench = Workbench::new();
    bench.model("tiny-llama", "base");
    bench
}

fn score(bench: &Workbench, input: &str, parts: &[&str]) {
    bench.write("in.jsonl", input);
    let before = bench.listing(".");
    bench.fails(1, &["score", "--base", "base", "--input", "in.jsonl", "--output", "out.jsonl"], parts);
    assert_eq!(bench.listing("."), before);
}

#[test]
fn an_empty_prompt_begins_a_text() {
    let bench = bench();
    let answer = bench.succeeds(&["generate", "--base", "base", "--prompt", "", "--max-tokens", "5"]);
    assert!(answer.stdout.trim_end_matches('\n').chars().count() >= 1, "{:?}", answer.stdout);
}

#[test]
fn a_prompt_that_is_too_long() {
    let bench = bench();
    let prompt = "1 ".repeat(100);
    let answer = bench.fails(
        1,
        &["generate", "--base", "base", "--prompt", &prompt, "--max-tokens", "5"],
        &["the prompt with `--max-tokens`", "206 tokens", "128 positions", "make it shorter"],
    );
    assert_eq!(answer.stdout, "");
    let answer =
        bench.fails(1, &["generate", "--base", "base", "--prompt", "the", "--max-tokens", "4000000000"], &["128"]);
    assert_eq!(answer.stdout, "");
}

#[test]
fn options_outside_their_range() {
    let bench = bench();
    let generate = ["generate", "--base", "base", "--prompt", "a"];
    for (option, value) in [
        ("--max-tokens", "0"),
        ("--max-tokens", "-1"),
        ("--temperature", "-0.5"),
        ("--temperature", "nan"),
        ("--top-k", "0"),
        ("--top-p", "0"),
        ("--top-p", "1.5"),
        ("--seed", "one"),
        ("--threads", "0"),
        ("--device", "gpu"),
        ("--device", "cuda:x"),
        ("--module", "nowhere"),
        ("--module", "base=inf"),
        ("--base", "nowhere"),
        ("--base", "pypi:package"),
    ] {
        let argument = format!("{option}={value}");
        let arguments: Vec<&str> = match option {
            "--base" => vec!["generate", &argument, "--prompt", "a"],
            _ => generate.iter().copied().chain([argument.as_str()]).collect(),
        };
        let answer = bench.fails(2, &arguments, &[option, value]);
        assert_eq!(answer.stdout, "");
    }
}

#[test]
fn every_line_that_cannot_be_scored_is_named() {
    let bench = bench();
    score(
        &bench,
        "{\"context\": \"a\", \"continuation\": \" b\"}\n[]\n{\"context\": 1, \"continuation\": \"b\"}\n\n{\"context\": \"a\"}\n{\"context\": \"a\", \"continuation\": \"\"}\n",
        &[
            "in.jsonl: line 2: not a JSON object",
            "line 3: `context` is not text",
            "line 5: `continuation` is missing",
            "line 6: `continuation` is empty",
        ],
    );
    score(&bench, &"x\n".repeat(5000), &["in.jsonl: line 1: ", "and 4990 more"]);
    score(&bench, "\n \n", &["in.jsonl: no line to score"]);
}

#[test]
fn lines_that_are_not_text() {
    let bench = bench();
    bench.write("in.jsonl", b"{\"context\": \"a\", \"continuation\": \"caf\xe9\"}\n");
    let arguments = ["score", "--base", "base", "--input", "in.jsonl", "--output", "out.jsonl"];
    bench.fails(1, &arguments, &["in.jsonl: not UTF-8 text (byte 37)"]);
}

#[test]
fn lines_that_are_too_long_are_named_by_their_number() {
    let bench = bench();
    let fits = "{\"context\": \"the\", \"continuation\": \" rain\"}\n";
    let long = format!("{{\"context\": \"the {}\", \"continuation\": \" rain\"}}\n", "1 ".repeat(100));
    score(&bench, &format!("{fits}\n{long}{fits}{long}"), &["in.jsonl: line 3: ", "line 5: ", "128"]);
}

#[test]
fn files_that_cannot_be_read_or_written() {
    let bench = bench();
    let arguments = ["score", "--base", "base", "--input", "nowhere.jsonl", "--output", "out.jsonl"];
    bench.fails(1, &arguments, &["nowhere.jsonl", "No such file"]);
    bench.write("in.jsonl", "{\"context\": \"the\", \"continuation\": \" rain\"}\n");
    let arguments = ["score", "--base", "base", "--input", "in.jsonl", "--output", "missing/out.jsonl"];
    bench.fails(2, &arguments, &["--output missing/out.jsonl", "the directory missing does not exist"]);
    let arguments = ["score", "--base", "base", "--input", "in.jsonl", "--output", "base"];
    bench.fails(2, &arguments, &["--output base", "is a directory"]);
    bench.write("file", "");
    bench.fails(1, &["convert", "base", "--out", "file/model"], &["file/model"]);
}

#[test]
fn scores_that_are_not_numbers() {
    let bench = bench();
    bench.module("module", &bench.path("base"));
    bench.write("in.jsonl", "{\"context\": \"the\", \"continuation\": \" rain\"}\n");
    let arguments =
        ["score", "--base", "base", "--module", "module=1e38", "--input", "in.jsonl", "--output", "out.jsonl"];
    bench.fails(1, &arguments, &["in.jsonl: line 1: the model gives no finite log-likelihood", "weight is too large"]);
    assert!(!bench.path("out.jsonl").exists());
}

#[test]
fn scores_are_added_to_each_line() {
    let bench = bench();
    bench.write("in.jsonl", "{\"id\": 1, \"context\": \"the\", \"continuation\": \" rain\"}\n{\"context\": \"\", \"continuation\": \"train\"}\n");
    bench.succeeds(&["score", "--base", "base", "--input", "in.jsonl", "--output", "out.jsonl"]);
    let lines = String::from_utf8(bench.read("out.jsonl")).unwrap();
    let lines: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((lines.len(), lines[0]["id"].as_u64(), lines[0]["context"].as_str()), (2, Some(1), Some("the")));
    for line in lines {
        assert!(line["loglikelihood"].as_f64().unwrap() < 0.0, "{line}");
        assert!(line["tokens"].as_u64().unwrap() >= 1 && line["is_greedy"].is_boolean(), "{line}");
    }
}
