//! The router's row: to every item the answer of the module that the router chooses for it, or of the base alone.

use std::collections::BTreeMap;
use std::path::PathBuf;

use lore_eval::task::{Form, Item};
use lore_model::fingerprint::Fingerprint;
use lore_route::{Reader, Router};

use super::Measured;
use super::cost::Cost;
use crate::commands::eval::asked::Question;
use crate::commands::eval::asking::Asking;
use crate::error::{Error, Result};
use crate::models::LoadedModel;

/// What the row is called.
pub(super) const NAME: &str = "routed";

/// Chooses for every item among `modules`, by what it says before its answer, and takes what was `measured` of the chosen
/// one: nothing is scored anew. There is no such row where a module has no router entry for this base.
///
/// # Errors
/// Entries that do not fit the base; text that the tokenizer refuses.
pub(super) fn routed(
    modules: &BTreeMap<String, PathBuf>,
    model: &LoadedModel,
    fingerprint: &Fingerprint,
    questions: &[Question],
    measured: &[Measured],
    asking: &Asking<'_>,
) -> Result<Option<Measured>> {
    let router = Router::of_folders(modules, fingerprint)?;
    if router.entries().len() < modules.len() {
        return Ok(None);
    }
    let Some(reader) = router.reader(&model.decoder)? else { return Ok(None) };
    let row = |name: &str| measured.iter().find(|row| row.name == name).expect("a row of every module");
    let base = &measured[0];
    let mut results = Vec::with_capacity(questions.len());
    for (place, question) in questions.iter().enumerate() {
        let texts = question.2.iter().map(|item| seen(item, model, &reader)).collect::<Result<Vec<_>>>()?;
        let views = reader.read(&texts);
        // In memory only: no single model gives it, so nobody could verify its file.
        let samples = views.iter().enumerate().map(|(item, view)| {
            let chosen = router.choose_for(view, 1).picks.first().map_or(base, |(name, _)| row(name));
            chosen.results[place].1[item].clone()
        });
        let (task, selection, items) = question;
        let identity = &base.results[place].0.model;
        results.push(asking.summed_up((task, selection, items), samples.collect(), identity));
    }
    let candidates = modules.keys().map(|name| &row(name).cost);
    Ok(Some(Measured { name: NAME.into(), results, cost: Cost::of_one_at_a_time(&base.cost, candidates) }))
}

/// What a router sees of an item: the end of what is asked, not the answer. Where nothing is asked that is the text itself:
/// sentences of which one is right, or the beginning of a passage.
fn seen(item: &Item, model: &LoadedModel, reader: &Reader) -> Result<Vec<u32>> {
    let refused = |error| Error::Failed(format!("the tokenizer: {error}"));
    let tokens = |text: &str| -> Result<Vec<u32>> {
        let ids = model.files.tokenizer.encode(text, false).map_err(refused)?;
        Ok([&[model.start], ids.get_ids()].concat())
    };
    match &item.form {
        Form::Rolling { text, .. } => tokens(text),
        Form::Choice { context, choices, .. } if context.trim().is_empty() => tokens(&choices.join("\n")),
        Form::Choice { context, .. } | Form::Cloze { context, .. } | Form::Generate { context, .. } => {
            Ok(reader.window(&tokens(context)?))
        }
    }
}
