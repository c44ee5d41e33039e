//! Routers on a tiny Llama: what is read, what is chosen, and what files are refused.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use burn::tensor::Device;
use lore_model::Decoder;
use lore_model::files::ModelFiles;
use lore_model::fingerprint::Fingerprint;
use lore_model::ops::head::logits;
use lore_model::ops::host::values;
use lore_model::ops::sequences::Sequences;
use lore_model::quantised::Blocks;
use lore_model::sampling::Random;
use lore_modules::{Adapter, AdapterConfig, LoadedModule, LowRank, activate};
use lore_route::arrow::{self, Input, Prototypes};
use lore_route::build::{General, Settings, TopicText, entry};
use lore_route::{ENTRY_FILE, Entry, Error, Reader, Router, View, probe};
use proptest::prelude::*;

const START: u32 = 0;

fn files() -> ModelFiles {
    ModelFiles::open(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../model/tests/fixtures/tiny-llama")).unwrap()
}

fn base() -> Decoder {
    let files = files();
    Decoder::load(&files.config, &*files.weights, &Device::flex()).unwrap()
}

fn fingerprint(digit: char) -> Fingerprint {
    format!("{}{}", lore_model::fingerprint::PREFIX, digit.to_string().repeat(64)).parse().unwrap()
}

/// Passages of 24 tokens drawn from `low..high`.
fn passages(count: usize, low: u32, high: u32, seed: u64) -> Vec<Vec<u32>> {
    let mut random = Random::new(seed, 9);
    let mut token = || low + (random.bits() % u64::from(high - low)) as u32;
    (0..count).map(|_| std::iter::once(START).chain((0..24).map(|_| token())).collect()).collect()
}

/// Entries of topics that use other tokens, and general English that uses all.
fn entries() -> (Reader, BTreeMap<String, Entry>) {
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

fn router(entries: &BTreeMap<String, Entry>) -> Router {
    let mut router = Router::default();
    for (name, entry) in entries {
        router.insert(name.clone(), entry.clone()).unwrap();
    }
    router
}

#[test]
fn states_are_the_mean_of_directions_after_a_block() {
    let base = base();
    let texts = [passages(1, 1, 300, 5).remove(0), vec![START, 7, 9], vec![START]];
    let views = Reader::new(&base, 1, 16).read(&texts);
    for (text, view) in texts.iter().zip(&views) {
        let cut = text[..text.len().min(17)].to_vec();
        let mut rows = Vec::new();
        let sequences = Sequences::whole(&[cut.len()]);
        base.hidden_after(Arc::new(cut.clone()), Arc::new(sequences), &mut |layer, state| {
            if layer == 0 {
                rows = values(state);
            }
        });
        let width = base.config.hidden_size;
        let own: Vec<&[f32]> = rows.chunks(width).skip(usize::from(cut.len() > 1)).collect();
        for (channel, &found) in view.state.iter().enumerate() {
            let direction = |row: &&[f32]| {
                f64::from(row[channel]) / row.iter().map(|&x| f64::from(x) * f64::from(x)).sum::<f64>().sqrt()
            };
            let expected = own.iter().map(direction).sum::<f64>() / own.len() as f64;
            assert!((f64::from(found) - expected).abs() < 1e-5, "{found} against {expected}");
        }
        assert_eq!(view.tokens, cut[1..]);
    }
}

#[test]
fn topics_are_found_and_general_text_is_left_to_the_base() {
    let (reader, entries) = entries();
    let router = router(&entries);
    let (mut right, mut left) = (0, 0);
    for (low, name) in [(10, "rivers"), (100, "hills"), (200, "towns")] {
        for view in reader.read(&passages(20, low, low + 60, 77)) {
            let choice = router.choose_for(&view, 1);
            right += usize::from(choice.picks == [(name.to_owned(), 1.0)]);
            assert_eq!(choice.scored.len(), 3);
            assert!(choice.scored.windows(2).all(|pair| pair[0].score >= pair[1].score));
        }
    }
    for view in reader.read(&passages(20, 1, 300, 78)) {
        left += usize::from(router.choose_for(&view, 1).picks.is_empty());
    }
    // A random base of two blocks knows nothing, and 24 tokens are few: 44 and 16 were seen. Guessing finds 20 of 60, and
    // 40 or more by luck less than once in ten million times.
    assert!(right >= 40 && left >= 14, "{right} of 60 right, {left} of 20 left to the base");
}

#[test]
fn several_share_a_weight_of_one() {
    let (reader, mut entries) = entries();
    entries.values_mut().for_each(|entry| entry.threshold = -1e3);
    let router = router(&entries);
    let mixed: Vec<u32> = [START].into_iter().chain(10..20).chain(100..110).collect();
    let view = &reader.read(&[mixed])[0];
    let all = router.choose_for(view, 3);
    let two = router.choose_for(view, 2);
    assert_eq!((all.picks.len(), two.picks.len()), (3, 2));
    for choice in [&all, &two] {
        let sum: f32 = choice.picks.iter().map(|(_, weight)| weight).sum();
        assert!((sum - 1.0).abs() < 1e-5, "{choice:?}");
        assert!(choice.picks.windows(2).all(|pair| pair[0].1 >= pair[1].1));
    }
    // A tenth of the unit that scores are in is a factor of e between weights.
    let ratio = f64::from(two.picks[0].1 / two.picks[1].1);
    let expected = ((two.scored[0].score - two.scored[1].score) / 0.1).exp();
    assert!((ratio / expected - 1.0).abs() < 1e-3, "{ratio} against {expected}");
    assert!(router.choose_for(view, 0).picks.is_empty());
}

#[test]
fn of_a_long_prompt_its_end_counts() {
    let (_, entries) = entries();
    let (router, base) = (router(&entries), base());
    let (hills, rivers) = (passages(1, 100, 160, 5).remove(0), passages(1, 10, 70, 6).remove(0));
    // A conversation that came from the hills to the rivers.
    let prompt = [&hills[..], &rivers[1..]].concat();
    let chosen = |text: &[u32]| router.choose(&base, text, 1).unwrap();
    assert_eq!(chosen(&prompt), chosen(&rivers));
    assert_ne!(chosen(&prompt), chosen(&hills));
}

#[test]
fn a_module_is_added_without_the_others() {
    let (reader, entries) = entries();
    let folder = tempfile::tempdir().unwrap();
    let mut folders = BTreeMap::new();
    for (name, entry) in &entries {
        let own = folder.path().join(name);
        std::fs::create_dir(&own).unwrap();
        entry.write(&own.join(ENTRY_FILE)).unwrap();
        assert_eq!(Entry::read(&own.join(ENTRY_FILE)).unwrap(), *entry);
        folders.insert(name.clone(), own);
    }
    folders.insert("bare".to_owned(), folder.path().to_owned());
    let before: Vec<Vec<u8>> =
        ["hills", "rivers"].map(|name| std::fs::read(folders[name].join(ENTRY_FILE)).unwrap()).into();
    let all = Router::of_folders(&folders, &fingerprint('a')).unwrap();
    assert_eq!(all.entries().keys().collect::<Vec<_>>(), ["hills", "rivers", "towns"]);
    let view = &reader.read(&passages(1, 200, 260, 8))[0];
    // Whatever the order in which they came.
    let mut later = all.only(["hills", "rivers"]).unwrap();
    assert_ne!(later.choose_for(view, 1).picks, [("towns".to_owned(), 1.0)]);
    later.insert("towns", entries["towns"].clone()).unwrap();
    assert_eq!(later.choose_for(view, 3), all.choose_for(view, 3));
    assert_eq!(later.choose_for(view, 1).picks, [("towns".to_owned(), 1.0)]);
    let after: Vec<Vec<u8>> =
        ["hills", "rivers"].map(|name| std::fs::read(folders[name].join(ENTRY_FILE)).unwrap()).into();
    assert_eq!(before, after);
    // One file for all.
    let file = folder.path().join("library.safetensors");
    all.write(&file).unwrap();
    let read = Router::read(&file).unwrap();
    assert_eq!(read.entries(), all.entries());
    assert_eq!(read.choose_for(view, 3), all.choose_for(view, 3));
    assert!(Router::of_folders(&folders, &fingerprint('b')).unwrap().is_empty());
    assert!(matches!(all.only(["seas"]), Err(Error::Unknown { .. })));
}

#[test]
fn what_does_not_belong_together_is_refused() {
    let (_, entries) = entries();
    let rivers = &entries["rivers"];
    let mut router = Router::default();
    router.insert("rivers", rivers.clone()).unwrap();
    let other = Entry { base: fingerprint('b'), ..rivers.clone() };
    assert!(matches!(router.insert("seas", other), Err(Error::OtherBase { .. })));
    let other = Entry { layer: 2, ..rivers.clone() };
    assert!(matches!(router.insert("seas", other), Err(Error::Shape { .. })));
    for name in ["", "a/b", "..", "a b", &"n".repeat(65)] {
        assert!(matches!(router.insert(name, rivers.clone()), Err(Error::Shape { .. })), "{name}");
    }
    assert_eq!(router.entries().len(), 1);
    let deep = Entry { layer: 9, ..rivers.clone() };
    let mut router = Router::default();
    router.insert("rivers", deep).unwrap();
    assert!(matches!(router.choose(&base(), &[START, 3], 1), Err(Error::Shape { .. })));
    assert!(Router::default().choose(&base(), &[START, 3], 1).unwrap().picks.is_empty());
}

#[test]
fn too_little_text_is_said() {
    let base = base();
    let reader = Reader::new(&base, 1, 24);
    assert!(matches!(General::read(&reader, &passages(9, 1, 300, 1)), Err(Error::TooLittle(_))));
    let general = General::read(&reader, &passages(20, 1, 300, 1)).unwrap();
    let (few, enough) = (passages(2, 1, 9, 2), passages(9, 1, 9, 3));
    for (learn, validate) in [(&few, &enough), (&enough, &few)] {
        let topic = TopicText { learn, validate };
        assert!(matches!(
            entry(&reader, fingerprint('a'), &general, &topic, Prototypes::new()),
            Err(Error::TooLittle(_))
        ));
    }
}

/// Blocks change the states and leave the base its fingerprint, so that nothing else would tell.
#[test]
fn a_base_in_blocks_neither_makes_entries_nor_is_read_for_them() {
    let (_, entries) = entries();
    let blocks = base().quantised(Blocks::Q4_0);
    let reader = Reader::new(&blocks, 1, 24);
    let (text, general) = (passages(20, 10, 70, 3), passages(40, 1, 300, 1));
    assert_ne!(reader.read(&text), Reader::new(&base(), 1, 24).read(&text));
    assert!(matches!(General::read(&reader, &general), Err(Error::InBlocks)));
    let general = General::read(&Reader::new(&base(), 1, 24), &general).unwrap();
    let topic = TopicText { learn: &text, validate: &text };
    let made = entry(&reader, fingerprint('a'), &general, &topic, Prototypes::new());
    assert!(matches!(made, Err(Error::InBlocks)));
    let error = router(&entries).choose(&blocks, &text[0], 1).unwrap_err();
    assert!(matches!(error, Error::InBlocks) && error.to_string().contains("without `quantise`"), "{error}");
}

/// An entry's file taken apart and put together with changes.
fn damaged(bytes: &[u8], change: impl FnOnce(&mut serde_json::Value, &mut Vec<u8>)) -> Vec<u8> {
    let (length, rest) = bytes.split_first_chunk::<8>().unwrap();
    let (header, data) = rest.split_at(u64::from_le_bytes(*length) as usize);
    let (mut header, mut data) = (serde_json::from_slice(header).unwrap(), data.to_vec());
    change(&mut header, &mut data);
    let header = header.to_string();
    [&(header.len() as u64).to_le_bytes(), header.as_bytes(), &data].concat()
}

fn entry_bytes() -> Vec<u8> {
    let (_, mut entries) = entries();
    let mut entry = entries.remove("rivers").unwrap();
    let prototype = vec![0.5; entry.centroid.len()];
    entry.arrow = Prototypes::from([((0, Input::Attention), prototype)]);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(ENTRY_FILE);
    entry.write(&path).unwrap();
    let bytes = std::fs::read(path).unwrap();
    assert_eq!(Entry::parse("x".as_ref(), &bytes).unwrap(), entry);
    bytes
}

#[test]
fn files_are_read_strictly() {
    let bytes = entry_bytes();
    let refused = |bytes: Vec<u8>, part: &str| match Entry::parse("x".as_ref(), &bytes) {
        Err(error @ Error::Malformed { .. }) => assert!(error.to_string().contains(part), "{error}"),
        other => panic!("{part}: {other:?}"),
    };
    let place = |header: &serde_json::Value, name: &str| header[name]["data_offsets"][0].as_u64().unwrap() as usize;
    for (value, part) in [(f32::NAN, "NaN"), (f32::INFINITY, "infinite"), (1e30, "beyond 16")] {
        for tensor in ["centroid", "spread", "noise", "general", "words", "arrow.0.attention"] {
            let changed = damaged(&bytes, |header, data| {
                let at = place(header, tensor);
                data[at..at + 4].copy_from_slice(&value.to_le_bytes());
            });
            refused(changed, part);
        }
    }
    let metadata = |key: &str, value: Option<&str>| {
        damaged(&bytes, |header, _| {
            let all = header["__metadata__"].as_object_mut().unwrap();
            match value {
                Some(value) => drop(all.insert(key.to_owned(), value.into())),
                None => drop(all.remove(key)),
            }
        })
    };
    refused(metadata("lore.router", Some("2")), "version");
    refused(metadata("lore.base", Some("nobody")), "fingerprint");
    refused(metadata("lore.base", None), "lacks `lore.base`");
    refused(metadata("layer", Some("0")), "`layer`");
    refused(metadata("layer", Some("1.5")), "`layer`");
    refused(metadata("tokens", Some("many")), "`tokens`");
    refused(metadata("threshold", Some("NaN")), "`threshold`");
    refused(metadata("words", Some("0")), "`words`");
    refused(metadata("more", Some("")), "`more`");
    let renamed = |from: &str, to: &str| {
        damaged(&bytes, |header, _| {
            let all = header.as_object_mut().unwrap();
            let tensor = all.remove(from).unwrap();
            all.insert(to.to_owned(), tensor);
        })
    };
    refused(renamed("centroid", "centre"), "`centroid` is missing");
    refused(renamed("arrow.0.attention", "arrow.00.attention"), "no tensor of a router entry");
    refused(renamed("arrow.0.attention", "arrow.0.heads"), "no tensor of a router entry");
    refused(renamed("arrow.0.attention", "arrow.9999.attention"), "no tensor of a router entry");
    let shape = |tensor: &str, shape: serde_json::Value| {
        damaged(&bytes, |header, _| {
            header[tensor]["shape"] = shape;
        })
    };
    let width = base().config.hidden_size;
    refused(shape("centroid", serde_json::json!([1, width])), "`centroid`");
    refused(shape("spread", serde_json::json!([20 * width])), "`spread`");
    refused(shape("general", serde_json::json!([width, 1])), "`general`");
    refused(bytes[..bytes.len() - 1].to_vec(), "header lies");
    refused(Vec::new(), "bytes");
    assert!(Router::parse("x".as_ref(), &bytes).is_err(), "an entry is no router of several");
}

#[test]
fn a_file_that_never_ends_is_not_read_whole() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(ENTRY_FILE);
    std::fs::File::create(&path).unwrap().set_len(lore_route::ENTRY_LIMIT + 1).unwrap();
    assert!(Entry::read(&path).unwrap_err().to_string().contains("allowed"));
    assert!(Entry::read(&folder.path().join("none")).is_err());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]
    #[test]
    fn damaged_bytes_never_panic(place in any::<prop::sample::Index>(), value in any::<u8>(), cut in any::<prop::sample::Index>()) {
        thread_local!(static BYTES: Vec<u8> = entry_bytes());
        BYTES.with(|bytes| {
            let mut changed = bytes.clone();
            // The header is where most can go wrong.
            let at = place.index(1200.min(changed.len()));
            changed[at] = value;
            for bytes in [&changed[..], &changed[..cut.index(changed.len())]] {
                if let Ok(entry) = Entry::parse("x".as_ref(), bytes) {
                    let mut router = Router::default();
                    if router.insert("x", entry.clone()).is_ok() {
                        let view = View { state: entry.centroid.clone(), tokens: vec![3, 4] };
                        assert!(router.scores(&view).iter().all(|score| score.is_finite()));
                    }
                }
                let _ = Router::parse("x".as_ref(), bytes);
            }
        });
    }
}

fn update(a: Vec<f32>, b: Vec<f32>, rank: usize) -> LowRank {
    let (in_features, out_features) = (a.len() / rank, b.len() / rank);
    LowRank { a, b, rank, in_features, out_features, scale: 1.0, magnitude: None }
}

fn adapter(updates: Vec<(&str, LowRank)>) -> Adapter {
    let rank = updates[0].1.rank;
    Adapter {
        config: AdapterConfig::uniform(rank, rank as f64),
        updates: updates.into_iter().map(|(name, update)| (format!("model.layers.{name}"), update)).collect(),
        base: None,
        metadata: BTreeMap::new(),
    }
}

#[test]
fn prototypes_are_first_right_singular_directions() {
    let mut random = Random::new(4, 4);
    let mut draw = |count: usize| -> Vec<f32> { (0..count).map(|_| random.normal() as f32).collect() };
    let (width, rank) = (6, 2);
    let parts = [update(draw(rank * width), draw(5 * rank), rank), update(draw(rank * width), draw(3 * rank), rank)];
    let module = adapter(vec![
        ("0.self_attn.q_proj", parts[0].clone()),
        ("0.self_attn.v_proj", parts[1].clone()),
        ("1.mlp.up_proj", update(vec![0.0, 3.0, 0.0, -4.0, 0.0, 0.0], vec![1.0, 2.0], 1)),
        ("1.mlp.down_proj", parts[0].clone()),
        ("1.self_attn.o_proj", parts[1].clone()),
        ("2.mlp.gate_proj", update(vec![1.0; width], vec![0.0; 4], 1)),
    ]);
    let found = arrow::prototypes(&module).unwrap();
    assert_eq!(found.keys().copied().collect::<Vec<_>>(), [(0, Input::Attention), (1, Input::FeedForward)]);
    // Rank one: the row itself.
    let row = &found[&(1, Input::FeedForward)];
    let expected = [0.0, 0.6, 0.0, -0.8, 0.0, 0.0];
    let sign = row[1].signum();
    assert!(row.iter().zip(expected).all(|(x, e)| (sign * x - e).abs() < 1e-5), "{row:?}");
    // Two projections one above the other: power iteration on the dense ΔWᵀΔW.
    let mut gram = vec![vec![0.0_f64; width]; width];
    for part in &parts {
        for out in 0..part.out_features {
            let dense: Vec<f64> = (0..width)
                .map(|i| (0..rank).map(|k| f64::from(part.b[out * rank + k]) * f64::from(part.a[k * width + i])).sum())
                .collect();
            for (row, a) in gram.iter_mut().zip(&dense) {
                row.iter_mut().zip(&dense).for_each(|(sum, b)| *sum += a * b);
            }
        }
    }
    let mut v = vec![1.0_f64; width];
    for _ in 0..3000 {
        let next: Vec<f64> = gram.iter().map(|row| row.iter().zip(&v).map(|(g, x)| g * x).sum()).collect();
        let length = next.iter().map(|x| x * x).sum::<f64>().sqrt();
        v = next.into_iter().map(|x| x / length).collect();
    }
    let cosine: f64 = v.iter().zip(&found[&(0, Input::Attention)]).map(|(a, &b)| a * f64::from(b)).sum();
    assert!((cosine.abs() - 1.0).abs() < 1e-6, "{cosine}");
}

#[test]
fn arrow_scores_are_mean_cosines_with_what_projections_read() {
    let base = base();
    let width = base.config.hidden_size;
    let text = passages(1, 1, 300, 3).remove(0);
    let mut inputs = Vec::new();
    let sequences = Arc::new(Sequences::whole(&[text.len()]));
    base.watched(Arc::new(text.clone()), sequences, &mut |layer, place, states| {
        if layer == 0 && place == lore_model::block::Place::AttentionInput {
            inputs = values(states);
        }
    });
    let along = |channel: usize| {
        let mut unit = vec![0.0; width];
        unit[channel] = 1.0;
        Prototypes::from([((0, Input::Attention), unit)])
    };
    let (first, second, none) = (along(0), along(3), Prototypes::new());
    let found = arrow::scores(&base, &[text], &[&first, &second, &none]).remove(0);
    for (channel, score) in [(0, found[0]), (3, found[1])] {
        let rows: Vec<f64> = inputs
            .chunks(width)
            .skip(1)
            .map(|row| f64::from(row[channel]).abs() / row.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>().sqrt())
            .collect();
        let expected = rows.iter().sum::<f64>() / rows.len() as f64;
        assert!((score - expected).abs() < 1e-6, "{score} against {expected}");
    }
    assert_eq!(found[2], 0.0);
}

#[test]
fn savings_are_differences_of_losses() {
    let base = base();
    let width = base.config.hidden_size;
    let mut random = Random::new(8, 8);
    let mut draw = |count: usize| -> Vec<f32> { (0..count).map(|_| random.normal() as f32 * 0.2).collect() };
    let changing = adapter(vec![("0.self_attn.o_proj", update(draw(2 * width), draw(width * 2), 2))]);
    let null = adapter(vec![("0.self_attn.o_proj", update(draw(width), vec![0.0; width], 1))]);
    let modules = [changing, null].map(|module| LoadedModule::new(&module, &Device::flex()));
    let texts = [passages(1, 1, 300, 3).remove(0), vec![START]];
    let found = probe::savings(&base, &[&modules[0], &modules[1]], &texts, 10);
    assert!(found[0][1].abs() < 1e-5 && found[1] == [0.0, 0.0], "{found:?}");
    let loss = |decoder: &Decoder| {
        let read = texts[0][..10].to_vec();
        let hidden = decoder.hidden(Arc::new(read), Arc::new(Sequences::whole(&[10])));
        let logits = values(&logits(hidden, decoder.head()));
        let rows = logits.chunks(logits.len() / 10).zip(&texts[0][1..11]);
        let nats = rows.map(|(row, &label)| {
            let sum: f64 = row.iter().map(|&x| f64::from(x).exp()).sum();
            sum.ln() - f64::from(row[label as usize])
        });
        nats.sum::<f64>() / 10.0
    };
    let expected = loss(&base) - loss(&activate(&base, &[(&modules[0], 1.0)]));
    assert!((found[0][0] - expected).abs() < 1e-4 && expected.abs() > 1e-3, "{} against {expected}", found[0][0]);
}
