//! Evaluation items in training text: planted ones, and those known to stand in OpenStax books.
#![allow(clippy::unwrap_used)]

mod shared;

use std::path::Path;

use lore_datasets::decontaminate::{Decontaminated, EvaluationSet, Remove, decontaminate};
use lore_datasets::extract::{ExtractSpec, Extracted, extract};
use lore_datasets::progress::Silent;
use lore_datasets::split::Split;
use proptest::prelude::*;
use shared::shared;

fn document(id: &str, text: &str) -> Extracted {
    Extracted { id: id.into(), group: id.into(), title: String::new(), text: text.into() }
}

fn words(seed: u64, count: u64) -> Vec<String> {
    (0..count).map(|i| format!("w{}", (seed * 7919 + i).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 44)).collect()
}

fn set(items: Vec<Extracted>, ngram: Option<usize>) -> Vec<EvaluationSet> {
    vec![EvaluationSet { name: "set".into(), items, ngram }]
}

/// `part` at a place of a long text, in other case and with other punctuation.
fn hidden(part: &[String], seed: u64) -> String {
    let (before, after) = (words(1000 + seed, 60).join(" "), words(2000 + seed, 60).join(" "));
    format!("{before}\n\n“{}” he said.\n\n{after}", part.join(", ").to_uppercase())
}

#[test]
fn all_planted_contamination_is_found_and_removed() {
    let items: Vec<Extracted> =
        (0..200).map(|i| document(&format!("q{i}"), &words(i, 6 + i % 120).join(" "))).collect();
    let sets = set(items, None);
    // Of every second item a run of as many words as counts.
    let documents: Vec<(Extracted, Split)> = (0..200u64)
        .step_by(2)
        .map(|i| {
            let all = words(i, 6 + i % 120);
            let n = if all.len() > 64 { 13 } else { 8.min(all.len()) };
            let start = (all.len() - n) * (i as usize % 7) / 6;
            (document(&format!("d{i}"), &hidden(&all[start..start + n], i)), Split::Train)
        })
        .collect();
    let found = decontaminate(documents.clone(), &sets, Remove::Paragraph, &Silent).unwrap();
    let ids: Vec<&str> = found.items.iter().map(|item| item.item.as_str()).collect();
    let expected: Vec<String> = (0..200).step_by(2).map(|i| format!("q{i}")).collect();
    assert_eq!(ids, expected, "every planted item, and no other");
    for (item, (before, _)) in found.items.iter().zip(&documents) {
        assert_eq!(item.documents["train"], [before.id.as_str()]);
        assert!(item.found >= 1 && item.found <= item.runs, "{item:?}");
    }
    assert_eq!((found.report.paragraphs, found.report.training_documents, found.report.dropped), (100, 100, 0));
    assert_eq!(found.report.sets["set"].contaminated, 100);
    for ((after, _), (before, _)) in found.documents.iter().zip(&documents) {
        let parts: Vec<&str> = before.text.split("\n\n").collect();
        assert_eq!(after.text, format!("{}\n\n{}", parts[0], parts[2]));
    }
    let again = decontaminate(found.documents, &sets, Remove::Paragraph, &Silent).unwrap();
    assert_eq!(again.items, []);
    let whole = decontaminate(documents.clone(), &sets, Remove::Document, &Silent).unwrap();
    assert_eq!((whole.documents.len(), whole.report.dropped), (0, 100));
    let only_reported = decontaminate(documents.clone(), &sets, Remove::Nothing, &Silent).unwrap();
    assert_eq!(only_reported.documents, documents);
}

#[test]
fn held_out_documents_are_reported_and_stay() {
    let item = words(1, 20);
    let text = hidden(&item, 1);
    let given = vec![(document("t", &text), Split::Test), (document("a", &text), Split::Train)];
    let found =
        decontaminate(given, &set(vec![document("q", &item.join(" "))], None), Remove::Document, &Silent).unwrap();
    assert_eq!(found.documents, [(document("t", &text), Split::Test)]);
    assert_eq!(found.items[0].documents.keys().collect::<Vec<_>>(), ["test", "train"]);
    assert_eq!((found.items[0].found, found.items[0].runs, found.items[0].ngram), (13, 13, 8));
    assert_eq!(found.report.sets["set"].in_training, 1);
}

#[test]
fn too_short_items_are_counted_not_looked_for() {
    let items = vec![document("q", "What is it?"), document("r", "Five words are just enough")];
    let given = vec![(document("a", "What is it? Five words are, just enough!"), Split::Train)];
    let found = decontaminate(given, &set(items, None), Remove::Paragraph, &Silent).unwrap();
    assert_eq!(found.report.sets["set"].too_short, 1);
    assert_eq!((found.items.len(), found.items[0].item.as_str(), found.items[0].ngram), (1, "r", 5));
    assert_eq!(found.items[0].overlap, "Five words are, just enough!");
    assert_eq!((found.documents.len(), found.report.dropped), (0, 1));
}

proptest! {
    #[test]
    fn what_is_found_is_what_shares_a_run(
        text in prop::collection::vec(0..4u8, 0..40), item in prop::collection::vec(0..4u8, 8..20), n in 3..8usize,
    ) {
        let join = |letters: &[u8]| letters.iter().map(|l| format!("w{l}")).collect::<Vec<_>>().join(" ");
        let expected = text.windows(n).any(|run| item.windows(n).any(|other| run == other));
        let given = vec![(document("a", &join(&text)), Split::Train)];
        let found = decontaminate(given, &set(vec![document("q", &join(&item))], Some(n)), Remove::Nothing, &Silent).unwrap();
        prop_assert_eq!(!found.items.is_empty(), expected);
    }
}

fn read(path: &Path, rule: &str) -> Vec<Extracted> {
    let rule: ExtractSpec = serde_json::from_str(rule).unwrap();
    extract("shared", path, &[rule], &Silent).unwrap().documents
}

fn overlap(book: &str, subject: &str) -> Option<Decontaminated> {
    let book = shared(&format!("openstax/{book}/text.txt"))?;
    let items = shared(&format!("mmlu/{subject}.jsonl"))?;
    let sections = read(&book, r#"{"format": "text", "split_headings": 1}"#);
    let items = read(
        &items,
        r#"{"format": "jsonl", "id": "{{ record.id }}", "text": "{{ record.question }} {{ record.choices | join(' ') }}"}"#,
    );
    let given = sections.into_iter().map(|section| (section, Split::Train)).collect();
    Some(decontaminate(given, &set(items, Some(8)), Remove::Paragraph, &Silent).unwrap())
}

#[test]
fn known_overlap_of_textbooks_with_mmlu() {
    for (book, subject, items, expected) in [
        ("us_history", "high_school_us_history", 204, 15),
        ("anatomy_physiology", "anatomy", 135, 2),
        ("astronomy", "astronomy", 152, 2),
        ("chemistry", "high_school_chemistry", 203, 3),
        ("economics", "high_school_macroeconomics", 390, 4),
        ("psychology", "high_school_psychology", 545, 3),
    ] {
        let Some(found) = overlap(book, subject) else { return };
        let report = &found.report.sets["set"];
        eprintln!("{book}: {} of {} {subject} questions overlap", report.contaminated, report.items);
        assert_eq!(report.items, items);
        // Counted by scripts/parity/ngram_overlap.py.
        assert_eq!(report.contaminated, expected, "{book}: {report:?}");
    }
}
