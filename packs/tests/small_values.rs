//! Members that are as large as they may be and hold as many small values as fit, of which a reader makes many times
//! the memory: in a process of its own.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used)]

mod workshop;

use std::fs;

use lore_packs::format::limit;
use lore_packs::verify_file;
use workshop::{Parts, Workshop, peak};

/// A member with `part` repeated behind `after`, as long as it may be.
fn filled(parts: &Parts, member: &str, after: &str, part: &str) -> Vec<u8> {
    let text = String::from_utf8(parts.content(member).to_vec()).unwrap();
    let (before, rest) = text.split_once(after).unwrap();
    let count = (limit(member).unwrap() as usize - text.len()) / part.len();
    [before, after, &part.repeat(count), rest].concat().into_bytes()
}

#[test]
fn many_small_values_take_little_memory() {
    let workshop = Workshop::new();
    let parts = Parts::of(&fs::read(workshop.pack("a.lorepack", |_| {})).unwrap());
    let text = concat!(
        r#"{"role":"topic","source":"","license":"","attribution":"","documents":0,"documents_sha256":"","#,
        r#""tokens":{"train":0,"validation":0,"test":0}},"#
    );
    let model = r#"{"name":"a","kind":"b","modules":["c"],"scores":{"a":{"bits_per_byte":1}}},"#;
    let hostile = workshop.path("hostile.lorepack");
    for (member, after, part, refusal) in [
        ("evaluation.json", "\"modules\": [\n", "\"\",", Some("a name is empty")),
        ("evaluation.json", "\"models\": [", model, None),
        ("evaluation.json", "\"samples\": [", r#"{"prompt":"","base":"","module":""},"#, None),
        ("corpus.json", "\"texts\": [", text, Some("not in canonical form")),
    ] {
        let content = filled(&parts, member, after, part);
        fs::write(&hostile, parts.clone().set(member, &content).rehashed().bytes()).unwrap();
        let outcome = verify_file(&hostile, None).map(drop).map_err(|error| error.to_string());
        match (&outcome, refusal) {
            (Ok(()), None) => {}
            (Err(error), Some(refusal)) => assert!(error.contains(refusal), "{part}: {error}"),
            _ => panic!("{part}: {outcome:?}"),
        }
        eprintln!("{member} of {part}: peak {} MiB", peak());
        assert!(peak() <= 200, "{member} of {part}: {} MiB", peak());
    }
}
