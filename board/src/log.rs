//! `log.jsonl`: what happened, one entry a line, each with the hash of the one before. Lines are only appended; the
//! operator signs the end (`head.json`, `head.json.minisig`), so that nothing before it can be changed unnoticed.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use lore_packs::signature::{PublicKey, SigningKey};
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::folder::{hex_sha256, write_whole};

/// The log's file.
pub const LOG: &str = "log.jsonl";
/// What the operator signs.
pub const HEAD: &str = "head.json";
/// The signature.
pub const HEAD_SIGNATURE: &str = "head.json.minisig";
/// The operator's public key.
pub const OPERATOR: &str = "operator.pub";

/// Hash of nothing: what the first entry follows.
const NOTHING: &str = "0000000000000000000000000000000000000000000000000000000000000000";

/// Files by path inside the board, each with its sha256.
pub type Files = BTreeMap<String, String>;

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case", deny_unknown_fields)]
pub enum Event {
    /// The board began with these settings and tasks.
    Opened {
        /// `board.toml` and the task files.
        files: Files,
        /// The operator's public key.
        operator: String,
    },
    /// A pack was handed in.
    Submitted {
        /// What the board calls it.
        id: String,
        /// Who handed it in, in their own words.
        by: String,
        /// sha256 of the pack's manifest.
        manifest: String,
        /// What the board keeps of it.
        files: Files,
        /// Figures that its author states; never ranked.
        claims: Vec<Claim>,
    },
    /// The operator asked the base or a module everything.
    Rerun {
        /// `base`, or the submission.
        id: String,
        /// Results, samples, and what belongs to them.
        files: Files,
    },
    /// Somebody doubts a submission.
    Disputed {
        /// The submission.
        id: String,
        /// Who, in their own words.
        by: String,
        /// Why.
        reason: String,
    },
    /// The operator answered a dispute.
    Settled {
        /// The number of the entry that opened it.
        dispute: u64,
        /// What follows.
        outcome: Outcome,
        /// Why.
        reason: String,
    },
}

/// What an author says of a module.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Claim {
    /// Task or text.
    pub task: String,
    /// What was measured.
    pub metric: String,
    /// The figure.
    pub value: f64,
}

/// What follows from a dispute.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// The submission stays.
    Kept,
    /// The submission is taken out of the ranking.
    Withdrawn,
}

/// One line, without its own hash.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// From 0.
    pub index: u64,
    /// When, RFC 3339 in UTC.
    pub time: String,
    /// sha256 of the entry before.
    pub previous: String,
    /// What.
    pub what: Event,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    entry: Entry,
    sha256: String,
}

/// What the operator signs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Head {
    /// Entries of the log at that time.
    pub entries: u64,
    /// sha256 of the last of them.
    pub sha256: String,
}

impl Entry {
    /// Hash over the entry, which holds the hash of the one before.
    pub fn sha256(&self) -> String {
        hex_sha256(&serde_json::to_vec(self).expect("an entry is JSON"))
    }
}

/// The entries of a board, whose chain was followed.
#[derive(Debug, Clone, PartialEq)]
pub struct Log {
    path: PathBuf,
    /// In their order.
    pub entries: Vec<Entry>,
}

impl Log {
    /// An empty one in a board's folder.
    pub fn new(board: &Path) -> Self {
        Self { path: board.join(LOG), entries: Vec::new() }
    }

    /// Reads the log and follows its chain.
    ///
    /// # Errors
    /// The first entry that is not what it was.
    pub fn read(board: &Path) -> Result<Self> {
        let path = board.join(LOG);
        let text = fs::read_to_string(&path).map_err(Error::io(&path))?;
        let mut entries: Vec<Entry> = Vec::new();
        let mut previous = NOTHING.to_owned();
        for (number, line) in text.lines().enumerate() {
            let wrong = |problem: String| Error::Altered { path: path.clone(), problem };
            let Line { entry, sha256 } =
                serde_json::from_str(line).map_err(|error| wrong(format!("line {}: {error}", number + 1)))?;
            if entry.index != number as u64 {
                return Err(wrong(format!("line {} holds entry {}", number + 1, entry.index)));
            }
            if entry.previous != previous {
                return Err(wrong(format!("entry {number} does not follow the one before it")));
            }
            if entry.sha256() != sha256 {
                return Err(wrong(format!("entry {number} does not have the sha256 beside it")));
            }
            if let Event::Submitted { id, .. } = &entry.what
                && !names_a_folder(id)
            {
                return Err(wrong(format!("entry {number} calls a submission `{id}`, which can name no folder")));
            }
            previous = sha256;
            entries.push(entry);
        }
        Ok(Self { path, entries })
    }

    /// The hash that the next entry will hold.
    pub fn end(&self) -> String {
        self.entries.last().map_or_else(|| NOTHING.to_owned(), Entry::sha256)
    }

    /// Appends what happened at `time`.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn append(&mut self, time: &str, what: Event) -> Result<u64> {
        let entry = Entry { index: self.entries.len() as u64, time: time.to_owned(), previous: self.end(), what };
        let line = Line { sha256: entry.sha256(), entry };
        let mut bytes = serde_json::to_vec(&line).expect("an entry is JSON");
        bytes.push(b'\n');
        let open = || OpenOptions::new().append(true).create(true).open(&self.path);
        open()
            .and_then(|mut file| file.write_all(&bytes).and_then(|()| file.sync_all()))
            .map_err(Error::io(&self.path))?;
        self.entries.push(line.entry);
        Ok(self.entries.len() as u64 - 1)
    }

    /// Signs the end.
    ///
    /// # Errors
    /// When files cannot be written.
    pub fn sign(&self, key: &SigningKey) -> Result<()> {
        let head = Head { entries: self.entries.len() as u64, sha256: self.end() };
        let mut bytes = serde_json::to_vec(&head).expect("plain data");
        bytes.push(b'\n');
        let signature = key.sign_detached(&bytes, &comment(&head))?;
        write_whole(&self.path.with_file_name(HEAD), &bytes)?;
        write_whole(&self.path.with_file_name(HEAD_SIGNATURE), signature.as_bytes())
    }

    /// How many entries the operator's signature covers; it must be good, and its head must be in this log.
    ///
    /// # Errors
    /// A signature that is missing or bad; a log that lost or changed signed entries.
    pub fn signed(&self, operator: &PublicKey) -> Result<u64> {
        let read = |name: &str| {
            let path = self.path.with_file_name(name);
            fs::read_to_string(&path).map_err(Error::io(path))
        };
        let (text, signature) = (read(HEAD)?, read(HEAD_SIGNATURE)?);
        let path = self.path.with_file_name(HEAD);
        let head: Head = serde_json::from_str(&text)
            .map_err(|error| Error::Altered { path: path.clone(), problem: error.to_string() })?;
        operator.check_detached(&path, text.as_bytes(), &comment(&head), &signature)?;
        let last = head.entries.checked_sub(1).and_then(|last| self.entries.get(last as usize));
        match last {
            Some(last) if last.sha256() == head.sha256 => Ok(head.entries),
            _ => Error::altered(
                &self.path,
                format!("the operator signed {} entries that end otherwise than these", head.entries),
            ),
        }
    }
}

/// Whether an id, which anyone may append, stays inside the board as the name of a folder and of pages.
fn names_a_folder(id: &str) -> bool {
    id.starts_with(|c: char| c.is_ascii_alphanumeric())
        && id.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_'))
}

fn comment(head: &Head) -> String {
    format!("lore leaderboard, {} entries", head.entries)
}
