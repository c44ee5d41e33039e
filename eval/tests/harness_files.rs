//! Task files of lm-evaluation-harness: items and prompts as it makes them, and what is refused.
#![allow(missing_docs, clippy::unwrap_used)]

use std::fs;
use std::path::{Path, PathBuf};

use lore_eval::task::{Form, Selection, Task};
use serde_json::{Value, json};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/harness")
}

/// As `scripts/fixtures/harness_prompts.py` writes it: (context, continuation) of each request.
fn requests(form: &Form) -> Value {
    match form {
        Form::Choice { context, delimiter, choices, .. } => {
            choices.iter().map(|choice| json!([context, format!("{delimiter}{choice}")])).collect()
        }
        Form::Cloze { context, target } => json!([[context, target]]),
        Form::Generate { context, .. } => json!([[context, null]]),
        Form::Rolling { text, .. } => json!([[text, null]]),
    }
}

#[test]
fn prompts_are_those_of_the_harness_with_and_without_examples() {
    let text = fs::read_to_string(folder().join("prompts.json")).unwrap();
    let expected: Value = serde_json::from_str(&text).unwrap();
    let mut compared = 0;
    for (name, by_shots) in expected.as_object().unwrap() {
        let task = Task::open(&folder().join(format!("{name}.yaml"))).unwrap_or_else(|e| panic!("{name}: {e}"));
        for (shots, prompts) in by_shots.as_object().unwrap() {
            let selection = Selection { shots: shots.parse().unwrap(), ..Selection::default() };
            let items = task.select(&folder(), &selection).unwrap();
            let found: Vec<Value> = items.iter().map(|item| requests(&item.form)).collect();
            assert_eq!(Value::from(found), *prompts, "{name}, {shots} examples");
            compared += items.len();
        }
    }
    assert_eq!(compared, 5 * 3 * 6);
}

#[test]
fn right_answers_are_found_by_place_text_and_number() {
    for name in ["rest", "letters", "own"] {
        let task = Task::open(&folder().join(format!("{name}.yaml"))).unwrap();
        assert_eq!((task.name.as_str(), task.version), (name, 2));
        let golds: Vec<usize> = task
            .items(&folder(), None, None)
            .unwrap()
            .iter()
            .map(|item| match &item.form {
                Form::Choice { gold, .. } => *gold,
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(golds, (0..6).map(|i| i * 3 % 4).collect::<Vec<_>>(), "{name}");
    }
}

#[test]
fn too_few_examples_are_told() {
    let task = Task::open(&folder().join("rest.yaml")).unwrap();
    let error = task.select(&folder(), &Selection { shots: 9, ..Selection::default() }).unwrap_err().to_string();
    assert!(error.contains("9 examples are needed") && error.contains("has 5"), "{error}");
}

#[test]
fn what_is_code_or_unknown_is_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let refused = |text: &str, parts: &[&str]| {
        let path = folder.path().join("a.yaml");
        fs::write(&path, text).unwrap();
        let error = Task::open(&path).unwrap_err().to_string();
        for part in parts {
            assert!(error.contains(part), "`{part}` is not in: {error}");
        }
    };
    let whole = "task: a\ndataset_path: owner/set\ntest_split: test\noutput_type: multiple_choice\n\
                 doc_to_text: q\ndoc_to_choice: c\ndoc_to_target: a\n";
    let with = |more: &str| format!("{whole}{more}");
    refused(
        &with("process_docs: !function utils.process\n"),
        &["a.yaml", "`process_docs` is the code `!function utils.process`"],
    );
    refused(&whole.replace("doc_to_text: q", "doc_to_text: !function u.t"), &["`doc_to_text` is the code"]);
    refused(
        &with("filter_list:\n  - name: x\nmetric_list:\n  - metric: bleu\n"),
        &["`filter_list` is not supported", "the metric `bleu` is not known"],
    );
    refused("group: a\ntask: [b, c]\n", &["`task` is [\"b\",\"c\"], not a text", "`dataset_path` is missing"]);
    refused(&whole.replace("multiple_choice", "guess"), &["`output_type` is `guess`"]);
    refused(&whole.replace("choice: c", "choice: {z: first, a: second}"), &["`doc_to_choice` is a mapping"]);
    refused(&whole.replace("owner/set", "../set"), &["is not inside the data folder"]);
    refused("a: [", &["it is not YAML"]);
    refused("include: a.yaml\n", &["include each other"]);
    // What a file sets itself is not asked of what it includes.
    fs::write(folder.path().join("b.yaml"), "doc_to_text: !function u.t\n").unwrap();
    let path = folder.path().join("a.yaml");
    fs::write(&path, with("include: b.yaml\n")).unwrap();
    let task = Task::open(&path).unwrap();
    assert_eq!(task.data.path, "owner/set/test.jsonl");
}
