//! Scores that were computed already, by a hash of everything they depend on.

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::engine::Scored;
use crate::score::TokenRequest;
use crate::task::hex;

/// Raised when the same request would get another score. Another version of the program may compute otherwise too, and
/// does not use what this one kept.
const SCHEMA: &str = concat!("lore-score-v1 of ", env!("CARGO_PKG_VERSION"));

/// Scores of one model, kept from run to run: an interrupted run goes on where it was.
///
/// The file holds one JSON object a line and is only appended to. A line that is cut off, by a kill in the middle of
/// writing, is as if it had never been written.
pub struct ScoreCache {
    model: String,
    file: Option<(PathBuf, File)>,
    scores: HashMap<String, Scored>,
    texts: HashMap<String, String>,
}

#[derive(Serialize, Deserialize)]
struct Line {
    key: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    score: Option<Scored>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    text: Option<String>,
}

impl ScoreCache {
    /// Keeps nothing beyond this run. `model` identifies base, modules and weights.
    pub fn in_memory(model: &str) -> Self {
        Self { model: model.to_owned(), file: None, scores: HashMap::new(), texts: HashMap::new() }
    }

    /// Opens the scores of `model` in `folder`, or begins them.
    ///
    /// # Errors
    /// The file that cannot be read or written.
    pub fn open(folder: &Path, model: &str) -> Result<Self, (PathBuf, std::io::Error)> {
        let path = folder.join(format!("{}.jsonl", hex(&Sha256::digest(model))));
        let mut cache = Self::in_memory(model);
        let mut open = || {
            fs::create_dir_all(folder)?;
            let mut file = OpenOptions::new().read(true).append(true).create(true).open(&path)?;
            let mut bytes = Vec::new();
            file.seek(SeekFrom::Start(0))?;
            file.read_to_end(&mut bytes)?;
            for line in bytes.split(|&byte| byte == b'\n') {
                let Ok(line) = serde_json::from_slice::<Line>(line) else { continue };
                if let Some(score) = line.score {
                    cache.scores.insert(line.key, score);
                } else if let Some(text) = line.text {
                    cache.texts.insert(line.key, text);
                }
            }
            if bytes.last().is_some_and(|&last| last != b'\n') {
                file.write_all(b"\n")?;
            }
            Ok(file)
        };
        match open() {
            Ok(file) => {
                cache.file = Some((path, file));
                Ok(cache)
            }
            Err(error) => Err((path, error)),
        }
    }

    /// What the score of a request is kept under.
    pub fn key(&self, request: &TokenRequest) -> String {
        let mut hash = self.begin("score");
        update(&mut hash, &request.context);
        update(&mut hash, &request.continuation);
        hex(&hash.finalize())
    }

    /// What a text written after `prompt` is kept under.
    pub fn text_key(&self, prompt: &[u32], until: &[String], max_tokens: usize) -> String {
        let mut hash = self.begin("text");
        update(&mut hash, prompt);
        for stop in until {
            hash.update((stop.len() as u64).to_le_bytes());
            hash.update(stop);
        }
        hash.update((max_tokens as u64).to_le_bytes());
        hex(&hash.finalize())
    }

    fn begin(&self, kind: &str) -> Sha256 {
        let mut hash = Sha256::new();
        for part in [SCHEMA, &self.model, kind] {
            hash.update((part.len() as u64).to_le_bytes());
            hash.update(part);
        }
        hash
    }

    /// The score kept under a key.
    pub fn score(&self, key: &str) -> Option<Scored> {
        self.scores.get(key).copied()
    }

    /// The text kept under a key.
    pub fn text(&self, key: &str) -> Option<&str> {
        self.texts.get(key).map(String::as_str)
    }

    /// Keeps scores; they are on disk when this returns.
    ///
    /// # Errors
    /// When they cannot be written.
    pub fn keep(&mut self, scores: Vec<(String, Scored)>) -> Result<(), (PathBuf, std::io::Error)> {
        self.append(scores.iter().map(|(key, score)| Line { key: key.clone(), score: Some(*score), text: None }))?;
        self.scores.extend(scores);
        Ok(())
    }

    /// Keeps a text.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn keep_text(&mut self, key: String, text: String) -> Result<(), (PathBuf, std::io::Error)> {
        self.append([Line { key: key.clone(), score: None, text: Some(text.clone()) }].into_iter())?;
        self.texts.insert(key, text);
        Ok(())
    }

    fn append(&mut self, lines: impl Iterator<Item = Line>) -> Result<(), (PathBuf, std::io::Error)> {
        let Some((path, file)) = &mut self.file else { return Ok(()) };
        let mut bytes = Vec::new();
        for line in lines {
            serde_json::to_writer(&mut bytes, &line).expect("a line is JSON");
            bytes.push(b'\n');
        }
        // One call, so that lines of two programs do not mix.
        file.write_all(&bytes).map_err(|error| (path.clone(), error))
    }
}

fn update(hash: &mut Sha256, tokens: &[u32]) {
    hash.update((tokens.len() as u64).to_le_bytes());
    let bytes: Vec<u8> = tokens.iter().flat_map(|token| token.to_le_bytes()).collect();
    hash.update(bytes);
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn request(context: &[u32], continuation: &[u32]) -> TokenRequest {
        TokenRequest { context: context.to_vec(), continuation: continuation.to_vec() }
    }

    #[test]
    fn a_cut_line_is_as_if_never_written() {
        let folder = tempfile::tempdir().unwrap();
        let score = |x: f64| Scored { log_likelihood: x, tokens: 2, greedy: false };
        let mut cache = ScoreCache::open(folder.path(), "model").unwrap();
        cache.keep(vec![("a".into(), score(-1.5)), ("b".into(), score(-0.1))]).unwrap();
        cache.keep_text("c".into(), "words".into()).unwrap();
        drop(cache);
        let file = fs::read_dir(folder.path()).unwrap().next().unwrap().unwrap().path();
        let bytes = fs::read(&file).unwrap();
        for length in 0..bytes.len() {
            fs::write(&file, &bytes[..length]).unwrap();
            let mut cut = ScoreCache::open(folder.path(), "model").unwrap();
            assert!(cut.score("a").is_none_or(|found| found == score(-1.5)));
            cut.keep(vec![("d".into(), score(-7.0))]).unwrap();
            let again = ScoreCache::open(folder.path(), "model").unwrap();
            assert_eq!(again.score("d"), Some(score(-7.0)), "{length}");
            assert_eq!(again.score("a"), cut.score("a"), "{length}");
            assert_eq!(again.text("c"), cut.text("c"), "{length}");
        }
    }

    #[test]
    fn keys_hold_everything_a_score_depends_on() {
        let (one, other) = (ScoreCache::in_memory("one"), ScoreCache::in_memory("other"));
        let keys = [
            one.key(&request(&[1, 2], &[3])),
            one.key(&request(&[1], &[2, 3])),
            one.key(&request(&[1, 2], &[4])),
            other.key(&request(&[1, 2], &[3])),
            one.text_key(&[1, 2], &[], 3),
            one.text_key(&[1, 2], &["a".into()], 3),
            one.text_key(&[1, 2], &["a".into()], 4),
        ];
        let distinct: std::collections::BTreeSet<&String> = keys.iter().collect();
        assert_eq!(distinct.len(), keys.len());
    }
}
