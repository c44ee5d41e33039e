//! Whether a board can be believed: its log, its signature, its files, and that figures follow from samples.

use std::path::Path;

use lore_eval::result::TaskResult;
use lore_eval::sample::Sample;
use lore_eval::task::Item;

use crate::error::{Error, Result};
use crate::folder::{BASE, Board, check_file};
use crate::log::{Event, Files, LOG};
use crate::state::State;
use crate::submission::PACK;

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
        let checked = self.check(data)?;
        crate::standing::Standing::of(self)?;
        Ok(checked)
    }

    /// As [`Self::verify`], up to the ranking: what must hold before anything is ranked.
    ///
    /// # Errors
    /// The first thing that does not agree.
    pub fn check(&self, data: Option<&Path>) -> Result<Checked> {
        let signed = self.log.signed(&self.operator)?;
        let mut checked = Checked {
            entries: self.log.entries.len(),
            unsigned: self.log.entries.len() - signed as usize,
            ..Checked::default()
        };
        let state = self.state();
        self.check_entries(&state, signed)?;
        for (id, submitted) in &state.submissions {
            checked.files += self.check_folder(&self.submission(id), &submitted.files)?;
            if self.submission(id).join(PACK).is_file() {
                self.pack_of(id, &[])?;
            }
            if let Some(reran) = &submitted.rerun {
                checked.files += self.check_folder(&self.results(id), &reran.files)?;
            }
        }
        if let Some(reran) = &state.base {
            checked.files += self.check_folder(&self.results(BASE), &reran.files)?;
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
        Ok(checked)
    }

    /// Entries of the operator must be signed, and none may be about what nobody handed in.
    fn check_entries(&self, state: &State, signed: u64) -> Result<()> {
        for entry in &self.log.entries {
            let by_operator = !matches!(entry.what, Event::Submitted { .. } | Event::Disputed { .. });
            let problem = match &entry.what {
                _ if by_operator && entry.index >= signed => "is the operator's, who did not sign it".to_owned(),
                Event::Submitted { id, .. } if state.submissions[id].entry != entry.index => {
                    format!("hands in `{id}`, which was there before")
                }
                Event::Rerun { id, .. } if id != BASE && !state.submissions.contains_key(id) => {
                    format!("is about `{id}`, which nobody handed in")
                }
                Event::Disputed { id, .. } if !state.submissions.contains_key(id) => {
                    format!("is about `{id}`, which nobody handed in")
                }
                Event::Settled { dispute, .. } if !state.disputes.iter().any(|known| known.entry == *dispute) => {
                    format!("settles entry {dispute}, which is no dispute")
                }
                _ => continue,
            };
            return Error::altered(self.root().join(LOG), format!("entry {} {problem}", entry.index));
        }
        Ok(())
    }

    /// A folder must hold the files that the log names and no others, for what lies there is read. Returns how many.
    fn check_folder(&self, folder: &Path, files: &Files) -> Result<usize> {
        let found = self.files_below(folder)?;
        for (name, sha256) in files {
            if found.get(name) != Some(sha256) {
                check_file(self.root(), name, sha256)?;
            }
        }
        match found.into_keys().find(|name| !files.contains_key(name)) {
            Some(name) => Error::altered(self.root().join(name), "the log does not name it; remove it"),
            None => Ok(files.len()),
        }
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
