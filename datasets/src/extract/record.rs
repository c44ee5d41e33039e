//! What every format gives: one record at a time.

use std::cell::Cell;
use std::io::{self, Read};

use minijinja::Value;

/// A record as the templates see it.
pub(super) struct Record {
    pub value: Value,
    /// The whole file where the format has such a thing.
    pub root: Value,
    /// The last step of the path to the record.
    pub key: String,
}

/// Takes each record, or what is wrong with one that is left out.
pub(super) type Sink<'a> = dyn FnMut(Result<Record, String>) + 'a;

/// The text of a file, without byte order mark.
pub(super) fn utf8(bytes: &[u8]) -> Result<&str, String> {
    let text = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let mark = bytes.len() - text.len();
    std::str::from_utf8(text).map_err(|e| format!("it is not UTF-8 at byte {}", mark + e.valid_up_to()))
}

/// Why the bytes of a file are not the text they should be.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct NotText(String);

fn not_text(problem: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, NotText(problem))
}

/// Passes on the text of a file without byte order mark. What is not UTF-8 is an error, and so is a record of too
/// many bytes.
pub(super) struct Utf8<'a, R> {
    inner: R,
    /// Bytes passed on, the mark included.
    passed: u64,
    /// The beginning of a character whose end is not read yet.
    begun: Vec<u8>,
    /// What was read to look for the mark, and how much of it is passed on.
    head: Option<(Vec<u8>, usize)>,
    /// Bytes read since a record began; whoever sees one begin sets it to 0.
    record: &'a Cell<u64>,
    most: u64,
}

impl<'a, R: Read> Utf8<'a, R> {
    pub fn new(inner: R, record: &'a Cell<u64>, most: u64) -> Self {
        Self { inner, passed: 0, begun: Vec::new(), head: None, record, most }
    }

    fn some(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        if self.head.is_none() {
            let mut head = Vec::new();
            (&mut self.inner).take(3).read_to_end(&mut head)?;
            let marked = head == b"\xef\xbb\xbf";
            self.passed = if marked { 3 } else { 0 };
            self.head = Some((head, if marked { 3 } else { 0 }));
        }
        let (head, at) = self.head.as_mut().expect("made above");
        if *at < head.len() {
            let count = bytes.len().min(head.len() - *at);
            bytes[..count].copy_from_slice(&head[*at..*at + count]);
            *at += count;
            return Ok(count);
        }
        self.inner.read(bytes)
    }

    /// Looks at bytes that are passed on.
    fn check(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        let wrong = |at: u64| not_text(format!("it is not UTF-8 at byte {at}"));
        while !self.begun.is_empty() && !bytes.is_empty() {
            let start = self.passed - self.begun.len() as u64;
            self.begun.push(bytes[0]);
            bytes = &bytes[1..];
            self.passed += 1;
            match std::str::from_utf8(&self.begun) {
                Ok(_) => self.begun.clear(),
                Err(e) if e.error_len().is_some() => return Err(wrong(start)),
                Err(_) => {}
            }
        }
        if let Err(e) = std::str::from_utf8(bytes) {
            if e.error_len().is_some() {
                return Err(wrong(self.passed + e.valid_up_to() as u64));
            }
            self.begun = bytes[e.valid_up_to()..].to_vec();
        }
        self.passed += bytes.len() as u64;
        Ok(())
    }
}

impl<R: Read> Read for Utf8<'_, R> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let read = self.some(bytes)?;
        if read == 0 && !bytes.is_empty() && !self.begun.is_empty() {
            return Err(not_text(format!("it is not UTF-8 at byte {}", self.passed - self.begun.len() as u64)));
        }
        self.check(&bytes[..read])?;
        self.record.set(self.record.get() + read as u64);
        if self.record.get() > self.most.saturating_add(bytes.len() as u64) {
            return Err(not_text(format!("a record of more than {} bytes", self.most)));
        }
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// Gives one byte at a time.
    struct Slow<'a>(&'a [u8]);

    impl Read for Slow<'_> {
        fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
            let (Some((first, rest)), false) = (self.0.split_first(), bytes.is_empty()) else { return Ok(0) };
            bytes[0] = *first;
            self.0 = rest;
            Ok(1)
        }
    }

    #[test]
    fn text_passes_and_the_first_wrong_byte_is_named_however_it_is_read() {
        let long = [&b"x".repeat(5000)[..], "日".as_bytes(), b"\xc3"].concat();
        let cases: [&[u8]; 8] = [
            b"",
            b"a",
            "\u{feff}caf\u{e9} \u{1f642}".as_bytes(),
            b"\xef\xbb",
            b"The caf\xe9 by",
            b"a\xf0\x9f",
            b"\xff",
            &long,
        ];
        for given in cases {
            let record = Cell::new(0);
            let mut text = String::new();
            let fast = Utf8::new(given, &record, 1 << 20).read_to_string(&mut text).map_err(|e| e.to_string());
            let mut slowly = String::new();
            let slow = Utf8::new(Slow(given), &record, 1 << 20).read_to_string(&mut slowly).map_err(|e| e.to_string());
            match utf8(given) {
                Ok(expected) => assert_eq!((text.as_str(), slowly.as_str()), (expected, expected)),
                Err(problem) => assert_eq!((fast.unwrap_err(), slow.unwrap_err()), (problem.clone(), problem)),
            }
        }
    }

    #[test]
    fn a_record_without_end_is_an_error() {
        let record = Cell::new(0);
        let mut endless = Utf8::new(io::repeat(b'x'), &record, 1000);
        let error = io::copy(&mut endless, &mut io::sink()).unwrap_err().to_string();
        assert!(error.contains("a record of more than 1000 bytes"), "{error}");
    }
}
