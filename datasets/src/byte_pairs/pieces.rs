//! Text cut into pieces that are encoded each by itself, as the regular expression of GPT-2 cuts it:
//! `'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+`.
//!
//! Where digits stand alone they end what is before them, as the end of the text does.

use super::classes::{Class, Classes};

/// The pieces of a text, in order; together they are the text.
pub(super) struct Pieces<'a> {
    text: &'a [u8],
    classes: &'a Classes,
    at: usize,
}

/// What may follow an apostrophe, in the order in which it is tried.
const SHORTENED: [&[u8]; 7] = [b"s", b"t", b"re", b"ve", b"m", b"ll", b"d"];

impl<'a> Pieces<'a> {
    pub fn new(text: &'a str, classes: &'a Classes) -> Self {
        Self { text: text.as_bytes(), classes, at: 0 }
    }

    /// The class of the character at a byte, and its bytes; `None` at the end.
    #[inline]
    fn class(&self, at: usize) -> Option<(Class, usize)> {
        (at < self.text.len()).then(|| self.classes.at(self.text, at))
    }

    /// Where a run of one class ends.
    #[inline]
    fn run(&self, mut at: usize, class: Class) -> usize {
        while let Some((found, length)) = self.class(at)
            && found == class
        {
            at += length;
        }
        at
    }

    /// The end of the piece that begins with white space.
    #[inline]
    fn space(&self, start: usize) -> usize {
        let (mut at, mut last) = (start, start);
        while let Some((Class::Space, length)) = self.class(at) {
            last = at;
            at += length;
        }
        // The last one goes with what follows, unless it is the only one or nothing follows.
        let followed = self.class(at).is_some_and(|(class, _)| class != Class::Alone);
        if followed && last > start { last } else { at }
    }

    #[inline]
    fn end(&self) -> Option<usize> {
        let start = self.at;
        let (class, length) = self.class(start)?;
        let after = start + length;
        Some(match class {
            Class::Alone => after,
            Class::Space => match self.class(after) {
                Some((next, length)) if self.text[start] == b' ' && !matches!(next, Class::Space | Class::Alone) => {
                    self.run(after + length, next)
                }
                _ => self.space(start),
            },
            Class::Other if self.text[start] == b'\'' => {
                let shortened = SHORTENED.iter().find(|ending| self.text[after..].starts_with(ending));
                shortened.map_or_else(|| self.run(after, class), |ending| after + ending.len())
            }
            class => self.run(after, class),
        })
    }
}

impl<'a> Iterator for Pieces<'a> {
    type Item = &'a [u8];

    #[inline]
    fn next(&mut self) -> Option<&'a [u8]> {
        let end = self.end()?;
        let piece = &self.text[self.at..end];
        self.at = end;
        Some(piece)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn pieces(text: &str, single_digits: bool) -> Vec<String> {
        let classes = Classes::new(single_digits).unwrap();
        Pieces::new(text, &classes).map(|piece| String::from_utf8(piece.to_vec()).unwrap()).collect()
    }

    #[test]
    fn words_take_the_space_before_them() {
        assert_eq!(
            pieces("It's  well-known,\n\n  he said ", false),
            ["It", "'s", " ", " well", "-", "known", ",", "\n\n ", " he", " said", " "]
        );
        assert_eq!(pieces("'tis 'S !!'s \n", false), ["'t", "is", " '", "S", " !!'", "s", " \n"]);
    }

    #[test]
    fn digits_stand_alone_where_they_are_asked_to() {
        assert_eq!(pieces("a  12 b", false), ["a", " ", " 12", " b"]);
        assert_eq!(pieces("a  12 b", true), ["a", "  ", "1", "2", " b"]);
    }
}
