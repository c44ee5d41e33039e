//! What the rules look at, measured once per document.

use std::collections::HashSet;

use super::repetition::{Repetition, repetition};

/// Words that connected English is full of (Rae et al. 2021).
const STOP_WORDS: [&str; 8] = ["the", "be", "to", "of", "and", "that", "have", "with"];
/// Ends of sentences and lines, before a closing quotation mark or bracket.
const ENDS: [char; 4] = ['.', '!', '?', '…'];

/// Counts and fractions of one text. Fractions of nothing are 0.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Measures {
    /// Words, separated by white space.
    pub words: usize,
    /// Characters of an average word.
    pub word_length: f64,
    /// `#` for each word.
    pub hashes: f64,
    /// Ellipses (`...` or `…`) for each word.
    pub ellipses: f64,
    /// Of words, those with a letter.
    pub alphabetic: f64,
    /// How many of eight very frequent words occur.
    pub stop_words: usize,
    /// Lines that are not blank.
    pub lines: usize,
    /// Of lines, those that begin with a bullet.
    pub bullets: f64,
    /// Of lines, those that end with an ellipsis.
    pub ellipsis_lines: f64,
    /// Of lines, those that end with punctuation.
    pub ended_lines: f64,
    /// Of lines, those with fewer than 30 characters.
    pub short_lines: f64,
    /// Ends of sentences.
    pub sentences: usize,
    /// What is said twice.
    pub repetition: Repetition,
    /// Whether `lorem ipsum` occurs.
    pub lorem_ipsum: bool,
    /// Whether `{` occurs.
    pub curly_bracket: bool,
}

impl Measures {
    /// Measures a text.
    pub fn of(text: &str) -> Self {
        let words: Vec<&str> = text.split_whitespace().collect();
        let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
        let lengths: Vec<u32> = words.iter().map(|word| word.chars().count() as u32).collect();
        let share = |count: usize, of: usize| if of == 0 { 0.0 } else { count as f64 / of as f64 };
        let of_lines = |wanted: &dyn Fn(&str) -> bool| share(lines.iter().filter(|l| wanted(l)).count(), lines.len());
        let bullet = |line: &str| line.starts_with(['•', '‣', '●', '○', '◦', '▪', '*', '-', '–']);
        let sentences = words.iter().filter(|word| ends_sentence(word)).count();
        let mut seen = HashSet::new();
        for word in &words {
            let word = word.trim_matches(|c: char| !c.is_alphabetic());
            if let Some(stop) = STOP_WORDS.iter().find(|stop| word.eq_ignore_ascii_case(stop)) {
                seen.insert(*stop);
            }
        }
        Self {
            words: words.len(),
            word_length: share(lengths.iter().map(|length| *length as usize).sum(), words.len()),
            hashes: share(text.matches('#').count(), words.len()),
            ellipses: share(text.matches("...").count() + text.matches('…').count(), words.len()),
            alphabetic: share(words.iter().filter(|w| w.chars().any(char::is_alphabetic)).count(), words.len()),
            stop_words: seen.len(),
            lines: lines.len(),
            bullets: of_lines(&bullet),
            ellipsis_lines: of_lines(&|line| line.ends_with("...") || line.ends_with('…')),
            ended_lines: of_lines(&ends_sentence),
            short_lines: of_lines(&|line| line.chars().take(30).count() < 30),
            sentences,
            repetition: repetition(text, &words, &lengths),
            lorem_ipsum: text.as_bytes().windows(11).any(|window| window.eq_ignore_ascii_case(b"lorem ipsum")),
            curly_bracket: text.contains('{'),
        }
    }
}

/// Whether a word or line ends a sentence, perhaps inside quotation marks or brackets.
pub(super) fn ends_sentence(text: &str) -> bool {
    text.trim_end_matches(['"', '\'', '”', '’', ')', ']', '»']).ends_with(ENDS)
        || text.ends_with(['"', '”']) && text.len() > 1 && text.contains(' ')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn measures_are_those_counted_by_hand() {
        let text = "The cat sat. “Why?”\n- one two #\n\n• three...\n12 34 …";
        let m = Measures::of(text);
        // The cat sat. “Why?” | - one two # | • three... | 12 34 …
        assert_eq!((m.words, m.lines), (13, 4));
        let characters = 3 + 3 + 4 + 6 + 1 + 3 + 3 + 1 + 1 + 8 + 2 + 2 + 1;
        assert!((m.word_length - f64::from(characters) / 13.0).abs() < 1e-12);
        assert!((m.hashes - 1.0 / 13.0).abs() < 1e-12);
        assert!((m.ellipses - 2.0 / 13.0).abs() < 1e-12);
        assert!((m.alphabetic - 7.0 / 13.0).abs() < 1e-12);
        assert_eq!((m.stop_words, m.bullets, m.ellipsis_lines, m.ended_lines), (1, 0.5, 0.5, 0.75));
        assert_eq!((m.short_lines, m.sentences, m.curly_bracket), (1.0, 4, false));
        assert_eq!(Measures::of("").words, 0);
        assert!(Measures::of("x Lorem IPSUM {").lorem_ipsum);
    }
}
