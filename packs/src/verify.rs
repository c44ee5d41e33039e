//! Reading a pack, or an installed one, and believing none of it before it is checked.

use std::fs::{self, File};
use std::io::{BufReader, Read, Write};
use std::path::{Path, PathBuf};

use lore_model::config::ModelConfig;
use lore_model::fingerprint::Fingerprint;
use lore_modules::Layout;
use lore_modules::peft::Facts;
use sha2::{Digest, Sha256};

use crate::archive::{ArchiveReader, Entry, Members};
use crate::documents::{Corpus, Evaluation, refuse_if};
use crate::error::{Error, Problem, Result};
use crate::format::{
    ADAPTER_CONFIG, ADAPTER_WEIGHTS, CARD, CONTENT, CORPUS, ENVELOPE, EVALUATION, FACTS, LICENSE, MANIFEST, MARKER,
    NOTICE, RECIPE, SIGNATURE, SIGNER, check_name,
};
use crate::manifest::{Manifest, Marker, hex, read_canonical, sha256_hex};
use crate::signature::{self, PublicKey, trusted_comment};
use crate::weights::{Weights, WeightsCheck};

/// A pack whose every byte was checked.
#[derive(Debug, Clone, PartialEq)]
pub struct Verified {
    /// What it says about itself.
    pub manifest: Manifest,
    /// sha256 of the manifest: the identity of the pack, signed or not.
    pub manifest_sha256: String,
    /// The key of its signature, which is good; nothing if it has none.
    pub signer: Option<PublicKey>,
    /// What it was made from.
    pub corpus: Corpus,
    /// How well it does.
    pub evaluation: Evaluation,
    /// Its updates.
    pub layout: Layout,
    /// The model card.
    pub card: String,
}

/// A base to compare a pack with.
#[derive(Debug, Clone)]
pub struct Base {
    /// What it is.
    pub config: ModelConfig,
    /// Its identity.
    pub fingerprint: Fingerprint,
}

/// Checks a pack in one pass, holding no more than its small members in memory.
///
/// # Errors
/// [`Error::Refused`] for a broken rule, [`Error::Altered`] where hash or signature do not agree.
pub fn verify_file(path: &Path, base: Option<&Base>) -> Result<Verified> {
    let mut members = open(path)?;
    check(&mut members, None, base).map_err(Problem::of(path))
}

/// As [`verify_file`], of bytes from anywhere; `name` is what errors call them.
///
/// # Errors
/// As [`verify_file`].
pub fn verify_reader(name: &Path, input: impl Read, base: Option<&Base>) -> Result<Verified> {
    check(&mut ArchiveReader::new(input), None, base).map_err(Problem::of(name))
}

/// As [`verify_file`], writing the members into the empty folder `into` as they pass. On error what is there
/// must be thrown away.
///
/// # Errors
/// As [`verify_file`], and those of writing.
pub(crate) fn unpack(path: &Path, into: &Path, base: Option<&Base>) -> Result<Verified> {
    let mut members = open(path)?;
    check(&mut members, Some(into), base).map_err(Problem::of(path))
}

/// Checks the folder of an installed pack in the same way.
///
/// # Errors
/// As [`verify_file`].
pub fn verify_folder(path: &Path, base: Option<&Base>) -> Result<Verified> {
    let mut members = FolderMembers::open(path).map_err(Problem::of(path))?;
    check(&mut members, None, base).map_err(Problem::of(path))
}

fn open(path: &Path) -> Result<ArchiveReader<BufReader<File>>> {
    let file = File::open(path).map_err(Error::io(path))?;
    let metadata = file.metadata().map_err(Error::io(path))?;
    if !metadata.is_file() {
        return Err(Error::Refused { path: path.to_owned(), problem: "it is not a plain file".into() });
    }
    Ok(ArchiveReader::new(BufReader::with_capacity(1 << 17, file)))
}

/// The members of an installed pack.
struct FolderMembers {
    folder: PathBuf,
    left: std::vec::IntoIter<Entry>,
    current: Option<Entry>,
}

impl FolderMembers {
    fn open(folder: &Path) -> Result<Self, Problem> {
        let mut found = Vec::new();
        for entry in fs::read_dir(folder).map_err(Problem::io(folder))? {
            let entry = entry.map_err(Problem::io(folder))?;
            let (name, limit) = check_name(entry.file_name().as_encoded_bytes())?;
            let metadata = entry.path().symlink_metadata().map_err(Problem::io(&entry.path()))?;
            if !metadata.is_file() {
                return Problem::refused(format!("`{name}` is not a plain file"));
            }
            if metadata.len() > limit {
                return Problem::refused(format!("`{name}` has {} bytes; at most {limit} are allowed", metadata.len()));
            }
            found.push(Entry { name, size: metadata.len() });
        }
        let order = |entry: &Entry| ENVELOPE.iter().chain(&CONTENT).position(|(name, _)| *name == entry.name);
        found.sort_by_key(order);
        Ok(Self { folder: folder.to_owned(), left: found.into_iter(), current: None })
    }
}

impl Members for FolderMembers {
    fn next(&mut self) -> Result<Option<Entry>, Problem> {
        self.current = self.left.next();
        Ok(self.current)
    }

    fn read(&mut self, sink: &mut dyn FnMut(&[u8]) -> Result<(), Problem>) -> Result<(), Problem> {
        let Some(Entry { name, size }) = self.current.take() else { return Ok(()) };
        let path = self.folder.join(name);
        let mut file = File::open(&path).map_err(Problem::io(&path))?;
        let mut buffer = vec![0; 1 << 16];
        let mut left = size;
        while left > 0 {
            let piece = buffer.len().min(left as usize);
            match file.read(&mut buffer[..piece]).map_err(Problem::io(&path))? {
                0 => return Problem::altered(format!("`{name}` became shorter while it was read")),
                read => {
                    sink(&buffer[..read])?;
                    left -= read as u64;
                }
            }
        }
        Ok(())
    }
}

/// The small members, once their hashes were checked.
#[derive(Default)]
struct Texts(Vec<(&'static str, Vec<u8>)>);

impl Texts {
    fn bytes(&self, name: &str) -> &[u8] {
        self.0.iter().find(|(known, _)| *known == name).map_or(&[], |(_, bytes)| bytes)
    }

    fn text(&self, name: &str) -> Result<&str, Problem> {
        let bytes = self.bytes(name);
        let text = std::str::from_utf8(bytes)
            .map_err(|error| Problem::Refused(format!("`{name}` is not UTF-8 at byte {}", error.valid_up_to())))?;
        let hidden = |c: char| {
            c.is_control() && !matches!(c, '\n' | '\r' | '\t')
                || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
        };
        match text.chars().find(|c| hidden(*c)) {
            Some(c) => Problem::refused(format!(
                "`{name}` holds the control character {}, which can change what a terminal or reader shows",
                c.escape_unicode()
            )),
            None => Ok(text),
        }
    }
}

/// The one way a pack is read.
pub(crate) fn check(members: &mut dyn Members, into: Option<&Path>, base: Option<&Base>) -> Result<Verified, Problem> {
    let entry = expect(members.next()?, MARKER)?;
    let marker = Marker::parse(MARKER, &read_small(members, entry, into)?)?;
    let entry = expect(members.next()?, MANIFEST)?;
    let manifest_bytes = read_small(members, entry, into)?;
    let manifest_sha256 = sha256_hex(&manifest_bytes);
    if manifest_sha256 != marker.manifest_sha256 {
        return Problem::altered(format!("`{MANIFEST}` does not have the sha256 that `{MARKER}` names"));
    }
    let manifest = Manifest::parse(MANIFEST, &manifest_bytes)?;
    let mut entry = members.next()?;
    let mut signer = None;
    if entry.is_some_and(|entry| entry.name == SIGNATURE) {
        let signature = read_small(members, expect(entry, SIGNATURE)?, into)?;
        let key = expect(members.next()?, SIGNER)?;
        let key = read_small(members, key, into)?;
        let comment = trusted_comment(&manifest.name, &manifest.version);
        signer = Some(signature::verify(&manifest_bytes, &comment, &signature, &key)?);
        entry = members.next()?;
    }
    let (texts, weights) = read_content(members, entry, &manifest, into)?;
    check_meaning(manifest, manifest_sha256, signer, &texts, weights, base)
}

/// Hashes every content member as it passes.
fn read_content(
    members: &mut dyn Members,
    mut entry: Option<Entry>,
    manifest: &Manifest,
    into: Option<&Path>,
) -> Result<(Texts, Weights), Problem> {
    let mut texts = Texts::default();
    let mut weights = None;
    for (index, member) in manifest.members.iter().enumerate() {
        let seen = &manifest.members[..index];
        if let Some(entry) = entry
            && (seen.iter().any(|seen| seen.name == entry.name) || ENVELOPE.iter().any(|(name, _)| *name == entry.name))
        {
            return Problem::refused(format!("`{}` occurs twice or out of its place", entry.name));
        }
        let Entry { name, size } = expect(entry, &member.name)?;
        if size != member.bytes {
            return Problem::altered(format!("`{name}` has {size} bytes; the manifest says {}", member.bytes));
        }
        let mut hash = Sha256::new();
        let mut output = into.map(|into| Output::create(&into.join(name))).transpose()?;
        let mut text = Vec::new();
        let mut check = (name == ADAPTER_WEIGHTS).then(|| WeightsCheck::new(size));
        let mut bad_weights = None;
        members.read(&mut |piece| {
            hash.update(piece);
            match &mut check {
                // An altered file is told as such, not by what the alteration made of it.
                Some(check) if bad_weights.is_none() => bad_weights = check.update(piece).err(),
                Some(_) => {}
                None => text.extend_from_slice(piece),
            }
            output.as_mut().map_or(Ok(()), |output| output.write(piece))
        })?;
        if hex(&hash.finalize()) != member.sha256 {
            return Problem::altered(format!("`{name}` does not have the sha256 that the manifest names"));
        }
        if let Some(problem) = bad_weights {
            return Err(problem);
        }
        output.map_or(Ok(()), Output::finish)?;
        match check {
            Some(check) => weights = Some(check.finish()?),
            None => texts.0.push((name, text)),
        }
        entry = members.next()?;
    }
    if let Some(Entry { name, .. }) = entry {
        return Problem::refused(format!("`{name}` occurs twice or out of its place"));
    }
    let weights = weights.ok_or_else(|| Problem::Refused(format!("it lacks `{ADAPTER_WEIGHTS}`")))?;
    Ok((texts, weights))
}

/// Whether the members agree with the manifest, with each other and with the base.
fn check_meaning(
    manifest: Manifest,
    manifest_sha256: String,
    signer: Option<PublicKey>,
    texts: &Texts,
    weights: Weights,
    base: Option<&Base>,
) -> Result<Verified, Problem> {
    for name in [LICENSE, NOTICE, CARD, RECIPE, ADAPTER_CONFIG, FACTS, CORPUS, EVALUATION] {
        texts.text(name)?;
    }
    let layout = adapter_layout(texts.text(ADAPTER_CONFIG)?, &weights)?;
    let facts =
        Facts::parse(Path::new(FACTS), texts.bytes(FACTS)).map_err(|error| Problem::Refused(error.to_string()))?;
    let stated = weights.metadata.get("lore.base");
    let fingerprint = manifest.base.fingerprint;
    let mut problems = Vec::new();
    if facts.base != Some(fingerprint) {
        let found = facts.base.map_or_else(|| "no base".to_owned(), |base| base.to_string());
        problems.push(format!("`{FACTS}` names {found}, the manifest {fingerprint}"));
    }
    if stated.is_some_and(|stated| *stated != fingerprint.to_string()) {
        problems.push(format!("the weights name another base than the manifest, {fingerprint}"));
    }
    let mut same = |what: &str, said: &dyn std::fmt::Display, found: &dyn std::fmt::Display| {
        let (said, found) = (said.to_string(), found.to_string());
        if said != found {
            problems.push(format!("the manifest says {what} {said}, the adapter has {found}"));
        }
    };
    same("rank", &manifest.rank, &layout.rank());
    same("targets", &manifest.targets.join(", "), &layout.targets().join(", "));
    same("dtype", &manifest.dtype, &weights.dtype);
    same("parameters", &manifest.parameters, &layout.parameter_count());
    if !problems.is_empty() {
        return Problem::refused(problems.join("; "));
    }
    let corpus: Corpus = read_canonical(CORPUS, texts.bytes(CORPUS))?;
    refuse_if(CORPUS, &corpus.problems())?;
    let evaluation: Evaluation = serde_json::from_slice(texts.bytes(EVALUATION))
        .map_err(|error| Problem::Refused(format!("`{EVALUATION}`: {error}")))?;
    refuse_if(EVALUATION, &evaluation.problems(&manifest.topic, &fingerprint))?;
    let card = texts.text(CARD)?.to_owned();
    if !card.starts_with("---\n") {
        return Problem::refused(format!("`{CARD}` does not begin with the front matter of a model card"));
    }
    if let Some(base) = base {
        if base.fingerprint != fingerprint {
            return Problem::refused(format!("it is made for the base {fingerprint}, not for {}", base.fingerprint));
        }
        layout.check_base(&base.config).map_err(|error| Problem::Refused(error.to_string()))?;
    }
    Ok(Verified { manifest, manifest_sha256, signer, corpus, evaluation, layout, card })
}

/// The adapter's sizes, from its configuration and the header of its weights.
pub(crate) fn adapter_layout(config: &str, weights: &Weights) -> Result<Layout, Problem> {
    let refused = |text: String| Problem::Refused(text);
    let layout =
        Layout::of(Path::new(ADAPTER_CONFIG), config, &weights.tensors).map_err(|error| refused(error.to_string()))?;
    // PEFT imports what this names.
    let keys: serde_json::Value = serde_json::from_str(config).map_err(|error| refused(error.to_string()))?;
    match keys.get("auto_mapping") {
        None | Some(serde_json::Value::Null) => Ok(layout),
        Some(_) => Problem::refused(format!("`{ADAPTER_CONFIG}`: `auto_mapping` names code to import")),
    }
}

fn expect(entry: Option<Entry>, name: &str) -> Result<Entry, Problem> {
    match entry {
        Some(entry) if entry.name == name => Ok(entry),
        Some(entry) => Problem::refused(format!("`{}` stands where `{name}` must be", entry.name)),
        None => Problem::refused(format!("it lacks `{name}`")),
    }
}

fn read_small(members: &mut dyn Members, entry: Entry, into: Option<&Path>) -> Result<Vec<u8>, Problem> {
    let mut bytes = Vec::with_capacity(entry.size as usize);
    members.read(&mut |piece| {
        bytes.extend_from_slice(piece);
        Ok(())
    })?;
    if let Some(into) = into {
        let mut output = Output::create(&into.join(entry.name))?;
        output.write(&bytes)?;
        output.finish()?;
    }
    Ok(bytes)
}

/// A new plain file, on disk when finished.
struct Output {
    path: PathBuf,
    file: File,
}

impl Output {
    fn create(path: &Path) -> Result<Self, Problem> {
        let file = File::options().write(true).create_new(true).open(path).map_err(Problem::io(path))?;
        Ok(Self { path: path.to_owned(), file })
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), Problem> {
        self.file.write_all(bytes).map_err(Problem::io(&self.path))
    }

    fn finish(self) -> Result<(), Problem> {
        self.file.sync_all().map_err(Problem::io(&self.path))
    }
}
