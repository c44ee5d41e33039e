//! Rows of the report's matrix, and what choosing a module for each passage is worth.

use std::collections::BTreeMap;
use std::path::PathBuf;

use lore_eval::composition::{self, Text};
use lore_eval::report::{Cell, Routing, Row, RowKind, TopicRouting};
use lore_eval::statistics::{bits_per_byte, paired_difference};
use lore_model::fingerprint::Fingerprint;
use lore_route::Router;

use super::EvaluateRequest;
use crate::error::Result;
use crate::models::LoadedModel;
use crate::routing::{Routed, Worth, begun};

/// What the row `routed` means.
pub const ROUTED: &str = "One module or none for each passage, chosen by the modules' router entries from the \
                          passage's tokens and the base's own states; no module is in memory for the choice.";

/// What the router of the modules' own entries chose.
pub struct ByRouter {
    /// The scores of what was chosen.
    pub row: composition::Row,
    /// What the choices are worth.
    pub worth: Worth,
    /// For each passage of each text the module from 1, or 0 for the base.
    pub choices: Vec<Vec<usize>>,
}

/// The router's choices; nothing if a module has no entry.
pub fn routed(
    request: &EvaluateRequest<'_>,
    model: &LoadedModel,
    base: &Fingerprint,
    texts: &[Text],
    candidates: &[&composition::Row],
) -> Result<Option<ByRouter>> {
    let names: Vec<&str> = request.topics.iter().map(|topic| topic.name.as_str()).collect();
    let folders: BTreeMap<String, PathBuf> =
        request.topics.iter().map(|topic| (topic.name.clone(), topic.module.clone())).collect();
    let router = Router::of_folders(&folders, base)?;
    let reader = match router.reader(&model.decoder)? {
        Some(reader) if router.entries().len() == names.len() => reader,
        _ => return Ok(None),
    };
    let (mut rows, mut choices, mut passages) = (Vec::new(), vec![Vec::new(); texts.len()], Vec::new());
    for (t, text) in texts.iter().enumerate() {
        let views = reader.read(&begun(&text.passages, model.start));
        let mut row = Vec::new();
        for (p, (view, passage)) in views.iter().zip(&text.passages).enumerate() {
            let choice = router.choose_for(view, 1);
            let place = |name: &String| names.iter().position(|one| one == name);
            let chosen = choice.picks.first().and_then(|(name, _)| place(name));
            let candidate = chosen.map_or(0, |module| module + 1);
            row.push(candidates[candidate].scores[t][p].clone());
            choices[t].push(candidate);
            passages.push(Routed {
                own: names.iter().position(|name| *name == text.name),
                best: choice.scored.first().and_then(|one| place(&one.module)),
                chosen,
                nats: Some(candidates.iter().map(|row| -row.scores[t][p].total()).collect()),
                bytes: passage.bytes as f64,
            });
        }
        rows.push(row);
    }
    let slowest = candidates.iter().map(|row| row.tokens_per_second).fold(f64::INFINITY, f64::min);
    let row = composition::Row { scores: rows, tokens_per_second: slowest };
    Ok(Some(ByRouter { row, worth: Worth::of(&passages), choices }))
}

/// Turns scores into rows of the report's matrix.
pub struct Table<'a> {
    /// What was scored.
    pub texts: &'a [Text],
    /// What every row is compared with.
    pub base: &'a composition::Row,
}

impl Table<'_> {
    /// The row of a model whose weights and modules take `bytes` bytes of memory.
    pub fn row(&self, name: &str, kind: RowKind, modules: &[String], bytes: u64, row: &composition::Row) -> Row {
        let cells = self.texts.iter().enumerate().map(|(index, text)| {
            let measured = row.measured(self.texts, index);
            let bits = bits_per_byte(&measured);
            let difference = paired_difference(&measured, &self.base.measured(self.texts, index));
            let cell = Cell {
                bits_per_byte: bits.value,
                standard_error: bits.standard_error,
                difference_standard_error: difference.standard_error,
            };
            (text.name.clone(), cell)
        });
        Row {
            name: name.to_owned(),
            kind,
            modules: modules.to_vec(),
            description: String::new(),
            resident_bytes: Some(bytes),
            tokens_per_second: Some(row.tokens_per_second),
            cells: cells.collect(),
        }
    }
}

/// How often each topic's passages got their own module (candidate 0 is the base), and general ones none.
pub fn route_facts(names: &[String], texts: &[Text], choices: &[Vec<usize>], method: &str) -> Routing {
    let topics = texts.iter().zip(choices).map(|(text, choices)| {
        let own = names.iter().position(|name| *name == text.name).map_or(0, |index| index + 1);
        TopicRouting {
            topic: text.name.clone(),
            passages: choices.len() as u64,
            correct: choices.iter().filter(|&&choice| choice == own).count() as u64,
        }
    });
    Routing { method: format!("{method} For general text the right choice is the base."), topics: topics.collect() }
}
