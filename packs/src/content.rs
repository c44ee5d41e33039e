//! The members of a pack as they pass: hashed, compared with the manifest, and written if they are wanted.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::archive::{Entry, Members};
use crate::canonical::hex;
use crate::error::Problem;
use crate::format::{ADAPTER_WEIGHTS, ENVELOPE, ROUTER};
use crate::manifest::Manifest;
use crate::weights::{Weights, WeightsCheck};

/// Everything after the envelope.
pub(crate) struct Content {
    pub(crate) texts: Texts,
    pub(crate) weights: Weights,
    /// The router entry, if there is one.
    pub(crate) router: Option<Weights>,
}

/// The small members, once their hashes were checked.
#[derive(Default)]
pub(crate) struct Texts(Vec<(&'static str, Vec<u8>)>);

impl Texts {
    pub(crate) fn bytes(&self, name: &str) -> &[u8] {
        self.0.iter().find(|(known, _)| *known == name).map_or(&[], |(_, bytes)| bytes)
    }

    pub(crate) fn text(&self, name: &str) -> Result<&str, Problem> {
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

/// Hashes every content member as it passes.
pub(crate) fn read_content(
    members: &mut dyn Members,
    mut entry: Option<Entry>,
    manifest: &Manifest,
    into: Option<&Path>,
) -> Result<Content, Problem> {
    let mut texts = Texts::default();
    let (mut weights, mut router) = (None, None);
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
        let mut check = [ADAPTER_WEIGHTS, ROUTER].contains(&name).then(|| WeightsCheck::new(name, size));
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
            Some(check) if name == ROUTER => router = Some(check.finish()?),
            Some(check) => weights = Some(check.finish()?),
            None => texts.0.push((name, text)),
        }
        entry = members.next()?;
    }
    if let Some(Entry { name, .. }) = entry {
        return Problem::refused(format!("`{name}` occurs twice or out of its place"));
    }
    let weights = weights.ok_or_else(|| Problem::Refused(format!("it lacks `{ADAPTER_WEIGHTS}`")))?;
    Ok(Content { texts, weights, router })
}

/// The entry, if it has this name.
pub(crate) fn expect(entry: Option<Entry>, name: &str) -> Result<Entry, Problem> {
    match entry {
        Some(entry) if entry.name == name => Ok(entry),
        Some(entry) => Problem::refused(format!("`{}` stands where `{name}` must be", entry.name)),
        None => Problem::refused(format!("it lacks `{name}`")),
    }
}

/// A small member, whole.
pub(crate) fn read_small(members: &mut dyn Members, entry: Entry, into: Option<&Path>) -> Result<Vec<u8>, Problem> {
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
