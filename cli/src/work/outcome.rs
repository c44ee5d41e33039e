//! `result.json`: the result of a job, bound to it and to every file that belongs to it.

use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use tempfile::TempDir;

use super::archive;
use super::files::{self, Pinned, differences};
use super::unit::Job;
use crate::error::{Error, Result};
use crate::session::Session;

/// Its name in a result.
const NAME: &str = "result.json";
const KIND: &str = "lore-work-result";
const SCHEMA: u32 = 1;
/// What a result is, for who named something else.
const EXPECTED: &str = "a result: the folder or .tar file that `lore work run JOB` wrote to --out";
/// The longest `result.json` that is read.
const LIMIT: u64 = 1 << 24;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Record {
    lore: String,
    schema: u32,
    /// Hash of the job's `work.json`.
    work: String,
    /// The version of the program that computed it.
    program: String,
    /// Where it was computed, as the machine says itself.
    environment: Environment,
    /// Everything else in the folder.
    files: Vec<Pinned>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Environment {
    os: String,
    arch: String,
    device: String,
    threads: usize,
}

/// A result whose files are all what it says.
pub struct Outcome {
    /// As it was named on the command line.
    pub name: PathBuf,
    /// Its folder.
    pub folder: PathBuf,
    _unpacked: Option<TempDir>,
}

impl Outcome {
    /// Opens the result of `job`, a folder or a `.tar` file, and checks every file in it.
    ///
    /// # Errors
    /// Something that is no result, was altered, or belongs to another job.
    pub fn open(path: &Path, job: &Job) -> Result<Self> {
        let refuse = |problem: String| Error::Failed(format!("{}: not accepted: {problem}", path.display()));
        let (folder, unpacked) = archive::open(path, EXPECTED)?;
        let file = folder.join(NAME);
        let size = fs::symlink_metadata(&file).ok().filter(fs::Metadata::is_file).map(|metadata| metadata.len());
        match size {
            None => return Err(refuse(format!("it has no {NAME}, so it is no result of `lore work run`"))),
            Some(size) if size > LIMIT => return Err(refuse(format!("its {NAME} has {size} bytes"))),
            Some(_) => {}
        }
        let text = fs::read(&file).map_err(Error::io(&file))?;
        let record: Record = serde_json::from_slice(&text).map_err(|error| refuse(format!("its {NAME}: {error}")))?;
        if record.lore != KIND || record.schema != SCHEMA {
            return Err(refuse(format!("its {NAME} is not `{KIND}` of schema {SCHEMA}")));
        }
        if record.work != job.id {
            return Err(refuse(format!(
                "it belongs to another job: its work is {:.16}…, not {:.16}…",
                record.work, job.id
            )));
        }
        if record.program != job.work.program {
            return Err(refuse(format!("lore {:.20} computed it, not {}", record.program, job.work.program)));
        }
        let problems = differences(&folder, &record.files, &[NAME])?;
        if !problems.is_empty() {
            return Err(refuse(problems.join("; ")));
        }
        Ok(Self { name: path.to_owned(), folder, _unpacked: unpacked })
    }

    /// Writes a result: `fill` puts its files into a folder.
    ///
    /// # Errors
    /// Files that cannot be written; `out` that exists.
    pub fn write(out: &Path, job: &Job, session: &Session, fill: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
        let folder = archive::begin(out)?;
        fill(folder.path())?;
        let record = Record {
            lore: KIND.into(),
            schema: SCHEMA,
            work: job.id.clone(),
            program: env!("CARGO_PKG_VERSION").into(),
            environment: Environment {
                os: std::env::consts::OS.into(),
                arch: std::env::consts::ARCH.into(),
                device: session.device.to_string(),
                threads: session.threads,
            },
            files: files::list(folder.path(), &[])?,
        };
        let path = folder.path().join(NAME);
        let mut text = serde_json::to_vec_pretty(&record).map_err(Error::while_doing("writing a result"))?;
        text.push(b'\n');
        fs::write(&path, text).map_err(Error::io(path))?;
        archive::commit(folder, out)
    }
}
