//! Files of entries: read strictly, whatever is in them.

use lore_route::arrow::{Input, Prototypes};
use lore_route::{ENTRY_FILE, Entry, Error, Router, View};
use proptest::prelude::*;

use crate::topics::{base, entries};

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
