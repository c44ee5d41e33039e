//! Recipes, sources and texts that cannot be used, found out by `lore run`.

#![allow(clippy::unwrap_used)]

mod workbench;

use std::fs;

use serde_json::json;
use workbench::tiny_recipe::{RECIPE, tiny_run};
use workbench::{Safetensors, Workbench, edit_json};

const RUN: [&str; 2] = ["run", "recipe.toml"];

/// Nothing of `stage` counts as finished.
fn unfinished(bench: &Workbench, stage: &str) {
    let folder = bench.listing("runs/tiny/stages").into_iter().find(|name| name.starts_with(&stage.replace(':', "-")));
    let finished = folder.filter(|name| !name.ends_with(".partial"));
    assert_eq!(finished, None);
}

/// The run fails in `stage`, and a run with everything repaired goes on from there.
fn fails_in(bench: &Workbench, stage: &str, parts: &[&str]) {
    let answer = bench.fails(1, &RUN, parts);
    assert!(answer.error().starts_with(&format!("error: stage `{stage}` failed")), "{}", answer.error());
    unfinished(bench, stage);
}

#[test]
fn typos_in_a_recipe_are_told_at_once() {
    let bench = tiny_run();
    let text = RECIPE
        .replace("openings", "opennings")
        .replace("checkpoint_every = 3", "checkpoint_evry = 3")
        .replace("passage_tokens", "pasage_tokens")
        .replace("source = \"file:hills\"", "source = \"file:mountains\"");
    bench.write("recipe.toml", text);
    let parts = [
        "recipe.toml has ",
        "`general.sample.opennings` is not a known key; did you mean `openings`?",
        "`base.train.checkpoint_evry` is not a known key; did you mean `checkpoint_every`?",
        "`evaluate.pasage_tokens` is not a known key; did you mean `passage_tokens`?",
        "mountains, which does not exist",
    ];
    bench.fails(2, &RUN, &parts);
    bench.fails(2, &["run", "recipe.toml", "--plan"], &parts);
    assert!(!bench.path("runs").exists());
    bench.write("recipe.toml", b"name = \"caf\xe9\"");
    bench.fails(2, &RUN, &["recipe.toml: not UTF-8 text at byte 11"]);
}

#[test]
fn a_local_file_with_another_hash() {
    let bench = tiny_run();
    let hash = "0".repeat(64);
    bench.write("one.txt", "The river.");
    let text = RECIPE.replace("file:rivers\"", &format!("file:one.txt\"\nsha256 = \"{hash}\""));
    bench.write("recipe.toml", text);
    fails_in(&bench, "fetch:rivers", &["one.txt: the file has sha256 ", &hash, "correct `sha256` only if you trust"]);
    let text = RECIPE.replace("file:rivers\"", &format!("file:rivers\"\nsha256 = \"{hash}\""));
    bench.write("recipe.toml", text);
    fails_in(&bench, "fetch:rivers", &["rivers", "the source is not one file"]);
}

#[test]
fn a_corpus_without_documents() {
    let bench = tiny_run();
    for file in fs::read_dir(bench.path("rivers")).unwrap() {
        fs::write(file.unwrap().path(), "  \n").unwrap();
    }
    fails_in(&bench, "topic:rivers", &["rivers: no documents were found", "40 files read", "Check `files`"]);
    bench.write("recipe.toml", RECIPE.replacen("*.txt", "*.md", 1));
    fails_in(
        &bench,
        "topic:rivers",
        &["rivers: no file of", "matches `*.md`", "40 files from `0.txt` to `9.txt`", "`files` of this rule"],
    );
    let bench = tiny_run();
    fs::remove_dir_all(bench.path("rivers")).unwrap();
    fs::create_dir(bench.path("rivers")).unwrap();
    fails_in(&bench, "fetch:rivers", &["rivers: any file in this folder was not found"]);
}

#[test]
fn a_corpus_too_small_to_hold_out_any() {
    let bench = tiny_run();
    let text = fs::read_to_string(bench.path("rivers/0.txt")).unwrap();
    fs::remove_dir_all(bench.path("rivers")).unwrap();
    bench.write("rivers/0.txt", text);
    fails_in(&bench, "topic:rivers", &["of 1 document(s) none falls to the split", "more documents"]);
}

#[test]
fn text_that_is_not_utf8() {
    let bench = tiny_run();
    bench.write("rivers/7.txt", b"The caf\xe9 by the river.");
    bench.write("rivers/9.txt", b"\xef\xbb\xbfThe caf\xe9 by the river.");
    let parts = [
        "rivers: 2 of its files",
        "7.txt: it is not UTF-8 at byte 7",
        "9.txt: it is not UTF-8 at byte 10",
        "bad_files",
    ];
    fails_in(&bench, "topic:rivers", &parts);
    bench.write("rivers/7.txt", "The mill by the river.");
    bench.write("rivers/9.txt", "The town by the river.");
    assert_eq!(bench.succeeds(&RUN).stages()[0], "fetch:rivers");
}

#[test]
fn a_template_that_does_not_compile() {
    let bench = tiny_run();
    let rule = "format = \"text\", files = [\"*.txt\"], text = \"{{ record.text\", title = \"{% if %}\"";
    bench.write("recipe.toml", RECIPE.replacen("format = \"text\", files = [\"*.txt\"]", rule, 1));
    bench.fails(
        2,
        &RUN,
        &["recipe.toml", "topic[1].extract", "rule 1: `text` does not compile", "`title` does not compile"],
    );
    bench.fails(2, &["run", "recipe.toml", "--plan"], &["`text` does not compile"]);
    assert!(!bench.path("runs").exists());
}

#[test]
fn a_template_that_fails_on_every_record() {
    let bench = tiny_run();
    for (template, said) in
        [("{{ record.text / 0 }}", "tried to use / operator"), ("{{ record.text | sentense }}", "sentense")]
    {
        let rule = format!("format = \"text\", files = [\"*.txt\"], text = \"{template}\"");
        bench.write("recipe.toml", RECIPE.replacen("format = \"text\", files = [\"*.txt\"]", &rule, 1));
        fails_in(
            &bench,
            "topic:rivers",
            &["rivers: no documents", "40 records, of which 40 broken", "0.txt: template `text`", said],
        );
    }
}

#[test]
fn a_teacher_that_cannot_be_used() {
    let bench = tiny_run();
    let weights = bench.path("teacher/model-00001-of-00002.safetensors");
    let kept = fs::read(&weights).unwrap();
    let mut file = Safetensors::read(&weights);
    let start = file.range("model.embed_tokens.weight").start;
    file.data[start..start + 4].copy_from_slice(&f32::NAN.to_le_bytes());
    file.write(&weights);
    fails_in(&bench, "teacher", &["NaN or infinite", "`model.embed_tokens.weight`: 1 of 10240"]);
    fs::write(&weights, kept).unwrap();
    edit_json(&bench.path("teacher/config.json"), |keys| keys["architectures"] = json!(["MambaForCausalLM"]));
    fails_in(&bench, "teacher", &["config.json", "`MambaForCausalLM` is not supported"]);
}

#[test]
fn a_folder_that_cannot_hold_runs() {
    let bench = tiny_run();
    bench.write("file", "");
    bench.fails(1, &["run", "recipe.toml", "--runs-dir", "file"], &["file/tiny"]);
}
