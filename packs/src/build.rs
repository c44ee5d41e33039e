//! Making a pack: the same inputs give the same bytes, and what would be refused is never written.

use std::fs::{self, File};
use std::io::{BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use lore_model::whole::{file_beside, folder_of};
use lore_modules::peft::Facts;
use sha2::{Digest, Sha256};

use crate::archive::{ArchiveReader, Members, header, write_end, write_member};
use crate::canonical::{canonical_json, hex, sha256_hex};
use crate::card::card;
use crate::draft::{Draft, license_text, missing, notice};
use crate::error::{Error, Problem, Result};
use crate::format::{
    ADAPTER_CONFIG, ADAPTER_WEIGHTS, CARD, CONTENT, CORPUS, EVALUATION, FACTS, LICENSE, MANIFEST, MARKER, NOTICE,
    OPTIONAL, RECIPE, ROUTER, SIGNATURE, SIGNER,
};
use crate::manifest::{Manifest, Marker, Member};
use crate::meaning::adapter_layout;
use crate::signature::{SigningKey, trusted_comment};
use crate::verify::{Verified, verify_file};
use crate::weights::{Weights, WeightsCheck};

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

    let weights = read_weights(ADAPTER_WEIGHTS, &weights_path)?;
    let router = draft.router.as_ref().map(|path| read_weights(ROUTER, path)).transpose()?;
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
    if let (Some(router), Some(path)) = (&router, &draft.router) {
        crate::router::check(router, &base.fingerprint, None).map_err(Problem::of(path))?;
    }
    let optional = OPTIONAL.into_iter().filter(|(member, _)| *member == ROUTER && router.is_some());
    let members: Vec<&str> = CONTENT.into_iter().chain(optional).map(|(member, _)| member).collect();
    let fill = |member: &&str| match *member {
        LICENSE => Content::Bytes(license_text.clone().into_bytes()),
        NOTICE => Content::Bytes(notice(&manifest, corpus).into_bytes()),
        CARD => Content::Bytes(card(&manifest, corpus, evaluation, draft.about.as_deref()).into_bytes()),
        ADAPTER_CONFIG => Content::Bytes(config.clone().into_bytes()),
        ADAPTER_WEIGHTS => Content::File(weights_path.clone()),
        CORPUS => Content::Bytes(canonical_json(corpus)),
        EVALUATION => Content::Bytes(canonical_json(evaluation)),
        FACTS => Content::Bytes(facts_bytes.clone()),
        RECIPE => Content::Bytes(recipe.clone().into_bytes()),
        ROUTER => Content::File(draft.router.clone().unwrap_or_default()),
        other => unreachable!("`{other}` is content that nobody fills"),
    };
    let content: Vec<Content> = members.iter().map(fill).collect();
    for (member, content) in members.iter().zip(&content) {
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

fn read_weights(name: &'static str, path: &Path) -> Result<Weights> {
    let mut check = WeightsCheck::new(name, fs::metadata(path).map_err(Error::io(path))?.len());
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
    let folder = folder_of(output);
    fs::create_dir_all(folder).map_err(Error::io(folder))?;
    let mut temporary = file_beside(folder).map_err(Error::io(folder))?;
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
