//! Task files, the items they make, and results made of them.
#![allow(missing_docs, clippy::unwrap_used)]

use std::fs;
use std::path::{Path, PathBuf};

use lore_eval::task::{Form, Item, Selection, Task, names, shipped, shipped_text};

fn parse(text: &str) -> Result<Task, String> {
    Task::parse(text, Path::new("task.toml")).map_err(|error| error.to_string())
}

fn items(task: &str, files: &[(&str, &str)]) -> Result<Vec<Item>, String> {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    let task = parse(task)?;
    task.items(folder.path(), None, None).map_err(|error| {
        let mut text = error.to_string();
        let mut source = std::error::Error::source(&error);
        while let Some(cause) = source {
            text.push_str(&format!(": {cause}"));
            source = cause.source();
        }
        text
    })
}

const CHOICE: &str = r#"
name = "rivers"
version = 1
data = { path = "a.jsonl" }
id = "{{ number }}"
[multiple_choice]
context = "Question: {{ q }}\n"
choices = "c"
gold = "a"
"#;

#[test]
fn everything_that_is_wrong_is_told_with_its_line() {
    let text = CHOICE
        .replace("version = 1", "version = 0\nlicence = \"MIT\"")
        .replace("{ path = \"a.jsonl\" }", "{ path = \"../a.jsonl\", fromat = \"csv\" }");
    let message = parse(&text).unwrap_err();
    for part in [
        "task.toml:4:1: `licence` is not a known key; did you mean `license`?",
        "task.toml:5:31: `data.fromat` is not a known key; did you mean `format`?",
    ] {
        assert!(message.contains(part), "{part}\n{message}");
    }
    let text =
        CHOICE.replace("version = 1", "version = 0").replace("a.jsonl", "../a.jsonl").replace("{{ q }}", "{{ q }");
    let message = parse(&text.replace("\"c\"", "\"c +\"")).unwrap_err();
    for part in [
        "task.toml:3:1: `version` counts from 1",
        "`data.path` must be a path inside the data folder",
        "`multiple_choice.context` is not a template",
        "`multiple_choice.choices` is not an expression",
    ] {
        assert!(message.contains(part), "{part}\n{message}");
    }
    let message = parse("name = \"a/b\"\nversion = 1\ndata = { path = \"x\" }").unwrap_err();
    assert!(message.contains("exactly one of the tables") && message.contains("`name` must be made of"), "{message}");
}

#[test]
fn items_are_rendered_as_declared() {
    let lines = "{\"q\": \"Ä & <b>\", \"c\": [\"x\", \"y\"], \"a\": 1}\n\n{\"q\": \"two\", \"c\": [\"x\", \"y\"], \"a\": \"x\"}\n";
    let made = items(CHOICE, &[("a.jsonl", lines)]).unwrap();
    let expected = |context: &str, gold| Form::Choice {
        context: format!("Question: {context}\n"),
        delimiter: " ".into(),
        choices: vec!["x".into(), "y".into()],
        gold,
        pair: false,
    };
    assert_eq!(made[0].form, expected("Ä & <b>", 1));
    assert_eq!(made[1].form, expected("two", 0));
    assert_ne!(made[0].sha256(), made[1].sha256());
}

#[test]
fn bad_records_are_named() {
    let lines = "{\"q\": \"one\", \"c\": [\"x\", \"y\"], \"a\": 2}\n{\"q\": 1, \"c\": [\"x\"], \"a\": 0}\n{\"c\": [\"x\", \"y\"], \"a\": 0}\n";
    let message = items(CHOICE, &[("a.jsonl", lines)]).unwrap_err();
    for part in [
        "task rivers: a.jsonl, record 1: `gold` is 2, none of 2 choices",
        "record 2: 1 choice is none",
        "record 3: `context`: undefined value",
    ] {
        assert!(message.contains(part), "{part}\n{message}");
    }
    let message = items(CHOICE, &[("a.jsonl", "{\n")]).unwrap_err();
    assert!(message.contains("a.jsonl: line 1: not JSON"), "{message}");
    let message = items(CHOICE, &[]).unwrap_err();
    assert!(message.contains("--data") && message.contains("a.jsonl"), "{message}");
    let same = CHOICE.replace("{{ number }}", "same");
    let line = "{\"q\": \"one\", \"c\": [\"x\", \"y\"], \"a\": 0}\n";
    let message = items(&same, &[("a.jsonl", &line.repeat(2))]).unwrap_err();
    assert!(message.contains("have the id `same`"), "{message}");
}

#[test]
fn files_of_a_folder_make_subsets() {
    let task = CHOICE
        .replace("path = \"a.jsonl\"", "path = \"all\", files = [\"*/q.jsonl\"]")
        .replace("id =", "subset = \"{{ folder }}\"\nid =");
    let line = "{\"q\": \"one\", \"c\": [\"x\", \"y\"], \"a\": 0}\n".repeat(3);
    let folder = tempfile::tempdir().unwrap();
    for name in ["b", "a"] {
        fs::create_dir_all(folder.path().join("all").join(name)).unwrap();
        fs::write(folder.path().join("all").join(name).join("q.jsonl"), &line).unwrap();
    }
    let task = parse(&task).unwrap();
    let ids = |subset, limit| -> Vec<String> {
        let items = task.items(folder.path(), subset, limit).unwrap();
        items.iter().map(|item| format!("{}{}", item.subset, item.id)).collect()
    };
    assert_eq!(ids(None, None), ["a0", "a1", "a2", "b0", "b1", "b2"]);
    assert_eq!(ids(None, Some(2)), ["a0", "a1", "b0", "b1"]);
    assert_eq!(ids(Some("b"), Some(1)), ["b0"]);
    let message = task.items(folder.path(), Some("c"), None).unwrap_err().to_string();
    assert!(message.contains("no subset `c`"), "{message}");
}

#[test]
fn a_subset_is_asked_though_another_has_too_few_examples() {
    let task = parse(&CHOICE.replace("id =", "subset = \"{{ s }}\"\nid =")).unwrap();
    let line = |s: &str| format!("{{\"s\": \"{s}\", \"q\": \"one\", \"c\": [\"x\", \"y\"], \"a\": 0}}\n");
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("a.jsonl"), line("a").repeat(3) + &line("b")).unwrap();
    let select = |subset: Option<&str>| {
        let selection = Selection { subset: subset.map(str::to_owned), shots: 2, ..Selection::default() };
        task.select(folder.path(), &selection)
    };
    assert_eq!(select(Some("a")).unwrap().len(), 3);
    for all_or_b in [None, Some("b")] {
        let message = select(all_or_b).unwrap_err().to_string();
        assert!(message.contains("3 examples are needed, and subset `b` has 1"), "{message}");
    }
}

#[test]
fn members_of_an_archive_are_read_in_place() {
    let mut bytes = std::io::Cursor::new(Vec::new());
    let mut archive = zip::ZipWriter::new(&mut bytes);
    for (name, good) in [("data/one.jsonl", "Good."), ("data/two.jsonl", "Fine."), ("other/x.jsonl", "not JSON")] {
        archive.start_file(name, zip::write::SimpleFileOptions::default()).unwrap();
        let line = format!("{{\"g\": \"{good}\", \"b\": \"Bad.\"}}\n");
        std::io::Write::write_all(&mut archive, line.as_bytes()).unwrap();
    }
    archive.finish().unwrap();
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("pairs.zip"), bytes.into_inner()).unwrap();
    let task = parse(
        "name = \"pairs\"\nversion = 1\ndata = { path = \"pairs.zip\", files = [\"data/*.jsonl\"] }\nsubset = \"{{ stem }}\"\n\
         [minimal_pairs]\ngood = \"{{ g }}\"\nbad = \"{{ b }}\"",
    )
    .unwrap();
    let made = task.items(folder.path(), None, None).unwrap();
    let seen: Vec<(&str, &Form)> = made.iter().map(|item| (item.subset.as_str(), &item.form)).collect();
    let pair = |good: &str| Form::Choice {
        context: String::new(),
        delimiter: " ".into(),
        choices: vec![good.into(), "Bad.".into()],
        gold: 0,
        pair: true,
    };
    assert_eq!(seen, [("one", &pair("Good.")), ("two", &pair("Fine."))]);
}

#[test]
fn a_text_is_cut_into_documents() {
    let task = "name = \"w\"\nversion = 1\ndata = { path = \"t.txt\", format = \"text\" }\n[rolling]\n\
                documents = \"text | wikitext_articles\"\ntext = \"{{ document | wikitext_detokenize }}\"\nwindow = 7";
    let made = items(task, &[("t.txt", " = A = \n one , two \n = B = \n three \n")]).unwrap();
    let forms: Vec<&Form> = made.iter().map(|item| &item.form).collect();
    let rolling = |text: &str, bytes, words| Form::Rolling { text: text.into(), bytes, words, window: Some(7) };
    // Bytes and words are those before the spaces were put right.
    assert_eq!(forms, [&rolling(" = A =\none, two\n", 20, 8), &rolling(" = B =\nthree\n", 16, 6)]);
}

/// `../shared/data` beside the repository or, for a work tree, beside its parent; `LORE_DATA` before both.
fn shared_data() -> Option<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let places = [
        std::env::var_os("LORE_DATA").map(PathBuf::from),
        Some(root.join("../shared/data")),
        Some(root.join("../../shared/data")),
    ];
    let found = places.into_iter().flatten().find(|place| place.is_dir());
    if found.is_none() {
        eprintln!("SKIPPED: ../shared/data is not there; set LORE_DATA to the folder of the tasks' data");
    }
    found
}

#[test]
fn shipped_tasks_read_their_data() {
    let Some(data) = shared_data() else { return };
    let counts: Vec<(&str, usize, usize)> = names()
        .filter(|name| shipped(name).unwrap().needs_folder())
        .map(|name| {
            let items = shipped(name).unwrap().items(&data, None, None).unwrap();
            let subsets: std::collections::BTreeSet<&str> = items.iter().map(|item| item.subset.as_str()).collect();
            (name, items.len(), subsets.len())
        })
        .collect();
    println!("{counts:?}");
    let count =
        |name: &str| counts.iter().find(|(n, ..)| *n == name).map(|(_, items, subsets)| (*items, *subsets)).unwrap();
    assert_eq!(count("blimp"), (67_000, 67));
    assert_eq!(count("arc_easy").0, fs::read_to_string(data.join("arc_easy/test.jsonl")).unwrap().lines().count());
    assert_eq!(count("piqa"), (1838, 1));
    assert_eq!(count("mmlu").1, 8);
    assert_eq!(count("openstax_glossary").1, 6);
}

/// The columns are those of the sets on the hub; `lore eval` fetches them, see `cli/tests/hub_tasks.rs`.
#[test]
fn shipped_tasks_of_the_hub_make_items_of_its_columns() {
    let first = |name: &str, record: &str| {
        let mut text = shipped_text(name).unwrap().replace(", format = \"parquet\"", "");
        while let Some(begin) = text.find("hf:") {
            let end = begin + text[begin..].find('"').unwrap();
            text.replace_range(begin..end, "a.jsonl");
        }
        let text = text.replace("files = [\"*/train-*.parquet\"]", "files = []");
        items(&text, &[("a.jsonl", record)]).unwrap().remove(0)
    };
    let arc = first(
        "arc_easy_hub",
        r#"{"id": "q1", "question": "Why?", "choices": {"text": ["so", "not so"], "label": ["1", "2"]}, "answerKey": "2"}"#,
    );
    let Form::Choice { context, choices, gold: 1, .. } = &arc.form else { panic!("{arc:?}") };
    assert_eq!((arc.id.as_str(), context.as_str()), ("q1", "Question: Why?\nAnswer:"));
    assert_eq!(choices, &["so", "not so"]);
    let mmlu = first(
        "mmlu_hub",
        r#"{"question": " Why? ", "subject": "high_school_physics", "choices": ["a", "b", "c", "d"], "answer": 3}"#,
    );
    let Form::Choice { context, gold: 3, .. } = &mmlu.form else { panic!("{mmlu:?}") };
    assert!(context.contains("about high school physics.\n\nWhy?\nA. a\n"), "{context}");
    assert_eq!(mmlu.subset, "high_school_physics");
    let piqa = first("piqa_hub", r#"{"goal": "Go.", "sol1": "Walk.", "sol2": "Stand.", "label": 0}"#);
    let Form::Choice { choices, gold: 0, .. } = &piqa.form else { panic!("{piqa:?}") };
    assert_eq!(choices, &["Walk.", "Stand."]);
    let blimp = first("blimp_hub", r#"{"sentence_good": "It is.", "sentence_bad": "It are.", "UID": "agreement"}"#);
    let Form::Choice { choices, pair: true, .. } = &blimp.form else { panic!("{blimp:?}") };
    assert_eq!((blimp.subset.as_str(), choices[1].as_str()), ("agreement", "It are."));
    let lambada = first("lambada", r#"{"text": "He said \"yes\" to Ada"}"#);
    let expected = Form::Cloze { context: "He said \"yes\" to".into(), target: " Ada".into() };
    assert_eq!(lambada.form, expected);
    let hub = names().filter(|name| !shipped(name).unwrap().needs_folder()).collect::<Vec<_>>();
    assert_eq!(hub, ["arc_easy_hub", "blimp_hub", "lambada", "mmlu_hub", "piqa_hub"]);
}

/// As lm_eval 0.4.13 writes them; `scripts/parity/harness.py` compares those of all items.
#[test]
fn prompts_are_those_of_the_harness() {
    let Some(data) = shared_data() else { return };
    let first = |name: &str, subset: Option<&str>| {
        let items = shipped(name).unwrap().items(&data, subset, Some(1)).unwrap();
        match &items[0].form {
            Form::Choice { context, delimiter, choices, .. } => {
                choices.iter().map(|choice| (context.clone(), format!("{delimiter}{choice}"))).collect::<Vec<_>>()
            }
            _ => panic!("a choice"),
        }
    };
    let blimp = first("blimp", Some("adjunct_island"));
    assert_eq!(blimp[0], (String::new(), " Who should Derek hug after shocking Richard?".to_owned()));
    assert_eq!(blimp[1].1, " Who should Derek hug Richard after shocking?");
    let arc = first("arc_easy", None);
    assert_eq!(
        arc[1].0,
        "Question: Which statement best explains why photosynthesis is the foundation of most food webs?\nAnswer:"
    );
    assert_eq!(arc[1].1, " Most ecosystems are found on land instead of in water.");
    assert_eq!(first("piqa", None)[0].0, "Question: How do I ready a guinea pig cage for it's new occupants?\nAnswer:");
    let mmlu = first("mmlu", Some("anatomy"));
    let context = "The following are multiple choice questions (with answers) about anatomy.\n\n\
                   A lesion causing compression of the facial nerve at the stylomastoid foramen will cause ipsilateral\n\
                   A. paralysis of the facial muscles.\n\
                   B. paralysis of the facial muscles and loss of taste.\n\
                   C. paralysis of the facial muscles, loss of taste and lacrimation.\n\
                   D. paralysis of the facial muscles, loss of taste, lacrimation and decreased salivation.\nAnswer:";
    assert_eq!(mmlu[3], (context.to_owned(), " D".to_owned()));
}
