//! Scoring every model and combination on every held-out text.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Instant;

use burn::tensor::Device;
use lore_eval::composition::{self, Text, all_at, chosen, score_texts};
use lore_eval::report::{Column, Matrix, Row, RowKind};
use lore_eval::result::ModuleIdentity;
use lore_model::Decoder;
use lore_modules::compose::compose;
use lore_modules::{Adapter, LoadedModule, activate, peft};

use super::rows::{ROUTED, Table, route_facts, routed};
use super::samples::{prompts, samples};
use super::tasks::{Asking, Named, made_of, put};
use super::{EvaluateRequest, Evaluation};
use crate::commands::eval::asked::identify;
use crate::error::{Error, Result};
use crate::location::WeightedModule;
use crate::models::{LoadedModel, load_model};
use crate::recipe::{Combine, Composed};
use crate::stages::Outcome;
use crate::stages::prepared::held_out;

/// Name of the column of general English.
const GENERAL: &str = "general";

/// Scores every model and combination on every held-out text, measures costs, writes samples.
pub fn measure(request: &EvaluateRequest<'_>) -> Result<Outcome> {
    let EvaluateRequest { evaluate, teacher, base, topics, folder, session, .. } = request;
    let device = session.device.device()?;
    let model = load_model(base, &device)?;
    model.check_length("`evaluate.passage_tokens`", evaluate.passage_tokens + 1)?;
    let prompts = prompts(request, &model)?;
    let texts = texts(request, &model)?;
    let fingerprint = model.fingerprint()?;
    let mut modules = Vec::new();
    let mut load_ms = Vec::new();
    for topic in topics.iter() {
        let began = Instant::now();
        let adapter = peft::read(&topic.module)?;
        adapter.check_base(&model.files.config, &fingerprint, false)?;
        modules.push(LoadedModule::new(&adapter, &device));
        load_ms.push(began.elapsed().as_secs_f64() * 1e3);
    }
    let names: Vec<String> = topics.iter().map(|topic| topic.name.clone()).collect();
    let base_bytes = 4 * model.decoder.parameter_count() as u64;
    let module_bytes: Vec<u64> = modules.iter().map(|module| module.bytes() as u64).collect();
    let all_bytes: u64 = module_bytes.iter().sum();
    let run = |decoder: &Decoder, label: &str| -> Result<composition::Row> {
        score_texts(decoder, &texts, model.start, label, &*session.progress)
            .map_err(Error::while_doing("scoring held-out texts"))
    };

    let mut asking = asking(request)?;
    let identities = topics.iter().map(|topic| of_module(&topic.name, &topic.module)).collect::<Result<Vec<_>>>()?;
    let at = |weight: f32| -> Vec<(ModuleIdentity, &LoadedModule)> {
        let weighted = identities.iter().map(|identity| ModuleIdentity { weight, ..identity.clone() });
        weighted.zip(&modules).collect()
    };
    let named = asking.as_ref().map(|_| Named::new(&model, base)).transpose()?;
    let named = named.as_ref();

    let base_row = run(&model.decoder, "score: base")?;
    put(&mut asking, "base", named, Vec::new())?;
    let mut alone = Vec::new();
    for (name, one) in names.iter().zip(at(1.0)) {
        alone.push(run(&activate(&model.decoder, &[(one.1, 1.0)]), &format!("score: {name}"))?);
        put(&mut asking, name, named, vec![one])?;
    }
    let table = Table { texts: &texts, base: &base_row };
    let mut rows = vec![table.row("base", RowKind::Base, &[], base_bytes, &base_row)];
    for ((name, row), bytes) in names.iter().zip(&alone).zip(&module_bytes) {
        rows.push(table.row(name, RowKind::Module, std::slice::from_ref(name), base_bytes + bytes, row));
    }
    let mut routing = None;
    for combine in &evaluate.combine {
        let (label, kind) = match combine {
            Combine::Sum => ("sum", RowKind::Sum),
            Combine::Mean => ("mean", RowKind::Mean),
            Combine::Routed => ("chosen per passage", RowKind::ChosenPerPassage),
        };
        match combine {
            Combine::Sum => put(&mut asking, label, named, at(1.0))?,
            Combine::Mean => put(&mut asking, label, named, at(1.0 / modules.len() as f32))?,
            // Which module a question gets is decided by what is read of a passage; there is none.
            Combine::Routed => {}
        }
        let row = match combine {
            Combine::Sum => run(&all_at(&model.decoder, &modules, 1.0), "score: sum")?,
            Combine::Mean => run(&all_at(&model.decoder, &modules, 1.0 / modules.len() as f32), "score: mean")?,
            Combine::Routed => {
                let candidates: Vec<&composition::Row> = std::iter::once(&base_row).chain(&alone).collect();
                let (row, choices) = chosen(&candidates, &texts, evaluate.probe_tokens);
                routing = Some(route_facts(&names, &texts, &choices, evaluate.probe_tokens));
                row
            }
        };
        rows.push(table.row(label, kind, &names, base_bytes + all_bytes, &row));
    }
    for &weight in &evaluate.weights {
        let label = format!("all at {weight}");
        let row = run(&all_at(&model.decoder, &modules, weight), &format!("score: {label}"))?;
        put(&mut asking, &label, named, at(weight))?;
        let row = table.row(&label, RowKind::Combination, &names, base_bytes + all_bytes, &row);
        rows.push(Row { description: format!("Every module at weight {weight}."), ..row });
    }
    for composed in &evaluate.composed {
        let (label, module) = (composed.label(), as_one(request, composed, &device)?);
        let row = run(&activate(&model.decoder, &[(&module, 1.0)]), &format!("score: {label}"))?;
        let row = table.row(&label, RowKind::Combination, &names, base_bytes + module.bytes() as u64, &row);
        let description = format!("All modules made one: {}.", composed.method(request.seed));
        let identity = made_of(&label, &description, &identities);
        put(&mut asking, &label, named, vec![(identity, &module)])?;
        rows.push(Row { description, ..row });
    }
    for joint in request.joint {
        let adapter = peft::read(&joint.module)?;
        adapter.check_base(&model.files.config, &fingerprint, false)?;
        let module = LoadedModule::new(&adapter, &device);
        let row = run(&activate(&model.decoder, &[(&module, 1.0)]), &format!("score: {}", joint.name))?;
        put(&mut asking, &joint.name, named, vec![(of_module(&joint.name, &joint.module)?, &module)])?;
        let bytes = base_bytes + module.bytes() as u64;
        let row = table.row(&joint.name, RowKind::Control, std::slice::from_ref(&joint.name), bytes, &row);
        let description = format!("One module trained on {} together.", joint.topics.join(", "));
        rows.push(Row { description, ..row });
    }
    let candidates: Vec<&composition::Row> = std::iter::once(&base_row).chain(&alone).collect();
    let routed = routed(request, &model, &fingerprint, &texts, &candidates)?;
    if let Some((row, _)) = &routed {
        let mut row = table.row("routed", RowKind::Combination, &names, base_bytes + all_bytes, row);
        row.description = ROUTED.to_owned();
        rows.push(row);
    }
    let samples = samples(request, &prompts, &model, &modules)?;
    // The base is no longer needed beside the teacher.
    let tokenizer = model.files.tokenizer.clone();
    drop((model, modules));
    let path = *teacher;
    let teacher = load_model(path, &device)?;
    if teacher.files.tokenizer.get_vocab_size(true) != tokenizer.get_vocab_size(true) {
        return Err(Error::Failed(
            "base and teacher have different vocabularies; their rows cannot be compared".into(),
        ));
    }
    let teacher_row = score_texts(&teacher.decoder, &texts, teacher.start, "score: teacher", &*session.progress)
        .map_err(Error::while_doing("scoring held-out texts"))?;
    let named = asking.as_ref().map(|_| Named::new(&teacher, path)).transpose()?;
    put(&mut asking, "teacher", named.as_ref(), Vec::new())?;
    let teacher_bytes = 4 * teacher.decoder.parameter_count() as u64;
    rows.push(table.row("teacher", RowKind::Teacher, &[], teacher_bytes, &teacher_row));

    let columns = texts.iter().map(|text| Column {
        name: text.name.clone(),
        general: text.name == GENERAL,
        documents: text.passages.iter().map(|p| &p.document).collect::<BTreeSet<_>>().len() as u64,
        bytes: text.passages.iter().map(|p| p.bytes).sum(),
    });
    let evaluation = Evaluation {
        matrix: Matrix { columns: columns.collect(), rows },
        routing,
        router: routed.map(|(_, worth)| worth),
        tasks: asking.map(|asking| asking.columns()).transpose()?.unwrap_or_default(),
        samples,
        load_ms: names.into_iter().zip(load_ms).collect(),
    };
    evaluation.write(folder)?;
    Ok(Outcome {
        summary: format!("{} models on {} texts", evaluation.matrix.rows.len(), texts.len()),
        ..Outcome::default()
    })
}

/// The questions of the recipe, if it has some.
fn asking<'a>(request: &EvaluateRequest<'a>) -> Result<Option<Asking<'a>>> {
    let Some(tasks) = &request.evaluate.tasks else { return Ok(None) };
    let texts = request.topics.iter().map(|topic| topic.tokens.as_path()).chain([request.general]);
    Ok(Some(Asking::new(tasks, texts, request.folder, request.session)?))
}

fn of_module(name: &str, path: &Path) -> Result<ModuleIdentity> {
    let module = WeightedModule { path: path.to_owned(), weight: 1.0 };
    Ok(ModuleIdentity { name: name.to_owned(), ..identify(&module)? })
}

/// All topics' modules as one.
fn as_one(request: &EvaluateRequest<'_>, composed: &Composed, device: &Device) -> Result<LoadedModule> {
    let adapters =
        request.topics.iter().map(|topic| Ok(peft::read(&topic.module)?)).collect::<Result<Vec<Adapter>>>()?;
    let parts: Vec<(&Adapter, f32)> = adapters.iter().map(|adapter| (adapter, 1.0)).collect();
    let composition = compose(&parts, composed.method(request.seed), false, &|| {})?;
    Ok(LoadedModule::taking(composition.adapter, device))
}

/// Held-out passages of every topic and of general English.
fn texts(request: &EvaluateRequest<'_>, model: &LoadedModel) -> Result<Vec<Text>> {
    let EvaluateRequest { evaluate, general, topics, .. } = request;
    let folders = topics.iter().map(|topic| (topic.name.as_str(), topic.tokens.as_path()));
    folders
        .chain([(GENERAL, *general)])
        .map(|(name, folder)| {
            let passages = held_out(folder, &model.files.tokenizer, evaluate.tokens_per_text, evaluate.passage_tokens)?;
            if passages.is_empty() {
                return Err(Error::Failed(format!(
                    "`{name}` has no held-out text: raise `split.test` or give it more documents"
                )));
            }
            Ok(Text { name: name.to_owned(), passages })
        })
        .collect()
}
