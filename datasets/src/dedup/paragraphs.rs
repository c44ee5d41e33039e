//! Paragraphs that stand in an earlier place already.

use rayon::prelude::*;

use super::{DedupSpec, Duplicate, Kind, Repeat, near};
use crate::clean::excerpt;
use crate::extract::Extracted;
use crate::words::Words;

/// Paragraphs are separated by blank lines; a text without any has one per line.
pub(crate) fn separator(text: &str) -> &'static str {
    if text.contains("\n\n") { "\n\n" } else { "\n" }
}

/// Cuts repeated paragraphs; a document of which nothing is left is dropped.
pub(super) fn without_repeated(
    mut documents: Vec<Extracted>,
    spec: &DedupSpec,
    duplicates: &mut Vec<Duplicate>,
) -> Vec<Extracted> {
    let long_enough = |part: &&str| Words::of(part).hashes.len() >= spec.min_paragraph_words;
    let parts: Vec<(usize, &str)> = documents
        .par_iter()
        .enumerate()
        .flat_map_iter(|(number, document)| {
            let parts = document.text.split(separator(&document.text)).filter(long_enough);
            parts.map(move |part| (number, part)).collect::<Vec<_>>()
        })
        .collect();
    let texts: Vec<&str> = parts.iter().map(|(_, part)| *part).collect();
    let repeats = near::duplicates(&texts, &spec.near_spec());
    if repeats.is_empty() {
        return documents;
    }
    // Texts are told apart by where they stand, since the same words are both kept and cut.
    let mut cut: Vec<Vec<*const u8>> = vec![Vec::new(); documents.len()];
    for Repeat { kept, dropped, similarity } in repeats {
        let (number, text) = parts[dropped];
        cut[number].push(text.as_ptr());
        duplicates.push(Duplicate {
            kind: Kind::Paragraph,
            kept: documents[parts[kept].0].id.clone(),
            dropped: documents[number].id.clone(),
            similarity,
            excerpt: excerpt(text),
        });
    }
    let rest: Vec<Option<String>> = documents
        .iter()
        .zip(&cut)
        .map(|(document, cut)| {
            let separator = separator(&document.text);
            let kept = document.text.split(separator).filter(|part| !cut.contains(&part.as_ptr()));
            (!cut.is_empty()).then(|| kept.collect::<Vec<_>>().join(separator))
        })
        .collect();
    for (document, rest) in documents.iter_mut().zip(rest) {
        if let Some(text) = rest {
            document.text = text.trim_matches('\n').to_owned();
        }
    }
    documents.retain(|document| !document.text.trim().is_empty());
    documents
}
