//! Tokenising, the token store and held-out passages, with a small byte-level tokenizer.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::Path;

use lore_datasets::documents::{Documents, Origin};
use lore_datasets::evaluation::{PassageLimits, passages, passages_of_table};
use lore_datasets::extract::Extracted;
use lore_datasets::progress::Silent;
use lore_datasets::split::{Split, SplitSpec};
use lore_datasets::token_store::TokenStore;
use lore_datasets::tokenise::{Boundaries, tokenise};
use proptest::prelude::*;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::{AddedToken, Tokenizer};

/// One token per byte, a merge of `t` and `h`, and a special token.
fn tokenizer() -> Tokenizer {
    let mut alphabet: Vec<String> = ByteLevel::alphabet().into_iter().map(String::from).collect();
    alphabet.sort();
    alphabet.push("th".into());
    let vocabulary: serde_json::Map<_, _> = alphabet.iter().enumerate().map(|(i, t)| (t.clone(), i.into())).collect();
    let json = serde_json::json!({
        "version": "1.0", "added_tokens": [], "normalizer": null, "post_processor": null, "decoder": {"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true},
        "truncation": null, "padding": null,
        "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true},
        "model": {"type": "BPE", "vocab": vocabulary, "merges": ["t h"]}
    });
    let mut tokenizer: Tokenizer = json.to_string().parse().unwrap();
    tokenizer.add_special_tokens([AddedToken::from("<|end|>", true)]).unwrap();
    tokenizer
}

fn documents(texts: &[&str]) -> Documents {
    let given = texts.iter().enumerate().map(|(i, t)| Extracted {
        id: i.to_string(),
        group: i.to_string(),
        title: String::new(),
        text: (*t).into(),
    });
    let origin = Origin { topic: "t".into(), source: "s".into(), license: "l".into() };
    Documents::build(given.collect(), &origin, &SplitSpec { validation: 0.0, test: 0.0 }).unwrap().0
}

fn store(texts: &[&str], boundaries: Boundaries, folder: &Path) -> TokenStore {
    tokenise(&documents(texts), Split::Train, &tokenizer(), "tokenizer", boundaries, folder, &Silent).unwrap()
}

#[test]
fn a_store_holds_the_tokens_of_each_document_between_boundaries() {
    let folder = tempfile::tempdir().unwrap();
    let tokenizer = tokenizer();
    let id = |t: &str| tokenizer.token_to_id(t).unwrap();
    let store = store(&["that", "né<|end|>"], Boundaries { bos: Some(900), eos: Some(901) }, folder.path());
    assert_eq!(store.documents(), 2);
    assert_eq!(store.document(0), [900, id("th"), id("a"), id("t"), 901]);
    assert_eq!(store.document_bytes(1), 10);
    // é is two bytes, and what looks like a special token is seven ordinary ones.
    assert_eq!(store.document(1).len(), 2 + 3 + 7);
    assert_eq!(store.tokens().len(), 17);
    assert_eq!(store.manifest().text_bytes, 14);
    store.verify().unwrap();
    assert_eq!(TokenStore::open(folder.path()).unwrap().hash(), store.hash());
}

#[test]
fn the_bytes_written_are_always_the_same() {
    let texts: Vec<String> = (0..500).map(|i| format!("document {i} {}", "the thing ".repeat(i % 17))).collect();
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    tokenizers::utils::parallelism::set_parallelism(false);
    store(&texts, Boundaries::default(), folders[0].path());
    tokenizers::utils::parallelism::set_parallelism(true);
    store(&texts, Boundaries::default(), folders[1].path());
    for name in ["tokens.bin", "documents.bin", "tokens.json"] {
        let [a, b] = [0, 1].map(|i| fs::read(folders[i].path().join(name)).unwrap());
        assert_eq!(a, b, "{name}");
    }
}

#[test]
fn an_empty_split_makes_an_empty_store() {
    let folder = tempfile::tempdir().unwrap();
    let store =
        tokenise(&documents(&["a"]), Split::Test, &tokenizer(), "", Boundaries::default(), folder.path(), &Silent)
            .unwrap();
    assert_eq!((store.documents(), store.tokens().len()), (0, 0));
}

#[test]
fn damaged_stores_are_refused() {
    let damage = |name: &str, change: &dyn Fn(Vec<u8>) -> Vec<u8>| -> Result<(), String> {
        let folder = tempfile::tempdir().unwrap();
        drop(store(&["one", "two two"], Boundaries { bos: None, eos: Some(0) }, folder.path()));
        let path = folder.path().join(name);
        fs::write(&path, change(fs::read(&path).unwrap())).unwrap();
        TokenStore::open(folder.path()).and_then(|store| store.verify()).map_err(|e| e.to_string())
    };
    let cut = |mut bytes: Vec<u8>| {
        bytes.pop();
        bytes
    };
    assert!(damage("tokens.bin", &cut).unwrap_err().contains("does not fit 12 tokens"));
    assert!(damage("documents.bin", &cut).unwrap_err().contains("does not fit 2 documents"));
    assert!(damage("tokens.json", &cut).is_ok(), "only the last line end is gone");
    assert!(damage("tokens.json", &|b| b[..40].to_vec()).unwrap_err().contains("not a manifest"));
    let version =
        |bytes: Vec<u8>| String::from_utf8(bytes).unwrap().replace("\"version\": 1", "\"version\": 2").into_bytes();
    assert!(
        damage("tokens.json", &version)
            .unwrap_err()
            .contains("version 2, but this program reads lore-tokens version 1")
    );
    let huge = |bytes: Vec<u8>| {
        String::from_utf8(bytes)
            .unwrap()
            .replace("\"documents\": 2", "\"documents\": 18446744073709551615")
            .into_bytes()
    };
    assert!(damage("tokens.json", &huge).is_err());
    let unordered = |mut bytes: Vec<u8>| {
        bytes[8] = 200;
        bytes
    };
    assert!(damage("documents.bin", &unordered).unwrap_err().contains("do not rise"));
    let flipped = |mut bytes: Vec<u8>| {
        bytes[0] ^= 1;
        bytes
    };
    assert!(damage("tokens.bin", &flipped).unwrap_err().contains("tokens.bin: its sha256 is"));
}

#[test]
fn passages_are_limited_and_in_a_fixed_order() {
    let documents = documents(&["the cat", "a longer text that goes on", "three"]);
    let all = PassageLimits { max_tokens: 5, max_per_document: None, max_total_tokens: None };
    let whole = passages(&documents, Split::Train, &tokenizer(), &all).unwrap();
    assert_eq!(whole.iter().map(|p| p.bytes).sum::<u64>(), 7 + 26 + 5);
    assert!(whole.iter().all(|p| (1..=5).contains(&p.tokens.len())));
    let few =
        passages(&documents, Split::Train, &tokenizer(), &PassageLimits { max_total_tokens: Some(12), ..all }).unwrap();
    assert!(few.iter().map(|p| p.tokens.len()).sum::<usize>() <= 12);
    assert_eq!(few[..], whole[..few.len()]);
    let firsts =
        passages(&documents, Split::Train, &tokenizer(), &PassageLimits { max_per_document: Some(1), ..all }).unwrap();
    assert_eq!(firsts.len(), 3);
    assert!(passages(&documents, Split::Train, &tokenizer(), &PassageLimits { max_tokens: 0, ..all }).is_err());
}

#[test]
fn passages_of_a_table_are_those_of_its_documents() {
    let texts: Vec<String> = (0..500).map(|i| format!("text number {i} and {} more words", i * i % 97)).collect();
    let documents = documents(&texts.iter().map(String::as_str).collect::<Vec<_>>());
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("documents.parquet");
    documents.write(&path).unwrap();
    for total in [None, Some(40), Some(3000)] {
        let limits = PassageLimits { max_tokens: 6, max_per_document: Some(2), max_total_tokens: total };
        let expected = passages(&documents, Split::Train, &tokenizer(), &limits).unwrap();
        let found = passages_of_table(&path, Split::Train, &tokenizer(), &limits).unwrap();
        assert!(!found.is_empty() && found == expected, "{total:?}");
    }
    let limits = PassageLimits { max_tokens: 6, max_per_document: None, max_total_tokens: None };
    assert_eq!(passages_of_table(&path, Split::Test, &tokenizer(), &limits).unwrap(), []);
    let absent = passages_of_table(&folder.path().join("no"), Split::Test, &tokenizer(), &limits);
    assert!(absent.unwrap_err().to_string().contains("no"));
}

proptest! {
    #[test]
    fn passages_cover_every_byte_once(text in "[ a-zé漢\u{1F600}\\n]{1,60}", max_tokens in 1usize..7) {
        let documents = documents(&[&text]);
        prop_assume!(!documents.is_empty());
        let limits = PassageLimits { max_tokens, max_per_document: None, max_total_tokens: None };
        let found = passages(&documents, Split::Train, &tokenizer(), &limits).unwrap();
        let text = documents.split(Split::Train)[0].text;
        prop_assert_eq!(found.iter().map(|p| p.bytes).sum::<u64>(), text.len() as u64);
        let tokens: Vec<u32> = found.iter().flat_map(|p| p.tokens.clone()).collect();
        prop_assert_eq!(tokenizer().decode(&tokens, false).unwrap(), text);
    }
}
