//! What a teacher would say at every position of a run's batches, drawn once and kept: so that training needs no teacher
//! in memory, and several students can learn from one capture.
//!
//! A folder holds `targets.bin`, one segment a step, and `targets.jsonl`: first what the capture is bound to, then a
//! line a step. A line is written when its segment is on disk, so that an interrupted capture goes on after the last.
//!
//! A segment has a record for every row of the step's batch: the number of distinct tokens drawn (one byte), the
//! entropy of the whole distribution in nats (`f16`), then each token's id (two bytes, or four where the vocabulary is
//! larger than 65,536) and how many times it was drawn (one byte), all little-endian.

use burn::tensor::Tensor;
use half::f16;
use lore_datasets::mixture::Mixture;
use lore_datasets::progress::{Progress, Unit};
use lore_model::Decoder;
use lore_model::ops::head::{SparseTargets, logits};
use lore_model::ops::host::values;
use lore_model::ops::sequences::Sequences;
use lore_model::sampling::Random;
use lore_model::streamed::StreamedDecoder;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::fs::{self, File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

const SCHEMA: u32 = 1;
const SEGMENTS: &str = "targets.bin";
const INDEX: &str = "targets.jsonl";
/// Positions whose logits exist at the same time: few, so that a streamed teacher's cap is not spent on them.
const CHUNK: usize = 64;

/// What a capture is bound to: the same hash of teacher, tokens, packing and order, or it is refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Binding {
    /// Layout of the files.
    schema: u32,
    /// Hash over the teacher and over everything that decides which tokens stand in which step.
    pub identity: String,
    /// Tokens in the vocabulary.
    pub vocabulary: usize,
    /// Tokens drawn at each position, 1 to 255.
    pub samples: usize,
    /// Everything random follows from it.
    pub seed: u64,
}

impl Binding {
    /// Binds a capture of `samples` tokens a position.
    pub fn new(identity: String, vocabulary: usize, samples: usize, seed: u64) -> Self {
        Self { schema: SCHEMA, identity, vocabulary, samples, seed }
    }

    fn id_bytes(&self) -> usize {
        if self.vocabulary <= 1 << 16 { 2 } else { 4 }
    }
}

/// A step's line of the index.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    step: u64,
    rows: usize,
    /// First byte of the segment.
    offset: u64,
    bytes: u64,
    /// sha256 of the segment.
    sha256: String,
    /// sha256 of the step's token ids, each as four bytes.
    tokens: String,
}

/// What can go wrong with a capture.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file cannot be read or written.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was attempted.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// The system's own error.
        source: std::io::Error,
    },
    /// The teacher cannot be read.
    #[error(transparent)]
    Model(#[from] lore_model::Error),
    /// The capture belongs to other weights or batches.
    #[error("{} was captured {reason}; capture it again (lore run … --force targets)", path.display())]
    Other {
        /// The index.
        path: PathBuf,
        /// What differs.
        reason: String,
    },
    /// Its bytes are not those that were written.
    #[error("{} is damaged: {reason}; capture it again (lore run … --force targets)", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
}

fn io(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Error {
    let path = path.to_owned();
    move |source| Error::Io { action, path, source }
}

/// What was captured.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Captured {
    /// Positions.
    pub positions: u64,
    /// Bytes on disk.
    pub bytes: u64,
}

/// The teacher while its distributions are captured.
pub enum Teacher<'a> {
    /// In memory.
    Resident(&'a Decoder),
    /// In its file, each block read once for so many tokens.
    Streamed(StreamedDecoder<'a>, usize),
}

impl Teacher<'_> {
    /// Steps of `tokens` tokens that are read together.
    fn steps_at_once(&self, tokens: usize) -> u64 {
        match self {
            Self::Resident(_) => 1,
            Self::Streamed(_, at_once) => at_once.div_ceil(tokens.max(1)).max(1) as u64,
        }
    }

    /// Final hidden states of each batch, and the head.
    fn read(&self, batches: &[(Arc<Vec<u32>>, Arc<Sequences>)]) -> Result<(Vec<Tensor<2>>, Tensor<2>), Error> {
        match self {
            Self::Resident(decoder) => {
                let hidden =
                    batches.iter().map(|(tokens, sequences)| decoder.hidden(tokens.clone(), sequences.clone()));
                Ok((hidden.collect(), decoder.head()))
            }
            Self::Streamed(decoder, _) => Ok((decoder.hidden(batches)?, decoder.head()?)),
        }
    }
}

/// Draws `binding.samples` tokens from the teacher's distribution at every position of the first `steps` batches of
/// `mixture`, going on where an interrupted capture stopped.
///
/// # Errors
/// Files that cannot be written.
pub fn capture(
    teacher: &Teacher<'_>,
    mixture: &Mixture,
    steps: u64,
    binding: &Binding,
    folder: &Path,
    progress: &dyn Progress,
) -> Result<Captured, Error> {
    assert!((1..=255).contains(&binding.samples), "between 1 and 255 samples");
    fs::create_dir_all(folder).map_err(io("create", folder))?;
    let (segments_path, index_path) = (folder.join(SEGMENTS), folder.join(INDEX));
    let known = match read_index(&index_path)? {
        Some((found, entries)) if found == *binding => entries,
        _ => Vec::new(),
    };
    let end = known.last().map_or(0, |entry| entry.offset + entry.bytes);
    let intact = fs::metadata(&segments_path).is_ok_and(|metadata| metadata.len() >= end);
    let known = if intact { known } else { Vec::new() };
    let end = if intact { end } else { 0 };
    let lines: String = std::iter::once(line(binding)).chain(known.iter().map(line)).collect();
    let mut captured = Captured { positions: known.iter().map(|entry| entry.rows as u64).sum(), bytes: end };
    // Whatever an interruption left of the last segment or line is dropped.
    let mut segments = OpenOptions::new()
        .create(true)
        .read(true)
        .write(true)
        .truncate(false)
        .open(&segments_path)
        .map_err(io("open", &segments_path))?;
    segments.set_len(end).map_err(io("write", &segments_path))?;
    segments.seek(SeekFrom::End(0)).map_err(io("write", &segments_path))?;
    fs::write(&index_path, lines).map_err(io("write", &index_path))?;
    let mut index = OpenOptions::new().append(true).open(&index_path).map_err(io("open", &index_path))?;

    let first = known.len() as u64;
    let per_step = mixture.tokens_per_batch() as u64;
    let mut task = progress.task("teacher's distributions", Some(steps.saturating_sub(first) * per_step), Unit::Tokens);
    let at_once = teacher.steps_at_once(mixture.tokens_per_batch());
    let mut step = first;
    while step < steps {
        let batches: Vec<_> = (step..steps.min(step + at_once)).map(|step| mixture.batch(step)).collect();
        let inputs: Vec<_> = batches
            .iter()
            .map(|batch| (Arc::new(batch.tokens.clone()), Arc::new(Sequences::whole(&batch.lengths))))
            .collect();
        let (hidden, head) = teacher.read(&inputs)?;
        for (batch, hidden) in batches.into_iter().zip(hidden) {
            let segment = segment(&hidden, &head, binding, step);
            segments.write_all(&segment).and_then(|()| segments.sync_data()).map_err(io("write", &segments_path))?;
            let entry = Entry {
                step,
                rows: batch.tokens.len(),
                offset: captured.bytes,
                bytes: segment.len() as u64,
                sha256: hex(&segment),
                tokens: hash_of_tokens(&batch.tokens),
            };
            let written = index.write_all(line(&entry).as_bytes()).and_then(|()| index.sync_data());
            written.map_err(io("write", &index_path))?;
            captured.bytes += entry.bytes;
            captured.positions += entry.rows as u64;
            task.advance(entry.rows as u64);
            step += 1;
        }
    }
    let each = captured.bytes as f64 / captured.positions.max(1) as f64;
    task.finish(&format!("{} positions, {each:.1} bytes each", captured.positions));
    Ok(captured)
}

/// The records of a step's rows.
fn segment(hidden: &Tensor<2>, head: &Tensor<2>, binding: &Binding, step: u64) -> Vec<u8> {
    let [rows, width] = hidden.dims();
    let mut segment = Vec::new();
    for start in (0..rows).step_by(CHUNK) {
        let range = start..(start + CHUNK).min(rows);
        let scores = values(&logits(hidden.clone().slice([range.clone(), 0..width]), head.clone()));
        let records: Vec<Vec<u8>> = scores
            .par_chunks(binding.vocabulary)
            .zip(range.into_par_iter())
            .map(|(scores, row)| record(scores, binding, step, row))
            .collect();
        segment.extend(records.concat());
    }
    segment
}

fn line<T: Serialize>(value: &T) -> String {
    let mut line = serde_json::to_string(value).expect("plain data");
    line.push('\n');
    line
}

fn hex(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn hash_of_tokens(tokens: &[u32]) -> String {
    let bytes: Vec<u8> = tokens.iter().flat_map(|token| token.to_le_bytes()).collect();
    hex(&bytes)
}

/// Draws at one position, by systematic sampling: `samples` points spaced evenly over the cumulative distribution, moved
/// together by one random number. A token of probability p is drawn `samples · p` times in the mean, as with independent
/// draws, and never more than one away from it.
fn record(scores: &[f32], binding: &Binding, step: u64, row: usize) -> Vec<u8> {
    let max = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let powers: Vec<f64> = scores.iter().map(|&score| f64::from(score - max).exp()).collect();
    let total: f64 = powers.iter().sum();
    // −Σ p·log p with p = e^s / total: log total − Σ p·s.
    let mean: f64 =
        powers.iter().zip(scores).map(|(power, &score)| power * f64::from(score - max)).sum::<f64>() / total;
    let entropy = total.ln() - mean;
    let samples = binding.samples;
    let spacing = total / samples as f64;
    let mut next = Random::new(binding.seed ^ step.rotate_left(32), row as u64).uniform() * spacing;
    let mut drawn: Vec<(u32, u8)> = Vec::new();
    let (mut sum, mut left) = (0.0, samples);
    for (id, power) in powers.iter().enumerate() {
        sum += power;
        let mut count = 0u8;
        while left > 0 && next < sum {
            count += 1;
            left -= 1;
            next += spacing;
        }
        if count > 0 {
            drawn.push((id as u32, count));
        }
    }
    // What rounding leaves belongs to the last token that can be drawn.
    if left > 0
        && let Some(last) = drawn.last_mut()
    {
        last.1 += left as u8;
    }
    let mut bytes = vec![drawn.len() as u8];
    bytes.extend(f16::from_f64(entropy).to_le_bytes());
    for (id, count) in drawn {
        bytes.extend(&id.to_le_bytes()[..binding.id_bytes()]);
        bytes.push(count);
    }
    bytes
}

/// Reads an index up to its first line that is not whole; `None` when there is none.
fn read_index(path: &Path) -> Result<Option<(Binding, Vec<Entry>)>, Error> {
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(io("read", path)(error)),
    };
    let mut lines = text.split_inclusive('\n').filter(|line| line.ends_with('\n'));
    let Some(binding) = lines.next().and_then(|line| serde_json::from_str(line).ok()) else { return Ok(None) };
    let mut entries: Vec<Entry> = Vec::new();
    for line in lines {
        let end = entries.last().map_or(0, |entry| entry.offset + entry.bytes);
        match serde_json::from_str::<Entry>(line) {
            Ok(entry) if entry.step == entries.len() as u64 && entry.offset == end => entries.push(entry),
            _ => break,
        }
    }
    Ok(Some((binding, entries)))
}

/// A finished capture, read a step at a time.
#[derive(Debug)]
pub struct TargetCache {
    binding: Binding,
    entries: Vec<Entry>,
    path: PathBuf,
    file: File,
}

impl TargetCache {
    /// Opens a capture of `steps` steps and checks that it is bound to the same things, that every segment is what was
    /// written, and that every step holds the tokens that `mixture` gives it.
    ///
    /// # Errors
    /// A capture of something else, unfinished or damaged.
    pub fn open(folder: &Path, binding: &Binding, mixture: &Mixture, steps: u64) -> Result<Self, Error> {
        let index = folder.join(INDEX);
        let other = |reason: String| Error::Other { path: index.clone(), reason };
        let damaged = |reason: String| Error::Damaged { path: index.clone(), reason };
        let (found, entries) = read_index(&index)?.ok_or_else(|| damaged("its first line cannot be read".into()))?;
        let differing = [
            ("from another teacher, other tokens or another order of them", found.identity != binding.identity),
            ("for another vocabulary", found.vocabulary != binding.vocabulary),
            ("with another number of samples", found.samples != binding.samples),
            ("with another seed", found.seed != binding.seed),
            ("by another version of this program", found.schema != binding.schema),
        ];
        if let Some((reason, _)) = differing.into_iter().find(|(_, differs)| *differs) {
            return Err(other(reason.into()));
        }
        if (entries.len() as u64) < steps {
            return Err(other(format!("for {} steps, but {steps} are needed", entries.len())));
        }
        let path = folder.join(SEGMENTS);
        let file = File::open(&path).map_err(io("open", &path))?;
        let mut cache = Self { binding: binding.clone(), entries, path, file };
        for step in 0..steps {
            let segment = cache.segment(step)?;
            let entry = &cache.entries[step as usize];
            if hex(&segment) != entry.sha256 || cache.decode(&segment, entry.rows).is_none() {
                let reason = format!("the segment of step {step} is not what was written");
                return Err(Error::Damaged { path: cache.path, reason });
            }
            if hash_of_tokens(&mixture.batch(step).tokens) != entry.tokens {
                return Err(other(format!("from other tokens in step {step}")));
            }
        }
        Ok(cache)
    }

    fn segment(&mut self, step: u64) -> Result<Vec<u8>, Error> {
        let entry = &self.entries[step as usize];
        let mut bytes = vec![0; entry.bytes as usize];
        let read = self.file.seek(SeekFrom::Start(entry.offset)).and_then(|_| self.file.read_exact(&mut bytes));
        read.map_err(io("read", &self.path))?;
        Ok(bytes)
    }

    fn decode(&self, segment: &[u8], rows: usize) -> Option<SparseTargets> {
        let width = self.binding.id_bytes() + 1;
        let mut targets = SparseTargets { offsets: vec![0], ..SparseTargets::default() };
        let mut rest = segment;
        for _ in 0..rows {
            let (head, tail) = rest.split_at_checked(3)?;
            let (drawn, tail) = tail.split_at_checked(usize::from(head[0]) * width)?;
            rest = tail;
            let mut total = 0;
            for token in drawn.chunks_exact(width) {
                let (id, count) = token.split_at(width - 1);
                let id = id.iter().rev().fold(0u32, |id, &byte| id << 8 | u32::from(byte));
                if id as usize >= self.binding.vocabulary {
                    return None;
                }
                total += usize::from(count[0]);
                targets.ids.push(id);
                targets.probabilities.push(f32::from(count[0]) / self.binding.samples as f32);
            }
            if total != self.binding.samples {
                return None;
            }
            targets.entropies.push(f16::from_le_bytes([head[1], head[2]]).to_f32());
            targets.offsets.push(targets.ids.len());
        }
        rest.is_empty().then_some(targets)
    }

    /// What was drawn for some rows of a step's batch.
    ///
    /// # Panics
    /// For a step that was not captured, or when the file is taken away or changed after it was opened.
    pub fn targets(&self, step: u64, rows: &[usize]) -> SparseTargets {
        let entry = &self.entries[usize::try_from(step).expect("a step number")];
        let mut bytes = vec![0; entry.bytes as usize];
        let mut file = &self.file;
        file.seek(SeekFrom::Start(entry.offset))
            .and_then(|_| file.read_exact(&mut bytes))
            .unwrap_or_else(|error| panic!("{} can no longer be read: {error}", self.path.display()));
        let whole = self.decode(&bytes, entry.rows).expect("checked when it was opened");
        let mut targets = SparseTargets { offsets: vec![0], ..SparseTargets::default() };
        for &row in rows {
            for (id, probability) in whole.row(row) {
                targets.ids.push(id);
                targets.probabilities.push(probability);
            }
            targets.entropies.push(whole.entropies[row]);
            targets.offsets.push(targets.ids.len());
        }
        targets
    }
}
