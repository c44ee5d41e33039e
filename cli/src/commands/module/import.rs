//! `lore module import`: a module from another format.

use std::path::PathBuf;

use lore_modules::{gguf, peft};

use super::open_base;
use crate::commands::compose::keep_apart;
use crate::commands::convert::Dtype;
use crate::error::{Error, Result};
use crate::location::Location;
use crate::session::Session;

/// Import a GGUF LoRA module as a PEFT adapter directory
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:
  lore module import geography.gguf --base runs/quickstart/base --out modules/geography")]
pub struct ImportArguments {
    /// The module: a GGUF file or a source of one
    #[arg(value_name = "FILE")]
    module: Location,
    /// The base it was trained on: a directory, a GGUF file or a source
    #[arg(long, value_name = "DIR")]
    base: Location,
    /// Directory to write
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Type of the written weights
    #[arg(long, value_name = "TYPE", value_enum, default_value_t = Dtype::F32)]
    dtype: Dtype,
}

/// Imports; the directory goes to stdout. A file that names no base gets the one given.
pub fn run(arguments: &ImportArguments, session: &Session) -> Result<()> {
    let (path, base) = (arguments.module.resolve(session)?, arguments.base.resolve(session)?);
    keep_apart(&arguments.out, [base.as_path()].into_iter())?;
    let (files, fingerprint) = open_base(&base)?;
    let mut adapter = gguf::read(&path, &files.config)?;
    adapter.base.get_or_insert(fingerprint);
    adapter
        .check_base(&files.config, &fingerprint, false)
        .map_err(Error::while_doing(format!("module {}", path.display())))?;
    peft::write(&arguments.out, &adapter, arguments.dtype.into())?;
    println!("{}", arguments.out.display());
    Ok(())
}
