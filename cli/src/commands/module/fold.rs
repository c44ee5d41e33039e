//! `lore module fold`: modules added to the weights of their base.

use std::path::PathBuf;

use lore_datasets::progress::Unit;
use lore_model::save::{Repository, SHARD_BYTES, save_repository};
use lore_modules::fold::folded;

use super::open_base;
use crate::commands::compose::{keep_apart, name};
use crate::commands::convert::Dtype;
use crate::error::Result;
use crate::location::{Location, ModuleArgument, resolve_modules};
use crate::models::read_modules;
use crate::session::Session;

/// Fold modules into their base: a Hugging Face repository that needs no module
///
/// Folding with the opposite weight takes a module out again, to within rounding.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  lore module fold --base runs/quickstart/base --module modules/geography --out geography-model
  lore module fold --base geography-model --module modules/geography=-1 --allow-base-mismatch \\
      --out without-geography")]
pub struct FoldArguments {
    /// The base: a directory, a GGUF file or a source
    #[arg(long, value_name = "DIR")]
    base: Location,
    /// A module, a directory or source, and what it is multiplied by [weight: 1]; may be repeated
    #[arg(long = "module", value_name = "DIR[=WEIGHT]", required = true)]
    modules: Vec<ModuleArgument>,
    /// Use modules trained on another base, or that do not say on which; shapes must fit all the same
    #[arg(long)]
    allow_base_mismatch: bool,
    /// Directory to write
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Type of the written weights
    #[arg(long, value_name = "TYPE", value_enum, default_value_t = Dtype::F32)]
    dtype: Dtype,
}

/// Folds; the directory goes to stdout.
pub fn run(arguments: &FoldArguments, session: &Session) -> Result<()> {
    let base = arguments.base.resolve(session)?;
    let modules = resolve_modules(&arguments.modules, session)?;
    let inputs = modules.iter().map(|module| module.path.as_path()).chain([base.as_path()]);
    keep_apart(&arguments.out, inputs)?;
    let (files, fingerprint) = open_base(&base)?;
    let adapters = read_modules(&modules, &files.config, &fingerprint, arguments.allow_base_mismatch)?;
    let list: String =
        modules.iter().map(|module| format!("- {} (weight {})\n", name(&module.path), module.weight)).collect();
    let readme = format!(
        "# {}\n\nThe base {fingerprint} with these modules folded into its weights:\n\n{list}",
        name(&arguments.out)
    );
    let repository = Repository {
        config: &files.config,
        tokenizer: &files.tokenizer,
        tokenizer_settings: &files.tokenizer_settings,
        dtype: arguments.dtype.into(),
        shard_bytes: SHARD_BYTES,
        readme: Some(&readme),
    };
    let tensors = files.config.expected_tensors().len();
    let mut task = session.progress.task("fold", Some(tensors as u64), Unit::Items);
    let mut read = folded(&*files.weights, &adapters);
    let fingerprint = save_repository(&arguments.out, &repository, &mut |name| {
        let values = read(name);
        task.advance(1);
        values
    })?;
    task.finish(&format!("{} modules into {tensors} tensors, fingerprint {fingerprint}", modules.len()));
    println!("{}", arguments.out.display());
    Ok(())
}
