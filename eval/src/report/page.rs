use minijinja::{AutoEscape, Environment, Value, context};
use serde::Serialize;

use super::data::{ModelFacts, ModuleFacts, Report, Stage, SweptRate, TopicData, TopicRouting};
use super::error::ReportError;
use super::headline::{claim_on_trial, headline};
use super::heat::HeatScale;
use super::loss_chart::{Series, loss_chart};
use super::matrix_view::{column_view, group, kept, legend, meanings, row_view};
use super::quality_chart::quality_chart;
use super::quantity;
use super::tasks::{CONTROLS, TaskColumn};
use super::topic_chart::topic_chart;

const PAGE: &str = include_str!("templates/report.html");
const STYLE: &str = include_str!("templates/report.css");
/// Colours, letters and tables, which pages of others than a run share.
pub const SHARED_STYLE: &str = include_str!("templates/shared.css");

#[derive(Serialize)]
struct ModelView<'a> {
    role: &'static str,
    name: &'a str,
    parameters: String,
    resident: String,
    disk: String,
    license: &'a str,
    source: &'a str,
    fingerprint: Option<&'a str>,
}

#[derive(Serialize)]
struct ModuleView<'a> {
    name: &'a str,
    topic: &'a str,
    rank: usize,
    parameters: String,
    bytes: String,
    of_base: String,
    load: String,
    tokens: String,
    gain: String,
    sweep: String,
}

/// The report as one HTML page that loads nothing from elsewhere and needs no JavaScript.
///
/// # Errors
/// [`ReportError::Template`], which only a defect of the template can cause.
pub fn render_html(report: &Report) -> Result<String, ReportError> {
    let mut environment = Environment::new();
    environment.set_auto_escape_callback(|_| AutoEscape::Html);
    environment.set_trim_blocks(true);
    environment.set_lstrip_blocks(true);
    environment.add_template("report.html", PAGE)?;
    let heat = HeatScale::of(report);
    let met = report.claims.iter().filter(|claim| claim.met).count();
    let page = environment.get_template("report.html")?.render(context! {
        style => Value::from_safe_string([SHARED_STYLE, STYLE].concat()),
        report,
        headline => unbroken(&headline(report)),
        claim => claim_on_trial(report).map(|claim| unbroken(&claim)),
        key_facts => key_facts(report),
        quality => both(|width, class| quality_chart(report, width, class), [500.0, 350.0]),
        by_topic => both(|width, class| topic_chart(report, width, class), [500.0, 350.0]),
        columns => report.matrix.columns.iter().map(column_view).collect::<Vec<_>>(),
        rows => report.matrix.rows.iter().map(|row| row_view(report, row, &heat)).collect::<Vec<_>>(),
        meanings => meanings(report),
        date => readable(&report.date),
        has_speed => report.matrix.rows.iter().any(|row| row.tokens_per_second.is_some()),
        has_resident => report.matrix.rows.iter().any(|row| row.resident_bytes.is_some()),
        legend => legend(&heat),
        kept_modules => report.modules.iter().map(|module| module.name.as_str()).collect::<Vec<_>>(),
        kept => kept(report),
        general => report.general().map(|column| column.name.as_str()).collect::<Vec<_>>(),
        routing => routing(report),
        tasks => tasks(report),
        distillation => distillation(report),
        distillation_chart => distillation_chart(report),
        module_chart => module_chart(report),
        modules => report.modules.iter().map(|module| module_view(report, module)).collect::<Vec<_>>(),
        models => models(report),
        data => data(report),
        met,
        stages => stages(report),
        total_time => quantity::duration(report.stages.iter().map(|stage| stage.seconds).sum()),
        peak => report.peak_memory_bytes.map(quantity::bytes),
        memory => quantity::bytes(report.machine.memory_bytes),
    })?;
    Ok(page)
}

/// A chart for wide and for narrow screens; the style sheet shows one of them.
fn both(draw: impl Fn(f64, &str) -> Option<String>, [wide, narrow]: [f64; 2]) -> Option<Value> {
    let drawn = draw(wide, "chart wide")? + &draw(narrow, "chart narrow")?;
    Some(Value::from_safe_string(drawn))
}

fn key_facts(report: &Report) -> Vec<(String, String)> {
    let mut facts = Vec::new();
    if report.base.resident_bytes > 0 {
        facts.push((quantity::bytes(report.base.resident_bytes), String::from("base in memory")));
    }
    if let Some(largest) = report.modules.iter().map(|module| module.bytes).max() {
        facts.push((quantity::bytes(largest), String::from("largest module")));
    }
    if let Some(above) = report.above_teacher() {
        facts.push((
            quantity::change(Some(above)),
            String::from("bits per byte of general English against the teacher"),
        ));
    }
    if let Some(accuracy) = report.routing_accuracy() {
        facts.push((quantity::share(Some(accuracy)), String::from("of passages given the right module, or none")));
    }
    let ran: f64 = report.stages.iter().filter(|stage| !stage.cached).map(|stage| stage.seconds).sum();
    if ran > 0.0 {
        facts.push((quantity::duration(ran), format!("on {} threads", report.machine.threads)));
    }
    if let Some(peak) = report.peak_memory_bytes {
        facts.push((quantity::bytes(peak), String::from("peak memory of the run")));
    }
    facts
}

/// An RFC 3339 date in UTC without its seconds; any other text as it is.
fn readable(date: &str) -> String {
    match (date.get(..10), date.get(10..11), date.get(11..16), date.get(19..)) {
        (Some(day), Some("T"), Some(time), Some("Z")) => format!("{day} {time} UTC"),
        _ => date.into(),
    }
}

/// Keeps percent signs on the line of their number.
fn unbroken(text: &str) -> String {
    text.replace(" %", "\u{a0}%")
}

/// Keeps a quantity and its units on one line.
fn whole(quantity: &str) -> String {
    quantity.replace(' ', "\u{a0}")
}

/// The tasks: headings, rows of cells, and what needs no knowledge.
fn tasks(report: &Report) -> Option<Value> {
    let tasks = &report.tasks;
    let first = tasks.first()?;
    let column = |column: &TaskColumn| {
        context! {
            name => column.name,
            metric => column.metric.replace('_', " "),
            items => quantity::grouped(column.items),
            dirty => column.dirty,
            lower => !column.higher_is_better,
        }
    };
    let cell = |column: &TaskColumn, row: &str| {
        let Some(cell) = column.cell(row) else { return context! { value => quantity::MISSING } };
        let clean = cell.clean.filter(|_| column.dirty > 0);
        context! {
            value => whole(&column.shown(cell.value)),
            error => cell.standard_error.map(|error| whole(&column.shown(error))),
            change => cell.change.map(|change| column.shown_change(change.difference)),
            interval => cell.change.map(|change| {
                change.interval.map(|end| column.shown_change(end)).join(" … ")
            }),
            better => cell.change.is_some_and(|change| change.better),
            worse => cell.change.is_some_and(|change| change.worse),
            clean => clean.map(|clean| whole(&column.shown(clean))),
        }
    };
    let row = |row: &str| {
        let kind = report.matrix.rows.iter().find(|other| other.name == row).map(|other| group(other.kind));
        let cells: Vec<Value> = tasks.iter().map(|column| cell(column, row)).collect();
        context! { name => row, group => kind, cells }
    };
    let control = |(control, name): (&str, &'static str)| {
        let figure = |column: &TaskColumn| {
            column.controls.get(control).map_or_else(String::new, |acc| whole(&column.shown(*acc)))
        };
        let cells: Vec<String> = tasks.iter().map(figure).collect();
        cells.iter().any(|cell| !cell.is_empty()).then(|| context! { name, cells })
    };
    Some(context! {
        columns => tasks.iter().map(column).collect::<Vec<_>>(),
        rows => first.rows.iter().map(|cell| row(&cell.row)).collect::<Vec<_>>(),
        controls => CONTROLS.into_iter().filter_map(control).collect::<Vec<_>>(),
        dirty => tasks.iter().any(|column| column.dirty > 0),
    })
}

fn routing(report: &Report) -> Option<Value> {
    let routing = report.routing.as_ref()?;
    let topic = |topic: &TopicRouting| {
        let share = (topic.passages > 0).then(|| topic.correct as f64 / topic.passages as f64);
        context! { name => topic.topic, passages => topic.passages, share => unbroken(&quantity::share(share)) }
    };
    Some(context! {
        method => routing.method,
        accuracy => unbroken(&quantity::share(report.routing_accuracy())),
        topics => routing.topics.iter().map(topic).collect::<Vec<_>>(),
    })
}

fn distillation(report: &Report) -> Option<Value> {
    let d = report.distillation.as_ref()?;
    let last = d.curve.last();
    Some(context! {
        above => unbroken(&quantity::change(report.above_teacher())),
        closed => report.gap_closed().map(|closed| unbroken(&quantity::share(Some(closed)))),
        teacher => quantity::bits(Some(d.teacher_bits_per_byte)),
        untrained => quantity::bits(Some(d.untrained_bits_per_byte)),
        student => quantity::bits(Some(d.student_bits_per_byte)),
        forward_kl => d.forward_kl.map(|kl| quantity::fixed(kl, 3)),
        entropy => d.teacher_entropy.map(|entropy| quantity::fixed(entropy, 3)),
        agreement => d.top1_agreement.map(|share| unbroken(&quantity::share(Some(share)))),
        overlap => d.overlap.map(|share| unbroken(&quantity::share(Some(share)))),
        control => d.control.as_ref().map(|control| context! {
            bits => quantity::bits(Some(control.bits_per_byte)),
            difference => format!("{:+.3}", control.student_less_control),
            margin => control.standard_error.map(|error| quantity::fixed(1.96 * error, 3)),
        }),
        tokens => last.map(|point| whole(&quantity::count(point.tokens))),
        time => last.map(|point| whole(&quantity::duration(point.seconds))),
    })
}

fn distillation_chart(report: &Report) -> Option<Value> {
    let d = report.distillation.as_ref()?;
    let series = [Series { name: "base", points: &d.curve }];
    both(|width, class| loss_chart(&series, width, class), [460.0, 350.0])
}

fn module_chart(report: &Report) -> Option<Value> {
    let series: Vec<Series<'_>> =
        report.modules.iter().map(|module| Series { name: &module.name, points: &module.curve }).collect();
    both(|width, class| loss_chart(&series, width, class), [460.0, 350.0])
}

/// `1e-3: 1.212, 3e-4: 1.235`.
fn sweep(rates: &[SweptRate]) -> String {
    let rate = |rate: &SweptRate| format!("{:e}: {}", rate.learning_rate, quantity::bits(Some(rate.bits_per_byte)));
    rates.iter().map(rate).collect::<Vec<String>>().join(", ")
}

fn module_view<'a>(report: &'a Report, module: &'a ModuleFacts) -> ModuleView<'a> {
    let base = report.base.resident_bytes;
    let share = (base > 0).then(|| module.bytes as f64 / base as f64 * 100.0);
    ModuleView {
        name: &module.name,
        topic: &module.topic,
        rank: module.rank,
        parameters: quantity::count(module.parameters),
        bytes: quantity::bytes(module.bytes),
        of_base: share.map_or_else(|| quantity::MISSING.into(), |share| format!("{} %", quantity::fixed(share, 1))),
        load: module.load_ms.map_or_else(|| quantity::MISSING.into(), |ms| format!("{} ms", quantity::fixed(ms, 0))),
        tokens: module.curve.last().map_or_else(|| quantity::MISSING.into(), |p| quantity::count(p.tokens)),
        gain: quantity::change(report.own_gain(module).map(|gain| -gain.percent)),
        sweep: sweep(&module.sweep),
    }
}

fn models(report: &Report) -> Vec<ModelView<'_>> {
    fn view<'a>(role: &'static str, model: &'a ModelFacts) -> ModelView<'a> {
        ModelView {
            role,
            name: &model.name,
            parameters: quantity::count(model.parameters),
            resident: quantity::bytes(model.resident_bytes),
            disk: quantity::bytes(model.disk_bytes),
            license: &model.license,
            source: &model.source,
            fingerprint: model.fingerprint.as_deref(),
        }
    }
    let teacher = report.teacher.iter().map(|teacher| view("teacher", teacher));
    teacher.chain([view("base", &report.base)]).collect()
}

fn data(report: &Report) -> Vec<Value> {
    let view = |topic: &TopicData| {
        let [train, validation, test] =
            [topic.tokens.train, topic.tokens.validation, topic.tokens.test].map(quantity::count);
        context! { facts => topic, documents => quantity::grouped(topic.documents), train, validation, test }
    };
    report.data.iter().map(view).collect()
}

fn stages(report: &Report) -> Vec<Value> {
    let longest = report.stages.iter().map(|stage| stage.seconds).fold(0.0, f64::max);
    let view = |stage: &Stage| {
        let share = stage.seconds / longest * 100.0;
        let share = if share.is_finite() { share.clamp(0.0, 100.0) } else { 0.0 };
        context! {
            name => stage.name,
            time => quantity::duration(stage.seconds),
            width => format!("{share:.1}"),
            cached => stage.cached,
        }
    };
    report.stages.iter().map(view).collect()
}
