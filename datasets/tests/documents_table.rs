//! The table of documents: cleaning, duplicates, splits, and its file.
#![allow(clippy::unwrap_used)]

use std::fs;

use lore_datasets::documents::{Documents, Origin, clean};
use lore_datasets::extract::Extracted;
use lore_datasets::split::{Split, SplitSpec};

fn extracted(id: &str, group: &str, text: &str) -> Extracted {
    Extracted { id: id.into(), group: group.into(), title: String::new(), text: text.into() }
}

fn origin() -> Origin {
    Origin { topic: "t".into(), source: "file:x".into(), license: "CC0-1.0".into() }
}

const SPLIT: SplitSpec = SplitSpec { validation: 0.2, test: 0.2 };

#[test]
fn cleaning_keeps_words_and_lines() {
    assert_eq!(clean("\u{feff} a\u{a0}b\r\nc \u{7}d \n\re\u{ad}f\t\u{2028}g \n"), "a b\nc d\n\nef\ng");
}

#[test]
fn duplicates_and_empty_texts_are_left_out_and_counted() {
    let given = vec![
        extracted("a", "a", "same\u{200b} text"),
        extracted("b", "b", "same text "),
        extracted("c", "c", "\u{7}"),
        extracted("d", "d", "é"),
    ];
    let (documents, report) = Documents::build(given, &origin(), &SPLIT).unwrap();
    assert_eq!((documents.len(), report.duplicates, report.empty), (2, 1, 1));
    let totals = documents.summary().iter().fold((0, 0, 0), |t, s| (t.0 + s.documents, t.1 + s.chars, t.2 + s.bytes));
    assert_eq!(totals, (2, 10, 11));
}

#[test]
fn groups_stay_together_and_adding_documents_moves_none() {
    let make = |count: usize| -> Documents {
        let given = (0..count).flat_map(|i| {
            (0..3).map(move |j| extracted(&format!("{i}/{j}"), &format!("g{i}"), &format!("text {i} {j}")))
        });
        Documents::build(given.collect(), &origin(), &SPLIT).unwrap().0
    };
    let (small, large) = (make(100), make(300));
    let mut groups = 0;
    for split in Split::ALL {
        let ids: Vec<_> = large.split(split).iter().map(|d| d.id.to_owned()).collect();
        assert!(small.split(split).iter().all(|d| ids.contains(&d.id.to_owned())));
        groups += small.summary().iter().find(|s| s.split == split).unwrap().groups;
    }
    assert_eq!(groups, 100, "no group is in two splits");
    assert_ne!(small.hash(), large.hash());
    assert_eq!(small.hash(), make(100).hash());
}

#[test]
fn a_table_survives_its_file_and_others_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("new/documents.parquet");
    let given = vec![extracted("a", "g", "α one"), extracted("b", "g", "two")];
    let (documents, _) = Documents::build(given, &origin(), &SPLIT).unwrap();
    documents.write(&path).unwrap();
    let back = Documents::read(&path).unwrap();
    assert!(back.frame().equals(documents.frame()));
    assert_eq!(back.hash(), documents.hash());
    assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1, "no temporary file is left");

    fs::write(&path, "PAR1 nonsense PAR1").unwrap();
    assert!(Documents::read(&path).unwrap_err().to_string().contains("not readable as Parquet"));
    let mut other = polars::prelude::df!("id" => ["a"], "chars" => [1i64]).unwrap();
    polars::prelude::ParquetWriter::new(fs::File::create(&path).unwrap()).finish(&mut other).unwrap();
    let error = Documents::read(&path).unwrap_err().to_string();
    assert!(error.contains("no column `text`") && error.contains("column `chars` is i64"), "{error}");
}
