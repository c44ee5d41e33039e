//! `lore trim`: a model with a smaller vocabulary.

use std::path::{Path, PathBuf};

use lore_datasets::documents::Documents;
use lore_datasets::split::Split;
use lore_model::files::ModelFiles;
use lore_model::save::{Repository, SHARD_BYTES, save_repository};
use lore_model::tokenizer::{Trimmed, trim};
use lore_model::weights::check::check_finite;
use lore_model::weights::safetensors_writer::StoredType;
use serde::Deserialize;
use tokenizers::Tokenizer;

use super::convert::free_output;
use crate::error::{Error, Result};
use crate::location::Location;
use crate::quantity;
use crate::session::Session;

/// Take the tokens that some texts need least out of a model's vocabulary
///
/// Every text can still be encoded, in a few more tokens. The model keeps what it knows: its embeddings and head lose
/// rows, nothing else changes, so it can be a teacher whose students have the smaller vocabulary. One text in ten is not
/// counted but used to measure what it costs.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:
  lore trim model.gguf --size 16384 --text english.txt --text runs/quickstart/stages/general-*/documents.parquet \\
      --out model-16k")]
pub struct TrimArguments {
    /// A GGUF file, a Hugging Face repository, or a source of one
    #[arg(value_name = "SOURCE")]
    source: Location,
    /// Tokens to keep
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    size: u32,
    /// Text to count tokens in: a text file, JSON lines with `text`, or documents of a run (.parquet); may be repeated
    #[arg(long, value_name = "FILE", required = true, num_args = 1..)]
    text: Vec<PathBuf>,
    /// Directory to write; must not exist or be empty
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
}

/// Trims; the directory goes to stdout.
///
/// # Errors
/// Texts or models that cannot be read, a size that cannot be reached, an output that is not empty.
pub fn run(arguments: &TrimArguments, session: &Session) -> Result<()> {
    free_output(&arguments.out)?;
    let files = ModelFiles::open(&arguments.source.resolve(session)?)?;
    check_finite(&files.config, &*files.weights)?;
    let mut texts = Vec::new();
    for path in &arguments.text {
        texts.extend(read_texts(path)?);
    }
    let held_out: Vec<String> = texts.iter().skip(9).step_by(10).cloned().collect();
    let counted: Vec<String> =
        texts.into_iter().enumerate().filter(|(index, _)| index % 10 != 9).map(|(_, text)| text).collect();
    let mut counts = vec![0u64; files.config.vocab_size];
    for id in encode(&files.tokenizer, &counted)? {
        counts[id as usize] += 1;
    }
    let size = arguments.size as usize;
    let Trimmed { tokenizer, kept } = trim(&files.tokenizer, &counts, size)
        .map_err(|error| Error::Failed(format!("the tokenizer cannot be trimmed: {error}")))?;

    let mut config = files.config.clone();
    config.vocab_size = kept.len();
    let renumber = |id: u32| kept.binary_search(&id).ok().map(|new| new as u32);
    config.bos_token_id = config.bos_token_id.and_then(renumber);
    config.eos_token_ids = config.eos_token_ids.iter().copied().filter_map(renumber).collect();
    let repository = Repository {
        config: &config,
        tokenizer: &tokenizer,
        tokenizer_settings: &files.tokenizer_settings,
        dtype: StoredType::F32,
        shard_bytes: SHARD_BYTES,
        readme: None,
    };
    let fingerprint = save_repository(&arguments.out, &repository, &mut |name| {
        let values = files.weights.read_f32(name)?;
        if !["model.embed_tokens.weight", "lm_head.weight"].contains(&name) {
            return Ok(values);
        }
        let rows = kept.iter().flat_map(|&id| values[id as usize * config.hidden_size..][..config.hidden_size].iter());
        Ok(rows.copied().collect())
    })?;

    let bytes: usize = held_out.iter().map(String::len).sum();
    let note = |line: String| session.progress.note(&line);
    note(format!("fingerprint {fingerprint}"));
    note(format!(
        "{} of {} tokens kept; parameters {} → {}",
        kept.len(),
        files.config.vocab_size,
        quantity::count(files.config.parameter_count() as u64),
        quantity::count(config.parameter_count() as u64),
    ));
    if bytes > 0 {
        let each = |tokenizer: &Tokenizer| Ok::<_, Error>(bytes as f64 / encode(tokenizer, &held_out)?.len() as f64);
        let (before, after) = (each(&files.tokenizer)?, each(&tokenizer)?);
        note(format!(
            "bytes a token on text that was not counted: {before:.3} → {after:.3} ({:+.1} % tokens)",
            100.0 * (before / after - 1.0)
        ));
    }
    println!("{}", arguments.out.display());
    Ok(())
}

/// Token ids of all texts, without those that begin or end a text.
fn encode(tokenizer: &Tokenizer, texts: &[String]) -> Result<Vec<u32>> {
    let encodings = tokenizer
        .encode_batch(texts.to_vec(), false)
        .map_err(|error| Error::Failed(format!("the tokenizer: {error}")))?;
    Ok(encodings.iter().flat_map(|encoding| encoding.get_ids().iter().copied()).collect())
}

/// Documents of a run, `text` of JSON lines, or the paragraphs of a text.
fn read_texts(path: &Path) -> Result<Vec<String>> {
    let extension = path.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
    if extension == "parquet" {
        let documents = Documents::read(path)?;
        // What a report will be made from must not decide anything.
        return Ok(documents.split(Split::Train).iter().map(|document| (*document.text).to_owned()).collect());
    }
    let text = std::fs::read_to_string(path).map_err(Error::io(path))?;
    if extension != "jsonl" {
        return Ok(text.split("\n\n").filter(|part| !part.trim().is_empty()).map(str::to_owned).collect());
    }
    #[derive(Deserialize)]
    struct Line {
        text: String,
    }
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    lines
        .map(|(index, line)| {
            let line: Line = serde_json::from_str(line).map_err(|error| {
                Error::Failed(format!("{} line {}: expected {{\"text\": \"...\"}}: {error}", path.display(), index + 1))
            })?;
            Ok(line.text)
        })
        .collect()
}
