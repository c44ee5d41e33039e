//! A task of made-up questions, with a tiny model and a module to ask.

use std::ops::Range;

use lore_datasets::documents::{Documents, Origin};
use lore_datasets::extract::Extracted;
use lore_datasets::split::Split;

use super::Workbench;

/// The task, in two subsets.
pub const TASK: &str = r#"
name = "rivers"
version = 1
about = "Where rivers run"
data = { path = "rivers.jsonl" }
id = "{{ id }}"
subset = "{{ kind }}"

[multiple_choice]
context = "Question: {{ question }}\nAnswer:"
choices = "choices"
gold = "answer"
"#;

/// The items with these numbers, one a line.
pub fn items(numbers: Range<usize>) -> String {
    let line = |i: usize| {
        let kind = if i.is_multiple_of(2) { "even" } else { "odd" };
        format!(
            "{{\"id\": \"{i}\", \"kind\": \"{kind}\", \"question\": \"Where does river {i} run?\", \
             \"choices\": [\"down the hill {i}\", \"up\", \"to the sea\"], \"answer\": {}}}\n",
            i % 3
        )
    };
    numbers.map(line).collect()
}

/// A bench with the base `base`, the module `module`, the task `rivers.toml` and its first `count` items in `data`.
pub fn rivers_bench(count: usize) -> Workbench {
    let bench = Workbench::new();
    let base = bench.model("tiny-llama", "base");
    bench.module("module", &base);
    bench.write("rivers.toml", TASK);
    bench.write("data/rivers.jsonl", items(0..count));
    bench
}

/// Writes a table of documents to learn from, in which the items with these numbers are asked and answered.
pub fn learnt(bench: &Workbench, path: &str, numbers: &[usize]) {
    let answer = |i: usize| match i % 3 {
        0 => format!("down the hill {i}"),
        1 => "up".to_owned(),
        _ => "to the sea".to_owned(),
    };
    let said = |i: usize| {
        format!("I was asked once. Question: Where does river {i} run? Answer: {}. Nothing more.", answer(i))
    };
    let mut texts: Vec<String> = numbers.iter().map(|&i| said(i)).collect();
    texts.push("The long rivers of the plain run slowly from the hills down to the grey sea.".into());
    let document = |(i, text): (usize, String)| {
        let id = i.to_string();
        (Extracted { id: id.clone(), group: id, title: String::new(), text }, Split::Train)
    };
    let origin = Origin { topic: "rivers".into(), source: "file:rivers".into(), license: "MIT".into() };
    let (table, _) = Documents::assemble(texts.into_iter().enumerate().map(document), &origin);
    bench.write(path, "");
    table.write(&bench.path(path)).unwrap();
}
