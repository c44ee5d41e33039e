//! A task of made-up questions, with a tiny model and a module to ask.

use std::ops::Range;

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
