//! `lore eval compare`: where two models differ.

use std::path::PathBuf;

use lore_eval::comparison;
use lore_eval::statistics::Bootstrap;

use super::{results, table};
use crate::error::{Error, Result};
use crate::session::Session;

/// Compare two models on the same items, task by task, with one correction for all
///
/// Right and wrong answers are compared by McNemar's exact test, everything else by the paired bootstrap; p-values
/// are corrected by Holm's method. What cannot be told apart is a tie.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:
  lore eval compare results/base results/geography")]
pub struct CompareArguments {
    /// Result of the first model: a file, or a folder of them
    #[arg(value_name = "RESULT_A")]
    a: PathBuf,
    /// Result of the second model
    #[arg(value_name = "RESULT_B")]
    b: PathBuf,
    /// Resamples of the bootstrap
    #[arg(long, value_name = "N", default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(100..))]
    resamples: u32,
    /// Where resamples are drawn from
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
    /// Print JSON instead of a table
    #[arg(long)]
    json: bool,
}

/// Prints a table, or JSON.
///
/// # Errors
/// Results that cannot be read, or are not of the same items.
pub fn compare(arguments: &CompareArguments, session: &Session) -> Result<()> {
    let (a, b) = (results(&arguments.a)?, results(&arguments.b)?);
    let mut pairs = Vec::new();
    for first in &a {
        match b.iter().find(|second| second.0.name() == first.0.name()) {
            Some(second) => pairs.push((first, second)),
            None => session.progress.note(&format!("{}: only in {}", first.0.name(), arguments.a.display())),
        }
    }
    for second in b.iter().filter(|second| !a.iter().any(|first| first.0.name() == second.0.name())) {
        session.progress.note(&format!("{}: only in {}", second.0.name(), arguments.b.display()));
    }
    if pairs.is_empty() {
        return Err(Error::Failed(format!(
            "{} and {} have no task in common",
            arguments.a.display(),
            arguments.b.display()
        )));
    }
    let bootstrap = Bootstrap { resamples: arguments.resamples as usize, seed: arguments.seed };
    let rows = comparison::compare(&pairs, &bootstrap)?;
    if arguments.json {
        let text = serde_json::to_string_pretty(&rows).map_err(Error::while_doing("writing the comparison"))?;
        println!("{text}");
    } else {
        print!("{}", table::comparison(&rows));
    }
    Ok(())
}
