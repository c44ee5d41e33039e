//! `lore compose`: several modules as one.

use std::path::{Path, PathBuf};
use std::sync::Mutex;

use lore_datasets::progress::Unit;
use lore_modules::compose::{Method, compose};
use lore_modules::{Adapter, peft};

use super::convert::Dtype;
use super::learn::LearnArguments;
use crate::composing::MethodName;
use crate::error::{Error, Result};
use crate::location::{ModuleArgument, WeightedModule, resolve_modules};
use crate::session::Session;

/// Compose modules into one module
///
/// Every method works on the change of each weight matrix, not on its factors. The directory written is a PEFT
/// adapter like any other.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  lore compose --module modules/geography --module modules/history=0.5 --out modules/both
  lore compose --module modules/geography --module modules/history --method ties --density 0.2 \\
      --rank 32 --out modules/both
  lore compose --module modules/geography --module modules/history --learn atlas.txt --base base \\
      --out modules/atlas")]
pub struct ComposeArguments {
    /// A module, a directory or source, and what it is multiplied by [weight: 1]; repeated
    #[arg(long = "module", value_name = "DIR[=WEIGHT]", required = true)]
    modules: Vec<ModuleArgument>,
    /// How modules become one
    #[arg(long, value_name = "METHOD", value_enum, default_value_t = MethodName::Cat)]
    method: MethodName,
    /// Rank of the result, for every method but cat and linear [default: the largest of the modules]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    rank: Option<u32>,
    /// Part of the values that ties, knots, magnitude-prune [default: 0.2] and dare [default: 0.5] keep
    #[arg(long, value_name = "D", value_parser = density)]
    density: Option<f64>,
    /// Decides which values dare drops [default: 0]
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// Compose modules trained on different bases; the result then names none
    #[arg(long)]
    allow_base_mismatch: bool,
    #[command(flatten)]
    learn: LearnArguments,
    /// Directory to write
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Type of the written weights
    #[arg(long, value_name = "TYPE", value_enum, default_value_t = Dtype::F32)]
    dtype: Dtype,
}

fn density(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(value) if value > 0.0 && value <= 1.0 => Ok(value),
        _ => Err("expected a number more than 0 and at most 1".into()),
    }
}

impl ComposeArguments {
    /// The method with its settings; those it does not have are refused.
    fn method(&self) -> Result<Method> {
        let method = self.method;
        for (given, has, option, hint) in [
            (self.rank.is_some(), !method.is_exact(), "--rank", "; use --method svd to cut the sum to a rank"),
            (self.density.is_some(), method.leaves_out(), "--density", ""),
            (self.seed.is_some(), method.draws(), "--seed", ""),
        ] {
            if given && !has {
                return Err(Error::Usage(format!("{option}: --method {} does not use it{hint}", method.name())));
            }
        }
        Ok(method.with(self.density, self.rank.map(|rank| rank as usize), self.seed.unwrap_or(0)))
    }
}

/// Composes; the directory goes to stdout.
///
/// # Errors
/// When modules cannot be fetched, read or composed, or the result cannot be written.
pub fn run(arguments: &ComposeArguments, session: &Session) -> Result<()> {
    let method = arguments.method()?;
    let mut modules = resolve_modules(&arguments.modules, session)?;
    keep_apart(&arguments.out, modules.iter().map(|module| module.path.as_path()))?;
    arguments.learn.apply(&mut modules, session)?;
    let adapters = modules.iter().map(|module| Ok(peft::read(&module.path)?)).collect::<Result<Vec<Adapter>>>()?;
    let parts: Vec<(&Adapter, f32)> =
        adapters.iter().zip(&modules).map(|(adapter, module)| (adapter, module.weight)).collect();

    let paths: std::collections::BTreeSet<&String> =
        adapters.iter().flat_map(|adapter| adapter.updates.keys()).collect();
    let task = Mutex::new(session.progress.task("compose", Some(paths.len() as u64), Unit::Items));
    let each = || {
        if let Ok(mut task) = task.lock() {
            task.advance(1);
        }
    };
    let mut composition = compose(&parts, method, arguments.allow_base_mismatch, &each)?;
    let ranks = composition.projections.values().map(|kept| kept.rank);
    let (least, most) = ranks.fold((usize::MAX, 0), |(least, most), rank| (least.min(rank), most.max(rank)));
    let rank = if least == most { most.to_string() } else { format!("{least} to {most}") };
    let summary = format!(
        "{} projections at rank {rank}, {:.2} % of the squared norm kept",
        composition.projections.len(),
        100.0 * composition.kept_energy()
    );
    if let Ok(task) = task.into_inner() {
        task.finish(&summary);
    }
    composition.adapter.metadata.insert("composition".to_owned(), description(method, &modules));
    peft::write(&arguments.out, &composition.adapter, arguments.dtype.into())?;
    println!("{}", arguments.out.display());
    Ok(())
}

/// What was done, for whoever finds the module later.
fn description(method: Method, modules: &[WeightedModule]) -> String {
    let parts: Vec<String> = modules.iter().map(|module| format!("{}={}", name(&module.path), module.weight)).collect();
    format!("{method}: {}", parts.join(", "))
}

/// What a module's directory is called.
pub fn name(path: &Path) -> String {
    // Only `.` and `..` are looked up: what a link is called says more than what it points to.
    let named =
        if path.file_name().is_some() { path.to_owned() } else { std::fs::canonicalize(path).unwrap_or_default() };
    named.file_name().map_or_else(|| path.display().to_string(), |name| name.to_string_lossy().into_owned())
}

/// Refuses to write over something that is read.
///
/// # Errors
/// [`Error::Usage`].
pub fn keep_apart<'a>(out: &Path, mut inputs: impl Iterator<Item = &'a Path>) -> Result<()> {
    let Ok(place) = std::fs::canonicalize(out) else { return Ok(()) };
    match inputs.find(|input| std::fs::canonicalize(input).is_ok_and(|input| input == place)) {
        Some(input) => Err(Error::Usage(format!(
            "--out {}: is also read, as {}; choose another place",
            out.display(),
            input.display()
        ))),
        None => Ok(()),
    }
}
