//! Lines of a file, of which one at a time is in memory.

use std::io::BufRead;

use super::container::unreadable;

/// A line.
pub(super) struct Line<'a> {
    /// Its number, from 0.
    pub number: u64,
    /// Its text with its end; `None` if that has too many bytes.
    pub text: Option<&'a str>,
}

/// The lines of a text.
pub(super) struct Lines<R> {
    reader: R,
    most: u64,
    line: Vec<u8>,
    number: u64,
}

impl<R: BufRead> Lines<R> {
    /// Lines of at most `most` bytes; the text of longer ones is passed over. The reader gives UTF-8.
    pub fn new(reader: R, most: u64) -> Self {
        Self { reader, most, line: Vec::new(), number: 0 }
    }

    /// The next line; `Err` says why the file cannot be read on.
    pub fn next(&mut self) -> Result<Option<Line<'_>>, String> {
        self.line.clear();
        let (mut ended, mut any, mut too_long) = (false, false, false);
        while !ended {
            let part = self.reader.fill_buf().map_err(|e| unreadable(&e))?;
            if part.is_empty() {
                break;
            }
            any = true;
            let end = part.iter().position(|byte| *byte == b'\n');
            let length = end.map_or(part.len(), |end| end + 1);
            too_long |= (self.line.len() + length) as u64 > self.most;
            if !too_long {
                self.line.extend_from_slice(&part[..length]);
            }
            ended = end.is_some();
            self.reader.consume(length);
        }
        if !any {
            return Ok(None);
        }
        self.number += 1;
        let number = self.number - 1;
        if too_long {
            self.line = Vec::new();
            return Ok(Some(Line { number, text: None }));
        }
        let text = std::str::from_utf8(&self.line).map_err(|e| format!("it is not UTF-8: {e}"))?;
        Ok(Some(Line { number, text: Some(text) }))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::io::BufReader;

    use super::*;

    #[test]
    fn lines_that_are_too_long_are_passed_over() {
        let text = format!("one\n{}\n\ntwo", "x".repeat(100));
        for capacity in [1, 7, 1000] {
            let mut lines = Lines::new(BufReader::with_capacity(capacity, text.as_bytes()), 50);
            let mut found = Vec::new();
            while let Some(line) = lines.next().unwrap() {
                found.push((line.number, line.text.map(str::to_owned)));
            }
            let some = |text: &str| Some(text.to_owned());
            assert_eq!(found, [(0, some("one\n")), (1, None), (2, some("\n")), (3, some("two"))], "{capacity}");
        }
    }
}
