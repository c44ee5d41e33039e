//! Two modules on the same items: pages for those that stand close, and figures for a page that compares any two.

use minijinja::{Value, context};
use serde_json::json;

use super::Pages;
use super::chart::{Bar, intervals};
use super::text;
use crate::ranking::{Pair, Ranking};
use crate::scores::{Scores, TaskScores};
use crate::standing::{Row, Standing};

/// Up to so many ranked models, every pair has its page.
const ALL_PAIRS: usize = 16;
/// Else a model is compared with so many that follow it, and with the base.
const NEXT: usize = 2;

/// Pairs of places in the rows that have a page, the first standing before the second.
pub(super) fn pairs(standing: &Standing) -> Vec<(usize, usize)> {
    let ranked = standing.rows.iter().filter(|row| row.ranked.is_some()).count();
    let all = (0..ranked).flat_map(|a| (a + 1..ranked).map(move |b| (a, b)));
    let base = standing.rows.iter().position(|row| row.facts.is_none()).unwrap_or(0);
    let near = |&(a, b): &(usize, usize)| ranked <= ALL_PAIRS || b - a <= NEXT || a == base || b == base;
    all.filter(near).collect()
}

/// The file of a pair's page.
pub(super) fn file(standing: &Standing, a: usize, b: usize) -> String {
    format!("{}--{}.html", standing.rows[a].id, standing.rows[b].id)
}

/// Links from a module's page to its comparisons.
pub(super) fn neighbours(standing: &Standing, row: &Row) -> Vec<Value> {
    let Some(own) = standing.rows.iter().position(|other| other.id == row.id).filter(|_| row.ranked.is_some()) else {
        return Vec::new();
    };
    let link = |(a, b): (usize, usize)| {
        let other = if a == own { b } else { a };
        let pair = compared(standing, &standing.rows[other], row)?;
        let verdict = if pair.differs() { "they differ" } else { "they cannot be told apart" };
        let text = format!("{}; {verdict}", text::pair(&pair));
        Some(context! { file => file(standing, a, b), name => text::name(&standing.rows[other]), text })
    };
    pairs(standing).into_iter().filter(|&(a, b)| a == own || b == own).filter_map(link).collect()
}

/// The second against the first.
fn compared(standing: &Standing, a: &Row, b: &Row) -> Option<Pair> {
    let ranking: &Ranking = standing.ranking.as_ref()?;
    ranking.pair(a.ranked?, b.ranked?)
}

/// The page of a pair.
pub(super) fn view(pages: &Pages<'_>, a: usize, b: usize) -> Value {
    // The better one is measured against the other.
    let (a, b) = (&pages.standing.rows[b], &pages.standing.rows[a]);
    let pair = compared(pages.standing, a, b).expect("both are ranked");
    let scores = pages.standing.scores.as_ref().expect("both are scored");
    let (first, second) = (a.model.expect("scored"), b.model.expect("scored"));
    let (a_name, b_name) = names(a, b);
    let mut bars = vec![Bar { label: "all tasks".into(), value: pair.difference, interval: pair.interval }];
    let mut tasks = Vec::new();
    for task in &scores.tasks {
        let (of_first, of_second) = (task.ranked(first), task.ranked(second));
        let (value, error) = difference(task, &of_first, &of_second);
        let interval = [value - text::HALF * error, value + text::HALF * error];
        bars.push(Bar { label: task.name.clone(), value, interval });
        let won = |one: &[f64], other: &[f64]| one.iter().zip(other).filter(|(one, other)| one > other).count();
        let figure = |values: &[f64]| text::figure(task, task.figure_of(values));
        tasks.push(context! {
            name => task.name,
            metric => text::metric(task),
            a => figure(&of_first),
            b => figure(&of_second),
            difference => text::points(value),
            interval => text::interval(interval),
            won => format!("{} / {}", won(&of_first, &of_second), won(&of_second, &of_first)),
        });
    }
    let verdict = if pair.differs() {
        format!(
            "{b_name} is better: {}, p = {} after Holm’s correction for all pairs.",
            text::pair(&pair),
            p(pair.adjusted)
        )
    } else {
        format!(
            "They cannot be told apart: {}, p = {} after Holm’s correction for all pairs.",
            text::pair(&pair),
            p(pair.adjusted)
        )
    };
    let links: Vec<Value> = [b, a]
        .into_iter()
        .filter(|row| row.facts.is_some())
        .map(|row| context! { id => row.id, name => text::name(row) })
        .collect();
    let about = format!("Differences between {b_name} and {a_name} with their 95 % intervals, by task");
    let page = context! { a => a_name, b => b_name, verdict, chart => intervals(&bars, &about), tasks, links };
    context! { p => page }
}

/// Names that differ.
fn names(a: &Row, b: &Row) -> (String, String) {
    let (first, second) = (text::name(a), text::name(b));
    if first == second { (a.id.clone(), b.id.clone()) } else { (first, second) }
}

fn difference(task: &TaskScores, a: &[f64], b: &[f64]) -> (f64, f64) {
    let pairs = b.iter().zip(a).zip(&task.weights);
    let pairs: Vec<(f64, f64)> = pairs.map(|((b, a), weight)| (b - a, *weight)).collect();
    let found = lore_eval::statistics::ratio(pairs.iter().copied());
    (found.value / task.scale, found.standard_error.unwrap_or(0.0) / task.scale)
}

fn p(value: f64) -> String {
    if value < 0.0001 { "less than 0.0001".into() } else { format!("{value:.4}") }
}

/// The page that compares any two.
pub(super) fn choice(pages: &Pages<'_>) -> Value {
    let scored = pages.standing.rows.iter().filter(|row| row.model.is_some());
    let models: Vec<Value> = scored
        .map(|row| {
            let version = row.facts.as_ref().map_or_else(String::new, |facts| format!(" {}", facts.manifest.version));
            context! { id => row.id, name => format!("{}{version}", text::name(row)) }
        })
        .collect();
    context! { models }
}

/// Figures of every scored model, as scripts: a page in a folder can read nothing else.
pub(super) fn data(pages: &Pages<'_>) -> Vec<(String, String)> {
    let Some(scores) = &pages.standing.scores else { return vec![("data/tasks.js".into(), script("loreTasks=[]"))] };
    let tasks: Vec<_> = scores
        .tasks
        .iter()
        .map(|task| {
            let even = task.weights.iter().all(|weight| *weight == 1.0);
            json!({
                "name": task.name,
                "scale": task.scale,
                "sign": if task.metric.higher_is_better { 1 } else { -1 },
                "percent": text::is_percent(task),
                "weights": if even { None } else { Some(&task.weights) },
            })
        })
        .collect();
    let mut files = vec![("data/tasks.js".to_owned(), script(&format!("loreTasks={}", json!(tasks))))];
    for row in &pages.standing.rows {
        if let Some(model) = row.model {
            let call = format!("loreModel({},{})", json!(row.id), values(scores, model));
            files.push((format!("data/{}.js", row.id), script(&call)));
        }
    }
    files
}

fn values(scores: &Scores, model: usize) -> serde_json::Value {
    // Six digits are more than any page shows.
    let short = |value: f64| (value * 1e6).round() / 1e6;
    scores.tasks.iter().map(|task| task.ranked(model).into_iter().map(short).collect::<Vec<f64>>()).collect()
}

fn script(text: &str) -> String {
    format!("window.{text};\n")
}
