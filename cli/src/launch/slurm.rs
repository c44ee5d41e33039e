//! Slurm: each [`Job`] is a batch script that brings its stages to their end with `lore run --only`.
//!
//! The run's folder must be visible on every node. Nothing but that folder says what is finished: whatever a job left
//! unfinished is submitted again, and goes on from its last checkpoint.

mod queue;

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use lore_datasets::progress::Unit;

use self::queue::{Queued, queue, submitted};
use super::{Elements, Job, jobs};
use crate::error::{Error, Result};
use crate::session::Session;
use crate::stages::{RunFolder, Stage};

/// Between two looks at the queue.
const POLL: Duration = Duration::from_secs(3);

/// Jobs among which a stage is divided.
const PARTS: u64 = 4;

/// How often what was left unfinished is submitted again.
const ATTEMPTS: usize = 4;

/// How a run is put into the queue.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct SlurmOptions {
    /// With --launcher slurm: partition to submit to
    #[arg(long, value_name = "NAME", requires = "launcher")]
    partition: Option<String>,
    /// With --launcher slurm: generic resources of every job, such as gpu:1
    #[arg(long, value_name = "LIST", requires = "launcher")]
    gres: Option<String>,
    /// With --launcher slurm: time limit of every job; a minute before it a training keeps a checkpoint, and the job is queued
    /// again to go on from there
    #[arg(long, value_name = "TIME", requires = "launcher")]
    time: Option<String>,
    /// With --launcher slurm: jobs that capture the teacher's distributions side by side, and that evaluate [default: 4]
    #[arg(long, value_name = "N", requires = "launcher", value_parser = clap::value_parser!(u16).range(1..))]
    parts: Option<u16>,
    /// With --launcher slurm: one more option of sbatch, such as --account=me; may be repeated
    #[arg(long, value_name = "OPTION", requires = "launcher", allow_hyphen_values = true)]
    sbatch: Vec<String>,
}

/// What every script of a run says.
pub struct Launch<'a> {
    /// The recipe's file.
    pub recipe: &'a Path,
    /// The folder of the run's folders.
    pub runs: &'a Path,
    /// The run's folder.
    pub folder: &'a RunFolder,
    /// Partition, resources, time.
    pub options: &'a SlurmOptions,
    /// Threads, device, cache.
    pub session: &'a Session,
}

impl Launch<'_> {
    /// The batch scripts of `stages`, in order; each job waits for the one before it.
    ///
    /// # Errors
    /// A folder or program that cannot be named absolutely.
    pub fn scripts(&self, stages: &[Box<dyn Stage>]) -> Result<Vec<(Job, String)>> {
        let parts = self.options.parts.map_or(PARTS, u64::from);
        jobs(stages, parts).into_iter().map(|job| Ok((job.clone(), self.script(&job)?))).collect()
    }

    fn logs(&self) -> PathBuf {
        self.folder.root().join("slurm")
    }

    fn script(&self, job: &Job) -> Result<String> {
        let absolute = |path: &Path| std::path::absolute(path).map_err(Error::io(path));
        let program = std::env::current_exe().map_err(Error::while_doing("finding this program"))?;
        let here = std::env::current_dir().map_err(Error::while_doing("finding this folder"))?;
        let logs = absolute(&self.logs())?;
        let threads = self.session.threads;
        let name = self.folder.root().file_name().unwrap_or_default().to_string_lossy().into_owned();
        let elements = match job.elements {
            Elements::One => None,
            Elements::Stages => Some(job.stages.len() as u64),
            Elements::Parts(parts) => Some(parts),
        };
        let pattern = if elements.is_some() { "%A_%a" } else { "%j" };
        // In a path `%` begins what Slurm fills in.
        let output = format!("{}/{}-{pattern}.log", logs.display().to_string().replace('%', "%%"), job.name);
        let mut script = String::from("#!/bin/bash\n");
        let mut option = |text: String| writeln!(script, "#SBATCH {text}").expect("strings take everything");
        option(format!("--job-name=lore-{name}-{}", job.name));
        option(format!("--output={}", one_word(&output)));
        option("--open-mode=append".into());
        option("--requeue".into());
        option("--kill-on-invalid-dep=yes".into());
        option("--signal=B:USR1@60".into());
        option("--ntasks=1".into());
        option(format!("--cpus-per-task={threads}"));
        if let Some(elements) = elements {
            option(format!("--array=0-{}", elements - 1));
        }
        for (key, value) in
            [("partition", &self.options.partition), ("gres", &self.options.gres), ("time", &self.options.time)]
        {
            if let Some(value) = value {
                option(format!("--{key}={value}"));
            }
        }
        self.options.sbatch.iter().for_each(|more| option(more.clone()));
        let stages: Vec<String> = job.stages.iter().map(|stage| quoted(stage)).collect();
        let cache = absolute(self.session.fetcher.cache_dir())?;
        let mut command = vec![quoted(&program.to_string_lossy()), "run".into()];
        // As they were given: sources are named relative to the recipe, and what a stage is made of includes their names.
        command.push(quoted(&self.recipe.to_string_lossy()));
        command.extend(["--runs-dir".into(), quoted(&self.runs.to_string_lossy())]);
        command.extend(["--threads".into(), threads.to_string(), "--device".into(), self.session.device.to_string()]);
        command.extend(["--cache-dir".into(), quoted(&cache.to_string_lossy())]);
        if self.session.offline {
            command.push("--offline".into());
        }
        let chosen = match job.elements {
            Elements::Stages => "\"${stages[$SLURM_ARRAY_TASK_ID]}\"",
            Elements::One | Elements::Parts(_) => "\"${stages[@]}\"",
        };
        let part = match job.elements {
            Elements::Parts(parts) => format!(" --share $((SLURM_ARRAY_TASK_ID + 1))/{parts}"),
            Elements::One | Elements::Stages => String::new(),
        };
        let (here, stages, command) = (quoted(&here.to_string_lossy()), stages.join(" "), command.join(" "));
        write!(
            script,
            r#"
cd {here} || exit 1
stages=({stages})
me=$SLURM_JOB_ID
[ -n "$SLURM_ARRAY_JOB_ID" ] && me=${{SLURM_ARRAY_JOB_ID}}_$SLURM_ARRAY_TASK_ID
# A minute before the time limit: a training keeps a checkpoint after the step it is at, and another turn goes on from there.
again() {{
  kill "$pid" 2>/dev/null
  for _ in {{1..40}}; do kill -0 "$pid" 2>/dev/null || break; sleep 1; done
  kill -KILL "$pid" 2>/dev/null
  wait "$pid"
  scontrol requeue "$me"
  exit 0
}}
trap again USR1
for stage in {chosen}; do
  {command} --only "$stage"{part} &
  pid=$!
  wait "$pid" || exit 1
done
"#
        )
        .expect("strings take everything");
        Ok(script)
    }

    /// Submits what `unfinished` says is still to do, waits, and again until nothing is left.
    ///
    /// # Errors
    /// A cluster that takes no jobs; stages that stay unfinished.
    pub fn run(&self, unfinished: &dyn Fn() -> Vec<Box<dyn Stage>>) -> Result<()> {
        let logs = self.logs();
        fs::create_dir_all(&logs).map_err(Error::io(&logs))?;
        let submitted = logs.join("submitted");
        // Jobs of an earlier invocation that was interrupted are still somebody's work.
        let earlier = match fs::read_to_string(&submitted) {
            Ok(text) => text.split_whitespace().map(str::to_owned).collect(),
            Err(error) if error.kind() == ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(Error::io(&submitted)(error)),
        };
        self.wait(&earlier, unfinished)?;
        let mut before = None;
        for _ in 0..ATTEMPTS {
            let stages = unfinished();
            if stages.is_empty() {
                return Ok(());
            }
            if before == Some(stages.len()) {
                self.session.progress.note("nothing was finished by the last jobs; submitting them once more");
            }
            before = Some(stages.len());
            let ids = self.submit(&stages)?;
            fs::write(&submitted, ids.join(" ")).map_err(Error::io(&submitted))?;
            self.wait(&ids, unfinished)?;
        }
        let left: Vec<String> = unfinished().iter().map(|stage| stage.name().to_owned()).collect();
        if left.is_empty() {
            return Ok(());
        }
        Err(Error::Failed(format!(
            "after {ATTEMPTS} attempts these stages are not finished: {}. What their jobs said is in {}; what was finished is kept, \
             and the same command goes on from there",
            left.join(", "),
            logs.display()
        )))
    }

    fn submit(&self, stages: &[Box<dyn Stage>]) -> Result<Vec<String>> {
        let mut ids: Vec<String> = Vec::new();
        for (job, script) in self.scripts(stages)? {
            let path = self.logs().join(format!("{}.sh", job.name));
            fs::write(&path, script).map_err(Error::io(&path))?;
            let mut command = Command::new("sbatch");
            command.arg("--parsable");
            if let Some(last) = ids.last() {
                command.arg(format!("--dependency=afterok:{last}"));
            }
            let output = submitted(command.arg(&path), &*self.session.progress)?;
            if !output.status.success() {
                // A chain without its end is of no use.
                let _ = Command::new("scancel").args(&ids).status();
                let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
                return Err(Error::Failed(format!("sbatch {} was refused: {said}", path.display())));
            }
            // `--parsable` prints the number, on federated clusters followed by `;cluster`.
            let id = String::from_utf8_lossy(&output.stdout).trim().split(';').next().unwrap_or_default().to_owned();
            self.session.progress.note(&format!("job {id}: {} ({})", job.name, job.stages.join(", ")));
            ids.push(id);
        }
        Ok(ids)
    }

    /// Waits until none of the jobs is in the queue. One that Slurm will not start any more is taken out of it.
    fn wait(&self, ids: &[String], unfinished: &dyn Fn() -> Vec<Box<dyn Stage>>) -> Result<()> {
        if ids.is_empty() {
            return Ok(());
        }
        let mut left = unfinished().len();
        let mut task = self.session.progress.task("stages", Some(left as u64), Unit::Items);
        loop {
            let queued = queue(ids)?;
            let now = unfinished().len();
            task.advance(left.saturating_sub(now) as u64);
            left = now;
            match &queued {
                Some(jobs) if jobs.is_empty() => break,
                Some(jobs) => {
                    let shown: BTreeSet<String> = jobs.iter().map(Queued::to_string).collect();
                    task.message(&shown.into_iter().collect::<Vec<_>>().join(", "));
                    self.give_up(jobs)?;
                }
                None => task.message("the controller does not answer"),
            }
            std::thread::sleep(POLL);
        }
        task.finish(&format!("{left} left"));
        Ok(())
    }

    /// Cancels jobs whose launch failed, which Slurm holds until somebody comes: what they were to do is submitted again.
    fn give_up(&self, jobs: &[Queued]) -> Result<()> {
        let held: Vec<&str> = jobs.iter().filter(|job| job.will_not_start()).map(|job| job.id.as_str()).collect();
        if held.is_empty() {
            return Ok(());
        }
        // Where the controller does not answer just now, the next look finds them again.
        if Command::new("scancel").args(&held).output().map_err(absent)?.status.success() {
            self.session.progress.note(&format!(
                "Slurm could not start {} and holds it; cancelled, to be submitted again. If nothing starts, see `sinfo -R`: the \
                 node may be drained, which its administrator undoes",
                held.join(", ")
            ));
        }
        Ok(())
    }
}

fn absent(error: std::io::Error) -> Error {
    if error.kind() == ErrorKind::NotFound {
        return Error::Failed(
            "this machine has no Slurm (sbatch, squeue). Run it on a cluster's login node, see what would be submitted with --print, \
             or try scripts/slurm-local"
                .into(),
        );
    }
    Error::while_doing("asking Slurm")(error)
}

/// For a `#SBATCH` line, whose words end at spaces.
fn one_word(text: &str) -> String {
    if text.contains(|c: char| c.is_whitespace() || matches!(c, '"' | '\'' | '\\' | '#')) {
        return format!("\"{}\"", text.replace('\\', r"\\").replace('"', r#"\""#));
    }
    text.to_owned()
}

/// For a shell, whatever is in it.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::quoted;

    #[test]
    fn a_shell_reads_back_what_was_quoted() {
        for text in ["plain", "with space", "it's", "$HOME `ls` \"x\"", "a\nb", "''"] {
            let output = std::process::Command::new("sh").arg("-c").arg(format!("printf %s {}", quoted(text))).output();
            assert_eq!(output.map(|o| o.stdout).unwrap_or_default(), text.as_bytes());
        }
    }
}
