//! `lore pack inspect` and `lore pack verify`.

use std::path::{Path, PathBuf};

use lore_model::files::ModelFiles;
use lore_model::fingerprint::Fingerprint;
use lore_packs::{Base, Trust, Verified, verify_file, verify_folder};

use super::folders::KeysOption;
use crate::error::{Error, Result};
use crate::location::Location;
use crate::session::Session;

/// Show what a pack says about itself, after checking every byte of it
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  lore pack inspect rivers-0.1.0.lorepack
  lore pack inspect hf:owner/rivers/rivers-0.1.0.lorepack --card
  lore pack inspect rivers-0.1.0.lorepack --html rivers.html")]
pub struct InspectArguments {
    /// A pack, an installed module's folder, or a source of a pack
    #[arg(value_name = "PACK")]
    pack: Location,
    /// Print the model card instead
    #[arg(long, conflicts_with = "json")]
    card: bool,
    /// Print the manifest instead
    #[arg(long)]
    json: bool,
    /// Write the facts as a page for people instead
    #[arg(long, value_name = "FILE", conflicts_with_all = ["card", "json"])]
    html: Option<PathBuf>,
    #[command(flatten)]
    keys: KeysOption,
}

/// Check a pack: format, hashes, weights, signature, and its base if given
///
/// Exit code 0 means that every byte is as it was packed, and that a trusted key signed it, or that
/// --allow-unsigned or --allow-unknown-key accepted it as it is.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  lore pack verify rivers-0.1.0.lorepack
  lore pack verify rivers-0.1.0.lorepack --base runs/rivers/base --allow-unsigned")]
pub struct VerifyArguments {
    /// A pack, an installed module's folder, or a source of a pack
    #[arg(value_name = "PACK")]
    pack: Location,
    /// A base that it must belong to: a directory, a GGUF file or a source
    #[arg(long, value_name = "DIR")]
    base: Option<Location>,
    #[command(flatten)]
    accept: Accept,
    #[command(flatten)]
    keys: KeysOption,
}

/// What is accepted although no trusted key vouches for it.
#[derive(Debug, Clone, Copy, clap::Args)]
pub struct Accept {
    /// Accept packs without a signature
    #[arg(long)]
    pub allow_unsigned: bool,
    /// Accept packs signed by a key that is not trusted
    #[arg(long)]
    pub allow_unknown_key: bool,
}

impl Accept {
    /// Refuses a pack that is not trusted and not accepted.
    ///
    /// # Errors
    /// Saying how it stands with the pack, and what would change that.
    pub fn check(self, pack: &str, trust: &Trust) -> Result<()> {
        let advice = match trust {
            Trust::Trusted { .. } => return Ok(()),
            Trust::Unknown { .. } if self.allow_unknown_key => return Ok(()),
            Trust::Unsigned if self.allow_unsigned => return Ok(()),
            Trust::Unknown { key } => format!(
                "if you are sure whose key that is, `lore pack trust NAME {key}`; --allow-unknown-key accepts it once"
            ),
            Trust::Unsigned => "nobody vouches for it; --allow-unsigned accepts it all the same".into(),
            Trust::Revoked { .. } => "do not use it".into(),
        };
        Err(Error::Failed(format!("{pack} is {trust}; {advice}")))
    }
}

/// Checks a file or a folder.
///
/// # Errors
/// As the library says.
pub fn check(path: &Path, base: Option<&Base>) -> Result<Verified> {
    Ok(if path.is_dir() { verify_folder(path, base)? } else { verify_file(path, base)? })
}

/// What packs are compared with.
///
/// # Errors
/// When the base cannot be fetched or read.
pub fn open_base(base: Option<&Location>, session: &Session) -> Result<Option<Base>> {
    let Some(base) = base else { return Ok(None) };
    let files = ModelFiles::open(&base.resolve(session)?)?;
    let fingerprint = Fingerprint::of(&files.config, &*files.weights, &files.tokenizer)?;
    Ok(Some(Base { config: files.config, fingerprint }))
}

/// Prints the facts of a pack.
///
/// # Errors
/// A pack that is refused or altered.
pub fn inspect(arguments: &InspectArguments, session: &Session) -> Result<()> {
    let path = arguments.pack.resolve(session)?;
    let pack = check(&path, None)?;
    if let Some(file) = &arguments.html {
        let page = lore_packs::page(&pack)?;
        std::fs::write(file, page).map_err(Error::io(file))?;
        println!("{}", file.display());
    } else if arguments.card {
        print!("{}", pack.card);
    } else if arguments.json {
        print!("{}", String::from_utf8_lossy(&pack.manifest.to_bytes()));
    } else {
        print!("{}", facts(&pack, &arguments.keys.keyring().judge(&pack, &[])?));
    }
    Ok(())
}

/// Checks a pack; how it stands goes to stdout.
///
/// # Errors
/// A pack that is refused, altered, revoked, or not accepted.
pub fn verify(arguments: &VerifyArguments, session: &Session) -> Result<()> {
    let base = open_base(arguments.base.as_ref(), session)?;
    let path = arguments.pack.resolve(session)?;
    let pack = check(&path, base.as_ref())?;
    let trust = arguments.keys.keyring().judge(&pack, &[])?;
    arguments.accept.check(&path.display().to_string(), &trust)?;
    println!("{}", summary(&pack, &trust));
    if base.is_some() {
        println!("It belongs to this base.");
    }
    Ok(())
}

/// One line: what it is and how it stands with its signature.
pub fn summary(pack: &Verified, trust: &Trust) -> String {
    let manifest = &pack.manifest;
    format!("{} {}: intact, {trust}", manifest.name, manifest.version)
}

fn facts(pack: &Verified, trust: &Trust) -> String {
    let mut lines = lore_packs::facts::facts(pack);
    lines.insert(2, ("signature", trust.to_string()));
    for change in lore_packs::facts::changes(&pack.manifest, &pack.evaluation) {
        lines.push(("measured", format!("{:+.1} % bits per byte on {}", 100.0 * change.change, change.text)));
    }
    lines.iter().map(|(name, value)| format!("{name:<10} {value}\n")).collect()
}

/// A file that must be a pack, for commands that change it.
///
/// # Errors
/// A folder.
pub fn pack_file(path: &Path) -> Result<PathBuf> {
    match path.is_dir() {
        false => Ok(path.to_owned()),
        true => Err(Error::Usage(format!("{} is a folder; a pack file was expected", path.display()))),
    }
}
