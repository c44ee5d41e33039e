//! `lore module extract`: a module out of two models.

use std::path::PathBuf;
use std::sync::Mutex;

use lore_datasets::progress::Unit;
use lore_model::files::ModelFiles;
use lore_modules::delta::{Keep, Kept};
use lore_modules::extract::extract;
use lore_modules::peft;

use super::open_base;
use crate::commands::compose::{keep_apart, name};
use crate::commands::convert::Dtype;
use crate::error::{Error, Result};
use crate::location::Location;
use crate::session::Session;

/// Extract a module from what training changed between two models
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  lore module extract --base base --tuned base-tuned --rank 16 --out modules/tuned
  lore module extract --base base --tuned base-tuned --energy 0.9 --out modules/tuned")]
pub struct ExtractArguments {
    /// The model before: a directory, a GGUF file or a source
    #[arg(long, value_name = "DIR")]
    base: Location,
    /// The model after
    #[arg(long, value_name = "DIR")]
    tuned: Location,
    /// Rank of every update
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..), required_unless_present = "energy")]
    rank: Option<u32>,
    /// Instead, the smallest rank that keeps this part of each change's squared norm
    #[arg(long, value_name = "E", value_parser = part, conflicts_with = "rank")]
    energy: Option<f64>,
    /// Directory to write
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Type of the written weights
    #[arg(long, value_name = "TYPE", value_enum, default_value_t = Dtype::F32)]
    dtype: Dtype,
}

fn part(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(value) if value > 0.0 && value <= 1.0 => Ok(value),
        _ => Err("expected a number more than 0 and at most 1".into()),
    }
}

/// Extracts; the directory goes to stdout.
pub fn run(arguments: &ExtractArguments, session: &Session) -> Result<()> {
    let (base, tuned) = (arguments.base.resolve(session)?, arguments.tuned.resolve(session)?);
    keep_apart(&arguments.out, [base.as_path(), tuned.as_path()].into_iter())?;
    let keep = match (arguments.rank, arguments.energy) {
        (_, Some(energy)) => Keep::Energy(energy),
        (Some(rank), None) => Keep::Rank(rank as usize),
        (None, None) => return Err(Error::Usage("--rank or --energy is needed".to_owned())),
    };
    let (files, fingerprint) = open_base(&base)?;
    let tuned_files = ModelFiles::open(&tuned)?;
    let tensors = files.config.expected_tensors().len() as u64;
    let task = Mutex::new(session.progress.task("extract", Some(tensors), Unit::Items));
    let each = || {
        if let Ok(mut task) = task.lock() {
            task.advance(1);
        }
    };
    let mut extraction = extract(&files, &tuned_files, keep, &each)?;
    if let Ok(task) = task.into_inner() {
        let kept = 100.0 * Kept::energy(extraction.projections.values());
        task.finish(&format!("{} projections, {kept:.2} % of the squared norm kept", extraction.projections.len()));
    }
    if !extraction.left_out.is_empty() {
        let list: String =
            extraction.left_out.iter().map(|(name, size)| format!("\n  - `{name}` changed by {size:.2e}")).collect();
        let message = format!("not in the module, which holds projections only (relative to the base's norm):{list}");
        session.progress.note(&message);
    }
    extraction.adapter.base = Some(fingerprint);
    extraction.adapter.metadata.insert("extracted".to_owned(), format!("{} minus {}", name(&tuned), name(&base)));
    peft::write(&arguments.out, &extraction.adapter, arguments.dtype.into())?;
    println!("{}", arguments.out.display());
    Ok(())
}
