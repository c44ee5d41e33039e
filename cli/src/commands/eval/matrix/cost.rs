//! What it costs to have something loaded.

use std::time::Instant;

use lore_eval::score::{TokenRequest, score};
use lore_eval::task::Form;
use lore_model::Decoder;
use lore_model::fingerprint::Fingerprint;
use lore_modules::{LoadedModule, activate};
use serde::Serialize;

use crate::commands::eval::asked::Question;
use crate::error::{Error, Result};
use crate::location::WeightedModule;
use crate::memory::{peak_resident, reset_peak};
use crate::models::{LoadedModel, read_modules};

/// Tokens that are scored to see how fast a model is, in passages of [`PASSAGE`].
const TOKENS: usize = 1024;
const PASSAGE: usize = 128;
/// The fastest of so many counts: what else the machine does makes slower, nothing makes faster.
const REPEATS: usize = 2;

/// Costs of one row.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Cost {
    /// Bytes of its modules in memory.
    pub(super) module_bytes: u64,
    /// Bytes of its weights in memory, base and modules.
    pub(super) resident_bytes: u64,
    /// Most bytes the process had while it loaded the modules and scored, where the system tells.
    pub(super) peak_bytes: Option<u64>,
    /// Milliseconds to read the modules and put them beside the base.
    pub(super) load_ms: f64,
    /// Tokens scored per second, all threads together.
    pub(super) tokens_per_second: f64,
}

impl Cost {
    /// What it costs to have one of some modules loaded at a time beside the base: never more than the largest, no slower than
    /// the slowest. What choosing costs is not in it.
    pub(super) fn of_one_at_a_time<'a>(base: &Self, modules: impl Iterator<Item = &'a Self>) -> Self {
        modules.fold(base.clone(), |most, one| Self {
            module_bytes: most.module_bytes.max(one.module_bytes),
            resident_bytes: most.resident_bytes.max(one.resident_bytes),
            peak_bytes: most.peak_bytes.max(one.peak_bytes),
            load_ms: most.load_ms.max(one.load_ms),
            tokens_per_second: most.tokens_per_second.min(one.tokens_per_second),
        })
    }
}

/// Loads modules beside a model, and measures that.
///
/// # Errors
/// Modules that cannot be read or are of another base; text that the tokenizer refuses.
pub(super) fn load(
    model: &LoadedModel,
    fingerprint: &Fingerprint,
    modules: &[WeightedModule],
    questions: &[Question],
) -> Result<(Decoder, Cost)> {
    let requests = requests(model, questions)?;
    reset_peak();
    let began = Instant::now();
    let device = model.decoder.embedding.device();
    let adapters = read_modules(modules, &model.files.config, fingerprint, false)?;
    let loaded: Vec<(LoadedModule, f32)> =
        adapters.into_iter().map(|(adapter, weight)| (LoadedModule::taking(adapter, &device), weight)).collect();
    let weighted: Vec<(&LoadedModule, f32)> = loaded.iter().map(|(module, weight)| (module, *weight)).collect();
    let decoder = if weighted.is_empty() { model.decoder.clone() } else { activate(&model.decoder, &weighted) };
    let load_ms = if weighted.is_empty() { 0.0 } else { began.elapsed().as_secs_f64() * 1e3 };
    let tokens: usize = requests.iter().map(|request| request.continuation.len()).sum();
    let mut fastest = f64::INFINITY;
    for _ in 0..REPEATS {
        let began = Instant::now();
        score(&decoder, &requests, |_| {})?;
        fastest = fastest.min(began.elapsed().as_secs_f64());
    }
    let module_bytes: u64 = loaded.iter().map(|(module, _)| module.bytes() as u64).sum();
    let cost = Cost {
        module_bytes,
        resident_bytes: model.files.config.weight_bytes(model.blocks) + module_bytes,
        peak_bytes: peak_resident(),
        load_ms,
        tokens_per_second: tokens as f64 / fastest,
    };
    Ok((decoder, cost))
}

/// The beginning of what is asked, as passages.
fn requests(model: &LoadedModel, questions: &[Question]) -> Result<Vec<TokenRequest>> {
    let refused = |error| Error::Failed(format!("the tokenizer: {error}"));
    let mut tokens = Vec::new();
    for item in questions.iter().flat_map(|(_, _, items)| items) {
        let text = match &item.form {
            Form::Rolling { text, .. } => text.clone(),
            Form::Choice { context, choices, .. } => format!("{context} {}\n", choices.join(" ")),
            Form::Cloze { context, target } => format!("{context}{target}\n"),
            Form::Generate { context, .. } => format!("{context}\n"),
        };
        tokens.extend(model.files.tokenizer.encode(text, false).map_err(refused)?.get_ids());
        if tokens.len() >= TOKENS {
            break;
        }
    }
    tokens.truncate(TOKENS);
    let passage = PASSAGE.min(model.decoder.max_positions().saturating_sub(1)).max(1);
    let request = |tokens: &[u32]| TokenRequest { context: vec![model.prefix()], continuation: tokens.to_vec() };
    Ok(tokens.chunks(passage).map(request).collect())
}
