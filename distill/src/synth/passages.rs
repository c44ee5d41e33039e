//! Passages of documents, of which a fair sample is chosen.

use std::collections::BinaryHeap;

use lore_model::sampling::Random;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// Words of the shortest passage that is written from.
const LEAST: usize = 40;

/// A part of a document, a few paragraphs or sentences long.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Passage {
    /// The document's id and the passage's number in it.
    pub id: String,
    /// The document's id.
    pub document: String,
    /// The text.
    pub text: String,
}

/// Takes documents one by one and keeps so many of their passages, drawn with a seed: the choice is the same in
/// whatever order the documents come, and no more passages than that are in memory.
pub struct PassagePicker {
    most_words: usize,
    most: usize,
    seed: u64,
    /// The largest key first.
    kept: BinaryHeap<(u64, Passage)>,
}

impl PassagePicker {
    /// Keeps `most` passages of at most `most_words` words.
    pub fn new(most: usize, most_words: usize, seed: u64) -> Self {
        Self { most_words: most_words.max(LEAST), most, seed, kept: BinaryHeap::new() }
    }

    /// Considers the passages of a document.
    pub fn document(&mut self, id: &str, text: &str) {
        for (number, text) in cut(text, self.most_words).into_iter().enumerate() {
            let passage = Passage { id: format!("{id}/{number}"), document: id.to_owned(), text };
            let key = key(self.seed, &passage.id);
            if self.kept.len() == self.most && self.kept.peek().is_some_and(|(last, _)| key >= *last) {
                continue;
            }
            self.kept.push((key, passage));
            if self.kept.len() > self.most {
                self.kept.pop();
            }
        }
    }

    /// The passages, in the order of the draw.
    pub fn finish(self) -> Vec<Passage> {
        self.kept.into_sorted_vec().into_iter().map(|(_, passage)| passage).collect()
    }

    /// Words of the shortest and the longest passage.
    pub fn words(&self) -> (usize, usize) {
        (LEAST, self.most_words)
    }
}

fn key(seed: u64, id: &str) -> u64 {
    let digest = Sha256::digest(id.as_bytes());
    let head = u64::from_le_bytes(digest[..8].try_into().expect("a digest has 32 bytes"));
    Random::new(seed, head).bits()
}

/// Passages of whole sentences, of at least [`LEAST`] and at most `most` words. Sentences are cut at paragraphs and
/// behind `.`, `!` and `?`; a longer one, and what is left over, is in none.
fn cut(text: &str, most: usize) -> Vec<String> {
    let mut passages = Vec::new();
    let (mut passage, mut words) = (String::new(), 0);
    let mut close = |passage: &mut String, words: &mut usize| {
        if *words >= LEAST {
            passages.push(passage.trim().to_owned());
        }
        passage.clear();
        *words = 0;
    };
    for line in text.lines().filter(|line| !line.trim().is_empty()) {
        for sentence in sentences(line) {
            let more = sentence.split_whitespace().count();
            if words + more > most {
                close(&mut passage, &mut words);
            }
            if more <= most {
                passage.push_str(sentence);
                words += more;
            }
        }
        passage.truncate(passage.trim_end().len());
        passage.push('\n');
    }
    close(&mut passage, &mut words);
    passages
}

/// Sentences with the spaces behind them.
fn sentences(line: &str) -> Vec<&str> {
    let mut found = Vec::new();
    let mut rest = line;
    while let Some(end) = end_of_sentence(rest) {
        let (sentence, after) = rest.split_at(end);
        found.push(sentence);
        rest = after;
    }
    if !rest.is_empty() {
        found.push(rest);
    }
    found
}

/// Behind the first mark that ends a sentence: followed by a space and a capital letter, and not after an initial.
fn end_of_sentence(text: &str) -> Option<usize> {
    text.match_indices(['.', '!', '?']).find_map(|(at, mark)| {
        let after = text[at + mark.len()..].trim_start_matches(['"', '”', '’', ')']);
        let next = after.trim_start();
        let before = text[..at].rsplit(char::is_whitespace).next().unwrap_or_default();
        let ends = next.len() < after.len()
            && next.starts_with(|c: char| c.is_uppercase() || c == '"' || c == '“')
            && before.chars().count() > 1;
        ends.then(|| text.len() - next.len())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sentences_end_where_a_reader_ends_them() {
        let line = "Water runs downhill. “Does it?” asked J. Smith. Yes! It ran 3.5 km, e.g. to the sea.";
        assert_eq!(
            sentences(line),
            ["Water runs downhill. ", "“Does it?” asked J. Smith. ", "Yes! ", "It ran 3.5 km, e.g. to the sea."]
        );
    }

    #[test]
    fn passages_are_whole_sentences_of_so_many_words() {
        let sentence = |n: usize| format!("Sentence {n} has these seven other words. ");
        let text: String = (0..30).map(|n| sentence(n) + if n % 10 == 9 { "\n\n" } else { "" }).collect();
        let passages = cut(&text, 60);
        assert_eq!(passages.len(), 4);
        for passage in &passages {
            let words = passage.split_whitespace().count();
            assert!((LEAST..=60).contains(&words) && passage.starts_with("Sentence ") && passage.ends_with("words."));
        }
        assert!(passages[1].contains("words.\nSentence"), "paragraphs stay apart: {}", passages[1]);
        assert!(cut("Too short.", 60).is_empty());
    }

    #[test]
    fn the_draw_does_not_depend_on_the_order_of_documents() {
        let text: String = (0..40).map(|n| format!("Here stands sentence number {n} with its words. ")).collect();
        let pick = |ids: &mut dyn Iterator<Item = usize>, seed| {
            let mut picker = PassagePicker::new(10, 50, seed);
            ids.for_each(|id| picker.document(&id.to_string(), &text));
            picker.finish()
        };
        let forward = pick(&mut (0..20), 1);
        assert_eq!(forward.len(), 10);
        assert_eq!(forward, pick(&mut (0..20).rev(), 1));
        assert_ne!(forward, pick(&mut (0..20), 2));
    }
}
