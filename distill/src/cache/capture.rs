//! Drawing and keeping.

use super::error::{Error, io};
use super::index::{Binding, Entry, INDEX, SEGMENTS, hash_of_tokens, hex, line, read_index};
use super::shares::{SHARES, Shares};
use burn::tensor::Tensor;
use half::f16;
use lore_datasets::batches::Batch;
use lore_datasets::mixture::Mixture;
use lore_datasets::progress::{Progress, Unit};
use lore_model::Decoder;
use lore_model::ops::head::logits;
use lore_model::ops::host::values;
use lore_model::ops::sequences::Sequences;
use lore_model::sampling::Random;
use lore_model::streamed::StreamedDecoder;
use rayon::prelude::*;
use std::fs::{self, OpenOptions};
use std::io::{Seek, SeekFrom, Write};
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

/// Positions whose logits exist at the same time: few, so that a streamed teacher's memory is not spent on them, and enough
/// to read its head for.
pub const CHUNK: usize = 128;

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

    /// Final hidden states of each batch.
    fn hidden(&self, batches: &[(Arc<Vec<u32>>, Arc<Sequences>)]) -> Result<Vec<Tensor<2>>, Error> {
        match self {
            Self::Resident(decoder) => Ok(batches
                .iter()
                .map(|(tokens, sequences)| decoder.hidden(tokens.clone(), sequences.clone()))
                .collect()),
            Self::Streamed(decoder, _) => Ok(decoder.hidden(batches)?),
        }
    }

    /// Logits `[rows, vocabulary]` of some hidden states.
    fn logits(&self, hidden: Tensor<2>) -> Result<Vec<f32>, Error> {
        match self {
            Self::Resident(decoder) => Ok(values(&logits(hidden, decoder.head()))),
            Self::Streamed(decoder, _) => Ok(decoder.logits(&hidden)?),
        }
    }
}

/// Draws `binding.samples` tokens from the teacher's distribution at every position of the first `steps` batches of
/// `mixture`, going on where an interrupted capture stopped, and with what shares of it are finished.
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
    let shares = folder.join(SHARES);
    let captured =
        capture_range(teacher, mixture, 0..steps, binding, folder, Shares::open(&shares, binding)?, progress)?;
    if shares.exists() {
        fs::remove_dir_all(&shares).map_err(io("remove", &shares))?;
    }
    Ok(captured)
}

/// As [`capture`], of some steps only, for the [`capture`] of all steps in the same folder, which is called when it has
/// ended; `name` tells it from other shares.
///
/// # Errors
/// Files that cannot be written.
pub fn capture_share(
    teacher: &Teacher<'_>,
    mixture: &Mixture,
    (name, steps): (&str, Range<u64>),
    binding: &Binding,
    folder: &Path,
    progress: &dyn Progress,
) -> Result<Captured, Error> {
    capture_range(teacher, mixture, steps, binding, &folder.join(SHARES).join(name), Shares::default(), progress)
}

fn capture_range(
    teacher: &Teacher<'_>,
    mixture: &Mixture,
    steps: Range<u64>,
    binding: &Binding,
    folder: &Path,
    mut shares: Shares,
    progress: &dyn Progress,
) -> Result<Captured, Error> {
    assert!((1..=255).contains(&binding.samples), "between 1 and 255 samples");
    fs::create_dir_all(folder).map_err(io("create", folder))?;
    let (segments_path, index_path) = (folder.join(SEGMENTS), folder.join(INDEX));
    let known = match read_index(&index_path, Some(steps.start))? {
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

    let first = steps.start + known.len() as u64;
    let per_step = mixture.tokens_per_batch() as u64;
    let mut task =
        progress.task("teacher's distributions", Some(steps.end.saturating_sub(first) * per_step), Unit::Tokens);
    let at_once = teacher.steps_at_once(mixture.tokens_per_batch());
    let mut step = first;
    let mut keep = |batch: &Batch, segment: &[u8], step: u64| -> Result<(), Error> {
        segments.write_all(segment).and_then(|()| segments.sync_data()).map_err(io("write", &segments_path))?;
        let entry = Entry {
            step,
            rows: batch.tokens.len(),
            offset: captured.bytes,
            bytes: segment.len() as u64,
            sha256: hex(segment),
            tokens: hash_of_tokens(&batch.tokens),
        };
        let written = index.write_all(line(&entry).as_bytes()).and_then(|()| index.sync_data());
        written.map_err(io("write", &index_path))?;
        captured.bytes += entry.bytes;
        captured.positions += entry.rows as u64;
        task.advance(entry.rows as u64);
        Ok(())
    };
    while step < steps.end {
        if shares.have(step) {
            let batch = mixture.batch(step);
            if let Some(segment) = shares.segment(step, &batch) {
                keep(&batch, &segment, step)?;
                step += 1;
                continue;
            }
        }
        let together = step..steps.end.min(step + at_once);
        let batches: Vec<_> = together.take_while(|&step| !shares.have(step)).map(|step| mixture.batch(step)).collect();
        let inputs: Vec<_> = batches
            .iter()
            .map(|batch| (Arc::new(batch.tokens.clone()), Arc::new(Sequences::whole(&batch.lengths))))
            .collect();
        for (batch, hidden) in batches.into_iter().zip(teacher.hidden(&inputs)?) {
            let segment = segment(teacher, &hidden, binding, step)?;
            keep(&batch, &segment, step)?;
            step += 1;
        }
    }
    let each = captured.bytes as f64 / captured.positions.max(1) as f64;
    task.finish(&format!("{} positions, {each:.1} bytes each", captured.positions));
    Ok(captured)
}

/// The records of a step's rows.
fn segment(teacher: &Teacher<'_>, hidden: &Tensor<2>, binding: &Binding, step: u64) -> Result<Vec<u8>, Error> {
    let [rows, width] = hidden.dims();
    let mut segment = Vec::new();
    for start in (0..rows).step_by(CHUNK) {
        let range = start..(start + CHUNK).min(rows);
        let scores = teacher.logits(hidden.clone().slice([range.clone(), 0..width]))?;
        let records: Vec<Vec<u8>> = scores
            .par_chunks(binding.vocabulary)
            .zip(range.into_par_iter())
            .map(|(scores, row)| record(scores, binding, step, row))
            .collect();
        segment.extend(records.concat());
    }
    Ok(segment)
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
    // Most are drawn once, which needs no count.
    let (repeated, once): (Vec<_>, Vec<_>) = drawn.into_iter().partition(|(_, count)| *count > 1);
    let mut bytes = vec![(repeated.len() + once.len()) as u8, repeated.len() as u8];
    bytes.extend(f16::from_f64(entropy).to_le_bytes());
    for (id, _) in repeated.iter().chain(&once) {
        bytes.extend(&id.to_le_bytes()[..binding.id_bytes()]);
    }
    bytes.extend(repeated.iter().map(|(_, count)| count));
    bytes
}
