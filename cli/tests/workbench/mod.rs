//! A folder of its own for each test, the program run in it, and tiny models to damage.

#![allow(dead_code, clippy::unwrap_used)]

pub mod rivers_task;
pub mod tiny_recipe;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use lore_model::files::ModelFiles;
use lore_model::fingerprint::Fingerprint;
use serde_json::{Value, json};
use tempfile::TempDir;

/// Removed when dropped.
pub struct Workbench {
    folder: TempDir,
}

/// What a command answered.
pub struct Answer {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Workbench {
    pub fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    pub fn path(&self, relative: &str) -> PathBuf {
        self.folder.path().join(relative)
    }

    pub fn write(&self, relative: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(relative);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
        path
    }

    pub fn read(&self, relative: &str) -> Vec<u8> {
        let path = self.path(relative);
        fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    }

    /// The program with `arguments`, in this folder, with caches of its own.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_lore"));
        self.prepare(&mut command);
        command.args(arguments);
        command
    }

    pub fn prepare(&self, command: &mut Command) {
        command
            .current_dir(self.folder.path())
            .env("LORE_CACHE", self.path("cache"))
            .env("HF_HUB_CACHE", self.path("hub"))
            .env_remove("LORE_DATA")
            .stdin(Stdio::null());
    }

    pub fn run(&self, arguments: &[&str]) -> Answer {
        Answer::of(self.command(arguments).output().unwrap())
    }

    /// Runs a command that must fail with `code`, saying each of `parts`.
    pub fn fails(&self, code: i32, arguments: &[&str], parts: &[&str]) -> Answer {
        let answer = self.run(arguments);
        answer.is_clear_failure(code, parts);
        answer
    }

    /// Runs a command that must succeed.
    pub fn succeeds(&self, arguments: &[&str]) -> Answer {
        let answer = self.run(arguments);
        assert_eq!(answer.code, 0, "{arguments:?}\n{}", answer.stderr);
        answer
    }

    /// A copy of one of the tiny models beside the library's tests.
    pub fn model(&self, fixture: &str, name: &str) -> PathBuf {
        copy(&model_fixture(fixture), &self.path(name));
        self.path(name)
    }

    /// A module that PEFT trained on tiny-llama, marked with the fingerprint of `base`.
    pub fn module(&self, name: &str, base: &Path) -> PathBuf {
        let folder = self.path(name);
        copy(&crate_folder("modules").join("tests/fixtures/plain"), &folder);
        let files = ModelFiles::open(base).unwrap();
        let fingerprint = Fingerprint::of(&files.config, &*files.weights, &files.tokenizer).unwrap();
        let facts = json!({ "lore": "module", "base": fingerprint, "metadata": {}, "version": "0" });
        fs::write(folder.join("lore.json"), facts.to_string()).unwrap();
        folder
    }

    /// Every file and folder in `relative`, or nothing if it does not exist.
    pub fn listing(&self, relative: &str) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(self.path(relative))
            .into_iter()
            .flatten()
            .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        names
    }
}

impl Answer {
    pub fn of(output: Output) -> Self {
        Self {
            code: output.status.code().expect("the program was not killed"),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }

    /// One `error:` paragraph with these parts at the end of stderr, and this exit code.
    pub fn is_clear_failure(&self, code: i32, parts: &[&str]) {
        let Self { code: found, stderr, .. } = self;
        assert_eq!(*found, code, "{stderr}");
        let errors = stderr.lines().filter(|line| line.starts_with("error: "));
        assert_eq!(errors.count(), 1, "not one error: {stderr}");
        let error = self.error();
        assert!(!error.trim_end().contains("\n\n"), "more than a paragraph: {error}");
        assert!(error.len() < 4000, "{} bytes of error: {error}", error.len());
        for sign in ["panicked", "has a defect", "RUST_BACKTRACE", "unwrap()", "Os {", "Error("] {
            assert!(!error.contains(sign), "`{sign}` in: {error}");
        }
        for part in parts {
            assert!(error.contains(part), "`{part}` is not in: {error}");
        }
    }

    /// From `error:` on.
    pub fn error(&self) -> &str {
        let start = self.stderr.find("error: ").unwrap_or_else(|| panic!("no error in: {}", self.stderr));
        let end = self.stderr.find("\n\nFor more information").unwrap_or(self.stderr.len());
        &self.stderr[start..end.max(start)]
    }

    /// Names of the stages that ran, from lines such as `[3/12] topic:rivers`.
    pub fn stages(&self) -> Vec<String> {
        let stage = |line: &str| {
            let (_, name) = line.strip_prefix('[')?.split_once("] ")?;
            Some(name.trim_end_matches(", going on").to_owned())
        };
        self.stderr.lines().filter_map(stage).collect()
    }
}

fn crate_folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join(name)
}

fn model_fixture(name: &str) -> PathBuf {
    crate_folder("model").join("tests/fixtures").join(name)
}

/// Copies a file or a folder.
pub fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to.parent().unwrap()).unwrap();
    if from.is_file() {
        fs::copy(from, to).unwrap();
        return;
    }
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        copy(&entry.path(), &to.join(entry.file_name()));
    }
}

/// Changes a JSON file.
pub fn edit_json(path: &Path, edit: impl FnOnce(&mut Value)) {
    let mut value: Value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
    edit(&mut value);
    fs::write(path, value.to_string()).unwrap();
}

/// A safetensors file taken apart: the header's JSON, and the bytes after it.
pub struct Safetensors {
    pub header: Value,
    pub data: Vec<u8>,
}

impl Safetensors {
    pub fn read(path: &Path) -> Self {
        let bytes = fs::read(path).unwrap();
        let (length, rest) = bytes.split_first_chunk::<8>().unwrap();
        let (header, data) = rest.split_at(u64::from_le_bytes(*length) as usize);
        Self { header: serde_json::from_slice(header).unwrap(), data: data.to_vec() }
    }

    pub fn write(&self, path: &Path) {
        let header = self.header.to_string();
        let length = (header.len() as u64).to_le_bytes();
        fs::write(path, [&length, header.as_bytes(), &self.data].concat()).unwrap();
    }

    /// Where a tensor's bytes are in `data`.
    pub fn range(&self, name: &str) -> std::ops::Range<usize> {
        let offset = |index: usize| self.header[name]["data_offsets"][index].as_u64().unwrap() as usize;
        offset(0)..offset(1)
    }
}

/// The path as a person types it.
pub fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}
