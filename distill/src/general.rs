//! General English that the teacher writes.
//!
//! Each text continues one of the given openings, drawn with its own random stream. The texts follow from
//! the teacher, the openings and [`Writing`], its batch size included; an interrupted run goes on where it
//! stopped, to the same texts.

use lore_datasets::progress::{Progress, Unit};
use lore_model::Decoder;
use lore_model::generate::{Generation, generate};
use lore_model::sampling::{Random, Sampling};
use serde::{Deserialize, Serialize};
use std::io::Write;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

/// How much is written and how.
#[derive(Clone, Debug, PartialEq)]
pub struct Writing {
    /// Tokens to write in all, at least.
    pub tokens: u64,
    /// Longest text in tokens, opening included.
    pub length: usize,
    /// Texts written at the same time.
    pub batch: usize,
    /// How tokens are drawn.
    pub sampling: Sampling,
    /// Everything random follows from it.
    pub seed: u64,
    /// Put before every text.
    pub start: u32,
    /// Tokens that end a text.
    pub stop: Vec<u32>,
}

/// One text as written: token ids with the opening, without start and end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Written {
    /// Number of the text, from 0.
    pub index: u64,
    /// Which opening it continues.
    pub opening: usize,
    /// Token ids.
    pub tokens: Vec<u32>,
}

/// What can go wrong while writing.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The file of texts cannot be read or written.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was attempted.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// The system's own error.
        source: std::io::Error,
    },
    /// There is nothing to continue.
    #[error("`openings` is empty: give at least one opening for the teacher to continue")]
    NoOpenings,
    /// The teacher cannot be run.
    #[error(transparent)]
    Model(#[from] lore_model::Error),
}

/// Lets `teacher` write texts until there are enough tokens. `file` keeps them as JSON lines while the
/// work goes on; whole batches found in it are not written again.
///
/// # Errors
/// No openings, a file that cannot be written, an opening longer than the model's positions.
pub fn write(
    teacher: &Decoder,
    openings: &[Vec<u32>],
    writing: &Writing,
    file: &Path,
    progress: &dyn Progress,
) -> Result<Vec<Written>, Error> {
    if openings.is_empty() {
        return Err(Error::NoOpenings);
    }
    let io = |action: &'static str| move |source| Error::Io { action, path: file.to_owned(), source };
    let mut texts = read_whole_batches(file, writing).map_err(io("read"))?;
    // Whatever a crash left of the last batch is dropped; the rest is not lost to a full disk.
    let kept: String = texts.iter().map(line).collect();
    let partial = file.with_extension("partial");
    std::fs::write(&partial, kept).and_then(|()| std::fs::rename(&partial, file)).map_err(io("write"))?;
    let mut output = std::fs::OpenOptions::new().append(true).open(file).map_err(io("open"))?;
    let mut total: u64 = texts.iter().map(|text| text.tokens.len() as u64).sum();
    let mut task = progress.task("general English", Some(writing.tokens.saturating_sub(total)), Unit::Tokens);
    while total < writing.tokens {
        let first = texts.len() as u64;
        let count = texts_to_write(writing, texts.len(), total);
        let chosen: Vec<usize> = (first..first + count as u64)
            .map(|index| (Random::new(writing.seed, index).bits() % openings.len() as u64) as usize)
            .collect();
        let prompts: Vec<Vec<u32>> =
            chosen.iter().map(|&opening| [&[writing.start], openings[opening].as_slice()].concat()).collect();
        let longest = prompts.iter().map(Vec::len).max().unwrap_or(0);
        let generation = Generation {
            max_tokens: (writing.length + 1).saturating_sub(longest).max(1),
            sampling: writing.sampling.clone(),
            // Streams are numbered within a call; the batch's first index tells the calls apart.
            seed: Random::new(writing.seed, first).bits(),
            stop: writing.stop.clone(),
        };
        let mut drawn = 0;
        let continuations = generate(teacher, &prompts, &generation, |_, _| {
            drawn += 1;
            if drawn == count {
                task.advance(drawn as u64);
                drawn = 0;
            }
            ControlFlow::Continue(())
        })?;
        let mut lines = String::new();
        for (index, (opening, continuation)) in chosen.into_iter().zip(continuations).enumerate() {
            let tokens = [openings[opening].as_slice(), &continuation].concat();
            total += tokens.len() as u64;
            let text = Written { index: first + index as u64, opening, tokens };
            lines.push_str(&line(&text));
            texts.push(text);
        }
        output.write_all(lines.as_bytes()).and_then(|()| output.sync_data()).map_err(io("write"))?;
    }
    task.finish(&format!("{} texts, {total} tokens", texts.len()));
    Ok(texts)
}

/// How many texts the next batch has: no more than what is missing needs if they come out as long as those before, the
/// first of them as long as they may be.
fn texts_to_write(writing: &Writing, written: usize, total: u64) -> usize {
    let mean = if written == 0 { writing.length as f64 } else { total as f64 / written as f64 };
    let needed = (writing.tokens.saturating_sub(total) as f64 / mean.max(1.0)).ceil() as usize;
    needed.clamp(1, writing.batch.max(1))
}

fn line(text: &Written) -> String {
    let mut line = serde_json::to_string(text).expect("a text is plain data");
    line.push('\n');
    line
}

fn read_whole_batches(file: &Path, writing: &Writing) -> std::io::Result<Vec<Written>> {
    let text = match std::fs::read_to_string(file) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut texts: Vec<Written> = text
        .lines()
        .map_while(|line| serde_json::from_str(line).ok())
        .enumerate()
        .take_while(|(i, text): &(usize, Written)| text.index == *i as u64)
        .map(|(_, text)| text)
        .collect();
    let (mut whole, mut total) = (0, 0);
    while total < writing.tokens {
        let count = texts_to_write(writing, whole, total);
        let Some(batch) = texts.get(whole..whole + count) else { break };
        total += batch.iter().map(|text| text.tokens.len() as u64).sum::<u64>();
        whole += count;
    }
    texts.truncate(whole);
    Ok(texts)
}
