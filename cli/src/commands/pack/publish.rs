//! `lore pack publish`: to a folder, or as a model hub's repository.

use std::path::PathBuf;

use lore_datasets::source::SourceUri;
use lore_packs::Layout;

use super::folders::KeysOption;
use super::inspect::summary;
use crate::error::{Error, Result};

/// Publish packs to a folder with an index, or prepare a Hugging Face repository
///
/// The folder can be served by any web server, or copied: it holds the packs, an index.json, and the newest
/// version of each module as a folder that PEFT opens. For hf:owner/repo the same is prepared in --out, and
/// the commands that upload it are printed.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  lore pack publish rivers-0.1.0.lorepack --to shelf
  lore pack publish rivers-0.1.0.lorepack --to hf:owner/rivers --out rivers-repository")]
pub struct PublishArguments {
    /// The packs
    #[arg(value_name = "PACK", required = true)]
    packs: Vec<PathBuf>,
    /// A folder, or hf:owner/repo
    #[arg(long, value_name = "WHERE")]
    to: String,
    /// Folder in which a repository is prepared
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    #[command(flatten)]
    keys: KeysOption,
}

/// Publishes; what to do next goes to stdout.
///
/// # Errors
/// A pack that is refused; a version that was published before with other content.
pub fn publish(arguments: &PublishArguments) -> Result<()> {
    let PublishArguments { packs, to, out, keys } = arguments;
    let repository = match to.strip_prefix("hf:") {
        None => None,
        Some(_) => match to.parse().map_err(|error: lore_datasets::Error| Error::Usage(error.to_string()))? {
            SourceUri::Hf { owner, repo, path: None, revision: None } if !owner.starts_with("datasets/") => {
                Some(format!("{owner}/{repo}"))
            }
            _ => return Err(Error::Usage(format!("`{to}`: a model repository is meant, hf:owner/repo"))),
        },
    };
    let (folder, layout) = match (&repository, out) {
        (None, None) => (PathBuf::from(to), Layout::Shelf),
        (None, Some(_)) => return Err(Error::Usage("--out is only for hf:owner/repo; --to names the folder".into())),
        (Some(_), Some(out)) => (out.clone(), Layout::Repository),
        (Some(_), None) => {
            return Err(Error::Usage("--to hf:owner/repo needs --out, the folder in which it is prepared".into()));
        }
    };
    let keyring = keys.keyring();
    for pack in packs {
        let (verified, published) = lore_packs::publish(pack, &folder, layout)?;
        eprintln!("{}", summary(&verified, &keyring.judge(&verified, &[])?));
        println!("{}", published.pack.display());
    }
    match repository {
        None => eprintln!("Install from there: lore pack install NAME --index {}", folder.display()),
        Some(repository) => {
            // hf-hub 0.5, which the workspace uses, only downloads.
            eprintln!("The hub client in this program cannot upload. Its own tool does (pip install huggingface_hub):");
            println!("hf auth login");
            println!("hf repo create {repository} --exist-ok");
            println!("hf upload {repository} {} . --exclude '.*'", folder.display());
            println!("lore pack install hf:{repository}");
        }
    }
    Ok(())
}
