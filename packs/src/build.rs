//! Making a pack: the same inputs give the same bytes, and what would be refused is never written.

use std::fs::{self, File};
use std::io::{BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use lore_modules::peft::Facts;
use semver::Version;
use sha2::{Digest, Sha256};

use crate::archive::{ArchiveReader, Members, header, write_end, write_member};
use crate::card::card;
use crate::documents::{Corpus, Evaluation};
use crate::error::{Error, Problem, Result};
use crate::format::{
    ADAPTER_CONFIG, ADAPTER_WEIGHTS, CARD, CONTENT, CORPUS, EVALUATION, FACTS, LICENSE, MANIFEST, MARKER, NOTICE,
    RECIPE, SIGNATURE, SIGNER,
};
use crate::license;
use crate::manifest::{BaseReference, Manifest, Marker, Member, Requirement, canonical_json, hex, is_name, sha256_hex};
use crate::signature::{SigningKey, trusted_comment};
use crate::verify::{Verified, adapter_layout, verify_file};
use crate::weights::{Weights, WeightsCheck};

/// What a pack is built from. What is absent is named by [`build`], all at once.
#[derive(Debug, Clone, Default)]
pub struct Draft {
    /// Name of the module.
    pub name: String,
    /// Its version.
    pub version: Option<Version>,
    /// What it knows about.
    pub topic: String,
    /// One line for people.
    pub summary: String,
    /// The base it was trained on.
    pub base: Option<BaseReference>,
    /// Languages of its texts.
    pub languages: Vec<String>,
    /// Its licence, an SPDX expression.
    pub license: Option<String>,
    /// The licence's text, where it is not the one known for `license`.
    pub license_text: Option<String>,
    /// Who made it.
    pub authors: Vec<String>,
    /// Modules it needs beside it.
    pub dependencies: Vec<Requirement>,
    /// Modules it must not be installed with.
    pub conflicts: Vec<Requirement>,
    /// The program that packs it, with its version.
    pub program: String,
    /// A PEFT adapter as Lore writes it.
    pub adapter: PathBuf,
    /// What it was made from.
    pub corpus: Option<Corpus>,
    /// How well it does.
    pub evaluation: Option<Evaluation>,
    /// The resolved recipe.
    pub recipe: Option<String>,
    /// What the author says about it, in Markdown, for the card.
    pub about: Option<String>,
}

/// Bytes in memory, or a file.
enum Content {
    Bytes(Vec<u8>),
    File(PathBuf),
}

impl Content {
    /// Size and sha256.
    fn measure(&self) -> Result<(u64, String)> {
        match self {
            Self::Bytes(bytes) => Ok((bytes.len() as u64, sha256_hex(bytes))),
            Self::File(path) => {
                let mut hash = Sha256::new();
                let mut size = 0;
                each_piece(path, &mut |piece| {
                    size += piece.len() as u64;
                    hash.update(piece);
                    Ok(())
                })?;
                Ok((size, hex(&hash.finalize())))
            }
        }
    }

    fn write(&self, output: &mut dyn Write, name: &str, size: u64) -> Result<()> {
        match self {
            Self::Bytes(bytes) => write_member(output, name, size, &mut &bytes[..]).map_err(Error::io(name)),
            Self::File(path) => {
                let mut file = BufReader::new(File::open(path).map_err(Error::io(path))?);
                write_member(output, name, size, &mut file).map_err(Error::io(path))
            }
        }
    }
}

fn each_piece(path: &Path, sink: &mut dyn FnMut(&[u8]) -> Result<(), Problem>) -> Result<()> {
    let mut file = File::open(path).map_err(Error::io(path))?;
    let mut buffer = vec![0; 1 << 16];
    loop {
        match file.read(&mut buffer).map_err(Error::io(path))? {
            0 => return Ok(()),
            read => sink(&buffer[..read]).map_err(Problem::of(path))?,
        }
    }
}

/// Builds the pack and writes it to `output`, whole or not at all.
///
/// # Errors
/// [`Error::Incomplete`] naming everything that is missing; [`Error::Refused`] for an adapter no pack may hold.
pub fn build(output: &Path, draft: &Draft) -> Result<Verified> {
    let Draft { name, topic, adapter, .. } = draft;
    let config_path = adapter.join(ADAPTER_CONFIG);
    let weights_path = adapter.join(ADAPTER_WEIGHTS);
    let facts_path = adapter.join(FACTS);
    let mut problems = missing(draft);
    let lacking: Vec<&str> =
        [ADAPTER_CONFIG, ADAPTER_WEIGHTS, FACTS].into_iter().filter(|file| !adapter.join(file).is_file()).collect();
    if !lacking.is_empty() {
        problems.push(format!("{} holds no module of Lore: it lacks {}", adapter.display(), lacking.join(", ")));
        return Err(Error::Incomplete { name: name.clone(), problems });
    }
    let facts_bytes = fs::read(&facts_path).map_err(Error::io(&facts_path))?;
    let facts = Facts::parse(&facts_path, &facts_bytes)
        .map_err(|error| Error::Refused { path: facts_path.clone(), problem: error.to_string() })?;
    if let Some(base) = &draft.base {
        if facts.base != Some(base.fingerprint) {
            let found = facts.base.map_or_else(|| "no base".to_owned(), |base| base.to_string());
            problems.push(format!("the adapter was trained on {found}, but the declared base is {}", base.fingerprint));
        }
        if let Some(evaluation) = &draft.evaluation {
            let found = evaluation.problems(topic, &base.fingerprint);
            problems.extend(found.iter().map(|problem| format!("evaluation: {problem}")));
        }
    }
    if let Some(corpus) = &draft.corpus {
        problems.extend(corpus.problems());
    }
    let license_text = license_text(draft).map_err(|problem| problems.push(problem)).unwrap_or_default();

    let weights = read_weights(&weights_path)?;
    let config = fs::read_to_string(&config_path).map_err(Error::io(&config_path))?;
    let layout = adapter_layout(&config, &weights).map_err(Problem::of(adapter))?;
    let (Some(version), Some(base), Some(license), Some(corpus), Some(evaluation), Some(recipe)) =
        (&draft.version, &draft.base, &draft.license, &draft.corpus, &draft.evaluation, &draft.recipe)
    else {
        return Err(Error::Incomplete { name: name.clone(), problems });
    };
    let mut manifest = Manifest {
        name: name.clone(),
        version: version.clone(),
        topic: topic.clone(),
        summary: draft.summary.clone(),
        base: base.clone(),
        method: "lora".into(),
        rank: layout.rank(),
        targets: layout.targets(),
        dtype: weights.dtype,
        parameters: layout.parameter_count() as u64,
        languages: draft.languages.clone(),
        license: license.clone(),
        authors: draft.authors.clone(),
        dependencies: draft.dependencies.clone(),
        conflicts: draft.conflicts.clone(),
        program: draft.program.clone(),
        members: Vec::new(),
    };
    // Missing values were told in words that say what to do.
    if problems.is_empty() {
        problems.extend(manifest.problems());
    }
    if !problems.is_empty() {
        return Err(Error::Incomplete { name: name.clone(), problems });
    }
    let content = CONTENT.map(|(member, _)| match member {
        LICENSE => Content::Bytes(license_text.clone().into_bytes()),
        NOTICE => Content::Bytes(notice(&manifest, corpus).into_bytes()),
        CARD => Content::Bytes(card(&manifest, corpus, evaluation, draft.about.as_deref()).into_bytes()),
        ADAPTER_CONFIG => Content::Bytes(config.clone().into_bytes()),
        ADAPTER_WEIGHTS => Content::File(weights_path.clone()),
        CORPUS => Content::Bytes(canonical_json(corpus)),
        EVALUATION => Content::Bytes(canonical_json(evaluation)),
        FACTS => Content::Bytes(facts_bytes.clone()),
        RECIPE => Content::Bytes(recipe.clone().into_bytes()),
        other => unreachable!("`{other}` is content that nobody fills"),
    });
    for ((member, _), content) in CONTENT.iter().zip(&content) {
        let (bytes, sha256) = content.measure()?;
        manifest.members.push(Member { name: (*member).to_owned(), bytes, sha256 });
    }
    let manifest_bytes = manifest.to_bytes();
    write_pack(output, |file| {
        write_envelope(file, &manifest_bytes, None)?;
        for (member, content) in manifest.members.iter().zip(&content) {
            content.write(file, &member.name, member.bytes)?;
        }
        Ok(())
    })
}

/// What a person has to add, in words that say how.
fn missing(draft: &Draft) -> Vec<String> {
    let mut problems = Vec::new();
    let mut need = |present: bool, problem: &str| {
        if !present {
            problems.push(problem.to_owned());
        }
    };
    need(
        is_name(&draft.name),
        "the name must be lower-case letters, digits and `-`: give --name, or `name` in pack.toml",
    );
    need(draft.version.is_some(), "it has no version: give --version, or `version` in pack.toml, such as 0.1.0");
    need(
        draft.license.is_some(),
        "it has no licence: give --license, or `license` in pack.toml, an SPDX expression such as CC-BY-4.0",
    );
    need(!draft.authors.is_empty(), "it has no author: give --author, or `authors` in pack.toml");
    need(!draft.languages.is_empty(), "it has no language: give --language, or `languages` in pack.toml, such as en");
    need(!draft.summary.is_empty(), "it has no summary: give --summary, or `summary` in pack.toml, one line");
    need(draft.base.is_some(), "the base is not known: a finished `lore run` says it");
    let base_license = draft.base.as_ref().is_none_or(|base| !base.license.is_empty());
    need(base_license, "its base has no licence: set `teacher.license` in the recipe, or give --base-license");
    need(draft.corpus.is_some(), "it has no corpus manifest: a finished `lore run` makes it");
    need(draft.evaluation.is_some(), "it has no evaluation on its base: a finished `lore run` makes it");
    need(draft.recipe.is_some(), "it has no recipe: a finished `lore run` resolves it");
    problems
}

/// The given text, or the known ones.
fn license_text(draft: &Draft) -> Result<String, String> {
    match (&draft.license_text, &draft.license) {
        (Some(text), _) if !text.trim().is_empty() => Ok(text.trim_end().to_owned() + "\n"),
        (_, None) => Ok(String::new()),
        (_, Some(expression)) => {
            license::check(expression)
                .map_err(|problem| format!("the licence \"{}\" {problem}", expression.escape_debug()))?;
            license::texts(expression).map_err(|unknown| {
                format!(
                    "the text of {} is not known: give --license-file, or put LICENSE.txt beside pack.toml",
                    unknown.join(", ")
                )
            })
        }
    }
}

/// Who must be named.
fn notice(manifest: &Manifest, corpus: &Corpus) -> String {
    let Manifest { name, version, authors, license, base, .. } = manifest;
    let mut text = format!("{name} {version}\nby {}\nunder {license}\n", authors.join(", "));
    text += &format!("\nThe base: {}, under {}.\n", base.name, base.license);
    for source in &corpus.texts {
        text += &format!("\nMade with texts from {}, under {}.\n", source.source, source.license);
        if !source.attribution.is_empty() {
            text += source.attribution.trim();
            text.push('\n');
        }
    }
    text
}

fn read_weights(path: &Path) -> Result<Weights> {
    let mut check = WeightsCheck::new(fs::metadata(path).map_err(Error::io(path))?.len());
    each_piece(path, &mut |piece| check.update(piece))?;
    check.finish().map_err(Problem::of(path))
}

fn write_envelope(output: &mut dyn Write, manifest: &[u8], signature: Option<(Vec<u8>, Vec<u8>)>) -> Result<()> {
    let marker = canonical_json(&Marker::of(manifest));
    let mut put = |name: &str, bytes: &[u8]| {
        write_member(output, name, bytes.len() as u64, &mut &bytes[..]).map_err(Error::io(name))
    };
    put(MARKER, &marker)?;
    put(MANIFEST, manifest)?;
    if let Some((signature, signer)) = signature {
        put(SIGNATURE, &signature)?;
        put(SIGNER, &signer)?;
    }
    Ok(())
}

/// Writes a pack beside its place, reads it back as a stranger would, and gives it its name.
fn write_pack(output: &Path, fill: impl FnOnce(&mut dyn Write) -> Result<()>) -> Result<Verified> {
    let folder = output.parent().filter(|parent| *parent != Path::new("")).unwrap_or(Path::new("."));
    fs::create_dir_all(folder).map_err(Error::io(folder))?;
    let mut builder = tempfile::Builder::new();
    builder.prefix(".lore-writing-");
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o644));
    let mut temporary = builder.tempfile_in(folder).map_err(Error::io(folder))?;
    let mut file = BufWriter::with_capacity(1 << 17, temporary.as_file_mut());
    fill(&mut file)?;
    write_end(&mut file).and_then(|()| file.flush()).map_err(Error::io(output))?;
    drop(file);
    temporary.as_file().sync_all().map_err(Error::io(output))?;
    let verified = verify_file(temporary.path(), None).map_err(|error| match error {
        Error::Refused { problem, .. } => Error::Refused { path: output.to_owned(), problem },
        other => other,
    })?;
    temporary.persist(output).map_err(|error| Error::io(output)(error.error))?;
    crate::keyring::sync_folder(folder).map_err(Error::io(folder))?;
    Ok(verified)
}

/// Signs a pack in its place; a signature it has is replaced.
///
/// # Errors
/// Those of verifying it, and of writing.
pub fn sign(path: &Path, key: &SigningKey) -> Result<Verified> {
    let Verified { manifest, .. } = verify_file(path, None)?;
    let manifest_bytes = manifest.to_bytes();
    let signature = key.sign(&manifest_bytes, &trusted_comment(&manifest.name, &manifest.version))?;
    let mut members = ArchiveReader::new(BufReader::new(File::open(path).map_err(Error::io(path))?));
    write_pack(path, |file| {
        write_envelope(file, &manifest_bytes, Some(signature))?;
        while let Some(entry) = members.next().map_err(Problem::of(path))? {
            if manifest.member(entry.name).is_none() {
                members.read(&mut |_| Ok(())).map_err(Problem::of(path))?;
                continue;
            }
            file.write_all(header(entry.name, entry.size).as_bytes()).map_err(Error::io(path))?;
            members.read(&mut |piece| file.write_all(piece).map_err(Problem::io(path))).map_err(Problem::of(path))?;
            let padding = entry.size.next_multiple_of(512) - entry.size;
            file.write_all(&[0; 512][..padding as usize]).map_err(Error::io(path))?;
        }
        Ok(())
    })
}

/// The usual name of a pack's file.
pub fn file_name(manifest: &Manifest) -> String {
    format!("{}-{}.{}", manifest.name, manifest.version, crate::format::EXTENSION)
}

/// A name for a module of a topic, as packs allow it; nothing if nothing of the topic's name is left.
pub fn name_from(topic: &str) -> Option<String> {
    let mut name = String::new();
    for c in topic.chars().flat_map(char::to_lowercase) {
        if c.is_ascii_lowercase() || c.is_ascii_digit() {
            name.push(c);
        } else if !name.is_empty() && !name.ends_with('-') {
            name.push('-');
        }
    }
    let name = name.trim_matches('-').trim_start_matches(|c: char| c.is_ascii_digit() || c == '-').to_owned();
    is_name(&name).then_some(name)
}
