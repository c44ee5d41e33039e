//! What was written so far, batch by batch, so that a run can go on.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::Error;
use super::run::write;

/// A reply and its number.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Line {
    number: u64,
    reply: String,
}

/// Replies in order, as JSON lines.
pub(super) struct Ledger {
    path: PathBuf,
    file: File,
    pub replies: Vec<String>,
}

impl Ledger {
    /// Opens or begins a file. What a crash left of a batch of `batch` replies is dropped, unless with it all `total`
    /// are there.
    pub fn open(path: &Path, batch: usize, total: usize) -> Result<Self, Error> {
        let text = match std::fs::read(path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(Error::io("read", path)(error)),
        };
        let mut replies: Vec<String> = text
            .split_inclusive(|byte| *byte == b'\n')
            .filter(|line| line.ends_with(b"\n"))
            .map_while(|line| serde_json::from_slice::<Line>(line).ok())
            .enumerate()
            .take_while(|(number, line)| line.number == *number as u64)
            .map(|(_, line)| line.reply)
            .collect();
        if replies.len() < total {
            replies.truncate(replies.len() / batch * batch);
        }
        replies.truncate(total);
        let kept: String = (0..).zip(&replies).map(|(number, reply)| line(number, reply)).collect();
        // What was written before is not lost to a full disk.
        write(path, &kept)?;
        let file = OpenOptions::new().append(true).open(path).map_err(Error::io("open", path))?;
        Ok(Self { path: path.to_owned(), file, replies })
    }

    /// Adds a batch, on disk before it counts.
    pub fn add(&mut self, batch: Vec<String>) -> Result<(), Error> {
        let first = self.replies.len() as u64;
        let lines: String = (first..).zip(&batch).map(|(number, reply)| line(number, reply)).collect();
        let written = self.file.write_all(lines.as_bytes()).and_then(|()| self.file.sync_data());
        written.map_err(Error::io("write", &self.path))?;
        self.replies.extend(batch);
        Ok(())
    }
}

fn line(number: u64, reply: &str) -> String {
    serde_json::to_string(&Line { number, reply: reply.to_owned() }).expect("plain data") + "\n"
}
