//! Signatures beside results: `NAME.json.minisig` of the file, which names the hash of its samples, and `signer.pub`.

use std::fs;
use std::path::{Path, PathBuf};

use lore_packs::Keyring;
use lore_packs::signature::{PublicKey, SigningKey};

use crate::error::{Error, Result};

const SIGNER: &str = "signer.pub";

fn signature_of(result: &Path) -> PathBuf {
    let name = result.file_name().unwrap_or_default().to_string_lossy();
    result.with_file_name(format!("{name}.minisig"))
}

fn comment_of(result: &Path) -> String {
    format!("lore result {}", result.file_name().unwrap_or_default().to_string_lossy())
}

/// Signs a result that was written.
///
/// # Errors
/// When files cannot be read or written.
pub fn sign(result: &Path, key: &SigningKey) -> Result<()> {
    let bytes = fs::read(result).map_err(Error::io(result))?;
    let signature = key.sign_detached(&bytes, &comment_of(result))?;
    for (path, text) in [(signature_of(result), signature), (result.with_file_name(SIGNER), key.public().to_file())] {
        fs::write(&path, text).map_err(Error::io(path))?;
    }
    Ok(())
}

/// Who signed a result, in words; a result without a signature is `not signed`.
///
/// # Errors
/// A signature that does not belong to the file and the key beside it.
pub fn check(result: &Path, keyring: &Keyring) -> Result<String> {
    let path = signature_of(result);
    if !path.exists() {
        return Ok("not signed".into());
    }
    let signature = fs::read_to_string(&path).map_err(Error::io(path))?;
    let signer = result.with_file_name(SIGNER);
    let text = fs::read_to_string(&signer).map_err(Error::io(&signer))?;
    let key = PublicKey::parse(&signer.display().to_string(), &text)?;
    let bytes = fs::read(result).map_err(Error::io(result))?;
    key.check_detached(result, &bytes, &comment_of(result), &signature)?;
    let trusted = keyring.trusted()?;
    Ok(match trusted.iter().find(|(_, known)| *known == key) {
        Some((name, _)) => format!("signed by the trusted key `{name}`"),
        None => format!("signed by an unknown key ({key})"),
    })
}
