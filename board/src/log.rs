//! `log.jsonl`: what happened, one entry a line, each with the hash of the one before. Lines are only appended; the
//! operator signs the end (`head.json`, `head.json.minisig`), so that nothing before it can be changed unnoticed.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
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
    /// Bytes of the file up to the end of the last entry.
    whole: u64,
}

impl Log {
    /// An empty one in a board's folder.
    pub fn new(board: &Path) -> Self {
        Self { path: board.join(LOG), entries: Vec::new(), whole: 0 }
    }

    /// Reads the log and follows its chain. A last line that does not end was being written when the program or the
    /// machine stopped: it is no entry, and the next one takes its place.
    ///
    /// # Errors
    /// The first entry that is not what it was.
    pub fn read(board: &Path) -> Result<Self> {
        let path = board.join(LOG);
        let text = fs::read_to_string(&path).map_err(Error::io(&path))?;
        let mut entries: Vec<Entry> = Vec::new();
        let mut previous = NOTHING.to_owned();
        let ended = text.rfind('\n').map_or(0, |end| end + 1);
        // Only its line feed may be missing.
        let whole = if serde_json::from_str::<Line>(&text[ended..]).is_ok() { text.len() } else { ended };
        for (number, line) in text[..whole].lines().enumerate() {
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
        Ok(Self { path, entries, whole: whole as u64 })
    }

    /// The hash that the next entry will hold.
    pub fn end(&self) -> String {
        self.entries.last().map_or_else(|| NOTHING.to_owned(), Entry::sha256)
    }

    /// Appends what happened at `time`, whole or not at all.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn append(&mut self, time: &str, what: Event) -> Result<u64> {
        let entry = Entry { index: self.entries.len() as u64, time: time.to_owned(), previous: self.end(), what };
        let line = Line { sha256: entry.sha256(), entry };
        let mut bytes = serde_json::to_vec(&line).expect("an entry is JSON");
        bytes.push(b'\n');
        self.whole = self.write(&bytes).map_err(Error::io(&self.path))?;
        self.entries.push(line.entry);
        Ok(self.entries.len() as u64 - 1)
    }

    /// Writes a line behind the last entry; what a full disk took of it is removed again. Returns where it ends.
    fn write(&self, line: &[u8]) -> std::io::Result<u64> {
        let mut file = OpenOptions::new().read(true).append(true).create(true).open(&self.path)?;
        let mut behind = Vec::new();
        file.seek(SeekFrom::Start(self.whole.saturating_sub(1)))?;
        file.read_to_end(&mut behind)?;
        let end = match (self.whole, behind.is_empty()) {
            (0, _) => b'\n',
            (_, true) => return Err(std::io::Error::other("it is shorter than when it was read")),
            (_, false) => behind.remove(0),
        };
        if behind.contains(&b'\n') {
            return Err(std::io::Error::other("another program appended to it meanwhile; try again"));
        }
        file.set_len(self.whole)?;
        let line = if end == b'\n' { line.to_vec() } else { [b"\n", line].concat() };
        file.write_all(&line).and_then(|()| file.sync_all()).inspect_err(|_| {
            // Where that fails too, the half line is none for whoever reads the log.
            let _ = file.set_len(self.whole);
        })?;
        Ok(self.whole + line.len() as u64)
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn disputed(reason: &str) -> Event {
        Event::Disputed { id: "a".into(), by: "b".into(), reason: reason.into() }
    }

    #[test]
    fn half_a_line_is_none_and_the_next_entry_takes_its_place() {
        let board = tempfile::tempdir().unwrap();
        let mut log = Log::new(board.path());
        log.append("2026-01-01T00:00:00Z", disputed("first")).unwrap();
        let first = fs::read(board.path().join(LOG)).unwrap();
        log.append("2026-01-01T00:00:01Z", disputed("second")).unwrap();
        let whole = fs::read(board.path().join(LOG)).unwrap();
        for length in first.len()..whole.len() - 1 {
            fs::write(board.path().join(LOG), &whole[..length]).unwrap();
            let mut cut = Log::read(board.path()).unwrap();
            assert_eq!(cut.entries.len(), 1, "{length}");
            cut.append("2026-01-01T00:00:01Z", disputed("second")).unwrap();
            assert!(fs::read(board.path().join(LOG)).unwrap() == whole, "{length}");
        }
        fs::write(board.path().join(LOG), &whole[..whole.len() - 1]).unwrap();
        let mut unended = Log::read(board.path()).unwrap();
        assert_eq!(unended, Log { whole: whole.len() as u64 - 1, ..log });
        unended.append("2026-01-01T00:00:02Z", disputed("third")).unwrap();
        assert_eq!(Log::read(board.path()).unwrap(), unended);
    }

    #[test]
    fn what_another_program_appended_is_not_overwritten() {
        let board = tempfile::tempdir().unwrap();
        let mut one = Log::new(board.path());
        one.append("2026-01-01T00:00:00Z", disputed("first")).unwrap();
        let mut other = Log::read(board.path()).unwrap();
        one.append("2026-01-01T00:00:01Z", disputed("second")).unwrap();
        let before = fs::read(board.path().join(LOG)).unwrap();
        assert!(other.append("2026-01-01T00:00:02Z", disputed("third")).is_err());
        assert!(fs::read(board.path().join(LOG)).unwrap() == before);
    }
}
