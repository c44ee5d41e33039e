//! `lore pack inspect` and `lore pack verify`.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use lore_model::files::ModelFiles;
use lore_model::fingerprint::Fingerprint;
use lore_packs::{Base, Trust, Verified, verify_file, verify_folder};

use super::folders::KeysOption;
use crate::error::{Error, Result};
use crate::location::Location;
use crate::quantity;
use crate::session::Session;

/// Show what a pack says about itself, after checking every byte of it
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  lore pack inspect rivers-0.1.0.lorepack
  lore pack inspect hf:owner/rivers/rivers-0.1.0.lorepack --card")]
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
    if arguments.card {
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
    let manifest = &pack.manifest;
    let bytes: u64 = manifest.members.iter().map(|member| member.bytes).sum();
    let list = |requirements: &[lore_packs::Requirement]| match requirements {
        [] => "none".to_owned(),
        some => some.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "),
    };
    let mut lines = vec![
        ("module", format!("{} {}", manifest.name, manifest.version)),
        ("summary", manifest.summary.clone()),
        ("signature", trust.to_string()),
        ("identity", format!("manifest sha256 {}", pack.manifest_sha256)),
        ("topic", format!("{} ({})", manifest.topic, manifest.languages.join(", "))),
        ("authors", manifest.authors.join(", ")),
        ("licence", manifest.license.clone()),
        ("base", format!("{}, {}", manifest.base.name, manifest.base.fingerprint)),
        ("base from", format!("{} ({})", manifest.base.source, manifest.base.license)),
        (
            "adapter",
            format!(
                "{}, rank {}, {} parameters as {} on {}",
                manifest.method,
                manifest.rank,
                quantity::count(manifest.parameters),
                manifest.dtype,
                manifest.targets.join(", ")
            ),
        ),
        ("needs", list(&manifest.dependencies)),
        ("excludes", list(&manifest.conflicts)),
        ("made with", format!("{}; content {}", manifest.program, quantity::bytes(bytes))),
    ];
    for text in &pack.corpus.texts {
        lines.push((
            "texts",
            format!(
                "{} ({}), {} documents, {} training tokens",
                text.source, text.license, text.documents, text.tokens.train
            ),
        ));
    }
    let mut out = String::new();
    for (name, value) in lines {
        writeln!(out, "{name:<10} {value}").expect("a String takes all text");
    }
    if let Some(module) = pack.evaluation.module(&manifest.topic) {
        for text in &pack.evaluation.texts {
            if let Some(change) = pack.evaluation.change(module, &text.name) {
                writeln!(out, "{:<10} {:+.1} % bits per byte on {}", "measured", 100.0 * change, text.name)
                    .expect("a String takes all text");
            }
        }
    }
    out
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
