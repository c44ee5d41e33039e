//! The keys someone trusts, the ones they revoked, and what that makes of a pack.

use std::fmt;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use lore_model::whole::{file_beside, folder_of};

use crate::canonical::is_sha256;
use crate::error::{Error, Result};
use crate::manifest::is_plain;
use crate::signature::PublicKey;
use crate::verify::Verified;

const TRUSTED: &str = "trusted";
const REVOKED: &str = "revoked.txt";

/// A folder of keys: `signing.key`, `signing.pub`, `trusted/*.pub`, `revoked.txt`.
#[derive(Debug, Clone)]
pub struct Keyring {
    folder: PathBuf,
}

/// What is to be thought of a pack whose bytes are as they were packed. One that is not is no
/// [`Verified`] but [`Error::Altered`].
#[derive(Debug, Clone, PartialEq)]
pub enum Trust {
    /// Signed by a key in `trusted/`.
    Trusted {
        /// What its file is called.
        name: String,
        /// The key.
        key: PublicKey,
    },
    /// Signed, by a key nobody here vouched for.
    Unknown {
        /// The key.
        key: PublicKey,
    },
    /// Not signed.
    Unsigned,
    /// The pack or its key was revoked.
    Revoked {
        /// What was revoked, and why.
        reason: String,
    },
}

impl fmt::Display for Trust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Trusted { name, key } => write!(f, "signed by the trusted key `{name}` ({key})"),
            Self::Unknown { key } => write!(f, "signed by an unknown key ({key})"),
            Self::Unsigned => f.write_str("unsigned"),
            Self::Revoked { reason } => write!(f, "revoked: {reason}"),
        }
    }
}

/// A line of a revocation list.
#[derive(Debug, Clone, PartialEq)]
pub enum Revocation {
    /// Everything a key signed.
    Key(PublicKey),
    /// One pack, by the sha256 of its manifest.
    Pack(String),
}

impl fmt::Display for Revocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Key(key) => write!(f, "key {key}"),
            Self::Pack(sha256) => write!(f, "pack {sha256}"),
        }
    }
}

impl Revocation {
    /// A public key, or the sha256 of a manifest.
    ///
    /// # Errors
    /// When it is neither.
    pub fn parse(text: &str) -> Result<Self, String> {
        if is_sha256(text) {
            return Ok(Self::Pack(text.to_owned()));
        }
        text.parse().map(Self::Key).map_err(|_| {
            format!("`{}` is neither a minisign public key (RW...) nor the sha256 of a manifest", text.escape_debug())
        })
    }

    fn covers(&self, pack: &Verified) -> bool {
        match self {
            Self::Key(key) => pack.signer.as_ref() == Some(key),
            Self::Pack(sha256) => pack.manifest_sha256 == *sha256,
        }
    }
}

impl Keyring {
    /// The keys in `folder`, which need not exist.
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self { folder: folder.into() }
    }

    /// Where the owner's secret key is.
    pub fn secret_path(&self) -> PathBuf {
        self.folder.join("signing.key")
    }

    /// Where the owner's public key is.
    pub fn public_path(&self) -> PathBuf {
        self.folder.join("signing.pub")
    }

    /// Makes the owner's key pair, readable by the owner only, and trusts it as `own`.
    ///
    /// # Errors
    /// [`Error::Key`] if there is one already.
    pub fn generate(&self, password: Option<&str>) -> Result<PublicKey> {
        let path = self.secret_path();
        let occupied = |path: &Path| Error::Key {
            what: path.display().to_string(),
            problem: "there is a key already; move it away to make a new one (what it signed stays valid)".into(),
        };
        if path.exists() {
            return Err(occupied(&path));
        }
        fs::create_dir_all(&self.folder).map_err(Error::io(&self.folder))?;
        let (secret, public) = crate::signature::generate(password)?;
        let mut options = fs::File::options();
        options.write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let mut file = options.open(&path).map_err(|error| match error.kind() {
            std::io::ErrorKind::AlreadyExists => occupied(&path),
            _ => Error::io(&path)(error),
        })?;
        file.write_all(secret.as_bytes()).and_then(|()| file.sync_all()).map_err(Error::io(&path))?;
        write_whole(&self.public_path(), public.as_bytes())?;
        let key = PublicKey::parse("the new key", &public)?;
        self.trust("own", &key)?;
        Ok(key)
    }

    /// Trusts a key under a name.
    ///
    /// # Errors
    /// A name that cannot be a file's; another key of this name.
    pub fn trust(&self, name: &str, key: &PublicKey) -> Result<()> {
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_@".contains(c);
        if name.is_empty() || name.len() > 64 || !name.chars().all(plain) {
            return Err(Error::Request(format!(
                "`{}` cannot name a key: use up to 64 letters, digits, `-`, `_` and `@`",
                name.escape_debug()
            )));
        }
        let path = self.folder.join(TRUSTED).join(format!("{name}.pub"));
        if let Some((_, old)) = self.trusted()?.into_iter().find(|(known, _)| known == name)
            && old != *key
        {
            return Err(Error::Key {
                what: path.display().to_string(),
                problem: format!("`{name}` is another key ({old}); choose another name, or delete the file"),
            });
        }
        write_whole(&path, key.to_file().as_bytes())
    }

    /// All trusted keys by name.
    ///
    /// # Errors
    /// A file that is not a key.
    pub fn trusted(&self) -> Result<Vec<(String, PublicKey)>> {
        let folder = self.folder.join(TRUSTED);
        let entries = match fs::read_dir(&folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(Error::io(folder)(error)),
        };
        let mut keys = Vec::new();
        for entry in entries {
            let path = entry.map_err(Error::io(&folder))?.path();
            if path.extension().is_some_and(|extension| extension == "pub") {
                let text = fs::read_to_string(&path).map_err(Error::io(&path))?;
                let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
                keys.push((name, PublicKey::parse(&path.display().to_string(), &text)?));
            }
        }
        keys.sort_by(|a, b| a.0.cmp(&b.0));
        Ok(keys)
    }

    /// Adds a line to the revocation list.
    ///
    /// # Errors
    /// A reason that is not one plain line; writing.
    pub fn revoke(&self, revocation: &Revocation, reason: &str) -> Result<()> {
        if !is_plain(reason, 200) {
            return Err(Error::Request("the reason must be one plain line of at most 200 bytes".into()));
        }
        let path = self.folder.join(REVOKED);
        let mut text = self.revocation_text(&path)?;
        text.push_str(&format!("{revocation} # {reason}\n"));
        write_whole(&path, text.as_bytes())
    }

    fn revocation_text(&self, path: &Path) -> Result<String> {
        match fs::read_to_string(path) {
            Ok(text) => Ok(text),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(String::new()),
            Err(error) => Err(Error::io(path)(error)),
        }
    }

    /// The revocation list: each line `key RW... # reason` or `pack SHA256 # reason`.
    ///
    /// # Errors
    /// A line that is neither: a list that cannot be read protects nobody.
    pub fn revocations(&self) -> Result<Vec<(Revocation, String)>> {
        let path = self.folder.join(REVOKED);
        parse_revocations(&path.display().to_string(), &self.revocation_text(&path)?)
    }

    /// What is to be thought of a pack, with what others revoked too.
    ///
    /// # Errors
    /// Keys or lists that cannot be read.
    pub fn judge(&self, pack: &Verified, others: &[(Revocation, String)]) -> Result<Trust> {
        let revocations = self.revocations()?;
        if let Some((revocation, reason)) = revocations.iter().chain(others).find(|(line, _)| line.covers(pack)) {
            let reason = format!("{revocation}: {reason}");
            return Ok(Trust::Revoked { reason });
        }
        let Some(key) = pack.signer.clone() else { return Ok(Trust::Unsigned) };
        let known = self.trusted()?.into_iter().find(|(_, trusted)| *trusted == key);
        Ok(match known {
            Some((name, _)) => Trust::Trusted { name, key },
            None => Trust::Unknown { key },
        })
    }
}

/// Reads a revocation list; `what` names it in errors. Empty lines and lines beginning with `#` are skipped.
pub(crate) fn parse_revocations(what: &str, text: &str) -> Result<Vec<(Revocation, String)>> {
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty() && !line.starts_with('#'));
    lines
        .map(|(number, line)| {
            let failed = |problem| Error::Key { what: format!("{what}, line {}", number + 1), problem };
            let (entry, reason) = line.split_once('#').unwrap_or((line, "no reason given"));
            if !is_plain(reason.trim(), 200) {
                return Err(failed("its reason is empty, too long or holds invisible characters".into()));
            }
            let entry = entry.trim();
            let target = entry.strip_prefix("key ").or_else(|| entry.strip_prefix("pack "));
            let target = target.ok_or_else(|| failed("it begins with neither `key ` nor `pack `".into()))?;
            Ok((Revocation::parse(target.trim()).map_err(failed)?, reason.trim().to_owned()))
        })
        .collect()
}

/// Writes a file whole or not at all.
pub(crate) fn write_whole(path: &Path, bytes: &[u8]) -> Result<()> {
    let folder = folder_of(path);
    fs::create_dir_all(folder).map_err(Error::io(folder))?;
    let write = || -> std::io::Result<()> {
        let mut file = file_beside(folder)?;
        file.write_all(bytes)?;
        file.as_file().sync_all()?;
        file.persist(path).map_err(|error| error.error)?;
        sync_folder(folder)
    };
    write().map_err(Error::io(path))
}

/// Makes a rename outlast a power failure, where the system can.
pub(crate) fn sync_folder(path: &Path) -> std::io::Result<()> {
    if cfg!(unix) { fs::File::open(path)?.sync_all() } else { Ok(()) }
}
