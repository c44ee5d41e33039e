//! Whether a board can be believed: its log, its signature, its files, and that figures follow from samples.

use std::path::Path;

use lore_eval::result::TaskResult;
use lore_eval::sample::Sample;
use lore_eval::task::Item;

use crate::error::{Error, Result};
use crate::folder::{BASE, Board, check_file};
use crate::log::Event;
use crate::state::Reran;

/// What was checked.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Checked {
    /// Entries of the log.
    pub entries: usize,
    /// Entries after the last that the operator signed.
    pub unsigned: usize,
    /// Files whose hashes agree.
    pub files: usize,
    /// Results whose figures follow from their samples.
    pub results: usize,
}

/// A result with everything it was made of.
pub struct Claimed {
    /// `base`, or the submission.
    pub id: String,
    /// Place of the task in the settings.
    pub task: usize,
    /// The result.
    pub result: TaskResult,
    /// Its samples.
    pub samples: Vec<Sample>,
    /// What was asked.
    pub items: Vec<Item>,
}

impl Board {
    /// Follows everything but the models. With the folder of the tasks' data, items are made anew and compared too.
    ///
    /// # Errors
    /// The first thing that does not agree.
    pub fn verify(&self, data: Option<&Path>) -> Result<Checked> {
        let signed = self.log.signed(&self.operator)?;
        let mut checked = Checked {
            entries: self.log.entries.len(),
            unsigned: self.log.entries.len() - signed as usize,
            ..Checked::default()
        };
        let log = self.root().join(crate::log::LOG);
        let state = self.state();
        for entry in &self.log.entries {
            let by_operator = !matches!(entry.what, Event::Submitted { .. } | Event::Disputed { .. });
            if by_operator && entry.index >= signed {
                return Error::altered(log, format!("entry {} is the operator's, who did not sign it", entry.index));
            }
            if let Event::Rerun { id, .. } = &entry.what
                && id != BASE
                && !state.submissions.contains_key(id)
            {
                return Error::altered(log, format!("entry {} is about `{id}`, which nobody handed in", entry.index));
            }
        }
        let reran = state.submissions.values().filter_map(|submitted| submitted.rerun.as_ref()).chain(&state.base);
        let handed_in = state.submissions.values().map(|submitted| &submitted.files);
        for files in reran.map(|Reran { files, .. }| files).chain(handed_in) {
            for (name, sha256) in files {
                check_file(self.root(), name, sha256)?;
                checked.files += 1;
            }
        }
        match data {
            Some(data) => {
                for claim in self.claims(data)? {
                    let task = &self.tasks[claim.task];
                    lore_eval::verify::check(&claim.result, &claim.samples, task, &claim.items).map_err(
                        |problems| Error::Altered { path: self.results(&claim.id), problem: problems.join("; ") },
                    )?;
                    checked.results += 1;
                }
            }
            None => checked.results = self.results_follow()?,
        }
        crate::standing::Standing::of(self)?;
        Ok(checked)
    }

    /// Every result of the board, with its items.
    ///
    /// # Errors
    /// Files or data that cannot be read.
    pub fn claims(&self, data: &Path) -> Result<Vec<Claimed>> {
        let questions = self.questions(data)?;
        let mut claims = Vec::new();
        for id in self.asked() {
            for question in &questions {
                let (result, samples) = TaskResult::read(&self.result_path(&id, question.task, question.seed))?;
                let (id, items) = (id.clone(), question.items.clone());
                claims.push(Claimed { id, task: question.task, result, samples, items });
            }
        }
        Ok(claims)
    }

    /// The base and all submissions with results.
    pub fn asked(&self) -> Vec<String> {
        let state = self.state();
        let base = state.base.is_some().then(|| BASE.to_owned());
        let asked = state.submissions.iter().filter(|(_, submitted)| submitted.rerun.is_some());
        base.into_iter().chain(asked.map(|(id, _)| id.clone())).collect()
    }

    /// Where the result of a task and seed is.
    pub fn result_path(&self, id: &str, task: usize, seed: u64) -> std::path::PathBuf {
        let subset = self.settings.tasks[task].subset.as_deref();
        let name = lore_eval::result::file_name(&self.tasks[task].name, subset);
        self.results(id).join(format!("seed-{seed}")).join(name)
    }

    fn results_follow(&self) -> Result<usize> {
        let mut count = 0;
        for id in self.asked() {
            for task in 0..self.tasks.len() {
                for &seed in &self.settings.seeds {
                    let path = self.result_path(&id, task, seed);
                    let (result, samples) = TaskResult::read(&path)?;
                    lore_eval::verify::follows(&result, &samples)
                        .map_err(|problems| Error::Altered { path, problem: problems.join("; ") })?;
                    count += 1;
                }
            }
        }
        Ok(count)
    }
}
