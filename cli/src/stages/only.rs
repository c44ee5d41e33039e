//! One stage alone: by one process, by several that train together, or in parts side by side.

use std::collections::BTreeMap;
use std::fs;

use lore_train::peers::number_of_first;

use super::runner::inputs_of;
use super::{Finished, Resolved, Runner, Share, Stage, StageContext, State, resolve};
use crate::error::{Error, Result};

/// A stage among those of its run.
struct Place<'a> {
    stage: &'a dyn Stage,
    /// Such as `[8/12] module:geography`.
    title: String,
    resolved: Resolved,
    /// What is finished of the stages before it.
    finished: BTreeMap<String, Finished>,
}

impl Place<'_> {
    /// The stage's key, if its inputs are finished.
    fn key(&self) -> Result<&str> {
        let missing: Vec<String> =
            self.stage.inputs().into_iter().filter(|input| !self.finished.contains_key(input)).collect();
        self.resolved.key.as_deref().filter(|_| missing.is_empty()).ok_or_else(|| {
            Error::Failed(format!("stage `{}` needs what is not finished: {}", self.stage.name(), missing.join(", ")))
        })
    }

    fn failed(&self, error: Error) -> Error {
        Error::Stage { stage: self.stage.name().into(), source: Box::new(error) }
    }
}

impl Runner<'_> {
    fn place<'a>(&self, stages: &'a [Box<dyn Stage>], wanted: &str) -> Result<Place<'a>> {
        let (mut identities, mut finished) = (BTreeMap::new(), BTreeMap::new());
        for (index, stage) in stages.iter().enumerate() {
            let (name, resolved) = (stage.name(), resolve(stage.as_ref(), &identities, self.folder));
            if name == wanted {
                let title = format!("[{}/{}] {name}", index + 1, stages.len());
                return Ok(Place { stage: stage.as_ref(), title, resolved, finished });
            }
            identities.insert(name.to_owned(), resolved.identity);
            if let State::Finished(done) = resolved.state {
                finished.insert(name.to_owned(), *done);
            }
        }
        Err(Error::Failed(format!("no stage is called `{wanted}`")))
    }

    /// Brings the stage `wanted` to its end, whose inputs are finished; others may do the same with other stages at the same
    /// time.
    ///
    /// # Errors
    /// Inputs that are not finished, named; the stage's failure.
    pub fn only(&self, stages: &[Box<dyn Stage>], wanted: &str) -> Result<Finished> {
        let _locks = self.folder.lock_stage(wanted)?;
        let place = self.place(stages, wanted)?;
        let done = match (&place.resolved.state, &place.resolved.key) {
            (State::Finished(done), _) => Some((**done).clone()),
            (State::Elsewhere(found), Some(key)) => self.take_over(wanted, key, found)?,
            _ => None,
        };
        let done = if let Some(done) = done {
            self.tell_helpers(false);
            done
        } else {
            let key = place.key()?;
            self.tell_helpers(true);
            self.session.progress.note(&place.title);
            self.run_one(place.stage, key, &place.finished).map_err(|error| place.failed(error))?
        };
        self.folder.publish(&done.folder, &place.stage.publications())?;
        Ok(done)
    }

    /// Tells the processes in [`Runner::help`] whether the stage is computed: one that is only taken over needs no help.
    fn tell_helpers(&self, computes: bool) {
        number_of_first(&*self.session.training.peers, f64::from(u8::from(computes)));
    }

    /// Does the same as another process that brings the stage `wanted` to its end by [`Runner::only`], whose peer this one
    /// is; what comes out is that process's, and nothing is kept here.
    ///
    /// # Errors
    /// Inputs that are not finished; the stage's failure.
    pub fn help(&self, stages: &[Box<dyn Stage>], wanted: &str) -> Result<()> {
        if number_of_first(&*self.session.training.peers, 0.0) == 0.0 {
            return Ok(());
        }
        let place = self.place(stages, wanted)?;
        place.key()?;
        let folder = tempfile::tempdir().map_err(Error::while_doing("making a temporary folder"))?;
        let inputs = inputs_of(place.stage, &place.finished);
        let context = StageContext { folder: folder.path(), inputs: &inputs, session: self.session };
        place.stage.run(&context).map(|_| ())
    }

    /// Computes a part of the stage `wanted`, whose inputs are finished, for [`Runner::only`]; others may compute other
    /// parts at the same time. Whether there was something to do: a finished stage needs no parts.
    ///
    /// # Errors
    /// Inputs that are not finished, named; a stage that cannot be divided; its failure.
    pub fn share(&self, stages: &[Box<dyn Stage>], wanted: &str, share: Share) -> Result<bool> {
        let _locks = self.folder.lock_stage(&format!("{wanted}-{}", share.file_name()))?;
        let place = self.place(stages, wanted)?;
        if matches!(place.resolved.state, State::Finished(_) | State::Elsewhere(_)) {
            return Ok(false);
        }
        let folder = self.folder.partial(wanted, place.key()?);
        fs::create_dir_all(&folder).map_err(Error::io(&folder))?;
        self.session.progress.note(&format!("{}, part {share}", place.title));
        let inputs = inputs_of(place.stage, &place.finished);
        let context = StageContext { folder: &folder, inputs: &inputs, session: self.session };
        place.stage.run_share(&context, share).map_err(|error| match error {
            error @ Error::Usage(_) => error,
            error => place.failed(error),
        })?;
        Ok(true)
    }
}
