//! Every recipe that comes with Lore can be read and planned.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

fn recipes() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../recipes")
}

/// A plan of a recipe, in a folder without any cache.
fn plan(recipe: &Path, more: &[&str]) -> String {
    let cache = tempfile::tempdir().unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_lore"))
        .arg("run")
        .arg(recipe)
        .arg("--plan")
        .args(more)
        .env("LORE_CACHE", cache.path())
        .output()
        .unwrap();
    let (out, err) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    assert!(output.status.success(), "{}: {err}", recipe.display());
    out
}

#[test]
fn every_recipe_has_a_plan() {
    let mut planned = 0;
    for entry in fs::read_dir(recipes()).unwrap() {
        let path = entry.unwrap().path();
        let data = recipes().join("../../shared/data");
        if path.ends_with("openstax.toml") && std::env::var_os("LORE_DATA").is_none() && !data.exists() {
            eprintln!("skipped: {} needs the books that LORE_DATA names", path.display());
            continue;
        }
        assert!(plan(&path, &[]).contains("to run:"), "{}", path.display());
        planned += 1;
    }
    assert!(planned >= 4, "{planned}");
}

/// A stage is found again by what goes into it: the base that the one has made is taken over for the other.
#[test]
fn the_books_are_on_the_quickstarts_base() {
    let text = fs::read_to_string(recipes().join("openstax.toml")).unwrap();
    let books: toml::Table = toml::from_str(&text).unwrap();
    assert_eq!(books["extends"].as_str(), Some("quickstart.toml"));
    for key in ["seed", "teacher", "general", "base"] {
        assert!(!books.contains_key(key), "`{key}` is another than the quickstart's");
    }
}

#[test]
fn a_plan_for_gpus_says_what_it_assumes_what_does_not_fit_and_the_price() {
    let recipe = recipes().join("distill-8b-gpu.toml");
    let small = plan(&recipe, &["--devices", "8xh100", "--hourly-price", "2.5"]);
    assert!(small.contains("base does not fit"), "{small}");
    assert!(small.contains("989 TFLOP/s") && small.contains("cost: ") && small.contains(" for 8xh100 in"), "{small}");
    let large = plan(&recipe, &["--devices", "h200"]);
    assert!(!large.contains("does not fit") && !large.contains("cost: "), "{large}");
    // Teacher and student of 1.7 and 0.9 billion parameters are together in one device's memory.
    let live = plan(&recipes().join("distill-1.7b-gpu.toml"), &["--devices", "a100"]);
    assert!(!live.contains("does not fit"), "{live}");
}
