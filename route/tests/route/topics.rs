//! A tiny Llama, passages of made-up topics, and entries for them.

use std::collections::BTreeMap;
use std::path::Path;

use burn::tensor::Device;
use lore_model::Decoder;
use lore_model::files::ModelFiles;
use lore_model::fingerprint::Fingerprint;
use lore_model::sampling::Random;
use lore_route::arrow::Prototypes;
use lore_route::build::{General, Settings, TopicText, entry};
use lore_route::{Entry, Reader, Router};

pub const START: u32 = 0;

fn files() -> ModelFiles {
    ModelFiles::open(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../model/tests/fixtures/tiny-llama")).unwrap()
}

pub fn base() -> Decoder {
    let files = files();
    Decoder::load(&files.config, &*files.weights, &Device::flex()).unwrap()
}

pub fn fingerprint(digit: char) -> Fingerprint {
    format!("{}{}", lore_model::fingerprint::PREFIX, digit.to_string().repeat(64)).parse().unwrap()
}

/// Passages of 24 tokens drawn from `low..high`.
pub fn passages(count: usize, low: u32, high: u32, seed: u64) -> Vec<Vec<u32>> {
    let mut random = Random::new(seed, 9);
    let mut token = || low + (random.bits() % u64::from(high - low)) as u32;
    (0..count).map(|_| std::iter::once(START).chain((0..24).map(|_| token())).collect()).collect()
}

/// Entries of topics that use other tokens, and general English that uses all.
pub fn entries() -> (Reader, BTreeMap<String, Entry>) {
    let base = base();
    let settings = Settings { layer: 1, tokens: 24 };
    let reader = Reader::new(&base, settings.layer, settings.tokens);
    let general = General::read(&reader, &passages(40, 1, 300, 1)).unwrap();
    let of = |low: u32, seed: u64| {
        let (learn, validate) = (passages(20, low, low + 60, seed), passages(8, low, low + 60, seed + 1));
        let topic = TopicText { learn: &learn, validate: &validate };
        entry(&reader, fingerprint('a'), &general, &topic, Prototypes::new()).unwrap()
    };
    let entries = [("rivers", 10, 100), ("hills", 100, 200), ("towns", 200, 300)];
    let entries = entries.into_iter().map(|(name, low, seed)| (name.to_owned(), of(low, seed))).collect();
    (reader, entries)
}

pub fn router(entries: &BTreeMap<String, Entry>) -> Router {
    let mut router = Router::default();
    for (name, entry) in entries {
        router.insert(name.clone(), entry.clone()).unwrap();
    }
    router
}
