//! Result files as one table: every model's figure on every item of every task.
//!
//! An item that several seeds asked counts once, with its mean, so that asking twice does not look like two items.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use lore_eval::metrics::{Metric, primary};
use lore_eval::result::{ModuleIdentity, TaskResult};
use lore_eval::sample::Sample;
use lore_eval::statistics::ratio;

use crate::contamination::{Contamination, item_key};
use crate::controls::ItemControls;
use crate::error::{Error, Result};
use crate::folder::{BASE, Board};
use crate::ranking::{Table, TaskTable};
use crate::rerun::{CONTAMINATION, CONTROLS};

/// Everything that was measured. Model 0 is the base.
#[derive(Debug, Clone)]
pub struct Scores {
    /// `base`, then the ids of submissions.
    pub models: Vec<String>,
    /// In the order of the settings.
    pub tasks: Vec<TaskScores>,
}

/// One task.
#[derive(Debug, Clone)]
pub struct TaskScores {
    /// Its name on the board.
    pub name: String,
    /// What is compared.
    pub metric: &'static Metric,
    /// What a gain is divided by: 1 for accuracies; else the base's figure, so that a gain is a share of it.
    pub scale: f64,
    /// Items, sorted.
    pub items: Vec<String>,
    /// The subset of each item.
    pub subsets: Vec<String>,
    /// What a sum is divided by: bytes, or 1.
    pub weights: Vec<f64>,
    /// By model, then item; more is better.
    pub values: Vec<Vec<f64>>,
    /// By model: items that stand in its training text; nothing if nobody looked.
    pub dirty: Vec<Option<BTreeSet<usize>>>,
    /// By model: whether every training text was searched.
    pub searched: Vec<bool>,
    /// By model: figures without the question, where it was asked so.
    pub answer_only: Vec<Option<Vec<f64>>>,
    /// Accuracies that need no knowledge, by name and item.
    pub controls: Vec<(&'static str, Vec<f64>)>,
    /// By seed: the metric of each model, as its own unit has it.
    pub by_seed: BTreeMap<u64, Vec<f64>>,
}

/// A difference from the base, in units of the board.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Gain {
    /// Positive is better.
    pub value: f64,
    /// Its standard error.
    pub standard_error: f64,
}

/// The sign that makes more better, and what a difference is divided by.
pub fn oriented(metric: &Metric, of_base: f64) -> (f64, f64) {
    let sign = if metric.higher_is_better { 1.0 } else { -1.0 };
    let counted = metric.counts_answers() || metric.name == "f1";
    (sign, if counted { 1.0 } else { of_base.abs().max(1e-9) })
}

/// Figures of one model on one task: by item, the sums over seeds of value and weight, and how many seeds.
type Pooled = BTreeMap<String, (f64, f64, f64, f64)>;

impl Scores {
    /// Reads the results of the base and of every submission that was asked, of which `ids` are given.
    ///
    /// # Errors
    /// A result that is altered, missing, or of other items than the base's.
    pub fn read(board: &Board, ids: &[String]) -> Result<Self> {
        let models: Vec<String> = std::iter::once(BASE.to_owned()).chain(ids.iter().cloned()).collect();
        let controls: BTreeMap<String, ItemControls> = board.read_beside(BASE, CONTROLS)?.unwrap_or_default();
        let mut contaminations: Vec<Option<Contamination>> = vec![None];
        for id in ids {
            contaminations.push(board.read_beside(id, CONTAMINATION)?);
        }
        let mut tasks = Vec::new();
        for index in 0..board.tasks.len() {
            tasks.push(task(board, index, &models, &contaminations, controls.get(&board.task_name(index)))?);
        }
        Ok(Self { models, tasks })
    }

    /// The table to rank by: where an item stands in a module's training text, the base's answer counts.
    pub fn table(&self) -> Table {
        let ranked = |task: &TaskScores| TaskTable {
            values: (0..task.values.len()).map(|model| task.ranked(model)).collect(),
            weights: task.weights.clone(),
            scale: task.scale,
        };
        Table { tasks: self.tasks.iter().map(ranked).collect() }
    }
}

impl TaskScores {
    /// A model's values as they are compared with those of others: where an item stands in its training text, the base's.
    pub fn ranked(&self, model: usize) -> Vec<f64> {
        let mut values = self.values[model].clone();
        for &item in self.dirty[model].iter().flatten() {
            values[item] = self.values[0][item];
        }
        values
    }

    /// The figure of some values, one an item, as its own unit has it.
    pub fn figure_of(&self, values: &[f64]) -> f64 {
        let sign = if self.metric.higher_is_better { 1.0 } else { -1.0 };
        sign * values.iter().sum::<f64>() / self.weights.iter().sum::<f64>()
    }

    /// A model's figure over some items, as its own unit has it.
    pub fn figure(&self, model: usize, of: impl Fn(usize) -> bool) -> Option<f64> {
        let sign = if self.metric.higher_is_better { 1.0 } else { -1.0 };
        let chosen = (0..self.items.len()).filter(|&item| of(item));
        let (top, bottom) = chosen
            .fold((0.0, 0.0), |(top, bottom), item| (top + self.values[model][item], bottom + self.weights[item]));
        (bottom > 0.0).then(|| sign * top / bottom)
    }

    /// What a model gains over the base on some items; nothing without any.
    pub fn gain(&self, model: usize, of: impl Fn(usize) -> bool) -> Option<Gain> {
        let pairs: Vec<(f64, f64)> = (0..self.items.len())
            .filter(|&item| of(item))
            .map(|item| (self.values[model][item] - self.values[0][item], self.weights[item]))
            .collect();
        if pairs.is_empty() {
            return None;
        }
        let estimate = ratio(pairs.iter().copied());
        let standard_error = estimate.standard_error.unwrap_or(f64::INFINITY) / self.scale;
        Some(Gain { value: estimate.value / self.scale, standard_error })
    }

    /// Whether an item stands in a model's training text.
    pub fn is_dirty(&self, model: usize, item: usize) -> bool {
        self.dirty[model].as_ref().is_some_and(|dirty| dirty.contains(&item))
    }
}

fn task(
    board: &Board,
    index: usize,
    models: &[String],
    contaminations: &[Option<Contamination>],
    controls: Option<&ItemControls>,
) -> Result<TaskScores> {
    let name = board.task_name(index);
    let kind = board.tasks[index].kind.name();
    let Some(metric) = primary(kind) else {
        return Error::request(format!("{name}: tasks of the kind {kind} cannot be compared"));
    };
    let mut by_seed: BTreeMap<u64, Vec<f64>> = BTreeMap::new();
    let mut pooled: Vec<Pooled> = vec![Pooled::new(); models.len()];
    let mut subsets: HashMap<String, String> = HashMap::new();
    let mut asked: HashMap<u64, String> = HashMap::new();
    for (model, id) in models.iter().enumerate() {
        for &seed in &board.settings.seeds {
            let (result, samples) = read(board, index, id, seed)?;
            let hash = asked.entry(seed).or_insert_with(|| result.items.sha256.clone());
            if *hash != result.items.sha256 {
                return Error::altered(
                    board.results(id),
                    format!("{name}, seed {seed}: other items than the base was asked"),
                );
            }
            let figure = metric.estimate(&samples).map_or(f64::NAN, |estimate| estimate.value);
            by_seed.entry(seed).or_default().push(figure);
            let Some(terms) = metric.terms(&samples) else {
                let problem = format!("a sample has no `{}`", metric.name);
                return Error::altered(board.result_path(id, index, seed), problem);
            };
            for (sample, (value, weight)) in samples.iter().zip(terms) {
                let key = item_key(&sample.subset, &sample.id);
                subsets.entry(key.clone()).or_insert_with(|| sample.subset.clone());
                let sums = pooled[model].entry(key).or_default();
                let alone = sample.figures.get("acc_answer_only").copied().unwrap_or(f64::NAN);
                *sums = (sums.0 + value, sums.1 + weight, sums.2 + alone, sums.3 + 1.0);
            }
        }
    }
    let items: Vec<String> = pooled[0].keys().cloned().collect();
    let sign = if metric.higher_is_better { 1.0 } else { -1.0 };
    let of = |sums: &Pooled, pick: fn(&(f64, f64, f64, f64)) -> f64| -> Vec<f64> {
        items.iter().map(|item| sums.get(item).map_or(f64::NAN, |sums| pick(sums) / sums.3)).collect()
    };
    let values: Vec<Vec<f64>> =
        pooled.iter().map(|sums| of(sums, |s| s.0).into_iter().map(|value| sign * value).collect()).collect();
    if let Some(model) = values.iter().position(|values| values.iter().any(|value| !value.is_finite())) {
        return Error::altered(board.results(&models[model]), format!("{name}: a figure is missing or no number"));
    }
    let weights = of(&pooled[0], |s| s.1);
    let of_base = ratio(values[0].iter().copied().zip(weights.iter().copied())).value;
    let places: HashMap<&str, usize> = items.iter().enumerate().map(|(place, item)| (item.as_str(), place)).collect();
    let dirty = |found: &Contamination| -> BTreeSet<usize> {
        let of_task = found.items.get(&name).into_iter().flatten();
        of_task.filter_map(|item| places.get(item.as_str()).copied()).collect()
    };
    let per_item = |control: &BTreeMap<String, f64>| -> Option<Vec<f64>> {
        items.iter().map(|item| control.get(item).copied()).collect()
    };
    let by_name = controls.map(ItemControls::by_name);
    Ok(TaskScores {
        metric,
        scale: oriented(metric, of_base).1,
        subsets: items.iter().map(|item| subsets[item].clone()).collect(),
        values,
        weights,
        // A rerun without any table of documents writes a list too, an empty one.
        dirty: contaminations
            .iter()
            .map(|found| found.as_ref().filter(|found| !found.searched.is_empty()).map(dirty))
            .collect(),
        searched: contaminations.iter().map(|found| found.as_ref().is_some_and(Contamination::is_complete)).collect(),
        answer_only: pooled
            .iter()
            .map(|sums| Some(of(sums, |s| s.2)).filter(|alone| alone.iter().all(|value| value.is_finite())))
            .collect(),
        controls: by_name
            .into_iter()
            .flatten()
            .filter_map(|(control, values)| Some((control, per_item(values)?)))
            .collect(),
        by_seed,
        items,
        name,
    })
}

/// A result with its samples, which must be of the board's task, base and seed.
fn read(board: &Board, index: usize, id: &str, seed: u64) -> Result<(TaskResult, Vec<Sample>)> {
    let path = board.result_path(id, index, seed);
    let (result, samples) = TaskResult::read(&path)?;
    let problem = if result.task.sha256 != board.tasks[index].sha256 {
        "it is of another task file"
    } else if result.selection() != board.settings.tasks[index].selection(seed) {
        "it is of other items than the board asks"
    } else if result.model.fingerprint != board.settings.base.fingerprint {
        "it is of another base"
    } else if !is_of(board, id, &result)? {
        "it is not of the base with this one module and weight 1"
    } else {
        return Ok((result, samples));
    };
    Error::altered(path, problem)
}

fn is_of(board: &Board, id: &str, result: &TaskResult) -> Result<bool> {
    if id == BASE {
        return Ok(result.model.modules.is_empty());
    }
    let manifest = board.facts(id)?.manifest;
    let hash = |name: &str| manifest.member(name).map(|member| member.sha256.as_str()).unwrap_or_default();
    let expected = ModuleIdentity::hash_of_files(hash("adapter_config.json"), hash("adapter_model.safetensors"));
    Ok(matches!(result.model.modules.as_slice(), [one] if one.sha256 == expected && one.weight == 1.0))
}
