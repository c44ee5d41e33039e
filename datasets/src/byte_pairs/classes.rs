//! Classes of characters, as the regular expression of GPT-2 asks for them.

use onig::Regex;

/// What a character is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Class {
    /// None of the others.
    Other,
    /// `\p{L}`.
    Letter,
    /// `\p{N}`.
    Number,
    /// `\s`.
    Space,
    /// A digit that stands alone.
    Alone,
}

/// Characters from here on are in no class: unassigned planes, tags, variation selectors and private use.
const END: usize = 0x3_2400;

/// The class of every character.
pub(super) struct Classes {
    table: Vec<Class>,
}

impl Classes {
    /// Asks the library that `tokenizers` cuts text with, so that both know the same version of Unicode.
    pub fn new(single_digits: bool) -> Option<Self> {
        let all: String = (0..END as u32).filter_map(char::from_u32).collect();
        let mut table = vec![Class::Other; END];
        for (pattern, class) in [(r"\p{L}+", Class::Letter), (r"\p{N}+", Class::Number), (r"\s+", Class::Space)] {
            let regex = Regex::new(pattern).ok()?;
            for (start, end) in regex.find_iter(&all) {
                all[start..end].chars().for_each(|c| table[c as usize] = class);
            }
        }
        if single_digits {
            // As the step `Digits` does, which comes before the regular expression.
            all.chars().filter(|c| c.is_numeric()).for_each(|c| table[c as usize] = Class::Alone);
        }
        Some(Self { table })
    }

    /// The class of the character that begins at a boundary of UTF-8, and its bytes.
    #[inline]
    pub fn at(&self, text: &[u8], at: usize) -> (Class, usize) {
        let first = text[at];
        let rest = |i: usize| usize::from(text[at + i] & 0x3f);
        let (code, length) = match first {
            0..0x80 => (usize::from(first), 1),
            0x80..0xe0 => (usize::from(first & 0x1f) << 6 | rest(1), 2),
            0xe0..0xf0 => (usize::from(first & 0xf) << 12 | rest(1) << 6 | rest(2), 3),
            0xf0.. => (usize::from(first & 7) << 18 | rest(1) << 12 | rest(2) << 6 | rest(3), 4),
        };
        (self.table.get(code).copied().unwrap_or(Class::Other), length)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn no_character_beyond_the_table_is_in_a_class() {
        let beyond: String = (END as u32..=0x10_ffff).filter_map(char::from_u32).collect();
        assert!(Regex::new(r"\p{L}|\p{N}|\s").unwrap().find(&beyond).is_none());
        assert!(!beyond.chars().any(char::is_numeric));
    }

    #[test]
    fn characters_are_read_as_they_are_written() {
        let classes = Classes::new(true).unwrap();
        let found = |text: &str| classes.at(text.as_bytes(), 0);
        assert_eq!(found("a"), (Class::Letter, 1));
        assert_eq!(found("7"), (Class::Alone, 1));
        assert_eq!(found("é"), (Class::Letter, 2));
        assert_eq!(found("\u{2003}"), (Class::Space, 3));
        assert_eq!(found("𝔘"), (Class::Letter, 4));
        assert_eq!(found("🙂"), (Class::Other, 4));
        assert_eq!(found("\u{10ffff}"), (Class::Other, 4));
        assert_eq!(Classes::new(false).unwrap().at("Ⅷ".as_bytes(), 0), (Class::Number, 3));
    }
}
