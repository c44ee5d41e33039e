//! Scoring every model and combination on every held-out text.

use std::collections::BTreeSet;

use lore_eval::composition::{self, Text, chosen};
use lore_eval::report::{Column, Matrix, Row, RowKind, TeacherSample};

use super::kept::KeptRows;
use super::rows::{ROUTED, Table, route_facts, routed};
use super::samples::{encoded, samples, written};
use super::scorer::{Model, Scorer, models};
use super::tasks::Answers;
use super::teacher::Teacher;
use super::{EvaluateRequest, Evaluation};
use crate::error::{Error, Result};
use crate::models::{LoadedModel, load_model};
use crate::recipe::Combine;
use crate::stages::prepared::held_out;
use crate::stages::{Outcome, Share};

/// Name of the column of general English.
const GENERAL: &str = "general";

/// Scores a share of the models, for [`measure`].
pub fn measure_share(request: &EvaluateRequest<'_>, share: Share) -> Result<()> {
    let device = request.session.device.device()?;
    let model = load_model(request.base, &device)?;
    model.check_length("`evaluate.passage_tokens`", request.evaluate.passage_tokens + 1)?;
    let texts = texts(request, &model)?;
    let vocabulary = model.files.tokenizer.get_vocab_size(true);
    let kept = KeptRows::open(request.folder)?;
    // What is chosen from other rows needs no model.
    let models: Vec<(usize, Model<'_>)> = models(request).into_iter().enumerate().collect();
    let scored = models.iter().filter(|(_, model)| !matches!(model, Model::Combined(Combine::Routed)));
    let own: Vec<_> = scored.enumerate().filter(|(number, _)| share.takes(*number)).map(|(_, one)| *one).collect();
    let scorer = Scorer::new(request, model, &device)?;
    for &(place, model) in own.iter().filter(|(_, model)| !matches!(model, Model::Teacher)) {
        kept.row(place, &model.label(request), || scorer.score(model, &texts))?;
    }
    drop(scorer);
    if let Some(&(place, model)) = own.iter().find(|(_, model)| matches!(model, Model::Teacher)) {
        let teacher = Teacher::new(request, vocabulary, device);
        kept.row(place, &model.label(request), || teacher.score(&texts))?;
    }
    Ok(())
}

/// Scores every model and combination on every held-out text, measures costs, writes samples.
pub fn measure(request: &EvaluateRequest<'_>) -> Result<Outcome> {
    let EvaluateRequest { evaluate, base, topics, folder, session, .. } = request;
    let device = session.device.device()?;
    let model = load_model(base, &device)?;
    model.check_length("`evaluate.passage_tokens`", evaluate.passage_tokens + 1)?;
    let general_prompts = encoded(request, &model, &evaluate.prompts)?;
    let prompts: Vec<Vec<Vec<u32>>> =
        topics.iter().map(|topic| encoded(request, &model, &topic.prompts)).collect::<Result<_>>()?;
    let texts = texts(request, &model)?;
    let scorer = Scorer::new(request, model, &device)?;
    let names: Vec<String> = topics.iter().map(|topic| topic.name.clone()).collect();
    let base_bytes = 4 * scorer.model.decoder.parameter_count() as u64;
    let all_bytes = scorer.all_bytes();
    let kept = KeptRows::open(folder)?;
    let models = models(request);
    let run = |place: usize| {
        let model = models[place];
        kept.row(place, &model.label(request), || scorer.score(model, &texts))
    };

    let base_row = run(0)?.row;
    let table = Table { texts: &texts, base: &base_row };
    let mut rows = vec![table.row("base", RowKind::Base, &[], base_bytes, &base_row)];
    let mut alone = Vec::new();
    let mut by_probe = None;
    for (place, &model) in models.iter().enumerate().skip(1) {
        let label = model.label(request);
        let row = match model {
            Model::Base | Model::Teacher => continue,
            Model::Combined(Combine::Routed) => {
                let candidates: Vec<&composition::Row> = std::iter::once(&base_row).chain(&alone).collect();
                let (row, choices) = chosen(&candidates, &texts, evaluate.probe_tokens);
                by_probe = Some(choices);
                table.row(&label, RowKind::ChosenPerPassage, &names, base_bytes + all_bytes, &row)
            }
            Model::Module(topic) => {
                let scored = run(place)?;
                let name = std::slice::from_ref(&names[topic]);
                let row = table.row(&label, RowKind::Module, name, base_bytes + scored.bytes, &scored.row);
                alone.push(scored.row);
                row
            }
            Model::Combined(_) | Model::Weighted(_) | Model::Composed(_) | Model::Joint(_) => {
                let scored = run(place)?;
                let (kind, description) = match model {
                    Model::Combined(Combine::Sum) => (RowKind::Sum, String::new()),
                    Model::Combined(_) => (RowKind::Mean, String::new()),
                    Model::Weighted(weight) => (RowKind::Combination, format!("Every module at weight {weight}.")),
                    Model::Composed(composed) => {
                        let method = composed.method(request.seed);
                        (RowKind::Combination, format!("All modules made one: {method}."))
                    }
                    Model::Joint(joint) => {
                        (RowKind::Control, format!("One module trained on {} together.", joint.topics.join(", ")))
                    }
                    _ => unreachable!("matched above"),
                };
                let own = [label.clone()];
                let modules = if matches!(model, Model::Joint(_)) { &own[..] } else { &names[..] };
                Row { description, ..table.row(&label, kind, modules, base_bytes + scored.bytes, &scored.row) }
            }
        };
        rows.push(row);
    }
    let candidates: Vec<&composition::Row> = std::iter::once(&base_row).chain(&alone).collect();
    let routed = routed(request, &scorer.model, scorer.fingerprint(), &texts, &candidates)?;
    if let Some(routed) = &routed {
        let mut row = table.row("routed", RowKind::Combination, &names, base_bytes + all_bytes, &routed.row);
        row.description = ROUTED.to_owned();
        rows.push(row);
    }
    let probing = format!(
        "The base and each module read the first {} tokens of a passage; whichever finds them most likely is used for the whole passage.",
        evaluate.probe_tokens
    );
    let routing = match (&routed, &by_probe) {
        (Some(routed), _) => Some(route_facts(&names, &texts, &routed.choices, ROUTED)),
        (None, Some(choices)) => Some(route_facts(&names, &texts, choices, &probing)),
        (None, None) => None,
    };
    let mut asking = asking(request)?;
    if let Some(asking) = &mut asking {
        scorer.ask(asking, &models)?;
    }
    let samples = samples(request, &prompts, &scorer.model, &scorer.modules)?;
    let base_texts = written(request, &scorer.model, &scorer.model.decoder, &general_prompts)?;
    // The base is no longer needed beside the teacher.
    let vocabulary = scorer.model.files.tokenizer.get_vocab_size(true);
    let load_ms = scorer.load_ms.clone();
    drop(scorer);
    let label = Model::Teacher.label(request);
    let teacher = Teacher::new(request, vocabulary, device);
    let scored = kept.row(models.len() - 1, &label, || teacher.score(&texts))?;
    rows.push(table.row(&label, RowKind::Teacher, &[], scored.bytes, &scored.row));
    if let Some(asking) = &mut asking {
        teacher.ask(asking)?;
    }
    let beside = evaluate.prompts.iter().zip(base_texts).zip(teacher.texts()?);
    let teacher_samples = beside.map(|((prompt, base_text), teacher_text)| TeacherSample {
        prompt: prompt.clone(),
        base_text,
        teacher_text,
    });

    let columns = texts.iter().map(|text| Column {
        name: text.name.clone(),
        general: text.name == GENERAL,
        documents: text.passages.iter().map(|p| &p.document).collect::<BTreeSet<_>>().len() as u64,
        bytes: text.passages.iter().map(|p| p.bytes).sum(),
    });
    let evaluation = Evaluation {
        matrix: Matrix { columns: columns.collect(), rows },
        routing,
        router: routed.map(|routed| routed.worth),
        tasks: asking.map(|asking| asking.columns()).transpose()?.unwrap_or_default(),
        samples,
        teacher_samples: teacher_samples.collect(),
        load_ms: names.into_iter().zip(load_ms).collect(),
    };
    evaluation.write(folder)?;
    kept.clear()?;
    Ok(Outcome {
        summary: format!("{} models on {} texts", evaluation.matrix.rows.len(), texts.len()),
        ..Outcome::default()
    })
}

/// The questions of the recipe, if it has some.
fn asking<'a>(request: &EvaluateRequest<'a>) -> Result<Option<Answers<'a>>> {
    let Some(tasks) = &request.evaluate.tasks else { return Ok(None) };
    let texts = request.topics.iter().map(|topic| topic.tokens.as_path()).chain([request.general]);
    Ok(Some(Answers::new(tasks, texts, request.folder, request.session)?))
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
