//! `lore pack keygen`, `sign`, `trust` and `revoke`.

use std::path::{Path, PathBuf};

use lore_packs::Keyring;
use lore_packs::keyring::Revocation;
use lore_packs::signature::{PublicKey, SigningKey};

use super::folders::KeysOption;
use super::inspect::{pack_file, summary};
use crate::error::{Error, Result};

/// Holds the password of the secret key, if it has one.
const PASSWORD: &str = "LORE_KEY_PASSWORD";

/// Make a key pair to sign packs with (minisign's format)
///
/// The secret key is readable by you only. If LORE_KEY_PASSWORD is set it is encrypted with that password,
/// which must then be set for signing too.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  lore pack keygen
  LORE_KEY_PASSWORD=... lore pack keygen --keys my-keys")]
pub struct KeygenArguments {
    #[command(flatten)]
    keys: KeysOption,
}

/// Sign a pack in its place with the key of `lore pack keygen`
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:
  lore pack sign rivers-0.1.0.lorepack")]
pub struct SignArguments {
    /// The pack
    #[arg(value_name = "PACK")]
    pack: PathBuf,
    #[command(flatten)]
    keys: KeysOption,
}

/// Trust a key: packs it signed are installed without asking
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  lore pack trust ada ada.pub
  lore pack trust ada RWQf6LRCGA9i53mlYecO4IzT51TGPpvWucNSCh1CBM0QTaLn73Y7GFO3")]
pub struct TrustArguments {
    /// What to call it
    #[arg(value_name = "NAME")]
    name: String,
    /// The public key, or its file
    #[arg(value_name = "KEY")]
    key: String,
    #[command(flatten)]
    keys: KeysOption,
}

/// Revoke a key, or one pack by the sha256 of its manifest
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  lore pack revoke RWQf6LRCGA9i53mlYecO4IzT51TGPpvWucNSCh1CBM0QTaLn73Y7GFO3 --reason 'stolen laptop'
  lore pack revoke MANIFEST_SHA256 --reason 'learnt from the test set'")]
pub struct RevokeArguments {
    /// A public key, its file, or the sha256 that `lore pack inspect` calls the identity
    #[arg(value_name = "KEY_OR_SHA256")]
    what: String,
    /// Why
    #[arg(long, value_name = "TEXT")]
    reason: String,
    #[command(flatten)]
    keys: KeysOption,
}

/// Makes a key pair; the public key goes to stdout.
///
/// # Errors
/// When there is one already.
pub fn keygen(arguments: &KeygenArguments) -> Result<()> {
    let keyring = arguments.keys.keyring();
    let password = std::env::var(PASSWORD).ok().filter(|password| !password.is_empty());
    let key = keyring.generate(password.as_deref())?;
    eprintln!("Secret key: {} (keep it to yourself, and keep a copy)", keyring.secret_path().display());
    eprintln!("Public key: {} (give it to whoever should trust you)", keyring.public_path().display());
    println!("{key}");
    Ok(())
}

/// The owner's secret key.
///
/// # Errors
/// When there is none, or its password is not known.
pub fn signing_key(keyring: &Keyring) -> Result<SigningKey> {
    let path = keyring.secret_path();
    if !path.exists() {
        return Err(Error::Failed(format!("there is no key at {}; `lore pack keygen` makes one", path.display())));
    }
    open_key(&path)
}

/// The secret key in a file.
///
/// # Errors
/// A file that is none, or whose password is not known.
pub fn open_key(path: &Path) -> Result<SigningKey> {
    let password = || {
        std::env::var(PASSWORD).map_err(|_| lore_packs::Error::Key {
            what: path.display().to_string(),
            problem: format!("it is encrypted; set {PASSWORD} to its password"),
        })
    };
    Ok(SigningKey::open(path, password)?)
}

/// Signs a pack.
///
/// # Errors
/// A pack that is refused; no key.
pub fn sign(arguments: &SignArguments) -> Result<()> {
    let keyring = arguments.keys.keyring();
    let signed = lore_packs::sign(&pack_file(&arguments.pack)?, &signing_key(&keyring)?)?;
    println!("{}", summary(&signed, &keyring.judge(&signed, &[])?));
    Ok(())
}

/// Trusts a key.
///
/// # Errors
/// A text that is no key; another key of that name.
pub fn trust(arguments: &TrustArguments) -> Result<()> {
    let key = public_key(&arguments.key)?;
    arguments.keys.keyring().trust(&arguments.name, &key)?;
    println!("Packs signed by {key} are trusted as `{}`.", arguments.name);
    Ok(())
}

/// Revokes a key or a pack.
///
/// # Errors
/// A text that is neither.
pub fn revoke(arguments: &RevokeArguments) -> Result<()> {
    let revocation = match Revocation::parse(&arguments.what) {
        Ok(revocation) => revocation,
        Err(problem) if !PathBuf::from(&arguments.what).is_file() => return Err(Error::Usage(problem)),
        Err(_) => Revocation::Key(public_key(&arguments.what)?),
    };
    arguments.keys.keyring().revoke(&revocation, &arguments.reason)?;
    println!("Revoked: {revocation}");
    Ok(())
}

fn public_key(text: &str) -> Result<PublicKey> {
    let path = PathBuf::from(text);
    if path.is_file() {
        let content = std::fs::read_to_string(&path).map_err(Error::io(&path))?;
        return Ok(PublicKey::parse(text, &content)?);
    }
    text.parse().map_err(|problem| Error::Usage(format!("`{text}`: no such file, and {problem}")))
}
