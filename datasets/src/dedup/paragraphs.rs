//! Paragraphs that stand in an earlier place already.

use std::borrow::Cow;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use rayon::prelude::*;

use super::near::{self, Bands, Texts};
use super::{DedupSpec, Duplicate, Kind, Numbers, Repeat};
use crate::clean::excerpt;
use crate::error::{Error, Result};
use crate::read_at::read_at;
use crate::sort::Sorter;
use crate::spool::{Corpus, CorpusWriter, Spool};
use crate::words::Words;

/// Paragraphs are separated by blank lines; a text without any has one per line.
pub(crate) fn separator(text: &str) -> &'static str {
    if text.contains("\n\n") { "\n\n" } else { "\n" }
}

/// The paragraphs of a text with where each begins, in bytes.
fn parts(text: &str) -> impl Iterator<Item = (u64, &str)> {
    let separator = separator(text);
    let mut at = 0;
    text.split(separator).map(move |part| {
        let begin = at as u64;
        at += part.len() + separator.len();
        (begin, part)
    })
}

/// Where paragraphs stand, on disk.
struct Places<'a> {
    documents: &'a Spool,
    file: File,
    folder: PathBuf,
}

impl Places<'_> {
    /// Document, first byte and the byte behind the last.
    fn place(&self, number: u64) -> Result<[u64; 3]> {
        let mut bytes = [0; 24];
        read_at(&self.file, &mut bytes, 24 * number).map_err(|e| Error::io(&self.folder, e))?;
        let mut place = [0; 3];
        for (number, bytes) in place.iter_mut().zip(bytes.chunks_exact(8)) {
            *number = u64::from_le_bytes(bytes.try_into().expect("chunks of eight"));
        }
        Ok(place)
    }
}

impl Texts for Places<'_> {
    fn text(&self, number: u64) -> Result<Cow<'_, str>> {
        let [document, start, end] = self.place(number)?;
        Ok(Cow::Owned(self.documents.text_part(document, start..end)?))
    }
}

/// Cuts repeated paragraphs; a document of which nothing is left is dropped. How many paragraphs were cut.
pub(super) fn without_repeated(
    corpus: Corpus,
    spec: &DedupSpec,
    duplicate: &mut dyn FnMut(Duplicate) -> Result<()>,
) -> Result<(Corpus, u64)> {
    let folder = corpus.spool.folder().to_owned();
    let (bands, file, count) = find(&corpus, spec, &folder)?;
    let places = Places { documents: &corpus.spool, file, folder: folder.clone() };
    // In the order in which documents are read again.
    let mut cuts = Sorter::new(&folder);
    let mut cut = 0;
    near::duplicates(
        bands,
        &places,
        |_| false,
        &mut Numbers::new(count),
        |Repeat { kept, dropped, similarity }| {
            let [document, start, _] = places.place(dropped)?;
            cuts.push([document, start])?;
            cut += 1;
            duplicate(Duplicate {
                kind: Kind::Paragraph,
                kept: corpus.spool.id(places.place(kept)?[0])?,
                dropped: corpus.spool.id(document)?,
                similarity,
                excerpt: excerpt(&places.text(dropped)?),
            })
        },
    )?;
    if cut == 0 {
        return Ok((corpus, 0));
    }
    let mut cuts = cuts.finish()?.peekable();
    let mut rest = CorpusWriter::create(&folder)?;
    for batch in corpus.batches() {
        for (number, mut document, split) in batch? {
            let mut starts = Vec::new();
            while let Some(cut) = cuts.next_if(|cut| cut.as_ref().is_ok_and(|cut| cut[0] == number)) {
                starts.push(cut?[1]);
            }
            // What is left is what cannot be read.
            if let Some(Err(_)) = cuts.peek() {
                cuts.next().transpose()?;
            }
            if !starts.is_empty() {
                let kept = parts(&document.text).filter(|(start, _)| starts.binary_search(start).is_err());
                let kept: Vec<&str> = kept.map(|(_, part)| part).collect();
                document.text = kept.join(separator(&document.text)).trim_matches('\n').to_owned();
            }
            if !document.text.trim().is_empty() {
                rest.push(document, split)?;
            }
        }
    }
    Ok((rest.finish()?, cut))
}

/// The bands of all paragraphs that are long enough, where those stand, and how many there are.
fn find(corpus: &Corpus, spec: &DedupSpec, folder: &Path) -> Result<(Bands, File, u64)> {
    let failed = |e| Error::io(folder, e);
    let mut bands = Bands::new(&spec.near_spec(), folder);
    let mut places = BufWriter::with_capacity(1 << 18, tempfile::tempfile_in(folder).map_err(failed)?);
    let mut count = 0;
    for batch in corpus.batches() {
        let found: Vec<Vec<([u64; 3], Vec<u64>)>> = batch?
            .par_iter()
            .map(|(number, document, _)| {
                let long = parts(&document.text).filter_map(|(start, part)| {
                    let words = Words::of(part);
                    let place = [*number, start, start + part.len() as u64];
                    (words.hashes.len() >= spec.min_paragraph_words).then(|| (place, bands.keys(&words)))
                });
                long.collect()
            })
            .collect();
        for (place, keys) in found.into_iter().flatten() {
            bands.add(count, &keys)?;
            place.iter().try_for_each(|n| places.write_all(&n.to_le_bytes())).map_err(failed)?;
            count += 1;
        }
    }
    let places = places.into_inner().map_err(|e| Error::io(folder, e.into_error()))?;
    Ok((bands, places, count))
}
