//! Files that are larger than what is kept of them in memory, and files that end badly.
#![allow(clippy::unwrap_used)]

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;

use lore_datasets::extract::{ExtractReport, ExtractSpec, Extracted, extract_into};
use lore_datasets::progress::Silent;
use lore_datasets::spool::{Sink, SpoolWriter};

/// The texts and the report; documents go through a spool.
fn run(path: &Path, json: &str) -> (Vec<String>, ExtractReport) {
    let spec: ExtractSpec = serde_json::from_str(json).unwrap();
    let mut spool = SpoolWriter::create(&std::env::temp_dir()).unwrap();
    let report = extract_into("corpus", path, &[spec], &mut spool, &Silent).unwrap();
    assert!(spool.taken() > 0);
    let batches = spool.finish().unwrap();
    let texts = batches.batches().flat_map(|batch| batch.unwrap().documents).map(|document| document.text);
    (texts.collect(), report)
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn of_a_file_that_ends_badly_nothing_is_used() {
    let folder = tempfile::tempdir().unwrap();
    let line = |i: usize| format!("{{\"text\": \"line {i} of many, each with other words in it: {}\"}}\n", i * 7919);
    let lines: String = (0..5000).map(line).collect();
    let packed = gzip(lines.as_bytes());
    fs::write(folder.path().join("a.jsonl"), line(1)).unwrap();
    fs::write(folder.path().join("b.jsonl.gz"), &packed[..packed.len() * 3 / 4]).unwrap();
    fs::write(folder.path().join("c.jsonl"), [line(2).as_bytes(), b"{\"text\": \"caf\xe9\"}\n"].concat()).unwrap();
    fs::write(folder.path().join("d.jsonl"), format!("{}{{broken\n", line(3))).unwrap();
    let rule = r#"{"format": "jsonl", "columns": ["text"], "bad_files": "skip", "layout": "lines"}"#;
    let (texts, report) = run(folder.path(), rule);
    let firsts: Vec<&str> = texts.iter().map(|text| &text[..6]).collect();
    assert_eq!(firsts, ["line 1", "line 3"]);
    assert_eq!((report.files_read, report.records, report.broken), (2, 3, 1));
    let place = line(2).len() + 13;
    assert!(report.left_out[0].starts_with("b.jsonl.gz: it cannot be read or decompressed"), "{:?}", report.left_out);
    assert_eq!(report.left_out[1], format!("c.jsonl: it is not UTF-8 at byte {place}"));
    assert!(report.problems[0].starts_with("d.jsonl: line 2: not JSON"), "{:?}", report.problems);
    fs::write(folder.path().join("b.jsonl.gz"), packed).unwrap();
    assert_eq!(run(folder.path(), rule).0.len(), 5002);
}

#[test]
fn texts_that_are_too_long_are_named_and_passed_over() {
    let folder = tempfile::tempdir().unwrap();
    let long = "word ".repeat(500);
    fs::write(folder.path().join("a.txt"), &long).unwrap();
    fs::write(folder.path().join("b.txt"), "short").unwrap();
    let (texts, report) = run(folder.path(), r#"{"format": "text", "max_document_bytes": 1000}"#);
    assert_eq!((texts, report.broken), (vec!["short".to_owned()], 1));
    assert!(report.problems[0].starts_with("a.txt: a document of more than 1000 bytes"), "{:?}", report.problems);

    fs::write(folder.path().join("c.md"), format!("# One\nshort\n# Two\n{long}\n{long}\n# Three\nalso short\n"))
        .unwrap();
    let rule = r#"{"format": "text", "files": ["*.md"], "split_headings": 1, "max_document_bytes": 1000}"#;
    let (texts, report) = run(folder.path(), rule);
    assert_eq!(texts, ["short", "also short"]);
    assert!(report.problems[0].starts_with("c.md: `Two`: a document of more than"), "{:?}", report.problems);

    let lines = format!("{{\"text\": \"one\"}}\n{{\"text\": \"{long}\"}}\n{{\"text\": \"two\"}}\n");
    fs::write(folder.path().join("d.jsonl"), lines).unwrap();
    let rule = r#"{"format": "jsonl", "files": ["*.jsonl"], "columns": ["text"], "max_document_bytes": 1000}"#;
    let (texts, report) = run(folder.path(), rule);
    assert_eq!(texts, ["one", "two"]);
    assert_eq!(report.problems, ["d.jsonl: line 2: more than 2000 bytes"]);

    // A quote that is never closed makes a row of all that follows.
    let rows: String = (0..40_000).map(|i| format!("{i},text {i}\n")).collect();
    fs::write(folder.path().join("e.csv"), format!("name,text\n\"a,b\n{rows}")).unwrap();
    fs::write(folder.path().join("f.csv"), "name,text\na,fine\n").unwrap();
    let rule = r#"{"format": "csv", "files": ["*.csv"], "columns": ["text"], "max_document_bytes": 1000, "bad_files": "skip"}"#;
    let (texts, report) = run(folder.path(), rule);
    assert_eq!(texts, ["fine"]);
    assert_eq!(report.left_out, ["e.csv: a record of more than 2000 bytes"]);
}

#[test]
fn files_in_which_nothing_is_are_named() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("a.json"), r#"{"items": [{"text": "one"}]}"#).unwrap();
    fs::write(folder.path().join("b.json"), r#"{"item": [{"text": "two"}]}"#).unwrap();
    let (texts, report) = run(folder.path(), r#"{"format": "json", "records": "/items/*", "columns": ["text"]}"#);
    assert_eq!(texts, ["one"]);
    assert_eq!(report.left_out, ["b.json: no record was found in it"]);
    fs::write(folder.path().join("a.txt"), "a text").unwrap();
    fs::write(folder.path().join("b.txt"), " \n\n").unwrap();
    fs::write(folder.path().join("c.txt"), "").unwrap();
    let (texts, report) = run(folder.path(), r#"{"format": "text", "files": ["*.txt"]}"#);
    assert_eq!((texts, report.files_read), (vec!["a text".to_owned()], 3));
    assert_eq!(report.left_out, ["b.txt: no record was found in it", "c.txt: it is empty"]);
}

#[test]
fn many_records_of_one_id_are_numbered() {
    let folder = tempfile::tempdir().unwrap();
    // Minutes, if each looked for a free number from the beginning.
    fs::write(folder.path().join("a.jsonl"), "{\"text\": \"same\"}\n".repeat(60_000)).unwrap();
    let rule = r#"{"format": "jsonl", "columns": ["text"], "id": "{{ stem }}"}"#;
    let spec: ExtractSpec = serde_json::from_str(rule).unwrap();
    let mut documents: Vec<Extracted> = Vec::new();
    let report = extract_into("corpus", folder.path(), &[spec], &mut documents, &Silent).unwrap();
    let ids = [0, 1, 59_999].map(|at| documents[at].id.as_str());
    assert_eq!((ids, report.renamed), (["a", "a~2", "a~60000"], 59_999));
}

#[test]
fn parquet_files_are_read_by_row_group() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.parquet");
    let texts: Vec<String> = (0..1000).map(|i| format!("row {i}")).collect();
    let mut frame = polars::prelude::df!("text" => &texts).unwrap();
    let file = File::create(&path).unwrap();
    polars::prelude::ParquetWriter::new(file).with_row_group_size(Some(64)).finish(&mut frame).unwrap();
    let rule = r#"{"format": "parquet", "columns": ["text"], "id": "{{ number }}", "layout": "lines"}"#;
    assert_eq!(run(&path, rule).0, texts);
    fs::write(folder.path().join("a.parquet.gz"), gzip(&fs::read(&path).unwrap())).unwrap();
    fs::remove_file(&path).unwrap();
    assert_eq!(run(folder.path(), rule).0, texts);
}

#[test]
fn limits_that_are_none_are_refused() {
    for bytes in ["0", "4000000000"] {
        let json = format!("{{\"format\": \"text\", \"max_document_bytes\": {bytes}}}");
        let error = serde_json::from_str::<ExtractSpec>(&json).unwrap_err().to_string();
        assert!(error.contains("`max_document_bytes` is"), "{error}");
    }
}
