//! How questions are put to a model, and what is kept of its scores.

use std::path::Path;

use lore_eval::cache::ScoreCache;
use lore_eval::comparison::Evaluated;
use lore_eval::engine::{self, Options, Subject, evaluate};
use lore_eval::result::{Circumstances, ModelIdentity, TaskResult};
use lore_eval::sample::Sample;
use lore_eval::task::{Item, Selection, Task};

use super::asked::Question;
use super::documents::Searched;
use crate::error::{Error, Result};
use crate::session::Session;

/// The scores that are kept of a model, or with `fresh` none.
///
/// # Errors
/// A file of scores that cannot be read or written.
pub fn scores_of(model: &ModelIdentity, fresh: bool, session: &Session) -> Result<ScoreCache> {
    let key = model.key(&session.device.to_string());
    if fresh {
        return Ok(ScoreCache::in_memory(&key));
    }
    let opened = ScoreCache::open(&session.fetcher.cache_dir().join("scores"), &key);
    Ok(opened.map_err(|(path, source)| engine::Error::Cache { path, source })?)
}

/// How questions are put.
pub struct Asking<'a> {
    /// Whether choices are scored without their question too.
    pub options: Options,
    /// With what was searched, clean and dirty items are told apart.
    pub searched: Option<&'a Searched>,
    /// Device, progress, cache.
    pub session: &'a Session,
}

impl Asking<'_> {
    /// Puts one question to a model; progress calls it `label`.
    ///
    /// # Errors
    /// Whatever asking fails with.
    pub fn ask(
        &self,
        (task, selection, items): &Question,
        label: &str,
        subject: &Subject<'_>,
        model: &ModelIdentity,
        cache: &mut ScoreCache,
    ) -> Result<Evaluated> {
        let samples = evaluate(subject, label, items, &self.options, cache, self.session.progress.as_ref())?;
        Ok(self.summed_up((task, selection, items), samples, model))
    }

    /// What the samples of a question's items say of a model.
    pub fn summed_up(
        &self,
        (task, selection, items): (&Task, &Selection, &[Item]),
        samples: Vec<Sample>,
        model: &ModelIdentity,
    ) -> Evaluated {
        let circumstances = Circumstances {
            model: model.clone(),
            selection: selection.clone(),
            answer_only: self.options.answer_only,
            device: self.session.device.to_string(),
        };
        let mut result = TaskResult::new(task, items, &samples, circumstances);
        if let Some(searched) = self.searched {
            result = result.with_contamination(&samples, searched.tables.clone(), &searched.of(&task.name));
        }
        (result, samples)
    }

    /// Puts all questions to a row of a matrix, which is called `row`, and writes the results into `out`.
    ///
    /// # Errors
    /// As [`Self::ask`]; a folder that cannot be written.
    pub fn ask_all(
        &self,
        questions: &[Question],
        row: &str,
        subject: &Subject<'_>,
        model: &ModelIdentity,
        out: &Path,
    ) -> Result<Vec<Evaluated>> {
        let mut cache = scores_of(model, false, self.session)?;
        std::fs::create_dir_all(out).map_err(Error::io(out))?;
        let mut answered = Vec::with_capacity(questions.len());
        for question in questions {
            let found = self.ask(question, &format!("{row}: {}", question.0.name), subject, model, &mut cache)?;
            found.0.write(out, &found.1)?;
            answered.push(found);
        }
        Ok(answered)
    }
}
