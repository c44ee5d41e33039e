//! Texts the teacher writes: as asked for, and the same however often the writing was interrupted.
#![allow(missing_docs, clippy::unwrap_used)]

#[path = "../../train/tests/toy/mod.rs"]
mod toy;

use std::fs;

use lore_datasets::progress::Silent;
use lore_distill::general::{Error, Writing, Written, write};
use lore_model::sampling::Sampling;
use toy::decoder;

fn writing(batch: usize) -> Writing {
    Writing {
        tokens: 300,
        length: 24,
        batch,
        sampling: Sampling { temperature: 1.0, top_k: None, top_p: Some(0.9) },
        seed: 21,
        start: 63,
        stop: vec![63, 62, 61],
    }
}

fn openings() -> Vec<Vec<u32>> {
    vec![vec![1, 2, 3], vec![40], vec![9, 8, 7, 6, 5], vec![]]
}

#[test]
fn texts_are_as_long_and_as_varied_as_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("texts.jsonl");
    let writing = writing(4);
    let texts = write(&decoder(2, 1), &openings(), &writing, &file, &Silent).unwrap();
    let mut total = 0;
    let mut chosen = [0; 4];
    for (index, text) in texts.iter().enumerate() {
        assert_eq!(text.index, index as u64);
        let opening = &openings()[text.opening];
        assert!(text.tokens.starts_with(opening), "{text:?}");
        assert!(text.tokens.len() <= writing.length);
        assert!(text.tokens.iter().all(|token| !writing.stop.contains(token)));
        total += text.tokens.len() as u64;
        chosen[text.opening] += 1;
    }
    assert!(total >= writing.tokens);
    let last_batch: u64 = texts[texts.len() - 4..].iter().map(|text| text.tokens.len() as u64).sum();
    assert!(total - last_batch < writing.tokens, "no more batches than needed");
    // Sixteen at a time, the last of them fewer: no batch is begun whole for a few missing tokens.
    let wide = write(&decoder(2, 1), &openings(), &self::writing(16), &folder.path().join("wide"), &Silent).unwrap();
    let written: u64 = wide.iter().map(|text| text.tokens.len() as u64).sum();
    assert!((writing.tokens..writing.tokens + 3 * writing.length as u64).contains(&written), "{written}");
    assert!(chosen.iter().filter(|&&count| count > 0).count() >= 3, "{chosen:?}");
    assert!(texts.iter().any(|text| text.tokens.len() == writing.length), "some text fills its room");
    let on_disk: Vec<Written> =
        fs::read_to_string(&file).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(on_disk, texts);

    // Texts from one opening differ: each draws from its own stream.
    for opening in 0..4 {
        let same: Vec<&Written> = texts.iter().filter(|text| text.opening == opening).collect();
        let different: std::collections::BTreeSet<&[u32]> = same.iter().map(|text| text.tokens.as_slice()).collect();
        assert!(different.len() * 10 >= same.len() * 9, "{} of {}", different.len(), same.len());
    }
    let other = Writing { seed: 22, ..writing };
    let others = write(&decoder(2, 1), &openings(), &other, &folder.path().join("others"), &Silent).unwrap();
    assert_ne!(others[..4], texts[..4]);
}

#[test]
fn an_interrupted_writer_goes_on_to_the_same_texts() {
    let folder = tempfile::tempdir().unwrap();
    let teacher = decoder(2, 1);
    let whole = folder.path().join("whole.jsonl");
    let expected = write(&teacher, &openings(), &writing(4), &whole, &Silent).unwrap();
    let bytes = fs::read(&whole).unwrap();
    let ends: Vec<usize> = (0..bytes.len()).filter(|&i| bytes[i] == b'\n').map(|i| i + 1).collect();
    assert!(ends.len() >= 12);
    // Nothing; a whole batch; part of a batch; lines cut at every kind of place, also inside a number, which
    // leaves a shorter number, and just before the line's end.
    let mut cuts = vec![0, ends[3], ends[5], ends[7], bytes.len()];
    cuts.extend((1..40).map(|i| ends[3] + i * 3).filter(|&cut| cut < bytes.len()));
    cuts.extend([ends[3] - 1, ends[3] - 2, ends[3] - 3, ends[7] - 1, bytes.len() - 1]);
    for cut in cuts {
        let file = folder.path().join(format!("cut-{cut}.jsonl"));
        fs::write(&file, &bytes[..cut]).unwrap();
        let texts = write(&teacher, &openings(), &writing(4), &file, &Silent).unwrap();
        assert_eq!(texts, expected, "cut after {cut} bytes");
        assert_eq!(fs::read(&file).unwrap(), bytes, "cut after {cut} bytes");
    }
    // Rubbish after whole batches, as after a power cut.
    let file = folder.path().join("rubbish.jsonl");
    fs::write(&file, [&bytes[..ends[3]], &[0; 50]].concat()).unwrap();
    assert_eq!(write(&teacher, &openings(), &writing(4), &file, &Silent).unwrap(), expected);
}

#[test]
fn a_finished_file_is_not_written_again() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("texts.jsonl");
    let expected = write(&decoder(2, 1), &openings(), &writing(4), &file, &Silent).unwrap();
    // Another teacher would write something else, if it were asked.
    assert_eq!(write(&decoder(2, 2), &openings(), &writing(4), &file, &Silent).unwrap(), expected);
}

#[test]
fn nothing_to_continue_and_no_room_are_errors() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("texts.jsonl");
    let none = write(&decoder(1, 1), &[], &writing(4), &file, &Silent);
    assert!(matches!(none, Err(Error::NoOpenings)), "{none:?}");
    let long = write(&decoder(1, 1), &[vec![1; 128]], &writing(4), &file, &Silent);
    assert!(matches!(long, Err(Error::Model(_))), "{long:?}");
    let nowhere = write(&decoder(1, 1), &openings(), &writing(4), &folder.path().join("no/such/file"), &Silent);
    let text = nowhere.unwrap_err().to_string();
    assert!(text.contains("no/such/file"), "{text}");
}
