//! Readers of other people's files against mutated ones: whatever the bytes, an answer or an error, never a panic.
//!
//! Runs a fixed number of mutations; with `LORE_FUZZ_SECONDS=600` each test goes on that long with other seeds.

#![allow(clippy::unwrap_used)]

mod workshop;

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use lore_model::config::ModelConfig;
use lore_model::weights::WeightFile;
use lore_model::weights::gguf::GgufFile;
use lore_model::weights::safetensors_header::Header;
use lore_packs::verify_reader;
use workshop::{Parts, Workshop};

/// xorshift64*, so that a failure can be repeated from its seed.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() % end.max(1) as u64) as usize
    }
}

/// Changes that break parsers: bits, lengths at the limits of their types, repeated and missing pieces.
fn mutate(bytes: &mut Vec<u8>, reach: usize, random: &mut Random) {
    for _ in 0..=random.below(4) {
        if bytes.is_empty() {
            return;
        }
        let at = random.below(bytes.len().min(reach));
        match random.below(7) {
            0 => bytes[at] ^= 1 << random.below(8),
            1 => bytes[at] = random.next() as u8,
            2 => {
                let value = [0_u64, 1, 0x7f, 0xff, 0xffff, 0x7fff_ffff, 0xffff_ffff, i64::MAX as u64, u64::MAX]
                    [random.below(9)];
                let width = [1, 2, 4, 8][random.below(4)].min(bytes.len() - at);
                bytes[at..at + width].copy_from_slice(&value.to_le_bytes()[..width]);
            }
            3 => bytes.truncate(at),
            4 => {
                let end = (at + random.below(64)).min(bytes.len());
                let piece = bytes[at..end].to_vec();
                let to = random.below(bytes.len().min(reach));
                bytes.splice(to..to, piece);
            }
            5 => {
                let end = (at + random.below(64)).min(bytes.len());
                bytes.drain(at..end);
            }
            _ => {
                let text: &[u8] =
                    [b"{\"a\":" as &[u8], b"[[[[", b"1e999", b"-1", b"\\u0000", b"null", b"\xff\xfe", b"\""]
                        [random.below(8)];
                bytes.splice(at..at, text.iter().copied());
            }
        }
    }
}

/// Feeds `count` mutations of `seed`, in its first `reach` bytes, to a reader; more if asked for by time.
fn feed(name: &str, seed: &[u8], reach: usize, count: u64, reader: impl FnMut(&[u8])) {
    feed_for(name, seed, reach, count, seconds(), reader)
}

/// How long each test goes on, if it is asked to.
fn seconds() -> Option<Duration> {
    std::env::var("LORE_FUZZ_SECONDS").ok().map(|text| Duration::from_secs(text.parse().unwrap()))
}

fn feed_for(name: &str, seed: &[u8], reach: usize, count: u64, time: Option<Duration>, mut reader: impl FnMut(&[u8])) {
    reader(seed);
    let began = Instant::now();
    let mut round = 0;
    while round < count || time.is_some_and(|time| began.elapsed() < time) {
        let mut random = Random(round.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        let mut bytes = seed.to_vec();
        mutate(&mut bytes, reach, &mut random);
        if std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| reader(&bytes))).is_err() {
            panic!("{name}: mutation {round} made the reader panic");
        }
        round += 1;
    }
    eprintln!("{name}: {round} mutations in {:.0?}", began.elapsed());
}

#[test]
fn the_archive() {
    let workshop = Workshop::new();
    let pack = fs::read(workshop.pack("a.lorepack", |_| {})).unwrap();
    feed("archive", &pack, pack.len(), 20_000, |bytes| {
        let accepted = verify_reader(Path::new("mutated"), bytes, None).is_ok();
        assert!(!accepted || bytes == pack, "a changed pack was accepted");
    });
}

/// Every member in turn, with all hashes made to agree, so that what is behind the hashes is reached.
#[test]
fn what_is_behind_the_hashes() {
    let workshop = Workshop::new();
    let router = workshop.router("entry");
    let path = workshop.pack("a.lorepack", |draft| draft.router = Some(router));
    let unsigned = Parts::of(&fs::read(&path).unwrap());
    lore_packs::sign(&path, &workshop.key("key")).unwrap();
    let signed = Parts::of(&fs::read(path).unwrap());
    let time = seconds().map(|time| time / signed.0.len() as u32);
    for part in &signed.0 {
        let name = part.name();
        // With a signature nothing behind it would be reached.
        let parts = if unsigned.0.iter().any(|part| part.name() == name) { &unsigned } else { &signed };
        feed_for(&name, &part.content, part.content.len(), 2_000, time, |bytes| {
            let changed = parts.clone().set(&name, bytes);
            let changed = match name.as_str() {
                "lore-pack.json" | "manifest.json.minisig" | "signer.pub" => changed,
                "manifest.json" => changed.marked(),
                _ => changed.rehashed(),
            };
            // Accepted or not, it is an answer.
            let _ = verify_reader(Path::new("mutated"), &changed.bytes()[..], None);
        });
    }
}

/// Without a signature, which would end the reading of a changed manifest.
#[test]
fn the_manifest() {
    let workshop = Workshop::new();
    let parts = Parts::of(&fs::read(workshop.pack("a.lorepack", |_| {})).unwrap());
    let seed = parts.content("manifest.json").to_vec();
    feed("manifest", &seed, seed.len(), 5_000, |bytes| {
        let changed = parts.clone().set("manifest.json", bytes).marked();
        let name = Path::new("mutated");
        if let Ok(pack) = verify_reader(name, &changed.bytes()[..], None) {
            assert_eq!(pack.manifest.to_bytes(), bytes, "what is read is what is written");
        }
    });
}

#[test]
fn safetensors() {
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../model/tests/fixtures/tiny-llama/model-00002-of-00002.safetensors");
    let seed = fs::read(fixture).unwrap();
    let header = 8 + u64::from_le_bytes(seed[..8].try_into().unwrap()) as usize;
    feed("safetensors", &seed, header, 20_000, |bytes| {
        if let Ok(header) = Header::parse(bytes, 1 << 20) {
            for entry in header.tensors.values() {
                assert!(bytes.get(entry.bytes.clone()).is_some(), "a tensor outside the file");
            }
        }
    });
}

#[test]
fn gguf() {
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("../model/tests/fixtures/tiny-llama.gguf");
    let seed = fs::read(fixture).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("mutated.gguf");
    // Metadata and tensor table come first; values cannot be wrong.
    let reach = seed.len().min(16 << 10);
    feed("gguf", &seed, reach, 3_000, |bytes| {
        fs::write(&path, bytes).unwrap();
        let Ok(file) = GgufFile::open(&path) else { return };
        let _ = ModelConfig::from_gguf(&file);
        let names: Vec<String> = file.tensors().keys().cloned().collect();
        for name in names {
            let _ = file.read_f32(&name);
        }
    });
}
