//! `lore eval matrix`: every module of a run on every task, alone and together.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use lore_eval::cache::ScoreCache;
use lore_eval::comparison::{self, Evaluated, Row, Verdict};
use lore_eval::engine::{self, Options, Subject, evaluate};
use lore_eval::metrics::metrics;
use lore_eval::result::{Circumstances, ModelIdentity, TaskResult};
use lore_eval::statistics::Bootstrap;
use lore_eval::task::Selection;
use serde_json::json;

use super::asked::{DataArguments, identified, name_of, questions};
use crate::error::{Error, Result};
use crate::location::WeightedModule;
use crate::models::load_model;
use crate::session::Session;
use crate::stages::Manifest;
use crate::table;

/// Ask a run's base, each of its modules, and all together, every task
///
/// The run's folder holds `base` and `modules`, as `lore run` leaves them. Every change from the base is paired item by
/// item; p-values are corrected for the whole matrix by Holm's method.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:
  lore eval matrix runs/openstax --task openstax_review/psychology --task mmlu/anatomy --task blimp \\
      --limit 50 --data data --out runs/openstax/tasks")]
pub struct MatrixArguments {
    /// Folder of a finished run
    #[arg(value_name = "RUN")]
    run: PathBuf,
    /// A task's name (see `lore eval tasks`) or file, or one subset of it; may be repeated
    #[arg(long = "task", value_name = "NAME|FILE[/SUBSET]", required = true)]
    tasks: Vec<String>,
    /// Only the first N items of each subset
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    limit: Option<u32>,
    #[command(flatten)]
    data: DataArguments,
    /// Folder for results, `matrix.json` and `matrix.md`
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
}

/// One row of the matrix: a name, and modules with their weights.
struct Loaded {
    name: String,
    modules: Vec<WeightedModule>,
}

/// Asks everything and prints the matrix.
///
/// # Errors
/// A folder that is no run; tasks or data that cannot be used.
pub fn matrix(arguments: &MatrixArguments, session: &Session) -> Result<()> {
    let data = arguments.data.folder()?;
    let selection = Selection { limit: arguments.limit.map(|limit| limit as usize), ..Selection::default() };
    let questions = questions(&arguments.tasks, &data, &selection)?;
    let base = arguments.run.join("base");
    let rows = rows(&arguments.run)?;
    let model = load_model(&base, &session.device.device()?)?;
    let fingerprint = model.fingerprint()?.to_string();
    let device = session.device.to_string();
    let mut results: Vec<Vec<Evaluated>> = Vec::new();
    for row in &rows {
        let (identities, modules) = identified(row.modules.clone())?;
        let identity = ModelIdentity { base: name_of(&base), fingerprint: fingerprint.clone(), modules: identities };
        let decoder = model.with_modules(&modules, false)?;
        let folder = session.fetcher.cache_dir().join("scores");
        let mut cache = ScoreCache::open(&folder, &identity.key(&device))
            .map_err(|(path, source)| engine::Error::Cache { path, source })?;
        let subject = Subject {
            decoder: &decoder,
            tokenizer: &model.files.tokenizer,
            start: model.prefix(),
            stop: &model.files.config.eos_token_ids,
        };
        let out = arguments.out.join(&row.name);
        fs::create_dir_all(&out).map_err(Error::io(&out))?;
        let mut of_row = Vec::new();
        for (task, selection, items) in &questions {
            let label = format!("{}: {}", row.name, task.name);
            let options = Options::default();
            let samples = evaluate(&subject, &label, items, &options, &mut cache, session.progress.as_ref())?;
            let circumstances = Circumstances {
                model: identity.clone(),
                selection: selection.clone(),
                answer_only: options.answer_only,
                device: device.clone(),
            };
            let result = TaskResult::new(task, items, &samples, circumstances);
            result.write(&out, &samples)?;
            of_row.push((result, samples));
        }
        results.push(of_row);
    }
    let pairs: Vec<(&Evaluated, &Evaluated)> =
        results[1..].iter().flat_map(|of_row| results[0].iter().zip(of_row)).collect();
    let compared = comparison::compare(&pairs, &Bootstrap::default())?;
    let text = shown(&rows, &results, &compared);
    write(&arguments.out.join("matrix.md"), &text)?;
    let facts = json!({
        "rows": rows.iter().map(|row| &row.name).collect::<Vec<_>>(),
        "tasks": results[0].iter().map(|(result, _)| result.name()).collect::<Vec<_>>(),
        "metrics": results.iter().map(|of_row| of_row.iter().map(|(result, _)| &result.metrics).collect::<Vec<_>>())
            .collect::<Vec<_>>(),
        "compared": compared,
    });
    write(&arguments.out.join("matrix.json"), &format!("{facts:#}\n"))?;
    print!("{text}");
    Ok(())
}

fn write(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).map_err(Error::io(path))
}

/// The base, each module, and those of single topics summed and averaged.
fn rows(run: &Path) -> Result<Vec<Loaded>> {
    let folder = run.join("modules");
    let entries = fs::read_dir(&folder).map_err(Error::io(&folder))?;
    let mut paths = Vec::new();
    for entry in entries {
        let path = entry.map_err(Error::io(&folder))?.path();
        if path.is_dir() {
            paths.push(path);
        }
    }
    paths.sort();
    if paths.is_empty() {
        return Err(Error::Failed(format!("{} holds no module; a finished `lore run` leaves some", folder.display())));
    }
    let at = |path: &PathBuf, weight: f32| WeightedModule { path: path.clone(), weight };
    let mut rows = vec![Loaded { name: "base".into(), modules: Vec::new() }];
    rows.extend(paths.iter().map(|path| Loaded { name: name_of(path), modules: vec![at(path, 1.0)] }));
    paths.retain(|path| !is_joint(path));
    if paths.len() > 1 {
        let all = |weight: f32| -> Vec<WeightedModule> { paths.iter().map(|path| at(path, weight)).collect() };
        rows.push(Loaded { name: "all-summed".into(), modules: all(1.0) });
        rows.push(Loaded { name: "all-averaged".into(), modules: all(1.0 / paths.len() as f32) });
    }
    Ok(rows)
}

/// Whether a module of a run was trained on several topics (`[[joint]]`): it is what using their own modules together is
/// compared with, and not one of them.
fn is_joint(module: &Path) -> bool {
    let stage = fs::canonicalize(module).ok().and_then(|module| Manifest::of_intact(module.parent()?));
    stage.is_some_and(|manifest| !manifest.facts["topics"].is_null())
}

/// Tables as Markdown: one for each task, its most telling metric first.
fn shown(rows: &[Loaded], results: &[Vec<Evaluated>], compared: &[Row]) -> String {
    let mut text = String::new();
    for (place, (first, _)) in results[0].iter().enumerate() {
        let name = first.name();
        let tested = metrics(&first.task.kind).iter().filter(|metric| metric.tested);
        for metric in tested {
            let mut cells = Vec::new();
            for (row, of_row) in rows.iter().zip(results) {
                let Some(figure) = of_row[place].0.metrics.get(metric.name) else { continue };
                let model = row.name.as_str();
                let change = change(compared, rows, model, &name, metric.name);
                cells.push(vec![model.to_owned(), format!("{:.4}", figure.value), change.0, change.1, change.2]);
            }
            writeln!(text, "{name}, {} ({} items)\n", metric.name, first.items.count).expect("a String takes all text");
            text.push_str(&table::lines(&["loaded", metric.name, "change", "95 % interval", ""], &cells, 1));
            text.push('\n');
        }
    }
    text
}

/// Change, interval and verdict of a row on a task.
fn change(compared: &[Row], rows: &[Loaded], model: &str, task: &str, metric: &str) -> (String, String, String) {
    // Comparisons of a task stand in the order of the rows after the base.
    let Some(number) = rows.iter().skip(1).position(|row| row.name == model) else {
        return Default::default();
    };
    let mut same = compared.iter().filter(|row| row.task == task && row.metric == metric);
    let Some(row) = same.nth(number) else { return Default::default() };
    let [low, high] = row.paired.interval;
    let verdict = match row.verdict {
        Verdict::A => "worse",
        Verdict::B => "better",
        Verdict::Tie => "",
    };
    (format!("{:+.4}", row.paired.difference), format!("{low:+.4} … {high:+.4}"), verdict.into())
}

#[cfg(all(test, unix))]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_module_of_several_topics_is_not_one_of_all() {
        let run = tempfile::tempdir().unwrap();
        let path = |relative: &str| run.path().join(relative);
        for folder in ["modules/hills", "modules/rivers", "stages/module-both-0/module"] {
            fs::create_dir_all(path(folder)).unwrap();
        }
        std::os::unix::fs::symlink("../stages/module-both-0/module", path("modules/both")).unwrap();
        let manifest: Manifest = serde_json::from_value(json!({
            "stage": "module:both", "key": "0", "identity": "0", "inputs": {}, "config": {}, "program": "0",
            "seconds": 0.0, "summary": "", "facts": { "topics": ["hills", "rivers"] }, "outputs": [], "external": [],
        }))
        .unwrap();
        manifest.write(&path("stages/module-both-0")).unwrap();
        let found = rows(run.path()).unwrap();
        let shown: Vec<(&str, usize)> = found.iter().map(|row| (row.name.as_str(), row.modules.len())).collect();
        let expected = [("base", 0), ("both", 1), ("hills", 1), ("rivers", 1), ("all-summed", 2), ("all-averaged", 2)];
        assert_eq!(shown, expected);
    }
}
