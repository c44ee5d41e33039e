//! What teacher, base and modules write.

use std::ops::ControlFlow;

use lore_eval::report::Sample;
use lore_model::Decoder;
use lore_model::generate::{Generation, generate};
use lore_model::sampling::Sampling;
use lore_modules::{LoadedModule, activate};

use super::EvaluateRequest;
use crate::error::{Error, Result};
use crate::models::LoadedModel;

/// The tokens of prompts.
///
/// # Errors
/// Prompts that the tokenizer refuses, or that leave too few positions for what is written after them.
pub fn encoded(request: &EvaluateRequest<'_>, model: &LoadedModel, prompts: &[String]) -> Result<Vec<Vec<u32>>> {
    let encode = |prompt: &String| -> Result<Vec<u32>> {
        let refused = |error| Error::Failed(format!("the tokenizer: {error}"));
        let ids = model.files.tokenizer.encode(prompt.as_str(), false).map_err(refused)?;
        let tokens = [&[model.start], ids.get_ids()].concat();
        let what = format!("`evaluate.sample_tokens` after the prompt \"{prompt}\"");
        model.check_length(&what, tokens.len() + request.evaluate.sample_tokens)?;
        Ok(tokens)
    };
    prompts.iter().map(encode).collect()
}

/// What `decoder`, which is `model` with or without a module, writes after prompts, drawn with the run's seed.
///
/// # Errors
/// Tokens that the tokenizer refuses.
pub fn written(
    request: &EvaluateRequest<'_>,
    model: &LoadedModel,
    decoder: &Decoder,
    prompts: &[Vec<u32>],
) -> Result<Vec<String>> {
    if prompts.is_empty() {
        return Ok(Vec::new());
    }
    let refused = |error| Error::Failed(format!("the tokenizer: {error}"));
    let generation = Generation {
        max_tokens: request.evaluate.sample_tokens,
        // Greedy text of small models falls into loops; a cool draw shows better what they know.
        sampling: Sampling { temperature: 0.7, top_k: None, top_p: Some(0.9) },
        seed: request.seed,
        stop: [model.files.config.eos_token_ids.as_slice(), &[model.start]].concat(),
    };
    let written = generate(decoder, prompts, &generation, |_, _| ControlFlow::Continue(()))?;
    written.iter().map(|tokens| model.files.tokenizer.decode(tokens, true).map_err(refused)).collect()
}

/// What base and module make of each topic's prompts, given as tokens.
///
/// # Errors
/// As [`written`].
pub fn samples(
    request: &EvaluateRequest<'_>,
    prompts: &[Vec<Vec<u32>>],
    model: &LoadedModel,
    modules: &[LoadedModule],
) -> Result<Vec<Sample>> {
    let mut samples = Vec::new();
    for ((topic, prompts), module) in request.topics.iter().zip(prompts).zip(modules) {
        let base = written(request, model, &model.decoder, prompts)?;
        let with_module = written(request, model, &activate(&model.decoder, &[(module, 1.0)]), prompts)?;
        for ((prompt, base_text), module_text) in topic.prompts.iter().zip(base).zip(with_module) {
            samples.push(Sample { prompt: prompt.clone(), module: topic.name.clone(), base_text, module_text });
        }
    }
    Ok(samples)
}
