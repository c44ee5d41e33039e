//! `evaluate`: the composition matrix, combinations of modules, costs and samples.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::Instant;

use lore_eval::composition::{self, Text, all_at, chosen, score_texts};
use lore_eval::report::{Cell, Column, Matrix, Routing, Row, RowKind, Sample, TopicRouting};
use lore_eval::statistics::{bits_per_byte, paired_difference};
use lore_model::Decoder;
use lore_model::fingerprint::Fingerprint;
use lore_model::generate::{Generation, generate};
use lore_model::sampling::Sampling;
use lore_modules::{LoadedModule, activate, peft};
use lore_route::Router;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::prepared::held_out;

use super::{Outcome, Stage, StageContext};
use crate::error::{Error, Result};
use crate::models::{LoadedModel, load_model};
use crate::plan::estimate::{self, Estimate, Facts};
use crate::recipe::{Base, Combine, Evaluate, Recipe};
use crate::routing::{Routed, Worth, begun};
use crate::session::Session;

/// Measures a run.
pub struct EvaluateStage {
    evaluate: Evaluate,
    base: Base,
    /// Name and prompts of each topic.
    topics: Vec<(String, Vec<String>)>,
    /// Name and topics of each module of several topics.
    joint: Vec<(String, Vec<String>)>,
    seed: u64,
}

/// A module of several topics, to compare with.
pub struct JointModule {
    /// Its name.
    pub name: String,
    /// Its topics.
    pub topics: Vec<String>,
    /// The PEFT adapter.
    pub module: PathBuf,
}

/// A topic as it is measured.
pub struct MeasuredTopic {
    /// Its name.
    pub name: String,
    /// Beginnings that base and module continue.
    pub prompts: Vec<String>,
    /// Folder of the stage `topic:<name>`, with its token files.
    pub tokens: PathBuf,
    /// The PEFT adapter.
    pub module: PathBuf,
}

/// What measuring works with.
pub struct EvaluateRequest<'a> {
    /// What is measured.
    pub evaluate: &'a Evaluate,
    /// Everything random follows from it.
    pub seed: u64,
    /// The teacher.
    pub teacher: &'a Path,
    /// Hugging Face repository of the base.
    pub base: &'a Path,
    /// Folder of the stage `general`, with its token files.
    pub general: &'a Path,
    /// The topics, in the order of the recipe.
    pub topics: &'a [MeasuredTopic],
    /// Modules of several topics.
    pub joint: &'a [JointModule],
    /// Where to write `evaluation.json`.
    pub folder: &'a Path,
    /// Device, progress.
    pub session: &'a Session,
}

impl EvaluateStage {
    /// Measures the run of `recipe`.
    pub fn new(recipe: &Recipe) -> Self {
        let topics = recipe.topics.iter().map(|topic| (topic.name.clone(), topic.prompts.clone())).collect();
        let joint = recipe.joint.iter().map(|joint| {
            let topics = joint.topics_of(recipe).into_iter().map(|topic| topic.name.clone());
            (joint.name.clone(), topics.collect())
        });
        let joint = joint.collect();
        Self { evaluate: recipe.evaluate.clone(), base: recipe.base.clone(), topics, joint, seed: recipe.seed }
    }
}

impl Stage for EvaluateStage {
    fn name(&self) -> &str {
        "evaluate"
    }

    fn inputs(&self) -> Vec<String> {
        let of_topics = self.topics.iter().flat_map(|(t, _)| [format!("topic:{t}"), format!("module:{t}")]);
        let joint = self.joint.iter().map(|(name, _)| format!("module:{name}"));
        ["teacher", "general", "base"].map(String::from).into_iter().chain(of_topics).chain(joint).collect()
    }

    fn schema(&self) -> u32 {
        2
    }

    fn config(&self) -> Value {
        let mut config = json!({ "evaluate": self.evaluate, "topics": self.topics, "seed": self.seed });
        if !self.joint.is_empty() {
            config["joint"] = json!(self.joint);
        }
        config
    }

    fn estimate(&self, facts: &Facts) -> Estimate {
        estimate::evaluate(&self.evaluate, &self.base, self.topics.len(), self.joint.len(), facts)
    }

    fn run(&self, context: &StageContext<'_>) -> Result<Outcome> {
        let topics = self
            .topics
            .iter()
            .map(|(name, prompts)| {
                Ok(MeasuredTopic {
                    name: name.clone(),
                    prompts: prompts.clone(),
                    tokens: context.input(&format!("topic:{name}"))?.folder.clone(),
                    module: context.input(&format!("module:{name}"))?.folder.join("module"),
                })
            })
            .collect::<Result<Vec<_>>>()?;
        let joint = self.joint.iter().map(|(name, topics)| {
            let module = context.input(&format!("module:{name}"))?.folder.join("module");
            Ok(JointModule { name: name.clone(), topics: topics.clone(), module })
        });
        measure(&EvaluateRequest {
            evaluate: &self.evaluate,
            seed: self.seed,
            teacher: context.input("teacher")?.external()?,
            base: &context.input("base")?.folder.join("base"),
            general: &context.input("general")?.folder,
            topics: &topics,
            joint: &joint.collect::<Result<Vec<_>>>()?,
            folder: context.folder,
            session: context.session,
        })
    }
}

/// Scores every model and combination on every held-out text, measures costs, writes samples.
fn measure(request: &EvaluateRequest<'_>) -> Result<Outcome> {
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

    let base_row = run(&model.decoder, "score: base")?;
    let alone = names
        .iter()
        .zip(&modules)
        .map(|(name, module)| run(&activate(&model.decoder, &[(module, 1.0)]), &format!("score: {name}")))
        .collect::<Result<Vec<_>>>()?;
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
    for joint in request.joint {
        let adapter = peft::read(&joint.module)?;
        adapter.check_base(&model.files.config, &fingerprint, false)?;
        let module = LoadedModule::new(&adapter, &device);
        let row = run(&activate(&model.decoder, &[(&module, 1.0)]), &format!("score: {}", joint.name))?;
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
    let teacher = load_model(teacher, &device)?;
    if teacher.files.tokenizer.get_vocab_size(true) != tokenizer.get_vocab_size(true) {
        return Err(Error::Failed(
            "base and teacher have different vocabularies; their rows cannot be compared".into(),
        ));
    }
    let teacher_row = score_texts(&teacher.decoder, &texts, teacher.start, "score: teacher", &*session.progress)
        .map_err(Error::while_doing("scoring held-out texts"))?;
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
        samples,
        load_ms: names.into_iter().zip(load_ms).collect(),
    };
    evaluation.write(folder)?;
    Ok(Outcome {
        summary: format!("{} models on {} texts", evaluation.matrix.rows.len(), texts.len()),
        ..Outcome::default()
    })
}

/// Name of the column of general English.
const GENERAL: &str = "general";

/// What was measured, for the report.
#[derive(Debug, Serialize, Deserialize)]
pub struct Evaluation {
    /// Models against texts.
    pub matrix: Matrix,
    /// How often the chosen module was the topic's own.
    pub routing: Option<Routing>,
    /// What the router of the modules' own entries is worth, if all modules have one.
    #[serde(default)]
    pub router: Option<Worth>,
    /// What base and modules write.
    pub samples: Vec<Sample>,
    /// Milliseconds to read each module and put it on the device.
    pub load_ms: BTreeMap<String, f64>,
}

impl Evaluation {
    const FILE: &str = "evaluation.json";

    fn write(&self, folder: &Path) -> Result<()> {
        let path = folder.join(Self::FILE);
        let text = serde_json::to_string_pretty(self).expect("figures are plain data");
        std::fs::write(&path, text).map_err(Error::io(path))
    }

    /// Reads what the stage `evaluate` wrote.
    ///
    /// # Errors
    /// A file that is missing or damaged.
    pub fn read(folder: &Path) -> Result<Self> {
        let path = folder.join(Self::FILE);
        let text = std::fs::read_to_string(&path).map_err(Error::io(&path))?;
        serde_json::from_str(&text).map_err(Error::while_doing(format!("reading {}", path.display())))
    }
}

/// What the row `routed` means.
const ROUTED: &str = "One module or none for each passage, chosen by the modules' router entries from the passage's \
                      tokens and the base's own states; no module is in memory for the choice.";

/// The row of the router's choices, and what they are worth; nothing if a module has no entry.
fn routed(
    request: &EvaluateRequest<'_>,
    model: &LoadedModel,
    base: &Fingerprint,
    texts: &[Text],
    candidates: &[&composition::Row],
) -> Result<Option<(composition::Row, Worth)>> {
    let names: Vec<&str> = request.topics.iter().map(|topic| topic.name.as_str()).collect();
    let folders: BTreeMap<String, PathBuf> =
        request.topics.iter().map(|topic| (topic.name.clone(), topic.module.clone())).collect();
    let router = Router::of_folders(&folders, base)?;
    let reader = match router.reader(&model.decoder)? {
        Some(reader) if router.entries().len() == names.len() => reader,
        _ => return Ok(None),
    };
    let (mut rows, mut passages) = (Vec::new(), Vec::new());
    for (t, text) in texts.iter().enumerate() {
        let views = reader.read(&begun(&text.passages, model.start));
        let mut row = Vec::new();
        for (p, (view, passage)) in views.iter().zip(&text.passages).enumerate() {
            let choice = router.choose_for(view, 1);
            let place = |name: &String| names.iter().position(|one| one == name);
            let chosen = choice.picks.first().and_then(|(name, _)| place(name));
            row.push(candidates[chosen.map_or(0, |module| module + 1)].scores[t][p].clone());
            passages.push(Routed {
                own: names.iter().position(|name| *name == text.name),
                best: choice.scored.first().and_then(|one| place(&one.module)),
                chosen,
                nats: candidates.iter().map(|row| -row.scores[t][p].total()).collect(),
                bytes: passage.bytes as f64,
            });
        }
        rows.push(row);
    }
    let slowest = candidates.iter().map(|row| row.tokens_per_second).fold(f64::INFINITY, f64::min);
    Ok(Some((composition::Row { scores: rows, tokens_per_second: slowest }, Worth::of(&passages))))
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

/// Turns scores into rows of the report's matrix.
struct Table<'a> {
    texts: &'a [Text],
    base: &'a composition::Row,
}

impl Table<'_> {
    fn row(&self, name: &str, kind: RowKind, modules: &[String], bytes: u64, row: &composition::Row) -> Row {
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

/// How often each topic's passages got their own module (candidate 0 is the base).
fn route_facts(names: &[String], texts: &[Text], choices: &[Vec<usize>], probe: usize) -> Routing {
    let topics = texts.iter().zip(choices).map(|(text, choices)| {
        let own = names.iter().position(|name| *name == text.name).map_or(0, |index| index + 1);
        TopicRouting {
            topic: text.name.clone(),
            passages: choices.len() as u64,
            correct: choices.iter().filter(|&&choice| choice == own).count() as u64,
        }
    });
    Routing {
        method: format!(
            "The base and each module read the first {probe} tokens of a passage; whichever finds them most likely is used for the whole passage. For general text the right choice is the base."
        ),
        topics: topics.collect(),
    }
}

/// The tokens of each topic's prompts.
fn prompts(request: &EvaluateRequest<'_>, model: &LoadedModel) -> Result<Vec<Vec<Vec<u32>>>> {
    let encode = |prompt: &String| -> Result<Vec<u32>> {
        let refused = |error| Error::Failed(format!("the tokenizer: {error}"));
        let ids = model.files.tokenizer.encode(prompt.as_str(), false).map_err(refused)?;
        let tokens = [&[model.start], ids.get_ids()].concat();
        let what = format!("`evaluate.sample_tokens` after the prompt \"{prompt}\"");
        model.check_length(&what, tokens.len() + request.evaluate.sample_tokens)?;
        Ok(tokens)
    };
    request.topics.iter().map(|topic| topic.prompts.iter().map(encode).collect()).collect()
}

/// What base and module make of each topic's prompts, drawn with the same seed.
fn samples(
    request: &EvaluateRequest<'_>,
    prompts: &[Vec<Vec<u32>>],
    model: &LoadedModel,
    modules: &[LoadedModule],
) -> Result<Vec<Sample>> {
    let tokenizer = &model.files.tokenizer;
    let refused = |error| Error::Failed(format!("the tokenizer: {error}"));
    let mut samples = Vec::new();
    for ((topic, prompts), module) in request.topics.iter().zip(prompts).zip(modules) {
        if prompts.is_empty() {
            continue;
        }
        let generation = Generation {
            max_tokens: request.evaluate.sample_tokens,
            // Greedy text of small models falls into loops; a cool draw shows better what they know.
            sampling: Sampling { temperature: 0.7, top_k: None, top_p: Some(0.9) },
            seed: request.seed,
            stop: [model.files.config.eos_token_ids.as_slice(), &[model.start]].concat(),
        };
        let texts = |decoder: &Decoder| -> Result<Vec<String>> {
            let written = generate(decoder, prompts, &generation, |_, _| ControlFlow::Continue(()))?;
            written.iter().map(|tokens| tokenizer.decode(tokens, true).map_err(refused)).collect()
        };
        let (base, with_module) = (texts(&model.decoder)?, texts(&activate(&model.decoder, &[(module, 1.0)]))?);
        for ((prompt, base_text), module_text) in topic.prompts.iter().zip(base).zip(with_module) {
            samples.push(Sample { prompt: prompt.clone(), module: topic.name.clone(), base_text, module_text });
        }
    }
    Ok(samples)
}
