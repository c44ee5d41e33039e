//! What a person sees of the program.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

fn lore(folder: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_lore"))
        .args(arguments)
        .current_dir(folder)
        .env("LORE_CACHE", folder.join("cache"))
        .env("HF_HUB_CACHE", folder.join("hub"))
        .env("COLUMNS", "100")
        .output()
        .unwrap()
}

/// Exit code, stdout and stderr.
fn seen(output: &Output) -> String {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    format!(
        "exit code {}\n--- stdout\n{}--- stderr\n{}",
        output.status.code().unwrap(),
        text(&output.stdout),
        text(&output.stderr)
    )
}

fn snapshot(name: &str, arguments: &[&str], files: &[(&str, &str)]) {
    let folder = tempfile::tempdir().unwrap();
    for (path, text) in files {
        fs::create_dir_all(folder.path().join(path).parent().unwrap()).unwrap();
        fs::write(folder.path().join(path), text).unwrap();
    }
    let seen = seen(&lore(folder.path(), arguments));
    let here = folder.path().to_str().unwrap();
    insta::assert_snapshot!(name, seen.replace(here, "HERE"));
}

#[test]
fn help() {
    snapshot("help", &["--help"], &[]);
    let alone = [
        "run", "fetch", "generate", "score", "serve", "chat", "compose", "convert", "trim", "doctor", "bench",
        "finetune",
    ];
    for command in alone {
        snapshot(&format!("help_{command}"), &[command, "--help"], &[]);
    }
    let groups: [(&str, &[&str]); 4] = [
        ("route", &["build", "ask", "test"]),
        ("module", &["inspect", "diff", "export", "import", "fold", "extract"]),
        ("data", &["inspect", "build", "synth", "card"]),
        ("eval", &["compare", "matrix", "verify", "tasks"]),
    ];
    for (group, commands) in groups {
        snapshot(&format!("help_{group}"), &[group, "--help"], &[]);
        for command in commands {
            snapshot(&format!("help_{group}_{command}"), &[group, command, "--help"], &[]);
        }
    }
}

#[test]
fn the_help_of_every_command_shows_an_example() {
    let folder = tempfile::tempdir().unwrap();
    let help = |arguments: &[&str]| String::from_utf8(lore(folder.path(), arguments).stdout).unwrap();
    let all = help(&["--help"]);
    let listed = |text: &str| -> Vec<String> {
        let lines = text.split_once("Commands:\n").into_iter().flat_map(|(_, list)| list.lines());
        // A long description goes on in the next line, further in.
        let own = lines.take_while(|line| !line.is_empty()).filter(|line| !line.starts_with("   "));
        let names = own.filter_map(|line| line.split_whitespace().next());
        names.filter(|name| *name != "help").map(str::to_owned).collect()
    };
    let shows_an_example = |command: &[&str]| {
        let text = help(&[command, &["--help"]].concat());
        let example = text.split_once("Example").map(|(_, after)| after);
        assert!(example.is_some_and(|after| after.contains(&format!("lore {}", command.join(" ")))), "{text}");
        text
    };
    let commands = listed(&all);
    assert!(commands.iter().any(|command| command == "run") && commands.len() >= 7, "{commands:?}");
    for command in &commands {
        for part in listed(&shows_an_example(&[command])) {
            shows_an_example(&[command, &part]);
        }
    }
    for command in ["compare", "matrix", "verify", "tasks"] {
        let text = help(&["eval", command, "--help"]);
        assert!(text.trim_end().rsplit_once("Example").unwrap().1.contains(&format!("lore eval {command}")), "{text}");
    }
}

#[test]
fn help_of_leaderboards() {
    snapshot("help_leaderboard", &["leaderboard", "--help"], &[]);
    for command in ["init", "submit", "rerun", "build", "serve", "verify", "dispute", "settle"] {
        snapshot(&format!("help_leaderboard_{command}"), &["leaderboard", command, "--help"], &[]);
    }
}

const PACK_COMMANDS: [&str; 13] = [
    "new", "build", "inspect", "verify", "keygen", "sign", "trust", "revoke", "install", "remove", "list", "update",
    "publish",
];

#[test]
fn help_of_packs() {
    snapshot("help_pack", &["pack", "--help"], &[]);
    for command in PACK_COMMANDS {
        snapshot(&format!("help_pack_{command}"), &["pack", command, "--help"], &[]);
        let folder = tempfile::tempdir().unwrap();
        let text = String::from_utf8(lore(folder.path(), &["pack", command, "--help"]).stdout).unwrap();
        let example = text.split_once("\nExample").map(|(_, after)| after);
        assert!(example.is_some_and(|after| after.contains(&format!("lore pack {command}"))), "{text}");
    }
}

#[test]
fn help_of_work() {
    snapshot("help_work", &["work", "--help"], &[]);
    for command in ["stage", "task", "run", "verify", "apply"] {
        snapshot(&format!("help_work_{command}"), &["work", command, "--help"], &[]);
    }
}

#[test]
fn usage_errors() {
    snapshot("usage_unknown_command", &["distill"], &[]);
    snapshot("usage_unknown_device", &["doctor", "--device", "tpu"], &[]);
    snapshot("usage_bad_source", &["fetch", "owner/repo"], &[]);
    snapshot("usage_missing_base", &["generate", "--base", "nowhere", "--prompt", "a"], &[]);
    snapshot("usage_bad_weight", &["generate", "--base", ".", "--module", ".=heavy", "--prompt", "a"], &[]);
    snapshot("usage_output_not_empty", &["convert", "a.gguf", "--out", "full"], &[("a.gguf", ""), ("full/file", "")]);
}

#[cfg(not(feature = "cuda"))]
#[test]
fn a_device_that_was_not_built_in() {
    snapshot("usage_device_not_built_in", &["doctor", "--device", "cuda:1"], &[]);
}

#[test]
fn score_names_every_bad_line() {
    let files = [("in.jsonl", "{\"context\": \"a\"}\nnot json\n"), ("base/config.json", "{}")];
    let arguments = ["score", "--base", "base", "--input", "in.jsonl", "--output", "out.jsonl"];
    snapshot("score_bad_lines", &arguments, &files);
}

const RECIPE: &str = r#"
name = "small"
seed = 17

[teacher]
source = "file:teacher.gguf"

[general]
tokens = 1000

[general.sample]
openings = ["The history of"]

[base]
name = "small-base"
depth = { first = 1, last = 1 }
train = { steps = 20, learning_rate = 1e-3 }

[modules]
lora = { rank = 4 }
train = { steps = 12 }

[[topic]]
name = "rivers"
source = "file:rivers.txt"
extract = { format = "text" }

[[topic]]
name = "hills"
source = "file:hills.txt"
extract = { format = "text" }
module = { lora = { rank = 8 } }
"#;

const SOURCES: [(&str, &str); 3] = [("teacher.gguf", "GGUF"), ("rivers.txt", "Rivers."), ("hills.txt", "Hills.")];

fn recipe(text: &str) -> Vec<(&'static str, String)> {
    let mut files: Vec<_> = SOURCES.map(|(path, text)| (path, text.to_owned())).to_vec();
    files.push(("recipe.toml", text.to_owned()));
    files
}

fn snapshot_recipe(name: &str, text: &str, arguments: &[&str]) {
    let files = recipe(text);
    let files: Vec<(&str, &str)> = files.iter().map(|(path, text)| (*path, text.as_str())).collect();
    snapshot(name, &[&["run", "recipe.toml"], arguments].concat(), &files);
}

#[test]
fn recipe_typos_and_impossible_values_are_told_at_once() {
    let text = RECIPE
        .replace("tokens = 1000", "tokns = 1000")
        .replace("first = 1, last = 1", "first = 0, last = 0")
        .replace("learning_rate = 1e-3", "learning_rate = -1e-3")
        .replace("rank = 4", "rank = \"four\"")
        .replace("rank = 8", "rank = 0")
        .replace("name = \"hills\"", "name = \"rivers\"")
        .replace("file:hills.txt", "file:mountains.txt")
        .replace("extract = { format = \"text\" }\nmodule", "extract = { format = \"txt\", colum = 1 }\nmodule")
        .replace("file:teacher.gguf\"", "hf:nothing\"\nsha256 = \"abc\"");
    snapshot_recipe("recipe_problems", &text, &[]);
}

#[test]
fn recipe_that_is_not_toml() {
    snapshot_recipe("recipe_syntax", &RECIPE.replace("seed = 17", "seed = = 17\nname \"x\""), &[]);
}

#[test]
fn recipe_that_is_missing() {
    snapshot("recipe_missing", &["run", "nowhere.toml"], &[]);
}

#[test]
fn recipe_that_is_empty() {
    snapshot_recipe("recipe_empty", "", &[]);
}

#[test]
fn plan_runs_and_writes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    for (path, text) in recipe(RECIPE) {
        fs::write(folder.path().join(path), text).unwrap();
    }
    let output = lore(folder.path(), &["run", "recipe.toml", "--plan", "--threads", "2"]);
    assert!(output.status.success(), "{}", seen(&output));
    assert!(!folder.path().join("runs").exists());
    let text = String::from_utf8(output.stdout).unwrap();
    let here = folder.path().to_str().unwrap();
    // Hashes of fetch stages hold the times of the files.
    let masked: Vec<String> = text.replace(here, "HERE").lines().map(mask_hash).collect();
    insta::assert_snapshot!("plan", masked.join("\n"));
}

fn mask_hash(line: &str) -> String {
    let is_hash = |word: &str| word.len() == 12 && word.bytes().all(|b| b.is_ascii_hexdigit());
    match line.split(' ').find(|word| is_hash(word)) {
        Some(hash) => line.replace(hash, "<hash------>"),
        None => line.to_owned(),
    }
}

#[test]
fn a_wrong_hash_fails_the_run() {
    let text = RECIPE.replace("teacher.gguf\"", &format!("teacher.gguf\"\nsha256 = \"{}\"", "0".repeat(64)));
    snapshot_recipe("run_wrong_hash", &text, &["--quiet"]);
}

#[test]
fn force_of_an_unknown_stage() {
    snapshot_recipe("force_unknown_stage", RECIPE, &["--force", "modul:rivers"]);
}

#[test]
fn fetch_prints_the_path_on_stdout() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("notes.txt"), "Rivers run downhill.").unwrap();
    let output = lore(folder.path(), &["fetch", "file:notes.txt"]);
    assert!(output.status.success(), "{}", seen(&output));
    let path = String::from_utf8(output.stdout).unwrap();
    assert_eq!(fs::read_to_string(folder.path().join(path.trim_end())).unwrap(), "Rivers run downhill.");
}

#[test]
fn doctor_reports_and_never_fails() {
    let folder = tempfile::tempdir().unwrap();
    let output = lore(folder.path(), &["doctor", "--offline", "--threads", "1"]);
    assert!(output.status.success(), "{}", seen(&output));
    let text = String::from_utf8(output.stdout).unwrap();
    for part in ["devices built in", "cpu", "1 used", "memory", "disk for runs", "pip", "not asked (offline)"] {
        assert!(text.contains(part), "{part}: {text}");
    }
}
