//! Computes a job.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use lore_datasets::fetch::Fetcher;

use super::fraction::{self, COLLECTED, Fraction};
use super::outcome::Outcome;
use super::training::{CHECKPOINTS, STAGE};
use super::unit::{Job, Training, Unit};
use super::{evaluation, files};
use crate::error::{Error, Result};
use crate::session::Session;
use crate::stages::{Manifest, run_in};

/// Computes `job` in the folder `working`, going on from what a killed process left there, and writes the result to `out`.
/// Nothing is fetched.
///
/// # Errors
/// A job that cannot be computed here; `out` that is something else than its result.
pub fn run(job: &Job, out: &Path, working: &Path, session: &Session) -> Result<()> {
    if out.exists() {
        // A process may be killed, and its job started again, after it had finished.
        if Outcome::open(out, job).is_ok() {
            session.progress.note(&format!("{}: is the result already", out.display()));
            return Ok(());
        }
        return Err(Error::Usage(format!("{}: exists already; give another path, or remove it", out.display())));
    }
    fs::create_dir_all(working).map_err(Error::io(working))?;
    // What was begun for another job is of no use for this one.
    let mark = working.join("job");
    match fs::read_to_string(&mark) {
        Ok(id) if id != job.id => {
            return Err(Error::Usage(format!(
                "{} holds the work on another job; give --working another folder, or remove it",
                working.display()
            )));
        }
        Ok(_) => {}
        Err(_) => fs::write(&mark, &job.id).map_err(Error::io(&mark))?,
    }
    let mut session = session.clone();
    session.offline = true;
    session.fetcher = Fetcher::new(working.join("cache")).offline(true);
    match &job.work.unit {
        Unit::Training(unit) => train(job, unit, out, working, &mut session)?,
        Unit::Evaluation(unit) => {
            let progress = Fraction::new(session.progress.clone(), working, &working.join("none"), &[]);
            session.progress = Arc::new(progress);
            let answers = working.join("answers");
            evaluation::answer(job, unit, &answers, &session)?;
            Outcome::write(out, job, &session, |folder| files::copy_all(&answers, &folder.join(evaluation::ANSWERS)))?;
        }
    }
    fraction::finish(working)
}

fn train(job: &Job, unit: &Training, out: &Path, working: &Path, session: &mut Session) -> Result<()> {
    let (stage, inputs) = job.stage(unit)?;
    let folder = working.join(STAGE);
    session.progress = Arc::new(Fraction::new(session.progress.clone(), working, &folder, &unit.checkpoints));
    if Manifest::of_intact(&folder).is_none() {
        fs::create_dir_all(&folder).map_err(Error::io(&folder))?;
        let manifest = run_in(&folder, stage.as_ref(), &unit.key, &inputs, session)?;
        session.progress.note(&format!("{}: {}", unit.stage, manifest.summary));
    }
    Outcome::write(out, job, session, |result| {
        files::copy_all(&folder, &result.join(STAGE))?;
        for step in &unit.checkpoints {
            let name = format!("checkpoint-{step:08}");
            files::copy_all(&working.join(COLLECTED).join(&name), &result.join(CHECKPOINTS).join(&name))?;
        }
        Ok(())
    })
}
