//! Training windows and mixtures on stores whose every token is its own position.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use lore_datasets::batches::{Batch, windows};
use lore_datasets::documents::{Documents, Origin};
use lore_datasets::extract::Extracted;
use lore_datasets::mixture::{Mixture, Part};
use lore_datasets::progress::Silent;
use lore_datasets::split::{Split, SplitSpec};
use lore_datasets::token_store::TokenStore;
use lore_datasets::tokenise::{Boundaries, tokenise};
use proptest::prelude::*;
use tokenizers::Tokenizer;

/// A store of documents with these numbers of words; every word of the store is a different token, and
/// 999 999 ends each document.
const EOS: u32 = 999_999;

fn store(lengths: &[usize], first: u32, folder: &Path) -> Arc<TokenStore> {
    let total: usize = lengths.iter().sum();
    let vocabulary: serde_json::Map<_, _> =
        (0..total.max(1)).map(|i| (format!("w{i}"), (first as usize + i).into())).collect();
    let json = serde_json::json!({
        "version": "1.0", "added_tokens": [], "normalizer": null, "post_processor": null, "decoder": null, "truncation": null, "padding": null,
        "pre_tokenizer": {"type": "WhitespaceSplit"},
        "model": {"type": "WordLevel", "vocab": vocabulary, "unk_token": "w0"}
    });
    let tokenizer: Tokenizer = json.to_string().parse().unwrap();
    let mut next = 0;
    let given = lengths.iter().enumerate().map(|(i, &length)| {
        let words: Vec<String> = (next..next + length).map(|w| format!("w{w}")).collect();
        next += length;
        Extracted { id: i.to_string(), group: i.to_string(), title: String::new(), text: words.join(" ") }
    });
    let origin = Origin { topic: "t".into(), source: "s".into(), license: "l".into() };
    let (documents, _) = Documents::build(given.collect(), &origin, &SplitSpec { validation: 0.0, test: 0.0 }).unwrap();
    let boundaries = Boundaries { bos: None, eos: Some(EOS) };
    Arc::new(tokenise(&documents, Split::Train, &tokenizer, "", boundaries, folder, &Silent).unwrap())
}

#[test]
fn a_window_by_hand() {
    let folder = tempfile::tempdir().unwrap();
    // 0 1 2 E | 3 E | 4 5 6 7 E
    let store = store(&[3, 1, 4], 0, folder.path());
    assert_eq!(windows(&store, 5), 3);
    let window = |index| {
        let mut batch = Batch::default();
        batch.push_window(&store, 5, index);
        batch
    };
    let first = window(0);
    assert_eq!(first.tokens, [0, 1, 2, EOS, 3]);
    assert_eq!(first.lengths, [4, 1]);
    assert_eq!(first.targets, [1, 2, EOS, 0, EOS]);
    assert_eq!(first.mask, [1.0, 1.0, 1.0, 0.0, 1.0]);
    assert_eq!(first.positions(), [0, 1, 2, 3, 0]);
    let second = window(1);
    assert_eq!(second.tokens, [EOS, 4, 5, 6, 7]);
    assert_eq!(second.lengths, [1, 4]);
    assert_eq!(second.targets, [0, 5, 6, 7, EOS]);
    assert_eq!(second.target_count(), 4);
    assert_eq!(window(2).tokens, [EOS]);
    assert_eq!(window(2).mask, [0.0]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]
    #[test]
    fn an_epoch_has_every_token_and_every_pair_once(lengths in proptest::collection::vec(1usize..20, 1..12), length in 1usize..17, per_batch in 1usize..4, seed: u64) {
        let folder = tempfile::tempdir().unwrap();
        let store = store(&lengths, 0, folder.path());
        let mixture = Mixture::new(vec![Part { name: "a".into(), store: store.clone(), weight: 1.0 }], length, per_batch, seed).unwrap();
        let count = windows(&store, length);
        let mut all = Batch::default();
        let mut seen = BTreeSet::new();
        for slot in 0..count {
            let (part, window) = mixture.window(slot);
            prop_assert_eq!(part, 0);
            prop_assert!(seen.insert(window));
            all.push_window(&store, length, window);
        }
        prop_assert_eq!(mixture.steps_per_epoch(), count.div_ceil(per_batch as u64));
        prop_assert_eq!(all.lengths.iter().sum::<usize>(), all.tokens.len());
        prop_assert_eq!((all.targets.len(), all.mask.len()), (all.tokens.len(), all.tokens.len()));
        let mut tokens = all.tokens.clone();
        let mut expected = store.tokens().to_vec();
        tokens.sort_unstable();
        expected.sort_unstable();
        prop_assert_eq!(tokens, expected);
        let mut pairs: Vec<_> = (0..all.tokens.len()).filter(|&i| all.mask[i] > 0.0).map(|i| (all.tokens[i], all.targets[i])).collect();
        let mut expected: Vec<_> = (0..store.documents()).flat_map(|d| store.document(d).windows(2).map(|w| (w[0], w[1])).collect::<Vec<_>>()).collect();
        pairs.sort_unstable();
        expected.sort_unstable();
        prop_assert_eq!(pairs, expected);
        // No sequence reaches over the end of a document.
        let mut at = 0;
        for &length in &all.lengths {
            prop_assert!(length > 0);
            prop_assert!(all.tokens[at..at + length - 1].iter().all(|&t| t != EOS));
            prop_assert!(all.tokens[at..at + length].windows(2).all(|w| w[1] == EOS || w[1] == w[0] + 1));
            at += length;
        }
    }
}

#[test]
fn a_step_is_a_function_of_seed_and_number() {
    let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let stores = [store(&[400, 30, 70], 0, folders[0].path()), store(&[100; 3], 10_000, folders[1].path())];
    let make = |seed| {
        let parts = stores.iter().zip([0.75, 0.25]).enumerate().map(|(i, (store, weight))| Part {
            name: i.to_string(),
            store: store.clone(),
            weight,
        });
        Mixture::new(parts.collect(), 16, 4, seed).unwrap()
    };
    let (one, again, other) = (make(1), make(1), make(2));
    for step in [9, 0, 5, 1_000_000] {
        assert_eq!(one.batch(step), again.batch(step));
        assert_ne!(one.batch(step).tokens, other.batch(step).tokens);
        let from_second = one.batch(step).tokens.iter().filter(|&&t| (10_000..EOS).contains(&t)).count();
        assert!((1..=16).contains(&from_second), "one window in four is from the second store");
    }
    assert_eq!(one.tokens_per_batch(), 64);
    // 503 tokens are 32 windows of the first part and 303 are 19 of the second: 19 steps show all of both.
    assert_eq!(one.steps_per_epoch(), 19);
    assert!((one.epochs(1, 19) - 1.0).abs() < 1e-12);
    let order = |mixture: &Mixture, epoch: u64| {
        (0..19)
            .map(|step| (0..4).map(|s| mixture.window((epoch * 19 + step) * 4 + s)).find(|w| w.0 == 1).unwrap().1)
            .collect::<Vec<_>>()
    };
    assert_ne!(order(&one, 0), order(&one, 1), "every epoch has its own order");
    assert_eq!(order(&one, 1).into_iter().collect::<BTreeSet<_>>().len(), 19);
}

#[test]
fn an_epoch_that_is_interrupted_goes_on_with_the_same_batches() {
    let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    drop([store(&[400, 30, 70], 0, folders[0].path()), store(&[100; 3], 10_000, folders[1].path())]);
    // As a program that starts anew: from the files alone.
    let opened = || {
        let parts = folders.iter().zip([0.75, 0.25]).map(|(folder, weight)| Part {
            name: folder.path().display().to_string(),
            store: Arc::new(TokenStore::open(folder.path()).unwrap()),
            weight,
        });
        Mixture::new(parts.collect(), 16, 4, 9).unwrap()
    };
    let mixture = opened();
    let steps = 2 * mixture.steps_per_epoch();
    let straight: Vec<Batch> = (0..steps).map(|step| mixture.batch(step)).collect();
    for stop in 1..steps {
        let rest = opened();
        let resumed: Vec<Batch> = (stop..steps).map(|step| rest.batch(step)).collect();
        assert!(resumed == straight[stop as usize..], "stopped before step {stop}");
    }
}

#[test]
fn impossible_mixtures_name_all_problems() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(&[3], 0, folder.path());
    let parts = vec![
        Part { name: "zero".into(), store: store.clone(), weight: 0.0 },
        Part { name: "nan".into(), store, weight: f64::NAN },
    ];
    let error = Mixture::new(parts, 0, 0, 0).unwrap_err().to_string();
    for part in ["sequence length", "0 sequences", "`zero` is 0", "`nan` is NaN"] {
        assert!(error.contains(part), "{part}: {error}");
    }
    assert!(Mixture::new(Vec::new(), 1, 1, 0).is_err());
}
