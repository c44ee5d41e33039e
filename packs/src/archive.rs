//! The container: POSIX ustar, reduced to one way of writing each file.
//!
//! A header is a function of name and size, so a reader compares it with the one it would write itself and
//! has nothing to interpret: no owners, times, links, modes, extensions or alternative number formats.

use std::io::{ErrorKind, Read, Write};

use tar::{EntryType, Header};

use crate::error::Problem;
use crate::format::check_name;

/// Size of a header, and what content is padded to.
pub(crate) const BLOCK: usize = 512;
/// Bytes that pass at once.
const CHUNK: usize = 1 << 16;

/// A member's name and size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) name: &'static str,
    pub(crate) size: u64,
}

/// Where members come from, one after another.
pub(crate) trait Members {
    /// The next member; the one before must have been read.
    fn next(&mut self) -> Result<Option<Entry>, Problem>;

    /// Passes the content of the current member on, in pieces.
    fn read(&mut self, sink: &mut dyn FnMut(&[u8]) -> Result<(), Problem>) -> Result<(), Problem>;
}

/// The one header of a member of this name and size.
pub(crate) fn header(name: &str, size: u64) -> Header {
    let mut header = Header::new_ustar();
    header.set_path(name).expect("names of the format are short and relative");
    header.set_mode(0o644);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_size(size);
    header.set_entry_type(EntryType::Regular);
    header.set_cksum();
    header
}

/// Writes one member of `size` bytes from `content`.
pub(crate) fn write_member(
    output: &mut dyn Write,
    name: &str,
    size: u64,
    content: &mut dyn Read,
) -> std::io::Result<()> {
    output.write_all(header(name, size).as_bytes())?;
    let copied = std::io::copy(&mut content.take(size), output)?;
    if copied != size {
        return Err(std::io::Error::new(
            ErrorKind::UnexpectedEof,
            format!("{name} became shorter while it was packed"),
        ));
    }
    output.write_all(&[0; BLOCK][..padding(size)])
}

/// Writes what ends every pack.
pub(crate) fn write_end(output: &mut dyn Write) -> std::io::Result<()> {
    output.write_all(&[0; 2 * BLOCK])
}

fn padding(size: u64) -> usize {
    (size.next_multiple_of(BLOCK as u64) - size) as usize
}

/// Reads a pack's members strictly, holding no more than a piece of one.
pub(crate) struct ArchiveReader<R> {
    input: R,
    current: Option<Entry>,
    first: bool,
    ended: bool,
}

impl<R: Read> ArchiveReader<R> {
    pub(crate) fn new(input: R) -> Self {
        Self { input, current: None, first: true, ended: false }
    }

    fn fill(&mut self, buffer: &mut [u8], what: &str) -> Result<(), Problem> {
        self.input.read_exact(buffer).map_err(|error| match error.kind() {
            ErrorKind::UnexpectedEof => Problem::Refused(format!("the file ends inside {what}; it is incomplete")),
            _ => Problem::Io(None, error),
        })
    }

    fn end(&mut self) -> Result<(), Problem> {
        let mut block = [0; BLOCK];
        self.fill(&mut block, "its end mark")?;
        if block != [0; BLOCK] {
            return Problem::refused("the end mark of two empty blocks is damaged");
        }
        match self.input.read(&mut block[..1]) {
            Ok(0) => Ok(()),
            Ok(_) => Problem::refused("bytes follow the end mark"),
            Err(error) => Err(Problem::Io(None, error)),
        }
    }
}

impl<R: Read> Members for ArchiveReader<R> {
    fn next(&mut self) -> Result<Option<Entry>, Problem> {
        debug_assert!(self.current.is_none(), "a member is read before the next is asked for");
        if self.ended {
            return Ok(None);
        }
        let mut block = [0; BLOCK];
        if self.first {
            self.first = false;
            let start = 8;
            self.fill(&mut block[..start], "its first header")?;
            check_kind(&block[..start])?;
            self.fill(&mut block[start..], "its first header")?;
        } else {
            self.fill(&mut block, "a header")?;
        }
        if block == [0; BLOCK] {
            self.ended = true;
            self.end()?;
            return Ok(None);
        }
        let entry = check_header(&block)?;
        self.current = Some(entry);
        Ok(Some(entry))
    }

    fn read(&mut self, sink: &mut dyn FnMut(&[u8]) -> Result<(), Problem>) -> Result<(), Problem> {
        let Some(Entry { name, size }) = self.current.take() else { return Ok(()) };
        let mut left = size;
        let mut buffer = vec![0; CHUNK.min(size as usize)];
        while left > 0 {
            let piece = CHUNK.min(left as usize);
            self.fill(&mut buffer[..piece], &format!("`{name}`"))?;
            sink(&buffer[..piece])?;
            left -= piece as u64;
        }
        let mut rest = [0; BLOCK];
        let rest = &mut rest[..padding(size)];
        self.fill(rest, &format!("the padding of `{name}`"))?;
        if rest.iter().any(|&byte| byte != 0) {
            return Problem::refused(format!("the padding after `{name}` is not empty"));
        }
        Ok(())
    }
}

/// Recognises what is mistaken for a pack.
fn check_kind(start: &[u8]) -> Result<(), Problem> {
    const OTHERS: [(&[u8], &str); 6] = [
        (&[0x1f, 0x8b], "gzip"),
        (&[0x28, 0xb5, 0x2f, 0xfd], "zstd"),
        (b"\xfd7zXZ", "xz"),
        (b"BZh", "bzip2"),
        (b"PK\x03\x04", "zip"),
        (b"GGUF", "a GGUF model"),
    ];
    match OTHERS.iter().find(|(magic, _)| start.starts_with(magic)) {
        Some((_, kind)) => Problem::refused(format!("it is {kind}, not a pack; packs are never compressed")),
        None => Ok(()),
    }
}

/// The entry of a header that is exactly as this module writes it.
fn check_header(block: &[u8; BLOCK]) -> Result<Entry, Problem> {
    let found = Header::from_byte_slice(block);
    if found.as_ustar().is_none() {
        return Problem::refused("a header is not POSIX ustar");
    }
    let mut summed = found.clone();
    summed.set_cksum();
    if summed.as_bytes()[148..156] != block[148..156] {
        return Problem::refused("a header's checksum is wrong");
    }
    let kind = match found.entry_type() {
        EntryType::Regular if block[156] == b'0' => None,
        EntryType::Regular => Some("an old-style file"),
        EntryType::Link => Some("a hard link"),
        EntryType::Symlink => Some("a symbolic link"),
        EntryType::Directory => Some("a folder"),
        EntryType::Char | EntryType::Block => Some("a device"),
        EntryType::Fifo => Some("a pipe"),
        EntryType::GNUSparse => Some("a sparse file"),
        EntryType::XHeader | EntryType::XGlobalHeader => Some("an extended (pax) header"),
        EntryType::GNULongName | EntryType::GNULongLink => Some("a GNU long name"),
        _ => Some("of an unknown kind"),
    };
    let path = found.path_bytes();
    if let Some(kind) = kind {
        return Problem::refused(format!("`{}` is {kind}; only plain files are allowed", path.escape_ascii()));
    }
    let (name, limit) = check_name(&path)?;
    if block[157..257].iter().any(|&byte| byte != 0) {
        return Problem::refused(format!("`{name}` names the target of a link"));
    }
    match found.mode() {
        Ok(mode) if mode & 0o7000 != 0 => return Problem::refused(format!("`{name}` has a set-user or sticky bit")),
        Ok(mode) if mode & 0o111 != 0 => return Problem::refused(format!("`{name}` is marked executable")),
        _ => {}
    }
    let size = match found.size() {
        Ok(size) if size <= limit => size,
        Ok(size) => {
            return Problem::refused(format!("`{name}` claims {size} bytes; at most {limit} are allowed"));
        }
        Err(_) => return Problem::refused(format!("the size of `{name}` is not an octal number")),
    };
    if header(name, size).as_bytes() != block {
        return Problem::refused(format!(
            "the header of `{name}` is not in the one allowed form (mode 0644, owner and time 0, no names)"
        ));
    }
    Ok(Entry { name, size })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    /// The header, written out by hand from POSIX.1-1988.
    #[test]
    fn a_header_is_what_the_standard_says() {
        let mut expected = [0_u8; BLOCK];
        let mut put = |at: usize, text: &[u8]| expected[at..at + text.len()].copy_from_slice(text);
        put(0, b"manifest.json");
        put(100, b"0000644\0");
        put(108, b"0000000\0");
        put(116, b"0000000\0");
        put(124, b"00000001750\0");
        put(136, b"00000000000\0");
        put(156, b"0");
        put(257, b"ustar\0");
        put(263, b"00");
        put(148, b"        ");
        let sum: u32 = expected.iter().map(|&byte| u32::from(byte)).sum();
        expected[148..156].copy_from_slice(format!("{sum:07o}\0").as_bytes());
        assert_eq!(*header("manifest.json", 1000).as_bytes(), expected);
    }

    fn archive(members: &[(&str, &[u8])]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for (name, content) in members {
            write_member(&mut bytes, name, content.len() as u64, &mut &content[..]).unwrap();
        }
        write_end(&mut bytes).unwrap();
        bytes
    }

    fn read_all(bytes: &[u8]) -> Result<Vec<(&'static str, Vec<u8>)>, Problem> {
        let mut reader = ArchiveReader::new(bytes);
        let mut members = Vec::new();
        while let Some(entry) = reader.next()? {
            let mut content = Vec::new();
            reader.read(&mut |piece| {
                content.extend_from_slice(piece);
                Ok(())
            })?;
            members.push((entry.name, content));
        }
        Ok(members)
    }

    #[test]
    fn an_independent_reader_agrees() {
        let bytes = archive(&[("README.md", b"hello"), ("lore.json", &[7; 513])]);
        let mut other = tar::Archive::new(&bytes[..]);
        let read: Vec<(String, Vec<u8>)> = other
            .entries()
            .unwrap()
            .map(|entry| {
                let mut entry = entry.unwrap();
                let mut content = Vec::new();
                entry.read_to_end(&mut content).unwrap();
                (entry.path().unwrap().to_str().unwrap().to_owned(), content)
            })
            .collect();
        assert_eq!(read, [("README.md".to_owned(), b"hello".to_vec()), ("lore.json".to_owned(), vec![7; 513])]);
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(contents in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..1500), 0..5)) {
            let names = ["LICENSE.txt", "README.md", "corpus.json", "lore.json", "recipe.toml"];
            let members: Vec<(&str, &[u8])> = names.into_iter().zip(contents.iter().map(Vec::as_slice)).collect();
            let read = read_all(&archive(&members)).unwrap();
            prop_assert_eq!(read.len(), members.len());
            for ((name, content), (expected_name, expected)) in read.iter().zip(&members) {
                prop_assert_eq!(name, expected_name);
                prop_assert_eq!(&content[..], *expected);
            }
        }

        #[test]
        fn whatever_is_read_is_written_the_same(
            mut bytes in Just(archive(&[("README.md", b"hello"), ("lore.json", b"{}")])),
            changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
            cut in prop::option::of(any::<prop::sample::Index>()),
        ) {
            for (place, byte) in changes {
                let place = place.index(bytes.len());
                bytes[place] = byte;
            }
            if let Some(cut) = cut {
                bytes.truncate(cut.index(bytes.len()));
            }
            // Either refused, or the bytes are the only ones for these members.
            if let Ok(members) = read_all(&bytes) {
                let members: Vec<(&str, &[u8])> = members.iter().map(|(name, content)| (*name, &content[..])).collect();
                prop_assert_eq!(archive(&members), bytes);
            }
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..2000)) {
            let _ = read_all(&bytes);
        }
    }
}
