//! `report`: what was measured, as pages and tables.

use std::collections::BTreeMap;
use std::path::Path;

use lore_eval::report::{
    Claim, CurvePoint, Distillation, ModelFacts, ModuleFacts, Report, RowKind, SCHEMA_VERSION, SplitTokens, TopicData,
    UseCommand,
};
use lore_train::StepMetrics;
use serde_json::{Value, json};

use super::evaluate::Evaluation;

use super::{Manifest, Outcome, Publication, Stage, StageContext};
use crate::error::{Error, Result};
use crate::plan::estimate::{Estimate, Facts};
use crate::recipe::Recipe;
use crate::routing::Worth;

/// The table that is printed when the run ends.
pub const TERMINAL_TABLE: &str = "report.txt";

/// Writes `report.json`, `report.html` and `report.txt`.
pub struct ReportStage {
    recipe: Recipe,
}

/// What the report is made of.
pub struct ReportRequest<'a> {
    /// The recipe of the run.
    pub recipe: &'a Recipe,
    /// Folder of the stage `evaluate`.
    pub evaluation: &'a Path,
    /// Manifests of all inputs, by stage: facts, seconds, hashes.
    pub manifests: &'a BTreeMap<String, Manifest>,
    /// Where to write.
    pub folder: &'a Path,
    /// What the run computed on.
    pub device: String,
}

impl ReportStage {
    /// Reports on the run of `recipe`.
    pub fn new(recipe: &Recipe) -> Self {
        Self { recipe: recipe.clone() }
    }
}

impl Stage for ReportStage {
    fn name(&self) -> &str {
        "report"
    }

    fn inputs(&self) -> Vec<String> {
        let topics = self.recipe.topics.iter();
        let of_topics = topics.flat_map(|t| [format!("topic:{}", t.name), format!("module:{}", t.name)]);
        ["teacher", "general", "base", "evaluate"].map(String::from).into_iter().chain(of_topics).collect()
    }

    fn schema(&self) -> u32 {
        2
    }

    fn config(&self) -> Value {
        json!(self.recipe)
    }

    fn publications(&self) -> Vec<Publication> {
        ["report.html", "report.json"].map(|file| Publication::new(file, file)).to_vec()
    }

    fn estimate(&self, _facts: &Facts) -> Estimate {
        Estimate { seconds: Some(1), ..Estimate::default() }
    }

    fn run(&self, context: &StageContext<'_>) -> Result<Outcome> {
        let inputs = context.inputs.iter();
        write_report(&ReportRequest {
            recipe: &self.recipe,
            evaluation: &context.input("evaluate")?.folder,
            manifests: &inputs.map(|(name, f)| (name.clone(), f.manifest.clone())).collect(),
            folder: context.folder,
            device: context.session.device.to_string(),
        })
    }
}

/// Writes `report.json`, `report.html` (self-contained) and the terminal's table [`TERMINAL_TABLE`].
fn write_report(request: &ReportRequest<'_>) -> Result<Outcome> {
    let ReportRequest { recipe, evaluation, manifests, folder, device } = request;
    let evaluation = Evaluation::read(evaluation)?;
    let facts = |stage: &str| manifests.get(stage).map(|manifest| &manifest.facts);
    let base = facts("base").cloned().unwrap_or_default();
    let teacher = facts("teacher").cloned().unwrap_or_default();
    let base_parameters = base["parameters"].as_u64().unwrap_or_default();
    let teacher_parameters = teacher["parameters"].as_u64().unwrap_or_default();
    let mut report = Report {
        schema_version: SCHEMA_VERSION,
        name: recipe.name.clone(),
        program_version: env!("CARGO_PKG_VERSION").into(),
        date: crate::clock::now_rfc3339(),
        recipe: toml::to_string(recipe).map_err(Error::while_doing("writing the resolved recipe"))?,
        machine: crate::memory::machine(device),
        teacher: Some(ModelFacts {
            name: manifests["teacher"].summary.clone(),
            parameters: teacher_parameters,
            resident_bytes: 4 * teacher_parameters,
            disk_bytes: teacher["disk_bytes"].as_u64().unwrap_or_default(),
            license: recipe.teacher.license.clone().unwrap_or_default(),
            source: recipe.teacher.source.to_string(),
            fingerprint: None,
        }),
        base: ModelFacts {
            name: recipe.base.name.clone(),
            parameters: base_parameters,
            resident_bytes: 4 * base_parameters,
            disk_bytes: 4 * base_parameters,
            license: recipe.teacher.license.clone().unwrap_or_default(),
            source: "distilled in this run".into(),
            fingerprint: base["fingerprint"].as_str().map(String::from),
        },
        data: data(recipe, manifests),
        distillation: Some(Distillation {
            curve: curve(&base["curve"]),
            teacher_bits_per_byte: base["teacher_bits_per_byte"].as_f64().unwrap_or_default(),
            untrained_bits_per_byte: base["untrained_bits_per_byte"].as_f64().unwrap_or_default(),
            student_bits_per_byte: base["student_bits_per_byte"].as_f64().unwrap_or_default(),
            forward_kl: base["forward_kl"].as_f64(),
            teacher_entropy: base["teacher_entropy"].as_f64(),
            top1_agreement: base["top1_agreement"].as_f64(),
            overlap: base["overlap"].as_f64(),
            control: serde_json::from_value(base["control"].clone()).ok(),
        }),
        modules: recipe
            .topics
            .iter()
            .map(|topic| {
                let facts = facts(&format!("module:{}", topic.name)).cloned().unwrap_or_default();
                let parameters = facts["parameters"].as_u64().unwrap_or_default();
                ModuleFacts {
                    name: topic.name.clone(),
                    topic: topic.name.clone(),
                    rank: topic.module.lora.rank,
                    parameters,
                    bytes: 4 * parameters,
                    load_ms: evaluation.load_ms.get(&topic.name).copied(),
                    curve: curve(&facts["curve"]),
                    sweep: serde_json::from_value(facts["sweep"].clone()).unwrap_or_default(),
                }
            })
            .collect(),
        matrix: evaluation.matrix,
        routing: evaluation.routing,
        tasks: evaluation.tasks,
        samples: evaluation.samples,
        teacher_samples: evaluation.teacher_samples,
        commands: commands(recipe, folder),
        stages: manifests
            .values()
            .map(|m| lore_eval::report::Stage { name: m.stage.clone(), seconds: m.seconds, cached: false })
            .collect(),
        peak_memory_bytes: manifests.values().filter_map(|m| m.peak_memory_bytes).max(),
        ..Report::default()
    };
    report.claims = claims(&report);
    report.claims.extend(evaluation.router.iter().flat_map(router_claims));
    lore_eval::report::write(folder, &report).map_err(Error::while_doing("writing the report"))?;
    let table = lore_eval::report::render_terminal(&report, false);
    let path = folder.join(TERMINAL_TABLE);
    std::fs::write(&path, table).map_err(Error::io(path))?;
    Ok(Outcome { summary: lore_eval::report::headline(&report), ..Outcome::default() })
}

/// The texts of the run.
fn data(recipe: &Recipe, manifests: &BTreeMap<String, Manifest>) -> Vec<TopicData> {
    let entry = |topic: &str, stage: &str, license: &str, attribution: &str, source: String| {
        let facts = manifests.get(stage).map(|manifest| manifest.facts.clone()).unwrap_or_default();
        let tokens = |split: &str| facts["tokens"][split].as_u64().unwrap_or_default();
        TopicData {
            topic: topic.to_owned(),
            documents: facts["documents"].as_u64().unwrap_or_default(),
            tokens: SplitTokens { train: tokens("train"), validation: tokens("validation"), test: tokens("test") },
            license: license.to_owned(),
            attribution: attribution.to_owned(),
            source,
        }
    };
    let text = |value: &Option<String>| value.clone().unwrap_or_default();
    let general = manifests.get("general").and_then(|m| m.facts["source"].as_str().map(String::from));
    let corpus = recipe.general.corpus.as_ref();
    let (license, attribution) = corpus.map_or_else(
        || (text(&recipe.teacher.license), "Written by the teacher".into()),
        |corpus| (text(&corpus.license), text(&corpus.attribution)),
    );
    let mut data = vec![entry("general", "general", &license, &attribution, general.unwrap_or_default())];
    for topic in &recipe.topics {
        let stage = format!("topic:{}", topic.name);
        data.push(entry(
            &topic.name,
            &stage,
            &text(&topic.license),
            &text(&topic.attribution),
            topic.source.to_string(),
        ));
    }
    data
}

/// A loss curve from the metrics a training stage recorded.
fn curve(metrics: &Value) -> Vec<CurvePoint> {
    let metrics: Vec<StepMetrics> = serde_json::from_value(metrics.clone()).unwrap_or_default();
    let (mut seconds, mut tokens) = (0.0, 0);
    let points = metrics.iter().map(|m| {
        seconds += m.seconds;
        let made = m.tokens - tokens;
        tokens = m.tokens;
        CurvePoint {
            step: m.step,
            tokens: m.tokens,
            seconds,
            loss: m.loss,
            learning_rate: m.learning_rate,
            tokens_per_second: made as f64 / m.seconds.max(1e-9),
        }
    });
    points.collect()
}

/// What to try next.
fn commands(recipe: &Recipe, folder: &Path) -> Vec<UseCommand> {
    // The report's own folder is `stages/report-…` in the run's.
    let run = folder.ancestors().nth(2).unwrap_or(folder).display();
    let mut commands = vec![UseCommand {
        purpose: "Write with the base alone".into(),
        command: format!("lore generate --base {run}/base --prompt 'The river'"),
    }];
    for topic in &recipe.topics {
        let prompt = topic.prompts.first().map_or("The", String::as_str);
        let quoted = prompt.replace('\'', "'\\''");
        commands.push(UseCommand {
            purpose: format!("Write with the module {}", topic.name),
            command: format!(
                "lore generate --base {run}/base --module {run}/modules/{} --prompt '{quoted}'",
                topic.name
            ),
        });
    }
    commands
}

/// What the router should show, and what it did.
fn router_claims(worth: &Worth) -> Vec<Claim> {
    let percent = |x: f64| format!("{:.1} %", 100.0 * x);
    let figures = [
        ("Router: held-out passages whose own module scores best", "at least 95 %", worth.top1(), true, 0.95),
        ("Router: held-out general English left to the base", "at least 90 %", worth.abstained(), true, 0.9),
        (
            "Router: bits per byte above those of the best choice for each passage",
            "at most 2 %",
            worth.regret,
            false,
            0.02,
        ),
    ];
    let claim = |(name, target, value, more, limit): (&str, &str, Option<f64>, bool, f64)| {
        let value = value?;
        let met = if more { value >= limit } else { value <= limit };
        Some(Claim { name: name.into(), target: target.into(), value: percent(value), met })
    };
    figures.into_iter().filter_map(claim).collect()
}

/// What a run should show, and what this one did.
fn claims(report: &Report) -> Vec<Claim> {
    let percent = |x: f64| format!("{:.1} %", 100.0 * x);
    let mut claims = Vec::new();
    let mut claim = |name: String, target: String, value: Option<f64>, met: &dyn Fn(f64) -> bool| {
        if let Some(value) = value {
            claims.push(Claim { name, target, value: percent(value), met: met(value) });
        }
    };
    claim(
        // Not the share of the way from the untrained student: that is largest for the worst start.
        "Held-out general English: the base's bits per byte above its teacher's".into(),
        "+35 % or lower".into(),
        report.above_teacher().map(|percent| percent / 100.0),
        &|x| x <= 0.35,
    );
    if let Some(control) = report.distillation.as_ref().and_then(|distillation| distillation.control.as_ref()) {
        let margin = 1.96 * control.standard_error.unwrap_or_default() / control.bits_per_byte;
        claim(
            "Held-out general English: change in bits per byte against the control without the teacher".into(),
            format!("lower by more than its paired 95 % interval, {}", percent(margin)),
            control.standard_error.map(|_| control.student_less_control / control.bits_per_byte),
            &|x| x < -margin,
        );
    }
    let general = report.general().next().map(|column| column.name.clone());
    for module in &report.modules {
        let Some(row) = report.module_row(&module.name) else { continue };
        let change = |column: &str| report.change_percent(row, column).map(|x| x / 100.0);
        claim(
            format!("{}: change in bits per byte on its own topic", module.name),
            "-10 % or lower".into(),
            change(&module.topic),
            &|x| x <= -0.1,
        );
        if let Some(general) = &general {
            claim(
                format!("{}: change in bits per byte on general English", module.name),
                "+5 % or lower".into(),
                change(general),
                &|x| x <= 0.05,
            );
        }
    }
    for (kind, what, limit) in [
        (RowKind::Mean, "all modules at equal shares", 0.55),
        (RowKind::ChosenPerPassage, "a module chosen per passage", 0.85),
    ] {
        let Some(row) = report.row(kind) else { continue };
        if let Some(general) = &general {
            // A difference that its paired 95 % interval does not tell from none is a tie.
            let error = row.cells.get(general).and_then(|cell| cell.difference_standard_error).unwrap_or_default();
            let base = report.row(RowKind::Base).and_then(|base| report.value(base, general));
            let margin = base.map_or(0.0, |base| 1.96 * error / base);
            claim(
                format!("General English with {what}: change in bits per byte"),
                format!("no higher than its paired 95 % interval, {}", percent(margin)),
                report.change_percent(row, general).map(|x| x / 100.0),
                &|x| x <= margin,
            );
        }
        for module in &report.modules {
            let kept =
                report.own_gain(module).and_then(|own| Some(report.gain(row, &module.topic)? / own.bits_per_byte));
            claim(
                format!("{}: share of its own gain kept with {what}", module.topic),
                format!("at least {:.0} %", 100.0 * limit),
                kept,
                &|x| x >= limit,
            );
        }
    }
    claims
}
