//! `lore generate`: text from a base and modules.

use std::io::Write;
use std::ops::ControlFlow;
use std::path::PathBuf;

use lore_model::generate::{Generation, generate};
use lore_model::sampling::Sampling;

use crate::device::DeviceChoice;
use crate::error::{Error, Result};
use crate::location::{Location, ModuleArgument, WeightedModule, resolve_modules};
use crate::models::load_model;
use crate::session::Session;

/// Continue a text with a base and any modules
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  lore generate --base runs/quickstart/base --module runs/quickstart/modules/geography \\
      --prompt 'The capital of Mongolia is'
  lore generate --base hf:owner/base --module DIR=0.5 --module OTHER=0.5 \\
      --prompt 'Once' --temperature 0.8 --seed 7")]
pub struct GenerateArguments {
    /// The base: a directory, a GGUF file or a source
    #[arg(long, value_name = "DIR")]
    base: Location,
    /// A module, a directory or source, and what it is multiplied by [weight: 1]; may be repeated
    #[arg(long = "module", value_name = "DIR[=WEIGHT]")]
    modules: Vec<ModuleArgument>,
    /// Use modules trained on another base, or that do not say on which; shapes must fit all the same
    #[arg(long)]
    allow_base_mismatch: bool,
    /// Text to continue
    #[arg(long, value_name = "TEXT")]
    prompt: String,
    /// Tokens to write at most
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
    max_tokens: u32,
    /// Logits are divided by it; 0 always takes the most probable token
    #[arg(long, value_name = "T", default_value_t = 0.0, value_parser = temperature)]
    temperature: f64,
    /// Draw only from this many of the most probable tokens
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    top_k: Option<u32>,
    /// Draw only from the most probable tokens with this joint probability
    #[arg(long, value_name = "P", value_parser = probability)]
    top_p: Option<f64>,
    /// The same seed draws the same tokens
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
}

/// What to generate, checked.
#[derive(Debug, Clone, PartialEq)]
pub struct GenerateRequest {
    /// The base, on this machine.
    pub base: PathBuf,
    /// The modules, on this machine.
    pub modules: Vec<WeightedModule>,
    /// Whether modules of another base are accepted.
    pub allow_base_mismatch: bool,
    /// Text to continue.
    pub prompt: String,
    /// Tokens to write at most, at least 1.
    pub max_tokens: usize,
    /// 0 means greedy.
    pub temperature: f64,
    /// At least 1.
    pub top_k: Option<usize>,
    /// In (0, 1].
    pub top_p: Option<f64>,
    /// Of the random draws.
    pub seed: u64,
    /// Where to compute.
    pub device: DeviceChoice,
}

pub(super) fn temperature(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(value) if value.is_finite() && value >= 0.0 => Ok(value),
        _ => Err("expected a number, 0 or more".into()),
    }
}

pub(super) fn probability(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(value) if value > 0.0 && value <= 1.0 => Ok(value),
        _ => Err("expected a number more than 0 and at most 1".into()),
    }
}

/// Generates; the text goes to stdout as it is written.
///
/// # Errors
/// When a model cannot be fetched or loaded, or does not fit.
pub fn run(arguments: &GenerateArguments, session: &Session) -> Result<()> {
    let request = GenerateRequest {
        base: arguments.base.resolve(session)?,
        modules: resolve_modules(&arguments.modules, session)?,
        allow_base_mismatch: arguments.allow_base_mismatch,
        prompt: arguments.prompt.clone(),
        max_tokens: arguments.max_tokens as usize,
        temperature: arguments.temperature,
        top_k: arguments.top_k.map(|k| k as usize),
        top_p: arguments.top_p,
        seed: arguments.seed,
        device: session.device,
    };
    write_continuation(&request, session)
}

/// Loads base and modules and streams prompt and continuation to stdout.
fn write_continuation(request: &GenerateRequest, _session: &Session) -> Result<()> {
    let model = load_model(&request.base, &request.device.device()?)?;
    let decoder = model.with_modules(&request.modules, request.allow_base_mismatch)?;
    let tokenizer = &model.files.tokenizer;
    let refused = |error| Error::Failed(format!("the tokenizer: {error}"));
    let prompt = tokenizer.encode(request.prompt.as_str(), false).map_err(refused)?;
    let prompt = [&[model.start], prompt.get_ids()].concat();
    model.check_length("the prompt with `--max-tokens`", prompt.len() + request.max_tokens)?;
    let generation = Generation {
        max_tokens: request.max_tokens,
        sampling: Sampling {
            temperature: request.temperature as f32,
            top_k: request.top_k,
            top_p: request.top_p.map(|p| p as f32),
        },
        seed: request.seed,
        stop: [model.files.config.eos_token_ids.as_slice(), &[model.start]].concat(),
    };
    let mut out = std::io::stdout().lock();
    let mut stream = tokenizer.decode_stream(true);
    // Text appears as soon as its bytes are whole; a closed pipe ends the generation.
    let mut write = |text: &str| out.write_all(text.as_bytes()).and_then(|()| out.flush());
    if write(&request.prompt).is_err() {
        return Ok(());
    }
    let mut failed = None;
    generate(&decoder, &[prompt], &generation, |_, token| match stream.step(token) {
        Ok(None) => ControlFlow::Continue(()),
        Ok(Some(text)) => write(&text).map_or(ControlFlow::Break(()), |()| ControlFlow::Continue(())),
        Err(error) => {
            failed = Some(refused(error));
            ControlFlow::Break(())
        }
    })?;
    let _ = write("\n");
    failed.map_or(Ok(()), Err)
}
