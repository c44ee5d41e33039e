//! Every format of extraction on small files, and what happens with bad ones.
#![allow(clippy::unwrap_used)]

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;

use lore_datasets::Error;
use lore_datasets::extract::{ExtractSpec, Extraction, extract, validate};
use lore_datasets::progress::Silent;
use proptest::prelude::*;

fn rule(json: &str) -> ExtractSpec {
    serde_json::from_str(json).unwrap()
}

fn run(path: &Path, json: &str) -> Result<Extraction, Error> {
    extract("test corpus", path, &[rule(json)], &Silent)
}

fn texts(extraction: &Extraction) -> Vec<&str> {
    extraction.documents.iter().map(|d| d.text.as_str()).collect()
}

#[test]
fn json_records_are_found_by_a_pointer_with_wildcards() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("eu")).unwrap();
    fs::write(
        folder.path().join("eu/fr.json"),
        r#"{"name": "France", "parts": {"b/c": [{"t": "<p>Wine &amp; cheese"}], "d": [{"t": "Alps"}, {}]}}"#,
    )
    .unwrap();
    let rule = r#"{"format": "json", "files": ["**/??.json"], "records": "/parts/*/*", "id": "{{ stem }}/{{ number }}",
        "group": "{{ folder }}", "title": "{{ root.name }} {{ key }}", "text": "{{ record.t | sentence }}"}"#;
    let found = run(folder.path(), rule).unwrap();
    assert_eq!(texts(&found), ["Wine & cheese.", "Alps."]);
    assert_eq!(found.documents[1].id, "fr/1");
    assert_eq!(found.documents[1].group, "eu");
    assert_eq!(found.documents[0].title, "France 0");
    assert_eq!((found.report.records, found.report.short), (3, 1));
    let escaped = rule.replace("/parts/*/*", "/parts/b~1c/0");
    assert_eq!(texts(&run(folder.path(), &escaped).unwrap()), ["Wine & cheese."]);
}

#[test]
fn jsonl_counts_broken_lines_and_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("a.jsonl"), "{\"t\": \"one\"}\n\n{broken\n{\"t\": \"two\"}\n").unwrap();
    let found = run(folder.path(), r#"{"format": "jsonl", "text": "{{ record.t }}"}"#).unwrap();
    assert_eq!(texts(&found), ["one", "two"]);
    assert_eq!(found.report.broken, 1);
    assert!(found.report.problems[0].starts_with("a.jsonl: line 3: not JSON"), "{:?}", found.report.problems);
    assert_eq!(found.documents[1].id, "a.jsonl#2");
}

#[test]
fn xml_elements_give_children_attributes_and_text() {
    let folder = tempfile::tempdir().unwrap();
    let xml = r#"<?xml version="1.0"?><c:cat xmlns:c="urn:x" xmlns:h="urn:h"><Items>
        <c:Item ID="7" Name="A &quot;B&quot;"><Body>First &lt;b&gt; line.<h:p>Second&#160;line.</h:p><h:ul><h:li>x</h:li><h:li>y</h:li></h:ul></Body>
        <Note>n1</Note><Note lang="en">n2</Note><Empty/></c:Item>
        <Item ID="8"><Body><![CDATA[raw <i> & &amp;]]></Body></Item></Items><Item ID="9"/></c:cat>"#;
    fs::write(folder.path().join("c.xml"), xml).unwrap();
    let rule = r#"{"format": "xml", "record": "Items/Item", "id": "{{ record.ID }}", "title": "{{ record.Name }}",
        "text": "{{ record.Body | paragraphs | join(' / ') }} [{{ record.Note | listing }}]{% if record.Empty %} empty{% endif %}{% if record.Missing %} no{% endif %}"}"#;
    let found = run(&folder.path().join("c.xml"), rule).unwrap();
    assert_eq!(texts(&found), ["First <b> line. / Second line. / x / y [n1 and n2] empty", "raw <i> & &amp; []"]);
    assert_eq!(found.documents[0].title, "A \"B\"");
    for broken in ["<a><b></a>", "<a>", "<a x=1 x=2></a>"] {
        fs::write(folder.path().join("c.xml"), broken).unwrap();
        assert!(
            matches!(run(folder.path(), &rule.replace("Items/Item", "a")), Err(Error::BadFiles { .. })),
            "{broken}"
        );
    }
}

#[test]
fn sqlite_rows_come_with_parsed_json_and_only_from_a_select() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("d.sqlite3");
    let database = rusqlite::Connection::open(&path).unwrap();
    database.execute_batch(r#"CREATE TABLE t(n INTEGER, j TEXT); INSERT INTO t VALUES (1, '{"a": ["x", "y"]}'), (2, 'no json'), (3, '{"a": []}');"#).unwrap();
    drop(database);
    let rule = r#"{"format": "sqlite", "query": "SELECT n, j FROM t ORDER BY n", "json_columns": ["j"], "text": "{{ record.n }}: {{ record.j.a | listing }}"}"#;
    let found = run(&path, rule).unwrap();
    assert_eq!(texts(&found), ["1: x and y", "3:"]);
    assert_eq!(found.report.broken, 1);
    assert!(found.report.problems[0].contains("row 1, column `j`"), "{:?}", found.report.problems);
    for query in ["DELETE FROM t", "SELECT 1; SELECT 2", "ATTACH 'x' AS y", "WITH a AS (SELECT 1) DELETE FROM t"] {
        let result = run(&path, &rule.replace("SELECT n, j FROM t ORDER BY n", query));
        assert!(matches!(result, Err(Error::Declaration { .. } | Error::BadFiles { .. })), "{query}: {result:?}");
    }
    assert_eq!(texts(&run(&path, rule).unwrap()).len(), 2, "nothing was deleted");
}

#[test]
fn csv_rows_and_text_sections() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("a.csv"), "name;text\nx;\"one; two\"\ny\nz;three\n").unwrap();
    let found = run(
        &folder.path().join("a.csv"),
        r#"{"format": "csv", "delimiter": ";", "text": "{{ record.name }} {{ record.text }}"}"#,
    )
    .unwrap();
    assert_eq!(texts(&found), ["x one; two", "z three"]);
    assert_eq!(found.report.broken, 1);

    fs::write(
        folder.path().join("b.md"),
        "\u{feff}start\n# A\none\n```\n# code\n```\n## B\n  two  \n\n\n\nthree\n# C\n",
    )
    .unwrap();
    let whole = run(folder.path(), r#"{"format": "text", "files": ["*.md"]}"#).unwrap();
    assert_eq!(texts(&whole), ["start\n# A\none\n```\n# code\n```\n## B\ntwo\n\nthree\n# C"]);
    let sections = run(
        folder.path(),
        r#"{"format": "text", "files": ["*.md"], "split_headings": 2, "title": "{{ record.headings | join('/') }}"}"#,
    )
    .unwrap();
    assert_eq!(texts(&sections), ["start", "one\n```\n# code\n```", "two\n\nthree"]);
    assert_eq!(sections.documents[2].title, "A/B");
    let by_default = run(folder.path(), r#"{"format": "text", "files": ["*.md"], "split_headings": 2}"#).unwrap();
    let titles: Vec<&str> = by_default.documents.iter().map(|document| document.title.as_str()).collect();
    assert_eq!(titles, ["", "A", "A > B"]);
}

#[test]
fn parquet_rows_come_with_their_types() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.parquet");
    let mut frame =
        polars::prelude::df!("t" => [Some("x"), None], "n" => [1i64, -2], "f" => [0.5f64, 2.0], "b" => [true, false])
            .unwrap();
    polars::prelude::ParquetWriter::new(File::create(&path).unwrap()).finish(&mut frame).unwrap();
    let rule = r#"{"format": "parquet", "text": "{{ record.t }} {{ record.n + 1 }} {{ record.f * 2 }}{% if record.b %} yes{% endif %}"}"#;
    assert_eq!(texts(&run(&path, rule).unwrap()), ["x 2 1.0 yes", "-1 4.0"]);
    fs::write(&path, "PAR1").unwrap();
    assert!(run(&path, rule).unwrap_err().to_string().contains("a.parquet: Parquet"));
}

#[test]
fn parquet_structs_are_records() {
    use polars::prelude::{IntoColumn, IntoSeries, NamedFrom, ParquetWriter, Series, StructChunked};
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.parquet");
    // As datasets of multiple choice have them: a struct of lists.
    let list = |name: &str, rows: [&[&str]; 2]| {
        let rows: Vec<Series> = rows.iter().map(|row| Series::new("".into(), row)).collect();
        Series::new(name.into(), rows)
    };
    let fields = [list("text", [&["up", "down"], &["left"]]), list("label", [&["A", "B"], &["C"]])];
    let choices = StructChunked::from_series("choices".into(), 2, fields.iter()).unwrap().into_series();
    let mut frame = polars::prelude::DataFrame::new(2, vec![choices.into_column()]).unwrap();
    ParquetWriter::new(File::create(&path).unwrap()).finish(&mut frame).unwrap();
    let text = "{{ record.choices.text | join('/') }} {{ record.choices.label | join('/') }}";
    let rule = format!(r#"{{"format": "parquet", "text": "{text}"}}"#);
    assert_eq!(texts(&run(&path, &rule).unwrap()), ["up/down A/B", "left C"]);
}

#[cfg(unix)]
#[test]
fn names_in_a_snapshot_of_a_hub_are_files() {
    let cache = tempfile::tempdir().unwrap();
    let path = |relative: &str| cache.path().join(relative);
    fs::create_dir_all(path("blobs")).unwrap();
    fs::create_dir_all(path("snapshots/11/data")).unwrap();
    fs::write(path("blobs/abc"), "a text").unwrap();
    fs::write(path("secret"), "not of the repository").unwrap();
    let link = |target: &str, name: &str| std::os::unix::fs::symlink(target, path(name)).unwrap();
    link("../../../blobs/abc", "snapshots/11/data/a.txt");
    link("../../../secret", "snapshots/11/data/b.txt");
    link("../../blobs", "snapshots/11/c");
    let found = run(&path("snapshots/11"), r#"{"format": "text", "files": ["**/*.txt"]}"#).unwrap();
    assert_eq!(texts(&found), ["a text"]);
}

#[test]
fn archives_and_compressed_files_are_read_in_place() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("p.whl");
    let mut archive = zip::ZipWriter::new(File::create(&path).unwrap());
    let options = zip::write::SimpleFileOptions::default();
    for (name, text) in [("p/b.txt", "bee"), ("p/a.txt", "ay"), ("p/x.bin", "no"), ("../evil.txt", "bad")] {
        archive.start_file(name, options).unwrap();
        archive.write_all(text.as_bytes()).unwrap();
    }
    archive.finish().unwrap();
    let found = run(&path, r#"{"format": "text", "files": ["p/*.txt"]}"#).unwrap();
    assert_eq!(texts(&found), ["ay", "bee"]);

    let mut gz = flate2::write::GzEncoder::new(
        File::create(folder.path().join("c.txt.gz")).unwrap(),
        flate2::Compression::default(),
    );
    gz.write_all(b"sea").unwrap();
    gz.finish().unwrap();
    fs::write(folder.path().join("d.txt.zst"), zstd::encode_all(&b"dee"[..], 1).unwrap()).unwrap();
    let found = run(folder.path(), r#"{"format": "text", "files": ["*.txt.{gz,zst}"], "id": "{{ file }}"}"#).unwrap();
    assert_eq!(texts(&found), ["sea", "dee"]);
    assert_eq!(found.documents[0].id, "c.txt");
}

#[test]
fn all_bad_files_are_named_or_skipped() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("a.txt"), b"good \xff bad").unwrap();
    fs::write(folder.path().join("b.txt"), "fine").unwrap();
    fs::write(folder.path().join("c.txt.gz"), "not gzip").unwrap();
    let error = run(folder.path(), r#"{"format": "text"}"#).unwrap_err().to_string();
    assert!(
        error.contains("test corpus")
            && error.contains("a.txt: it is not UTF-8 at byte 5")
            && error.contains("c.txt.gz"),
        "{error}"
    );
    let found = run(folder.path(), r#"{"format": "text", "bad_files": "skip"}"#).unwrap();
    assert_eq!(texts(&found), ["fine"]);
    assert_eq!(found.report.left_out.len(), 2);
}

#[cfg(unix)]
#[test]
fn symbolic_links_are_not_followed() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("a.txt"), "a").unwrap();
    std::os::unix::fs::symlink(folder.path(), folder.path().join("loop")).unwrap();
    let found = run(folder.path(), r#"{"format": "text"}"#).unwrap();
    assert_eq!(texts(&found), ["a"]);
    assert_eq!(found.report.left_out, ["loop: a symbolic link, not followed"]);
}

#[test]
fn an_empty_corpus_says_what_was_searched() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("a.txt"), "short").unwrap();
    let error = run(folder.path(), r#"{"format": "text", "files": ["*.md"]}"#).unwrap_err().to_string();
    assert!(
        error.contains("test corpus: no file of") && error.contains("`*.md`") && error.contains("`a.txt`"),
        "{error}"
    );
    let error = run(folder.path(), r#"{"format": "text", "min_chars": 100}"#).unwrap_err().to_string();
    assert!(error.contains("1 records") && error.contains("1 with too short a text"), "{error}");
}

#[test]
fn wrong_declarations_are_reported_together() {
    for (json, expected) in [
        (r#"{"format": "xml"}"#, "needs `record`"),
        (r#"{"format": "csv", "query": "x", "records": "/"}"#, "`query` belongs to format \"sqlite\""),
        (r#"{"format": "text", "colour": 1}"#, "unknown field `colour`"),
        (r#"{"format": "word"}"#, "unknown variant `word`"),
    ] {
        let error = serde_json::from_str::<ExtractSpec>(json).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
    let rules = [rule(
        r#"{"format": "json", "files": ["/x", "{"], "records": "x", "text": "{% if %}", "id": "{{ a | nofilter }}"}"#,
    )];
    let error = validate("topic x", &rules).unwrap_err().to_string();
    for part in ["`/x` must stay inside", "without `}`", "JSON pointer", "`text` does not compile"] {
        assert!(error.contains(part), "{part}: {error}");
    }
}

#[test]
fn a_template_that_never_ends_is_stopped() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("a.txt"), "a").unwrap();
    let text = "{% for a in range(9999) %}{% for b in range(9999) %}{% set c = a * b %}{% endfor %}{% endfor %}x";
    let json = serde_json::json!({"format": "text", "text": text}).to_string();
    let error = run(folder.path(), &json).unwrap_err().to_string();
    assert!(error.contains("1 broken") && error.contains("fuel"), "{error}");
}

#[test]
fn limits_and_doubled_ids() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("a.jsonl"), "1\n2\n3\n").unwrap();
    let found = run(folder.path(), r#"{"format": "jsonl", "id": "same", "max_documents": 2}"#).unwrap();
    assert_eq!(texts(&found), ["1", "2"]);
    assert_eq!(found.documents[1].id, "same~2");
    assert_eq!(found.report.renamed, 1);
}

#[test]
fn rules_survive_serialisation() {
    for json in [
        r#"{"format": "json", "records": "/a"}"#,
        r#"{"format": "xml", "record": "a"}"#,
        r#"{"format": "csv", "delimiter": "\t"}"#,
        r#"{"format": "sqlite", "query": "SELECT 1", "json_columns": ["a"]}"#,
        r#"{"format": "text", "split_headings": 2, "layout": "lines"}"#,
        r#"{"format": "jsonl", "max_documents": 3, "bad_files": "skip"}"#,
        r#"{"format": "parquet"}"#,
    ] {
        let spec = rule(json);
        assert_eq!(rule(&serde_json::to_string(&spec).unwrap()), spec);
    }
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300), kind in 0..6usize) {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("f"), &bytes).unwrap();
        let rules = [
            r#"{"format": "json"}"#, r#"{"format": "jsonl"}"#, r#"{"format": "xml", "record": "a"}"#,
            r#"{"format": "csv"}"#, r#"{"format": "text", "text": "{{ record.text | markdown }}{{ record.text | plain | without_brackets | sentence }}"}"#,
            r#"{"format": "sqlite", "query": "SELECT 1"}"#,
        ];
        let _ = run(folder.path(), rules[kind]);
    }

    #[test]
    fn no_markup_makes_it_panic(text in "[<>/a-z&;#0-9!\\-\\[\\]()*_`| \\né]{0,80}") {
        let _ = lore_datasets::extract::html_blocks(&text);
        let _ = lore_datasets::extract::markdown_blocks(&text);
    }
}
