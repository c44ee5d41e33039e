//! Signatures in minisign's format, which other tools check too:
//! `minisign -V -p signer.pub -m manifest.json -x manifest.json.minisig`.
//!
//! The manifest is signed, and names the hash of every other member, so that trust is known before anything
//! large is read and does not depend on how bytes are laid out in the file.

use std::fmt;
use std::io::Cursor;
use std::path::Path;
use std::str::FromStr;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use minisign::{KeyPair, SecretKey, SecretKeyBox, SignatureBox};

use crate::error::{Error, Problem, Result};
use crate::format::{SIGNATURE, SIGNER};

/// What no one authenticates, so it is always the same.
const UNTRUSTED_COMMENT: &str = "lore pack manifest";
/// The same for files that are signed beside themselves.
const DETACHED_COMMENT: &str = "signed by lore";

/// A public key, as minisign writes it: 56 characters beginning with `RW`.
#[derive(Clone)]
pub struct PublicKey {
    key: minisign::PublicKey,
}

impl PublicKey {
    /// The text of a `.pub` file, or its second line alone.
    ///
    /// # Errors
    /// [`Error::Key`] naming `what`.
    pub fn parse(what: &str, text: &str) -> Result<Self> {
        let line = text.lines().map(str::trim).find(|line| line.starts_with("RW")).unwrap_or_default();
        line.parse().map_err(|problem| Error::Key { what: what.to_owned(), problem })
    }

    /// Checks what [`SigningKey::sign_detached`] made of `message`; `what` names it in errors.
    ///
    /// # Errors
    /// [`Error::Altered`] naming `what`, where message, comment, signature and key do not belong together.
    pub fn check_detached(&self, what: &Path, message: &[u8], comment: &str, signature: &str) -> Result<()> {
        verify_with(message, comment, DETACHED_COMMENT, signature, self).map_err(|bad| Error::Altered {
            path: what.to_owned(),
            problem: match bad {
                Bad::Form => "its signature is not one of minisign in its usual form".into(),
                Bad::Comment => format!("its signature is not for `{comment}`"),
                Bad::Signature => format!("its signature does not belong to it and the key {self}"),
            },
        })
    }

    /// The text of a `.pub` file.
    pub fn to_file(&self) -> String {
        self.key.to_box().expect("a key fits a text").to_string()
    }
}

/// Which key it is; the number that minisign puts beside it is not part of it.
impl PartialEq for PublicKey {
    fn eq(&self, other: &Self) -> bool {
        self.key == other.key
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.key.to_base64())
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({self})")
    }
}

impl FromStr for PublicKey {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let not_one = || "it is not a minisign public key: 56 characters beginning with `RW` were expected".to_owned();
        let key = minisign::PublicKey::from_base64(text).map_err(|_| not_one())?;
        // The two letters of the algorithm are not looked at by the verification.
        if key.to_bytes().starts_with(b"Ed") && key.to_base64() == text { Ok(Self { key }) } else { Err(not_one()) }
    }
}

/// A secret key, ready to sign.
pub struct SigningKey {
    secret: SecretKey,
    public: PublicKey,
}

/// A new key: the texts of the secret file and of the public one.
///
/// # Errors
/// When the system has no randomness.
pub fn generate(password: Option<&str>) -> Result<(String, String)> {
    let pair = match password {
        Some(password) => KeyPair::generate_encrypted_keypair(Some(password.to_owned())),
        None => KeyPair::generate_unencrypted_keypair(),
    };
    let failed = |error: minisign::PError| Error::Key { what: "a new key".into(), problem: error.to_string() };
    let pair = pair.map_err(failed)?;
    let comment = if password.is_some() { "lore encrypted secret key" } else { "lore secret key, not encrypted" };
    let secret = pair.sk.to_box(Some(comment)).map_err(failed)?.to_string();
    Ok((secret, PublicKey { key: pair.pk }.to_file()))
}

impl SigningKey {
    /// Reads a secret key; `password` is asked for if the key is encrypted.
    ///
    /// # Errors
    /// [`Error::Key`]: not a key, or another password.
    pub fn open(path: &Path, password: impl FnOnce() -> Result<String>) -> Result<Self> {
        let text = std::fs::read_to_string(path).map_err(Error::io(path))?;
        let failed = |problem: String| Error::Key { what: path.display().to_string(), problem };
        let parse = |text: &str| SecretKeyBox::from_string(text).expect("any text makes a box");
        let secret = match parse(&text).into_unencrypted_secret_key() {
            Ok(secret) => secret,
            Err(error) if error.to_string().contains("encrypted") => {
                parse(&text).into_secret_key(Some(password()?)).map_err(|error| failed(error.to_string()))?
            }
            Err(error) => {
                without_checksum(&text).ok_or_else(|| failed(format!("it is not a minisign secret key: {error}")))?
            }
        };
        let key = minisign::PublicKey::from_secret_key(&secret).map_err(|error| failed(error.to_string()))?;
        Ok(Self { secret, public: PublicKey { key } })
    }

    /// The key that checks what this one signs.
    pub fn public(&self) -> &PublicKey {
        &self.public
    }

    /// The two members that sign a manifest.
    pub(crate) fn sign(&self, manifest: &[u8], comment: &str) -> Result<(Vec<u8>, Vec<u8>)> {
        let signature = self.sign_with(manifest, comment, UNTRUSTED_COMMENT)?;
        Ok((signature.into_bytes(), self.public.to_file().into_bytes()))
    }

    /// The text of a `.minisig` file for `message`; `comment` is signed with it.
    ///
    /// # Errors
    /// When the key cannot sign.
    pub fn sign_detached(&self, message: &[u8], comment: &str) -> Result<String> {
        self.sign_with(message, comment, DETACHED_COMMENT)
    }

    fn sign_with(&self, message: &[u8], comment: &str, untrusted: &str) -> Result<String> {
        let signed =
            minisign::sign(Some(&self.public.key), &self.secret, Cursor::new(message), Some(comment), Some(untrusted));
        let failed = |error: minisign::PError| Error::Key { what: "the key".into(), problem: error.to_string() };
        Ok(signed.map_err(failed)?.to_string())
    }
}

/// A key that is not encrypted and has no checksum, as minisign's own program writes it with `-W`; the crate writes one
/// and asks for it. What such a key signs is checked before it is kept, so damage shows there.
fn without_checksum(text: &str) -> Option<SecretKey> {
    const NO_KDF: [u8; 2] = [0; 2];
    const CHECKSUM: usize = 32;
    let bytes = BASE64_STANDARD.decode(text.lines().nth(1)?.trim()).ok()?;
    let key = SecretKey::from_bytes(&bytes).ok().filter(|key| key.to_bytes() == bytes)?;
    let (rest, checksum) = bytes.split_last_chunk::<CHECKSUM>()?;
    (rest.starts_with(b"Ed") && rest.get(2..4) == Some(&NO_KDF) && *checksum == [0; CHECKSUM]).then_some(key)
}

/// What a signature's trusted comment must be.
pub(crate) fn trusted_comment(name: &str, version: &semver::Version) -> String {
    format!("lore pack {name} {version}")
}

/// Checks the two members against the manifest and returns the key.
pub(crate) fn verify(manifest: &[u8], comment: &str, signature: &[u8], signer: &[u8]) -> Result<PublicKey, Problem> {
    let bad_key = || Problem::Altered(format!("`{SIGNER}` is not a minisign public key in its usual form"));
    let text = std::str::from_utf8(signer).map_err(|_| bad_key())?;
    let key = PublicKey::parse(SIGNER, text).map_err(|_| bad_key())?;
    if key.to_file() != text {
        return Err(bad_key());
    }
    let text = std::str::from_utf8(signature).unwrap_or_default();
    verify_with(manifest, comment, UNTRUSTED_COMMENT, text, &key).map_err(|problem| {
        Problem::Altered(match problem {
            Bad::Form => format!("`{SIGNATURE}` is not a minisign signature in its usual form"),
            Bad::Comment => format!("the signature is not for `{comment}`"),
            Bad::Signature => "the signature does not belong to this manifest and key".into(),
        })
    })?;
    Ok(key)
}

/// What is wrong with a signature.
enum Bad {
    Form,
    Comment,
    Signature,
}

fn verify_with(message: &[u8], comment: &str, untrusted: &str, text: &str, key: &PublicKey) -> Result<(), Bad> {
    let lines: Vec<&str> = text.lines().collect();
    // 74 and 64 bytes; the verification takes their lengths for granted.
    let sizes =
        |line: &str, length, end: &str| line.len() == length && line.trim_end_matches('=').len() + end.len() == length;
    if lines.len() != 4 || !sizes(lines[1], 100, "=") || !sizes(lines[3], 88, "==") {
        return Err(Bad::Form);
    }
    let signature = SignatureBox::from_string(text).map_err(|_| Bad::Form)?;
    let usual = signature.untrusted_comment().is_ok_and(|found| found == untrusted);
    if !usual || !signature.is_prehashed() || signature.to_string() != text {
        return Err(Bad::Form);
    }
    if !signature.trusted_comment().is_ok_and(|found| found == comment) {
        return Err(Bad::Comment);
    }
    minisign::verify(&key.key, &signature, Cursor::new(message), true, false, false).map_err(|_| Bad::Signature)
}
