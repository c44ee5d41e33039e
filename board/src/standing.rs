//! What the board says of every submission: its place, its figures, and what speaks against it.

use lore_eval::statistics::ratio;
use serde::Serialize;

use crate::error::Result;
use crate::folder::Board;
use crate::holdout::{Gap, HeldOut};
use crate::ranking::{Pair, Ranking};
use crate::rerun::{COSTS, Costs, HOLDOUT};
use crate::scores::{Gain, Scores, TaskScores};
use crate::state::{State, Submitted};
use crate::submission::Facts;

/// One-sided 5 % point of the normal distribution.
const ONE_SIDED: f64 = 1.644_854;
/// Two-sided 5 % point.
const TWO_SIDED: f64 = 1.959_964;

/// The whole board.
pub struct Standing {
    /// What follows from the log.
    pub state: State,
    /// Rows of the table: the ranked ones by group and score, the base among them, then the rest.
    pub rows: Vec<Row>,
    /// All figures; models are those of [`Row::model`].
    pub scores: Option<Scores>,
    /// Comparisons of the ranked ones; models are those of [`Row::ranked`].
    pub ranking: Option<Ranking>,
}

/// One row.
pub struct Row {
    /// `base`, or the submission.
    pub id: String,
    /// What its pack says; nothing for the base.
    pub facts: Option<Facts>,
    /// What the log says; nothing for the base.
    pub submitted: Option<Submitted>,
    /// Its place in [`Scores::models`], if it was asked.
    pub model: Option<usize>,
    /// Its place among the ranked ones.
    pub ranked: Option<usize>,
    /// Its group, from 0, if it is ranked.
    pub group: Option<usize>,
    /// Against the base, over all tasks, dirty items counting nothing.
    pub gain: Option<Pair>,
    /// By task.
    pub tasks: Vec<TaskRow>,
    /// Private items.
    pub holdouts: Vec<(HeldOut, Option<Gap>)>,
    /// What it costs.
    pub costs: Option<Costs>,
    /// What speaks against it.
    pub flags: Vec<Flag>,
    /// Tasks, by place, on which what it gains needs no knowledge and counts nothing.
    pub explained: Vec<usize>,
    /// Why it is not ranked.
    pub unranked: Option<String>,
}

/// One row on one task.
pub struct TaskRow {
    /// The figure, in the metric's own unit.
    pub figure: f64,
    /// Over the base, on all items.
    pub gain: Gain,
    /// Over the base, on items that are not in its training text.
    pub clean: Option<Gain>,
    /// Over the base, on items that are.
    pub dirty: Option<Gain>,
    /// How many are; nothing if nobody looked.
    pub dirty_items: Option<usize>,
    /// The lowest and the highest figure of any seed.
    pub seeds: [f64; 2],
}

/// Something that speaks against a submission, or that a reader should know.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "flag", rename_all = "snake_case")]
pub enum Flag {
    /// Items stand in its training text.
    Contaminated {
        /// How many.
        items: usize,
        /// Of how many.
        of: usize,
    },
    /// Not every training text was searched.
    NotSearched,
    /// It gains more on what is public than on what is not.
    PublicPrivateGap {
        /// By how much, in units of the board.
        gap: f64,
    },
    /// What it gains on a task needs no knowledge.
    ExplainedByControl {
        /// The task.
        task: String,
        /// What does as well.
        control: String,
    },
    /// It answers every item as another does.
    SameAs {
        /// The other.
        id: String,
    },
    /// Nobody signed the pack.
    Unsigned,
    /// A dispute is open.
    Disputed,
}

impl Standing {
    /// Reads all results and ranks them.
    ///
    /// # Errors
    /// A file that is missing or altered.
    pub fn of(board: &Board) -> Result<Self> {
        let state = board.state();
        let asked: Vec<String> = state
            .submissions
            .iter()
            .filter(|(_, submitted)| submitted.rerun.is_some() && submitted.withdrawn.is_none())
            .map(|(id, _)| id.clone())
            .collect();
        let scores = state.base.is_some().then(|| Scores::read(board, &asked)).transpose()?;
        let mut rows = Vec::new();
        if let Some(scores) = &scores {
            rows.push(Row::of_base(scores));
        }
        for (id, submitted) in &state.submissions {
            let model = scores.as_ref().and_then(|scores| scores.models.iter().position(|model| model == id));
            rows.push(row(board, &state, id, submitted, scores.as_ref().zip(model))?);
        }
        let mut standing = Self { state, rows, scores, ranking: None };
        standing.rank(board);
        Ok(standing)
    }

    fn rank(&mut self, board: &Board) {
        let Some(scores) = &self.scores else { return };
        let mut table = scores.table();
        let ranked: Vec<usize> =
            self.rows.iter().filter(|row| row.unranked.is_none()).filter_map(|row| row.model).collect();
        for (place, task) in table.tasks.iter_mut().enumerate() {
            let explained = self.rows.iter().filter(|row| row.explained.contains(&place));
            for model in explained.filter_map(|row| row.model) {
                task.values[model] = task.values[0].clone();
            }
            task.values = ranked.iter().map(|&model| task.values[model].clone()).collect();
        }
        let ranking = Ranking::of(&table, board.settings.resamples, board.settings.seeds[0]);
        for row in &mut self.rows {
            row.ranked = row.model.and_then(|model| ranked.iter().position(|&other| other == model));
            row.group = row.ranked.map(|place| ranking.groups[place]);
            row.gain = row.ranked.and_then(|place| ranking.pair(0, place));
        }
        let score = |row: &Row| row.ranked.map_or(f64::NEG_INFINITY, |place| ranking.scores[place]);
        self.rows.sort_by(|a, b| {
            let group = |row: &Row| row.group.unwrap_or(usize::MAX);
            group(a).cmp(&group(b)).then(score(b).total_cmp(&score(a))).then(a.id.cmp(&b.id))
        });
        self.ranking = Some(ranking);
    }

    /// The row of an id.
    pub fn row(&self, id: &str) -> Option<&Row> {
        self.rows.iter().find(|row| row.id == id)
    }
}

impl Row {
    fn of_base(scores: &Scores) -> Self {
        let tasks = scores.tasks.iter().map(|task| task_row(task, 0)).collect();
        Self {
            id: crate::folder::BASE.into(),
            facts: None,
            submitted: None,
            model: Some(0),
            ranked: None,
            group: None,
            gain: None,
            tasks,
            holdouts: Vec::new(),
            costs: None,
            flags: Vec::new(),
            explained: Vec::new(),
            unranked: None,
        }
    }
}

fn row(board: &Board, state: &State, id: &str, submitted: &Submitted, scored: Option<(&Scores, usize)>) -> Result<Row> {
    let facts = board.facts(id)?;
    let mut flags = Vec::new();
    if facts.signer.is_none() {
        flags.push(Flag::Unsigned);
    }
    if state.disputes.iter().any(|dispute| dispute.id == id && dispute.settled.is_none()) {
        flags.push(Flag::Disputed);
    }
    let mut explained = Vec::new();
    let unranked = match (&submitted.withdrawn, &submitted.rerun) {
        (Some(reason), _) => Some(format!("withdrawn: {reason}")),
        (None, None) => Some("not asked by the operator yet".into()),
        (None, Some(_)) => None,
    };
    let mut row_tasks = Vec::new();
    let mut holdouts = Vec::new();
    let mut costs = None;
    if let Some((scores, model)) = scored {
        row_tasks = scores.tasks.iter().map(|task| task_row(task, model)).collect();
        costs = board.read_beside::<Costs>(id, COSTS)?;
        flags.extend(contamination(scores, model));
        for (place, task) in scores.tasks.iter().enumerate() {
            if let Some(control) = explained_by(task, model) {
                flags.push(Flag::ExplainedByControl { task: task.name.clone(), control: control.into() });
                explained.push(place);
            }
        }
        let same = |other: &usize| scores.tasks.iter().all(|task| task.values[*other] == task.values[model]);
        flags.extend((0..model).find(same).map(|other| Flag::SameAs { id: scores.models[other].clone() }));
        for held_out in board.read_beside::<Vec<HeldOut>>(id, HOLDOUT)?.unwrap_or_default() {
            let public = scores.tasks.iter().find(|task| task.name == held_out.of);
            let gap = public.and_then(|task| task.gain(model, |_| true)).map(|gain| Gap::new(&gain, &held_out));
            if let Some(gap) = gap.filter(|gap| gap.is_suspicious(scores.models.len() - 1)) {
                flags.push(Flag::PublicPrivateGap { gap: gap.value });
            }
            holdouts.push((held_out, gap));
        }
    }
    Ok(Row {
        id: id.to_owned(),
        facts: Some(facts),
        submitted: Some(submitted.clone()),
        model: scored.map(|(_, model)| model),
        ranked: None,
        group: None,
        gain: None,
        tasks: row_tasks,
        holdouts,
        costs,
        flags,
        explained,
        unranked,
    })
}

fn task_row(task: &TaskScores, model: usize) -> TaskRow {
    let by_seed = task.by_seed.values().map(|models| models[model]);
    let nothing = Gain { value: 0.0, standard_error: 0.0 };
    TaskRow {
        figure: task.figure(model, |_| true).unwrap_or(f64::NAN),
        gain: task.gain(model, |_| true).unwrap_or(nothing),
        clean: task.gain(model, |item| !task.is_dirty(model, item)),
        dirty: task.gain(model, |item| task.is_dirty(model, item)),
        dirty_items: task.dirty[model].as_ref().map(|dirty| dirty.len()),
        seeds: by_seed.fold([f64::INFINITY, f64::NEG_INFINITY], |[low, high], x| [low.min(x), high.max(x)]),
    }
}

fn contamination(scores: &Scores, model: usize) -> Option<Flag> {
    let items: usize = scores.tasks.iter().filter_map(|task| task.dirty[model].as_ref()).map(|dirty| dirty.len()).sum();
    if items > 0 {
        return Some(Flag::Contaminated { items, of: scores.tasks.iter().map(|task| task.items.len()).sum() });
    }
    (!scores.tasks.iter().all(|task| task.searched[model])).then_some(Flag::NotSearched)
}

/// The control that does as well as a model which does better than the base. Items of its training text count nothing here
/// either: they are flagged by themselves, and what is ranked are the others.
fn explained_by(task: &TaskScores, model: usize) -> Option<&'static str> {
    if !task.metric.counts_answers() {
        return None;
    }
    let clean = |item: &usize| !task.is_dirty(model, *item);
    let gain = task.gain(model, |item| clean(&item))?;
    if gain.value <= TWO_SIDED * gain.standard_error || gain.value == 0.0 {
        return None;
    }
    let values = &task.values[model];
    let beats = |control: &[f64]| {
        let items = (0..values.len()).filter(clean);
        let difference = ratio(items.map(|item| (values[item] - control[item], 1.0)));
        difference.value > ONE_SIDED * difference.standard_error.unwrap_or(f64::INFINITY)
    };
    let own = task.answer_only[model].as_deref().map(|alone| ("answering without the question", alone));
    let controls = task.controls.iter().map(|(name, values)| (*name, values.as_slice()));
    controls.chain(own).find(|(_, control)| !beats(control)).map(|(name, _)| name)
}
