//! `lore module export`: a module in another format.

use std::path::PathBuf;

use lore_model::weights::dequantise::BlockFormat;
use lore_modules::{gguf, peft};

use super::open_base;
use crate::commands::compose::keep_apart;
use crate::error::{Error, Result};
use crate::location::Location;
use crate::session::Session;

/// Export a module for other programs: GGUF for llama.cpp and Ollama
///
/// The base says how many heads there are and for which architecture the file is.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  lore module export modules/geography --format gguf --base runs/quickstart/base --out geography.gguf
  lore module export modules/geography --base base.gguf --dtype f16 --out geography.gguf")]
pub struct ExportArguments {
    /// The module: a directory or a source
    #[arg(value_name = "DIR")]
    module: Location,
    /// Format of the file
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t = Format::Gguf)]
    format: Format,
    /// File to write
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// The base: a directory, a GGUF file or a source [default: what the module names, if it is a path here]
    #[arg(long, value_name = "DIR")]
    base: Option<Location>,
    /// Export a module trained on another base, or that does not say on which; shapes must fit all the same
    #[arg(long)]
    allow_base_mismatch: bool,
    /// Type of the written factors
    #[arg(long, value_name = "TYPE", value_enum, default_value_t = FactorType::F32)]
    dtype: FactorType,
}

/// Formats that modules are exported to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    /// One file for llama.cpp (--lora) and Ollama (ADAPTER)
    Gguf,
}

/// Types of written factors.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum FactorType {
    /// 32-bit floating point: exactly what was read
    F32,
    /// 16-bit floating point
    F16,
    /// 16-bit brain floating point
    Bf16,
}

/// Exports; the file goes to stdout.
pub fn run(arguments: &ExportArguments, session: &Session) -> Result<()> {
    let path = arguments.module.resolve(session)?;
    if arguments.out.is_dir() {
        let out = arguments.out.display();
        return Err(Error::Usage(format!("--out {out}: is a directory; name a file, such as {out}/module.gguf")));
    }
    let adapter = peft::read(&path)?;
    let base = match &arguments.base {
        Some(base) => base.resolve(session)?,
        None => {
            let named = adapter.config.base_model_name_or_path.clone().map(PathBuf::from);
            named.filter(|path| path.exists()).ok_or_else(|| {
                Error::Usage("--base is needed: the module does not name a base that is a path here".to_owned())
            })?
        }
    };
    keep_apart(&arguments.out, [base.as_path()].into_iter())?;
    let (files, fingerprint) = open_base(&base)?;
    adapter
        .check_base(&files.config, &fingerprint, arguments.allow_base_mismatch)
        .map_err(Error::while_doing(format!("module {}", path.display())))?;
    let format = match arguments.dtype {
        FactorType::F32 => BlockFormat::F32,
        FactorType::F16 => BlockFormat::F16,
        FactorType::Bf16 => BlockFormat::BF16,
    };
    let Format::Gguf = arguments.format;
    gguf::write(&arguments.out, &adapter, &files.config, format)?;
    println!("{}", arguments.out.display());
    Ok(())
}
