//! `lore score`: log-likelihoods of continuations.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use lore_datasets::progress::Unit;
use lore_eval::request::token_request;
use serde_json::{Map, Value};

use crate::device::DeviceChoice;
use crate::error::{Error, Result};
use crate::location::{Location, ModuleArgument, WeightedModule, resolve_modules};
use crate::models::load_model;
use crate::session::Session;

/// Problems of an input file that are listed before the rest is only counted.
const LISTED: usize = 10;

/// Score continuations: adds loglikelihood, tokens and is_greedy to each line
///
/// Each line of the input is {"context": "...", "continuation": "..."}; other keys are kept.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:
  lore score --base runs/quickstart/base --module runs/quickstart/modules/geography \\
      --input questions.jsonl --output scored.jsonl")]
pub struct ScoreArguments {
    /// The base: a directory, a GGUF file or a source
    #[arg(long, value_name = "DIR")]
    base: Location,
    /// A module, a directory or source, and what it is multiplied by [weight: 1]; may be repeated
    #[arg(long = "module", value_name = "DIR[=WEIGHT]")]
    modules: Vec<ModuleArgument>,
    /// Use modules trained on another base, or that do not say on which; shapes must fit all the same
    #[arg(long)]
    allow_base_mismatch: bool,
    /// Lines to score
    #[arg(long, value_name = "FILE.jsonl")]
    input: PathBuf,
    /// Where the scored lines go
    #[arg(long, value_name = "FILE.jsonl")]
    output: PathBuf,
}

/// What to score, checked.
#[derive(Debug, Clone, PartialEq)]
pub struct ScoreRequest {
    /// The base, on this machine.
    pub base: PathBuf,
    /// The modules, on this machine.
    pub modules: Vec<WeightedModule>,
    /// Whether modules of another base are accepted.
    pub allow_base_mismatch: bool,
    /// In the order of the input.
    pub items: Vec<Item>,
    /// Where to compute.
    pub device: DeviceChoice,
}

/// A context and what may follow it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// Where it stands in the input, from 1.
    pub line: usize,
    /// What is given.
    pub context: String,
    /// What is scored; not empty.
    pub continuation: String,
}

/// The score of one item.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Scored {
    /// Sum over the continuation's tokens, in nats.
    pub loglikelihood: f64,
    /// Tokens of the continuation.
    pub tokens: usize,
    /// Whether each of them was the most probable.
    pub is_greedy: bool,
}

/// Scores; the output file is written whole or not at all.
///
/// # Errors
/// Every line of the input that is not an item, at once; or what fails later.
pub fn score(arguments: &ScoreArguments, session: &Session) -> Result<()> {
    check_output(&arguments.output)?;
    let lines = read_lines(&arguments.input)?;
    let request = ScoreRequest {
        base: arguments.base.resolve(session)?,
        modules: resolve_modules(&arguments.modules, session)?,
        allow_base_mismatch: arguments.allow_base_mismatch,
        items: lines.iter().map(|(_, item)| item.clone()).collect(),
        device: session.device,
    };
    let scores = score_items(&request, &arguments.input, session)?;
    write_lines(&arguments.output, lines, &scores)?;
    session.progress.note(&format!("{} items scored: {}", scores.len(), arguments.output.display()));
    Ok(())
}

/// Scores every item as lm-evaluation-harness splits them; one score for each, in order.
fn score_items(request: &ScoreRequest, input: &Path, session: &Session) -> Result<Vec<Scored>> {
    let model = load_model(&request.base, &request.device.device()?)?;
    let decoder = model.with_modules(&request.modules, request.allow_base_mismatch)?;
    let refused = |error| Error::Failed(format!("the tokenizer: {error}"));
    let requests = request
        .items
        .iter()
        .map(|item| {
            token_request(&model.files.tokenizer, model.prefix(), &item.context, &item.continuation).map_err(refused)
        })
        .collect::<Result<Vec<_>>>()?;
    let limit = decoder.max_positions();
    let lengths = requests.iter().map(|request| request.context.len() + request.continuation.len());
    let problems = request.items.iter().zip(lengths).filter(|(_, length)| *length > limit).map(|(item, length)| {
        format!("line {}: {length} tokens, but the model has only {limit} positions; shorten the context", item.line)
    });
    refuse(input, problems.collect())?;
    let total: usize = requests.iter().map(|r| r.context.len() + r.continuation.len() - 1).sum();
    let mut task = session.progress.task("score", Some(total as u64), Unit::Tokens);
    let scores = lore_eval::score::score(&decoder, &requests, |tokens| task.advance(tokens as u64))?;
    task.finish(&format!("{} items", scores.len()));
    let totals = request.items.iter().zip(&scores).filter(|(_, score)| !score.total().is_finite());
    let problems = totals.map(|(item, _)| {
        format!(
            "line {}: the model gives no finite log-likelihood; a module's weight is too large, or its numbers are",
            item.line
        )
    });
    refuse(input, problems.collect())?;
    let scored = scores.iter().map(|score| Scored {
        loglikelihood: score.total(),
        tokens: score.log_likelihoods.len(),
        is_greedy: score.greedy.iter().all(|&greedy| greedy),
    });
    Ok(scored.collect())
}

fn read_lines(path: &Path) -> Result<Vec<(Map<String, Value>, Item)>> {
    let text = fs::read(path).map_err(Error::io(path))?;
    let text = String::from_utf8(text).map_err(|error| {
        let byte = error.utf8_error().valid_up_to();
        Error::Failed(format!("{}: not UTF-8 text (byte {byte})", path.display()))
    })?;
    let (mut lines, mut problems) = (Vec::new(), Vec::new());
    for (number, line) in (1..).zip(text.lines()).filter(|(_, line)| !line.trim().is_empty()) {
        match read_line(number, line) {
            Ok(item) => lines.push(item),
            Err(problem) => problems.push(format!("line {number}: {problem}")),
        }
    }
    if problems.is_empty() && lines.is_empty() {
        problems.push("no line to score".into());
    }
    refuse(path, problems)?;
    Ok(lines)
}

/// Fails with the first problems of a file and the number of the others, if there are any.
fn refuse(path: &Path, mut problems: Vec<String>) -> Result<()> {
    if problems.is_empty() {
        return Ok(());
    }
    let more = problems.len().saturating_sub(LISTED);
    problems.truncate(LISTED);
    let more = if more > 0 { format!("; and {more} more") } else { String::new() };
    Err(Error::Failed(format!("{}: {}{more}", path.display(), problems.join("; "))))
}

/// Finds out before anything is computed that the scores could not be written.
fn check_output(path: &Path) -> Result<()> {
    let problem = if path.is_dir() {
        "is a directory; name a file".to_owned()
    } else if folder_of(path).is_dir() {
        return Ok(());
    } else {
        format!("the directory {} does not exist; create it first", folder_of(path).display())
    };
    Err(Error::Usage(format!("--output {}: {problem}", path.display())))
}

fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

fn read_line(number: usize, line: &str) -> Result<(Map<String, Value>, Item), String> {
    let object: Map<String, Value> =
        serde_json::from_str(line).map_err(|error| format!("not a JSON object ({error})"))?;
    let text = |key: &str| match object.get(key) {
        Some(Value::String(text)) => Ok(text.clone()),
        Some(_) => Err(format!("`{key}` is not text")),
        None => Err(format!("`{key}` is missing")),
    };
    let item = Item { line: number, context: text("context")?, continuation: text("continuation")? };
    if item.continuation.is_empty() {
        return Err("`continuation` is empty".into());
    }
    Ok((object, item))
}

fn write_lines(path: &Path, lines: Vec<(Map<String, Value>, Item)>, scores: &[Scored]) -> Result<()> {
    let folder = folder_of(path);
    let mut text = Vec::new();
    for ((mut object, _), score) in lines.into_iter().zip(scores) {
        object.insert("loglikelihood".into(), score.loglikelihood.into());
        object.insert("tokens".into(), score.tokens.into());
        object.insert("is_greedy".into(), score.is_greedy.into());
        text.extend_from_slice(Value::Object(object).to_string().as_bytes());
        text.push(b'\n');
    }
    let mut file = lore_datasets::whole::beside(folder).map_err(Error::io(folder))?;
    file.write_all(&text).map_err(Error::io(path))?;
    file.as_file().sync_all().map_err(Error::io(path))?;
    file.persist(path).map_err(|error| error.error).map_err(Error::io(path))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn lines_keep_their_keys_and_gain_three() {
        let folder = tempfile::tempdir().unwrap();
        let (input, output) = (folder.path().join("in"), folder.path().join("out"));
        fs::write(&input, "{\"id\": 7, \"context\": \"a \", \"continuation\": \"b\"}\n\n").unwrap();
        let lines = read_lines(&input).unwrap();
        assert_eq!(lines[0].1, Item { line: 1, context: "a ".into(), continuation: "b".into() });
        write_lines(&output, lines, &[Scored { loglikelihood: -1.5, tokens: 2, is_greedy: true }]).unwrap();
        let scored: Value = serde_json::from_str(&fs::read_to_string(output).unwrap()).unwrap();
        let expected = serde_json::json!({
            "id": 7, "context": "a ", "continuation": "b", "loglikelihood": -1.5, "tokens": 2, "is_greedy": true
        });
        assert_eq!(scored, expected);
    }

    #[test]
    fn every_bad_line_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let input = folder.path().join("in");
        fs::write(&input, "[]\n{\"context\": 1}\n{\"context\": \"\", \"continuation\": \"\"}\n{\"context\": \"\"}\n")
            .unwrap();
        let message = read_lines(&input).unwrap_err().to_string();
        for part in [
            "line 1: not a JSON object",
            "line 2: `context` is not text",
            "line 3: `continuation` is empty",
            "line 4: `continuation` is missing",
        ] {
            assert!(message.contains(part), "{message}");
        }
    }
}
