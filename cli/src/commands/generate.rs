//! `lore generate`: text from a base and modules.

use std::io::Write;
use std::ops::ControlFlow;
use std::path::PathBuf;

use lore_model::generate::{Generation, generate};
use lore_model::sampling::Sampling;
use lore_modules::on_demand::ActiveSet;

use crate::device::DeviceChoice;
use crate::error::{Error, Result};
use crate::location::{Location, ModuleArgument, WeightedModule, resolve_modules};
use crate::models::{LoadedModel, load_model};
use crate::on_demand::{LibraryOptions, Modules, chooser, no_router, parse_modules};
use crate::quantity;
use crate::session::Session;

/// Continue a text with a base and any modules
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  lore generate --base runs/quickstart/base --module runs/quickstart/modules/geography \\
      --prompt 'The capital of Mongolia is'
  lore generate --base runs/quickstart/base --library runs/quickstart/modules \\
      --modules geography=0.5,history=0.5 --memory 512MB --prompt 'The capital of Mongolia is'
  lore generate --base hf:owner/base --module DIR=0.5 --module OTHER=0.5 \\
      --prompt 'Once' --temperature 0.8 --seed 7")]
pub struct GenerateArguments {
    /// The base: a directory, a GGUF file or a source
    #[arg(long, value_name = "DIR")]
    base: Location,
    /// A module, a directory or source, and what it is multiplied by [weight: 1]; may be repeated
    #[arg(long = "module", value_name = "DIR[=WEIGHT]")]
    modules: Vec<ModuleArgument>,
    /// Modules of the library by their names, loaded on demand, or `auto`
    #[arg(long = "modules", value_name = "NAME[=WEIGHT],..", value_parser = parse_modules, conflicts_with = "modules")]
    named: Option<Modules>,
    #[command(flatten)]
    library: LibraryOptions,
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
#[derive(Debug, Clone)]
pub struct GenerateRequest {
    /// The base, on this machine.
    pub base: PathBuf,
    /// The modules, on this machine.
    pub modules: Vec<WeightedModule>,
    /// Modules of a library, instead of those.
    pub named: Option<(Modules, LibraryOptions)>,
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
        named: arguments.named.clone().map(|named| (named, arguments.library.clone())),
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

/// Modules of a library for a prompt; says which they are and what they took.
fn lease(
    named: &Modules,
    options: &LibraryOptions,
    model: &LoadedModel,
    prompt: &[u32],
    allow_mismatch: bool,
    session: &Session,
) -> Result<ActiveSet> {
    let library = options.library(session);
    let mut modules = options.open(model, allow_mismatch, session)?;
    let set = match named {
        Modules::Set(set) => set.clone(),
        Modules::Auto => {
            let chooser = chooser(&library, modules.fingerprint(), &model.decoder)?;
            let mut chooser = chooser.ok_or_else(|| no_router(&library))?;
            chooser.choose(&model.decoder, prompt).map_err(Error::Failed)?
        }
    };
    let active = modules.lease(&set).map_err(Error::while_doing("loading modules"))?;
    session.progress.note(&format!(
        "{}: {} of {} for modules, the last loaded in {:.1} ms",
        lore_serve::model_name(&set),
        quantity::bytes(modules.resident_bytes()),
        quantity::bytes(modules.cap()),
        modules.counts().last_load.as_secs_f64() * 1e3
    ));
    Ok(active)
}

/// Loads base and modules and streams prompt and continuation to stdout.
fn write_continuation(request: &GenerateRequest, session: &Session) -> Result<()> {
    let model = load_model(&request.base, &request.device.device()?)?;
    let tokenizer = &model.files.tokenizer;
    let refused = |error| Error::Failed(format!("the tokenizer: {error}"));
    let prompt = tokenizer.encode(request.prompt.as_str(), false).map_err(refused)?;
    let prompt = [&[model.start], prompt.get_ids()].concat();
    model.check_length("the prompt with `--max-tokens`", prompt.len() + request.max_tokens)?;
    // The modules stay in memory as long as this lives.
    let active = match &request.named {
        Some((named, library)) => lease(named, library, &model, &prompt, request.allow_base_mismatch, session)?,
        None => ActiveSet::none(),
    };
    let decoder = match &request.named {
        Some(_) => active.on(&model.decoder),
        None => model.with_modules(&request.modules, request.allow_base_mismatch)?,
    };
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
