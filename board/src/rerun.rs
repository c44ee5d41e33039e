//! The operator asks the base, or the base with one module, everything that the board asks.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use lore_datasets::progress::Progress;
use lore_eval::cache::ScoreCache;
use lore_eval::engine::{Options, Subject, evaluate};
use lore_eval::result::{Circumstances, ModelIdentity, TaskResult};
use lore_eval::sample::Sample;
use lore_eval::task::{Item, Selection, Task};
use serde::{Deserialize, Serialize};

use crate::contamination::{Contamination, TrainingText};
use crate::controls::ItemControls;
use crate::error::{Error, Result};
use crate::folder::{Board, write_whole};
use crate::holdout::HeldOut;

/// What it costs to use a module.
pub const COSTS: &str = "costs.json";
/// Items whose words stand in the training text.
pub const CONTAMINATION: &str = "contamination.json";
/// What needs no knowledge, item by item; beside the results of the base.
pub const CONTROLS: &str = "controls.json";
/// Figures on items that are not published.
pub const HOLDOUT: &str = "holdout.json";

/// A model that is asked.
pub struct Asked<'a> {
    /// The base with its module.
    pub subject: Subject<'a>,
    /// What it is.
    pub identity: ModelIdentity,
    /// Device of the computation.
    pub device: String,
    /// Scores that are known.
    pub cache: &'a mut ScoreCache,
    /// Where to report.
    pub progress: &'a dyn Progress,
}

/// `costs.json`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Costs {
    /// Bytes of the module's weights on disk.
    pub bytes: u64,
    /// Its values.
    pub parameters: u64,
    /// Its highest rank.
    pub rank: usize,
    /// Milliseconds to read it, once it is unpacked and checked, and to put it beside the base.
    pub load_ms: f64,
    /// Seconds of the rerun, with what was known before.
    pub rerun_seconds: f64,
}

/// A public task's items of one seed.
pub struct Questions {
    /// Place in the settings.
    pub task: usize,
    /// The seed.
    pub seed: u64,
    /// What is asked.
    pub items: Vec<Item>,
}

impl Board {
    /// What the board asks: every task with every seed.
    ///
    /// # Errors
    /// Data that cannot be read.
    pub fn questions(&self, data: &Path) -> Result<Vec<Questions>> {
        self.selected(data, |selection| selection)
    }

    fn selected(&self, data: &Path, change: impl Fn(Selection) -> Selection) -> Result<Vec<Questions>> {
        let mut all = Vec::new();
        for (index, (task, settings)) in self.tasks.iter().zip(&self.settings.tasks).enumerate() {
            for &seed in &self.settings.seeds {
                let items = task.select(data, &change(settings.selection(seed)))?;
                all.push(Questions { task: index, seed, items });
            }
        }
        Ok(all)
    }

    /// Asks everything and writes the results below `results/ID`, in place of older ones.
    ///
    /// # Errors
    /// A model of another base; items that cannot be asked; files that cannot be written.
    pub fn ask(&self, id: &str, questions: &[Questions], asked: &mut Asked<'_>) -> Result<()> {
        let found = &asked.identity.fingerprint;
        if *found != self.settings.base.fingerprint {
            let wanted = &self.settings.base;
            return Error::request(format!(
                "the board is of the base {} ({}), not of {found}",
                wanted.name, wanted.fingerprint
            ));
        }
        for Questions { task, seed, items } in questions {
            let folder = self.results(id).join(format!("seed-{seed}"));
            fs::create_dir_all(&folder).map_err(Error::io(&folder))?;
            let selection = self.settings.tasks[*task].selection(*seed);
            let (result, samples) = one(&self.tasks[*task], items, selection, asked)?;
            result.write(&folder, &samples)?;
        }
        Ok(())
    }

    /// Writes what needs no knowledge beside the results of the base.
    ///
    /// # Errors
    /// A file that cannot be written.
    pub fn write_controls(&self, questions: &[Questions]) -> Result<()> {
        let mut controls: BTreeMap<String, ItemControls> = BTreeMap::new();
        for Questions { task, items, .. } in questions {
            controls.entry(self.task_name(*task)).or_default().add(items);
        }
        self.write_beside(crate::folder::BASE, CONTROLS, &controls)
    }

    /// Looks for the items in the texts that a module learnt from, and writes which were found.
    ///
    /// # Errors
    /// Texts other than the pack's corpus manifest names; a file that cannot be written.
    pub fn write_contamination(&self, id: &str, data: &Path, texts: &[&TrainingText]) -> Result<usize> {
        let corpus = self.facts(id)?.corpus;
        // The questions alone: that an example was seen is not held against anyone.
        let questions = self.selected(data, |selection| Selection { shots: 0, ..selection })?;
        let named = questions.iter().map(|q| (self.task_name(q.task), q.items.as_slice()));
        let found = Contamination::find(&corpus, named, texts)?;
        self.write_beside(id, CONTAMINATION, &found)?;
        Ok(found.items.values().map(|items| items.len()).sum())
    }

    /// Writes what a module costs.
    ///
    /// # Errors
    /// A file that cannot be written.
    pub fn write_costs(&self, id: &str, costs: &Costs) -> Result<()> {
        self.write_beside(id, COSTS, costs)
    }

    /// Asks what is not published and writes the figures, without anything of the items.
    ///
    /// # Errors
    /// Tasks or items other than the board was opened with; whatever asking fails with.
    pub fn ask_holdouts(
        &self,
        folder: &Path,
        base: &mut Asked<'_>,
        module: Option<(&str, &mut Asked<'_>)>,
    ) -> Result<()> {
        let tasks = self.holdout_tasks(folder)?;
        let answers = |asked: &mut Asked<'_>| -> Result<Vec<(TaskResult, Vec<Sample>)>> {
            tasks.iter().map(|(_, task, items)| one(task, items, Selection::default(), asked)).collect()
        };
        let of_base = answers(base)?;
        let (id, of_module) = match module {
            Some((id, asked)) => (id, answers(asked)?),
            None => return Ok(()),
        };
        let figures: Vec<HeldOut> = tasks
            .iter()
            .zip(of_base.iter().zip(&of_module))
            .map(|((settings, _, _), (base, module))| HeldOut::of(settings, base, module))
            .collect::<Result<_>>()?;
        self.write_beside(id, HOLDOUT, &figures)
    }

    fn write_beside(&self, id: &str, name: &str, value: &impl Serialize) -> Result<()> {
        let mut bytes = serde_json::to_vec_pretty(value).expect("plain data");
        bytes.push(b'\n');
        write_whole(&self.results(id).join(name), &bytes)
    }

    /// Reads a file beside results; nothing if there is none.
    ///
    /// # Errors
    /// A damaged file.
    pub fn read_beside<T: serde::de::DeserializeOwned>(&self, id: &str, name: &str) -> Result<Option<T>> {
        let path = self.results(id).join(name);
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(Error::io(path)(error)),
        };
        serde_json::from_slice(&bytes).map(Some).map_err(|error| Error::Altered { path, problem: error.to_string() })
    }
}

fn one(task: &Task, items: &[Item], selection: Selection, asked: &mut Asked<'_>) -> Result<(TaskResult, Vec<Sample>)> {
    let options = Options::default();
    let samples = evaluate(&asked.subject, &task.name, items, &options, asked.cache, asked.progress)?;
    let circumstances = Circumstances {
        model: asked.identity.clone(),
        selection,
        answer_only: options.answer_only,
        device: asked.device.clone(),
    };
    Ok((TaskResult::new(task, items, &samples, circumstances), samples))
}
