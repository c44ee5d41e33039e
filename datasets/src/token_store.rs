//! Token ids of many documents, memory-mapped.
//!
//! A store is a folder:
//!
//! | file | content |
//! |---|---|
//! | `tokens.bin` | the token ids of all documents one after another, u32 little-endian |
//! | `documents.bin` | u64 little-endian: for `n` documents the `n + 1` token offsets, then the `n` lengths in bytes of their texts |
//! | `tokens.json` | the [`Manifest`], written last: without it there is no store |

use std::fs::{self, File};
use std::io::{BufWriter, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use memmap2::Mmap;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tempfile::NamedTempFile;

use crate::documents::hex;
use crate::error::{Error, Result};
use crate::split::Split;
use crate::tokenise::Boundaries;

const TOKENS: &str = "tokens.bin";
const DOCUMENTS: &str = "documents.bin";
const MANIFEST: &str = "tokens.json";
const FORMAT: &str = "lore-tokens";
const VERSION: u32 = 1;
/// A manifest is much smaller than this.
const MAX_MANIFEST_BYTES: u64 = 1 << 20;

/// What a store holds and was made from. Hashes are SHA-256, hexadecimal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    format: String,
    version: u32,
    /// Which split of the documents.
    pub split: Split,
    /// Documents.
    pub documents: u64,
    /// Tokens, boundaries included.
    pub tokens: u64,
    /// Bytes of text that the tokens stand for.
    pub text_bytes: u64,
    /// The tokens around every document.
    pub boundaries: Boundaries,
    /// Names the tokenizer.
    pub tokenizer: String,
    /// Names the table of documents.
    pub source: String,
    /// Of `tokens.bin`.
    pub tokens_sha256: String,
    /// Of `documents.bin`.
    pub documents_sha256: String,
}

impl Manifest {
    pub(crate) fn new(split: Split, boundaries: Boundaries, tokenizer: &str, source: &str) -> Self {
        Self {
            format: FORMAT.into(),
            version: VERSION,
            split,
            documents: 0,
            tokens: 0,
            text_bytes: 0,
            boundaries,
            tokenizer: tokenizer.into(),
            source: source.into(),
            tokens_sha256: String::new(),
            documents_sha256: String::new(),
        }
    }
}

/// Tokenised documents, read in place.
#[derive(Debug)]
pub struct TokenStore {
    folder: PathBuf,
    manifest: Manifest,
    tokens: Option<Mmap>,
    index: Mmap,
}

impl TokenStore {
    /// Opens a store and checks its lengths and offsets against its manifest. The hashes of the files are
    /// checked by [`verify`](Self::verify), which has to read all of it.
    ///
    /// # Errors
    /// [`Error::Tokens`] where the store is unfinished, damaged or of another version.
    pub fn open(folder: &Path) -> Result<Self> {
        let fail = |name: &str, problem: String| Error::Tokens { path: folder.join(name), problem };
        let path = folder.join(MANIFEST);
        let length = fs::metadata(&path).map_err(|e| Error::io(&path, e))?.len();
        if length > MAX_MANIFEST_BYTES {
            return Err(fail(MANIFEST, "it is too long for a manifest".into()));
        }
        let text = fs::read(&path).map_err(|e| Error::io(&path, e))?;
        let manifest: Manifest = serde_json::from_slice(&text)
            .map_err(|e| fail(MANIFEST, format!("it is not a manifest of tokens: {e}")))?;
        if manifest.format != FORMAT || manifest.version != VERSION {
            let found = format!("{} version {}", manifest.format, manifest.version);
            return Err(fail(MANIFEST, format!("it is {found}, but this program reads {FORMAT} version {VERSION}")));
        }
        let path = folder.join(DOCUMENTS);
        let file = File::open(&path).map_err(|e| Error::io(&path, e))?;
        let length = file.metadata().map_err(|e| Error::io(&path, e))?.len();
        let expected = manifest.documents.checked_mul(16).and_then(|b| b.checked_add(8));
        if expected != Some(length) {
            return Err(fail(
                DOCUMENTS,
                format!("it has {length} bytes, which does not fit {} documents", manifest.documents),
            ));
        }
        let index = map(&file).map_err(|e| Error::io(&path, e))?;
        let (offsets, bytes) = as_u64(&index).split_at(manifest.documents as usize + 1);
        if offsets[0] != 0 || offsets.last() != Some(&manifest.tokens) || !offsets.is_sorted() {
            return Err(fail(DOCUMENTS, format!("its offsets do not rise from 0 to {}", manifest.tokens)));
        }
        if bytes.iter().try_fold(0u64, |sum, &b| sum.checked_add(b)) != Some(manifest.text_bytes) {
            return Err(fail(DOCUMENTS, format!("its text lengths do not add up to {}", manifest.text_bytes)));
        }
        let path = folder.join(TOKENS);
        let file = File::open(&path).map_err(|e| Error::io(&path, e))?;
        let length = file.metadata().map_err(|e| Error::io(&path, e))?.len();
        if manifest.tokens.checked_mul(4) != Some(length) {
            return Err(fail(TOKENS, format!("it has {length} bytes, which does not fit {} tokens", manifest.tokens)));
        }
        let tokens = if length == 0 { None } else { Some(map(&file).map_err(|e| Error::io(&path, e))?) };
        Ok(Self { folder: folder.to_owned(), manifest, tokens, index })
    }

    /// What the store holds and was made from.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// How many documents there are.
    pub fn documents(&self) -> usize {
        self.manifest.documents as usize
    }

    /// All tokens, one document after another.
    pub fn tokens(&self) -> &[u32] {
        self.tokens.as_deref().map_or(&[], as_u32)
    }

    /// The tokens of document `index`, boundaries included.
    ///
    /// # Panics
    /// If there is no such document.
    pub fn document(&self, index: usize) -> &[u32] {
        let offsets = self.offsets();
        &self.tokens()[offsets[index] as usize..offsets[index + 1] as usize]
    }

    /// Bytes of text of document `index`.
    ///
    /// # Panics
    /// If there is no such document.
    pub fn document_bytes(&self, index: usize) -> u64 {
        as_u64(&self.index)[self.documents() + 1..][index]
    }

    /// Token offsets of the documents: one more than there are documents, rising from 0 to all tokens.
    pub fn offsets(&self) -> &[u64] {
        &as_u64(&self.index)[..=self.documents()]
    }

    /// SHA-256, hexadecimal, over both files' hashes and the boundaries: two stores with the same hash
    /// give the same batches.
    pub fn hash(&self) -> String {
        let Manifest { tokens_sha256, documents_sha256, boundaries, .. } = &self.manifest;
        hex(&Sha256::digest(format!(
            "{FORMAT} {VERSION}\n{tokens_sha256}\n{documents_sha256}\n{:?} {:?}\n",
            boundaries.bos, boundaries.eos
        )))
    }

    /// Reads everything and compares it with the hashes of the manifest.
    ///
    /// # Errors
    /// [`Error::Tokens`] naming the file that was changed.
    pub fn verify(&self) -> Result<()> {
        for (name, expected) in [(TOKENS, &self.manifest.tokens_sha256), (DOCUMENTS, &self.manifest.documents_sha256)] {
            let path = self.folder.join(name);
            let mut file = File::open(&path).map_err(|e| Error::io(&path, e))?;
            let mut hasher = Hashing { writer: std::io::sink(), hasher: Sha256::new() };
            std::io::copy(&mut file, &mut hasher).map_err(|e| Error::io(&path, e))?;
            let found = hex(&hasher.hasher.finalize());
            if found != *expected {
                return Err(Error::Tokens {
                    path,
                    problem: format!("its sha256 is {found}, but {expected} was written"),
                });
            }
        }
        Ok(())
    }
}

#[allow(unsafe_code)]
fn map(file: &File) -> std::io::Result<Mmap> {
    // SAFETY: stores are written under temporary names, renamed into place and never changed after.
    // Another program that truncates the file while it is mapped is outside what can be guarded here.
    unsafe { Mmap::map(file) }
}

#[cfg(target_endian = "big")]
compile_error!("token stores are little-endian and read in place");

#[allow(unsafe_code)]
fn as_u32(bytes: &[u8]) -> &[u32] {
    // SAFETY: every bit pattern is a valid u32.
    let (head, tokens, tail) = unsafe { bytes.align_to::<u32>() };
    assert!(head.is_empty() && tail.is_empty(), "a mapping starts on a page and the length was checked");
    tokens
}

#[allow(unsafe_code)]
fn as_u64(bytes: &[u8]) -> &[u64] {
    // SAFETY: every bit pattern is a valid u64.
    let (head, numbers, tail) = unsafe { bytes.align_to::<u64>() };
    assert!(head.is_empty() && tail.is_empty(), "a mapping starts on a page and the length was checked");
    numbers
}

/// Writes a store, document by document.
pub(crate) struct StoreWriter {
    folder: PathBuf,
    tokens: Hashing<BufWriter<NamedTempFile>>,
    /// Where each document ends.
    index: Hashing<BufWriter<NamedTempFile>>,
    /// Bytes of text of each document, written behind the former.
    bytes: BufWriter<File>,
    documents: u64,
    text_bytes: u64,
    total: u64,
}

struct Hashing<W> {
    writer: W,
    hasher: Sha256,
}

impl<W: Write> Write for Hashing<W> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let written = self.writer.write(bytes)?;
        self.hasher.update(&bytes[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.writer.flush()
    }
}

impl StoreWriter {
    /// Starts a store; one that stands in the folder is no longer valid.
    pub(crate) fn create(folder: &Path) -> Result<Self> {
        fs::create_dir_all(folder).map_err(|e| Error::io(folder, e))?;
        let old = folder.join(MANIFEST);
        match fs::remove_file(&old) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(Error::io(old, e)),
            _ => {}
        }
        let failed = |e| Error::io(folder, e);
        let named = |capacity| {
            let file = crate::whole::beside(folder).map_err(failed)?;
            Ok(Hashing { writer: BufWriter::with_capacity(capacity, file), hasher: Sha256::new() })
        };
        let mut index = named(1 << 16)?;
        index.write_all(&0u64.to_le_bytes()).map_err(failed)?;
        let bytes = BufWriter::new(tempfile::tempfile_in(folder).map_err(failed)?);
        let tokens = named(1 << 20)?;
        Ok(Self { folder: folder.to_owned(), tokens, index, bytes, documents: 0, text_bytes: 0, total: 0 })
    }

    pub(crate) fn document(&mut self, tokens: impl Iterator<Item = u32>, text_bytes: u64) -> Result<()> {
        let encoded: Vec<u8> = tokens.flat_map(u32::to_le_bytes).collect();
        self.tokens.write_all(&encoded).map_err(|e| Error::io(self.folder.join(TOKENS), e))?;
        self.total += encoded.len() as u64 / 4;
        self.text_bytes += text_bytes;
        self.documents += 1;
        let ends = self.index.write_all(&self.total.to_le_bytes());
        ends.and_then(|()| self.bytes.write_all(&text_bytes.to_le_bytes()))
            .map_err(|e| Error::io(self.folder.join(DOCUMENTS), e))
    }

    pub(crate) fn finish(self, mut manifest: Manifest) -> Result<TokenStore> {
        let Self { folder, tokens, mut index, bytes, documents, text_bytes, total } = self;
        let path = folder.join(DOCUMENTS);
        let failed = |e| Error::io(&path, e);
        let mut bytes = bytes.into_inner().map_err(|e| failed(e.into_error()))?;
        bytes.seek(SeekFrom::Start(0)).and_then(|_| std::io::copy(&mut bytes, &mut index)).map_err(failed)?;
        manifest.documents_sha256 = index.persist(&path)?;
        manifest.tokens_sha256 = tokens.persist(&folder.join(TOKENS))?;
        manifest.documents = documents;
        manifest.tokens = total;
        manifest.text_bytes = text_bytes;
        let mut text = serde_json::to_vec_pretty(&manifest).expect("a manifest is plain data");
        text.push(b'\n');
        write_atomically(&folder.join(MANIFEST), &text)?;
        TokenStore::open(&folder)
    }
}

impl Hashing<BufWriter<NamedTempFile>> {
    /// Gives the file its name; the hash of what it holds.
    fn persist(self, path: &Path) -> Result<String> {
        let file = self.writer.into_inner().map_err(|e| Error::io(path, e.into_error()))?;
        persist(file, path)?;
        Ok(hex(&self.hasher.finalize()))
    }
}

fn write_atomically(path: &Path, bytes: &[u8]) -> Result<()> {
    let folder = path.parent().expect("a file inside the store's folder");
    let mut file = crate::whole::beside(folder).map_err(|e| Error::io(folder, e))?;
    file.write_all(bytes).map_err(|e| Error::io(path, e))?;
    persist(file, path)
}

fn persist(file: NamedTempFile, path: &Path) -> Result<()> {
    file.as_file().sync_all().map_err(|e| Error::io(path, e))?;
    file.persist(path).map_err(|e| Error::io(path, e.error))?;
    Ok(())
}
