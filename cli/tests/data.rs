//! `lore data`: inspecting, building and describing texts, and what a run does with them.

#![allow(clippy::unwrap_used)]

mod workbench;

use std::fs;
use std::io::Write;

use serde_json::{Value, json};
use workbench::tiny_recipe::{RECIPE, tiny_run};
use workbench::{Workbench, edit_json, text};

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// Good and bad files side by side.
fn mixed() -> Workbench {
    let bench = Workbench::new();
    bench.write(
        "texts/good.txt",
        "The river runs to the sea, and the people who live with it know that. In spring the snow of the hills melts; \
         the water rises and covers the fields near the mill. By summer it is low again. Children cross it on flat \
         stones to reach the other side. Old maps show three bridges. Only one of them has been repaired since the \
         great flood. Write to jane@example.org.",
    );
    bench.write("texts/page.html", "<title>Hills</title><nav>Home</nav><p>A hill stands above the town.</p>");
    bench.write("texts/notes.md", "# Fields\n\nThe *fields* lie by the road.\n");
    bench.write(
        "texts/more.jsonl.gz",
        gzip(b"{\"content\": \"A gate of iron.\"}\n{broken\n{\"other\": 1}\n{\"content\": \"A gate of iron!\"}\n"),
    );
    bench.write("texts/table.csv", "title,text\na,The well is deep.\n");
    bench.write("texts/broken.txt.gz", &gzip("The rain fell all night. ".repeat(99).as_bytes())[..40]);
    bench.write("texts/latin.txt", b"The caf\xe9 by the river.");
    bench.write("texts/other.csv", "name,number\na,1\n");
    bench.write("texts/empty.txt", "");
    bench.write("texts/picture.png", "\u{1}");
    bench.write("texts/numbers.json", "[1, 2]");
    bench
}

const BAD: [(&str, &str); 8] = [
    ("numbers.json", "its records are no objects with fields (one is a number)"),
    ("broken.txt.gz", "cannot be read or decompressed"),
    ("latin.txt", "not UTF-8 at byte 7"),
    ("other.csv", "no column `text`"),
    ("empty.txt", "it is empty"),
    ("picture.png", "not a kind of text that is known"),
    ("more.jsonl", "line 2: not JSON"),
    ("more.jsonl: record 3", "no column `text`"),
];

#[test]
fn bad_files_are_named_and_the_rest_is_inspected() {
    let bench = mixed();
    #[cfg(unix)]
    std::os::unix::fs::symlink(bench.path("texts"), bench.path("texts/loop")).unwrap();
    // Longer than any document may be.
    bench.write("texts/long.txt", "word ".repeat(14_000_000));
    let answer = bench.succeeds(&["data", "inspect", "texts", "--html", "page.html"]);
    for (file, problem) in BAD.iter().chain(&[("long.txt", "a document of more than")]) {
        let line = answer
            .stdout
            .lines()
            .find(|line| line.contains(file))
            .unwrap_or_else(|| panic!("{file}: {}", answer.stdout));
        assert!(line.contains(problem), "{line}");
    }
    #[cfg(unix)]
    assert!(answer.stdout.contains("loop: a symbolic link, not followed"), "{}", answer.stdout);
    for part in ["6 documents", "duplicates: 1 exact", "email 1", "documents by words"] {
        assert!(answer.stdout.contains(part), "{part}: {}", answer.stdout);
    }
    let page = String::from_utf8(bench.read("page.html")).unwrap();
    for part in ["broken.txt.gz", "gopher.words", "A hill stands above the town"] {
        assert!(page.contains(part), "{part}");
    }
    assert!(!page.contains("jane@example.org") && !page.contains("http://") && !page.contains("https://"));
}

#[test]
fn long_texts_are_named_and_the_rest_is_inspected() {
    let bench = Workbench::new();
    bench.write("texts/short.txt", "A short text stands here.");
    let long = "word ".repeat(9000);
    bench.write("texts/line.jsonl", format!("{{\"text\": \"One.\"}}\n{{\"text\": \"{long}\"}}\n{{\"text\": \" \"}}\n"));
    bench.write("texts/long.txt", long);
    let arguments = ["data", "inspect", "texts", "--max-document-bytes", "10000"];
    let answer = bench.succeeds(&arguments);
    for part in [
        "2 documents,",
        "line.jsonl: line 2: more than 20000 bytes",
        "long.txt: a document of more than 10000 bytes",
        "records without text: 1",
    ] {
        assert!(answer.stdout.contains(part), "{part}: {}", answer.stdout);
    }
    bench.fails(1, &[&arguments[..], &["--strict"]].concat(), &["2 things are left out", "line.jsonl", "long.txt"]);
}

#[test]
fn strict_stops_and_names_what_is_wrong() {
    let bench = mixed();
    let parts: Vec<&str> = BAD.iter().map(|(file, _)| *file).collect();
    bench.fails(1, &["data", "inspect", "texts", "--strict", "--html", "page.html"], &parts);
    assert!(!bench.path("page.html").exists());
    bench.succeeds(&["data", "inspect", "texts/good.txt", "texts/notes.md", "--strict"]);
}

#[test]
fn what_cannot_be_inspected_at_all() {
    let bench = mixed();
    bench.fails(1, &["data", "inspect", "texts/picture.png"], &["no text was found", "picture.png"]);
    bench.fails(1, &["data", "inspect", "texts/table.csv", "--column", "story"], &["no column `story`", "title"]);
    bench.fails(2, &["data", "inspect", "nowhere"], &["no such file or directory"]);
    bench.fails(2, &["data", "inspect", "texts/good.txt", "--html", "no/page.html"], &["directory no does not exist"]);
}

#[test]
fn a_book_is_inspected_by_its_sections() {
    let bench = Workbench::new();
    let section =
        |n: usize| format!("# Chapter {n}\n{}\n", format!("The mill of year {n} stands by the river. ").repeat(3000));
    bench.write("book.txt", (0..5).map(section).collect::<String>());
    let whole = bench.succeeds(&["data", "inspect", "book.txt"]).stdout;
    for part in ["1 documents", "1  gopher.words: fewer than 50 or more than 100 000 words", "1 of them with headings"]
    {
        assert!(whole.contains(part), "{part}: {whole}");
    }
    let sections = bench.succeeds(&["data", "inspect", "book.txt", "--split-headings", "1"]).stdout;
    assert!(sections.contains("5 documents") && !sections.contains("--split-headings"), "{sections}");
}

#[test]
fn licences_are_those_that_records_name() {
    let bench = Workbench::new();
    bench.write("a.jsonl", "{\"text\": \"A gate of iron.\", \"license\": \"CC0-1.0\"}\n{\"text\": \"A well.\", \"licence\": \"MIT <b>\"}\n");
    bench.write("b.txt", "A road by the fields.");
    let arguments = ["data", "inspect", "a.jsonl", "b.txt", "--html", "page.html"];
    let answer = bench.succeeds(&arguments);
    assert!(answer.stdout.contains("licences: CC0-1.0 1, MIT <b> 1, not stated 1"), "{}", answer.stdout);
    let page = String::from_utf8(bench.read("page.html")).unwrap();
    assert!(page.contains("MIT &lt;b&gt;") && page.contains("not stated"));
}

#[test]
fn tokens_are_counted_with_a_models_tokenizer() {
    let bench = mixed();
    bench.model("tiny-llama", "model");
    let answer = bench.succeeds(&["data", "inspect", "texts/good.txt", "--tokenizer", "model"]);
    assert!(answer.stdout.contains("documents by tokens"), "{}", answer.stdout);
}

/// The tiny recipe, with every step asked for in its first topic.
fn refined() -> Workbench {
    let bench = tiny_run();
    bench.write("quiz.jsonl", "{\"id\": \"q1\", \"question\": \"Which river of valley 7, seen for the 5th time, runs?\"}\n{\"id\": \"q2\", \"question\": \"A question that stands nowhere in these texts at all?\"}\n");
    let same = fs::read_to_string(bench.path("rivers/3.txt")).unwrap();
    bench.write("rivers/again.txt", same.to_uppercase());
    let text = RECIPE.replacen(
        "prompts = [\"the river\"]",
        "prompts = [\"the river\"]
license = \"CC0-1.0\"
attribution = \"Made up by the tests\"
clean = { quality = [\"gopher.stop_words\"], scrub = [\"email\"], boilerplate = false }
dedup = { near = false, paragraphs = false, leakage = \"keep\" }

[[topic.decontaminate.against]]
name = \"quiz\"
source = \"file:${LORE_TEST_QUIZ:-quiz.jsonl}\"
ngram = 6
extract = { format = \"jsonl\", id = \"{{ record.id }}\", text = \"{{ record.question }}\" }",
        1,
    );
    bench.write("recipe.toml", text);
    bench
}

#[test]
fn a_build_has_documents_tokens_reports_and_a_card() {
    let bench = refined();
    let arguments = ["data", "build", "recipe.toml", "--topic", "rivers", "--out", "built"];
    let answer = bench.succeeds(&arguments);
    for part in ["duplicates: 1 exact", "evaluation `quiz`: 1 of 2 items overlap"] {
        assert!(answer.stdout.contains(part), "{part}: {}", answer.stdout);
    }
    let listing = bench.listing("built/rivers");
    assert_eq!(
        listing,
        ["README.md", "contamination.jsonl", "data.json", "documents.parquet", "duplicates.jsonl", "tokens"]
    );
    assert_eq!(bench.listing("built"), ["rivers"], "nothing half-built is left");
    let report: Value = serde_json::from_slice(&bench.read("built/rivers/data.json")).unwrap();
    assert_eq!(report["dedup"]["exact"], 1);
    assert_eq!(report["decontamination"]["sets"]["quiz"]["contaminated"], 1);
    let item: Value = serde_json::from_slice(&bench.read("built/rivers/contamination.jsonl")).unwrap();
    assert_eq!(item["item"], "q1");
    let card = String::from_utf8(bench.read("built/rivers/README.md")).unwrap();
    for part in ["---\nlicense:\n- \"cc0-1.0\"\n", "Made up by the tests", "size_categories:\n- \"n<1K\""] {
        assert!(card.contains(part), "{part}: {card}");
    }
    assert!(!card.contains(text(&bench.path(""))), "no path of this machine: {card}");
    bench.fails(2, &arguments, &["built/rivers", "it exists already"]);
    bench.fails(
        2,
        &["data", "build", "recipe.toml", "--topic", "lakes", "--out", "b"],
        &["no such topic", "rivers, hills"],
    );
    let tokens = answer.stdout.lines().find(|line| line.contains("train: ")).unwrap().trim().to_owned();
    assert!(tokens.ends_with(" tokens"), "{tokens}");
    let with_counts = bench.succeeds(&["data", "card", "recipe.toml", "--built", "built"]).stdout;
    for part in ["evaluation `quiz`: 1 of 2", "## hills", &tokens] {
        assert!(with_counts.contains(part), "{part}: {with_counts}");
    }
    assert!(card.contains("language:\n- \"en\"\n"), "English is what cleaning keeps: {card}");
    assert!(!with_counts.contains("language:"), "nobody looked at the hills: {with_counts}");
    let without = bench.succeeds(&["data", "card", "recipe.toml"]).stdout;
    assert!(!without.contains("size_categories") && without.contains("Made up by the tests"), "{without}");
    bench.fails(2, &["data", "card", "recipe.toml", "--built", "rivers"], &["it holds none of rivers, hills"]);
}

#[test]
fn what_was_built_is_inspected_with_what_the_build_dropped() {
    let bench = refined();
    bench.succeeds(&["data", "build", "recipe.toml", "--out", "built"]);
    bench.write("built/README.md", bench.succeeds(&["data", "card", "recipe.toml", "--built", "built"]).stdout);
    let answer = bench.succeeds(&["data", "inspect", "built", "--html", "page.html", "--strict"]);
    for part in [
        "built/hills: made by Lore, ",
        "built/rivers: made by Lore, ",
        "  duplicates: 1 exact",
        "  evaluation `quiz`: 1 of 2 items overlap",
        "licences: not stated 40, CC0-1.0 39",
    ] {
        assert!(answer.stdout.contains(part), "{part}: {}", answer.stdout);
    }
    assert!(!answer.stdout.contains("left out"), "{}", answer.stdout);
    let page = page(&bench, "page.html");
    for part in ["How built/rivers was made", "Evaluation items that overlap", "q1", "CC0-1.0"] {
        assert!(page.contains(part), "{part}");
    }
    let one = bench.succeeds(&["data", "inspect", "built/rivers"]).stdout;
    assert!(one.contains("built/rivers: made by Lore") && !one.contains("hills"), "{one}");
    // Other files beside them are texts to look at too.
    bench.write("built/notes/a.txt", "A road by the fields.");
    let all = bench.succeeds(&["data", "inspect", "built"]).stdout;
    assert!(!all.contains("made by Lore") && all.contains("left out"), "{all}");
    bench.write("built/rivers/data.json", "{}");
    bench.fails(1, &["data", "inspect", "built/rivers"], &["data.json: it is not a report of `lore data build`"]);
}

/// What a build leaves that is killed.
#[cfg(unix)]
#[test]
fn what_a_killed_build_left_is_removed_but_not_what_another_works_on() {
    let bench = refined();
    let build = |topic| bench.succeeds(&["data", "build", "recipe.toml", "--topic", topic, "--out", "built"]);
    bench.write("built/.building-dead/tokens/train/tokens.bin", "x");
    bench.write("built/.building-note", "a file, not a folder");
    let another = fs::File::open(bench.path("built")).unwrap();
    another.lock_shared().unwrap();
    build("rivers");
    assert_eq!(bench.listing("built"), [".building-dead", ".building-note", "rivers"]);
    drop(another);
    build("hills");
    assert_eq!(bench.listing("built"), [".building-note", "hills", "rivers"]);
}

/// Every file under a folder with its bytes.
fn tree(bench: &Workbench, folder: &str) -> Vec<(String, Vec<u8>)> {
    let mut files = Vec::new();
    for name in bench.listing(folder) {
        let path = format!("{folder}/{name}");
        if bench.path(&path).is_dir() {
            files.extend(tree(bench, &path));
        } else {
            let bytes = bench.read(&path);
            files.push((path.split_once('/').unwrap().1.to_owned(), bytes));
        }
    }
    files
}

#[test]
fn builds_with_one_and_two_threads_and_two_builds_are_the_same_bytes() {
    let bench = refined();
    let build = |threads: &str, out: &str| {
        bench.succeeds(&["--threads", threads, "data", "build", "recipe.toml", "--out", out]);
        tree(&bench, out)
    };
    let one = build("1", "one");
    let names: Vec<&str> = one.iter().map(|(name, _)| name.as_str()).collect();
    for name in ["rivers/documents.parquet", "rivers/tokens/train/tokens.bin", "hills/tokens/test/documents.bin"] {
        assert!(names.contains(&name), "{names:?}");
    }
    assert!(one == build("2", "two"), "one and two threads");
    assert!(one == build("2", "three"), "twice");
}

#[test]
fn a_strict_build_leaves_nothing_behind() {
    let bench = refined();
    bench.write("rivers/empty.txt", "");
    let arguments = ["data", "build", "recipe.toml", "--topic", "rivers", "--out", "built"];
    bench.fails(
        1,
        &[&arguments[..], &["--strict"]].concat(),
        &["rivers: something is left out", "empty.txt: it is empty"],
    );
    assert_eq!(bench.listing("built"), [""; 0]);
    bench.write("rivers/notes.md", "No rule asks for this.");
    bench.write("rivers/long.txt", "word ".repeat(4_000_000));
    let said = bench.succeeds(&arguments);
    for file in ["empty.txt: it is empty", "long.txt: a document of more than 16777216 bytes"] {
        assert!(said.stderr.contains(&format!("rivers: left out: {file}")), "{}", said.stderr);
    }
    assert!(said.stdout.contains("files (1 that no rule asks for); "), "{}", said.stdout);
    assert!(said.stdout.contains("left out: 2 files, links and records"), "{}", said.stdout);
}

#[test]
fn wrong_tables_are_told_at_once() {
    let bench = refined();
    let recipe = String::from_utf8(bench.read("recipe.toml")).unwrap();
    let wrong = recipe
        .replace("gopher.stop_words", "gofer.stop_words")
        .replace("boilerplate = false", "boilerplat = false")
        .replace("leakage = \"keep\"", "leakage = \"kep\", threshold = 2.0")
        .replace("ngram = 6", "ngram = 1")
        .replace("license = \"CC0-1.0\"", "license = \"public domain\"");
    bench.write("recipe.toml", wrong);
    let parts = [
        "`topic[1].clean.boilerplat` is not a known key; did you mean `boilerplate`?",
        "`topic[1].clean` is wrong: `gofer.stop_words` is no rule of quality",
        "`topic[1].dedup.leakage` cannot be `kep`; did you mean `keep`?",
        "`topic[1].dedup` is wrong: `threshold` is 2",
        "`topic[1].decontaminate.against[1].ngram` must be 3 to 50 words",
        "`topic[1].license` is `public domain`, which is not an SPDX licence expression",
    ];
    bench.fails(2, &["run", "recipe.toml", "--plan"], &parts);
    bench.write("recipe.toml", recipe.replace("${LORE_TEST_QUIZ:-quiz.jsonl}", "${LORE_TEST_QUIZ}"));
    let parts = ["needs the environment variable `LORE_TEST_QUIZ`, which is not set"];
    bench.fails(2, &["run", "recipe.toml", "--plan"], &parts);
}

#[test]
fn a_run_applies_the_tables_and_its_module_carries_the_report() {
    let bench = refined();
    bench.write("rivers/empty.txt", "");
    let answer = bench.succeeds(&["run", "recipe.toml"]);
    assert!(answer.stderr.contains("rivers: left out: empty.txt: it is empty"), "{}", answer.stderr);
    assert!(answer.stages().contains(&"fetch:rivers+quiz".to_owned()), "{:?}", answer.stages());
    let report: Value = serde_json::from_slice(&bench.read("runs/tiny/modules/rivers/data.json")).unwrap();
    assert_eq!(report["decontamination"]["sets"]["quiz"]["contaminated"], 1);
    assert!(!bench.path("runs/tiny/modules/hills/data.json").exists(), "nothing was asked of that topic");
    let said = ["--version", "1.0.0", "--summary", "Rivers", "--author", "Ada Lovelace", "--keys", "keys"];
    bench.succeeds(&[&["pack", "build", "runs/tiny", "--module", "rivers"][..], &said].concat());
    let inspected = bench.succeeds(&["pack", "inspect", "rivers-1.0.0.lorepack", "--keys", "keys"]).stdout;
    assert!(inspected.contains("kept apart 1 of 2 items of quiz overlap"), "{inspected}");
    let pack = bench.read("rivers-1.0.0.lorepack");
    let here = text(&bench.path("")).trim_end_matches('/').as_bytes().to_vec();
    assert!(!pack.windows(here.len()).any(|part| part == here), "the recipe in it says where it was made");
    assert_eq!(bench.succeeds(&["run", "recipe.toml"]).stages(), [""; 0]);
    // Other items are other training text.
    bench.write("quiz.jsonl", "{\"id\": \"q3\", \"question\": \"Nothing of this is there in any way?\"}\n");
    let again = bench.succeeds(&["run", "recipe.toml"]).stages();
    assert!(again.contains(&"topic:rivers".to_owned()) && !again.contains(&"topic:hills".to_owned()), "{again:?}");
}

/// Prose from which passages can be cut.
fn stories() -> Workbench {
    let bench = Workbench::new();
    bench.model("tiny-llama", "model");
    edit_json(&bench.path("model/config.json"), |keys| keys["max_position_embeddings"] = json!(2048));
    for number in 0..30 {
        let line =
            |n: usize| format!("In year {} the keeper of mill {number} wrote down {} boats. ", 1700 + n, n * 7 % 50);
        bench.write(&format!("stories/{number}.txt"), (0..12).map(line).collect::<String>());
    }
    bench
}

const SYNTH: [&str; 15] = [
    "data",
    "synth",
    "stories",
    "--model",
    "model",
    "--passages",
    "24",
    "--passage-words",
    "60",
    "--batch",
    "2",
    "--max-tokens",
    "24",
    "--seed",
    "5",
];

/// A page, with slashes as they were before they were escaped.
fn page(bench: &Workbench, name: &str) -> String {
    String::from_utf8(bench.read(name)).unwrap().replace("&#x2f;", "/")
}

fn text_of(value: &Value) -> &str {
    value.as_str().unwrap()
}

fn written(bench: &Workbench, folder: &str) -> Vec<(String, Vec<u8>)> {
    let names = bench.listing(folder);
    names.into_iter().map(|name| (name.clone(), bench.read(&format!("{folder}/{name}")))).collect()
}

#[test]
fn synthesis_that_is_killed_goes_on_to_the_same_bytes() {
    let bench = stories();
    let with = |out: &'static str, more: &[&'static str]| [&SYNTH[..], &["--out", out], more].concat();
    let answer = bench.succeeds(&with("straight", &["--threads", "1"]));
    assert!(answer.stdout.contains("24 passages") && answer.stdout.contains("question: "), "{}", answer.stdout);
    let files = written(&bench, "straight");
    let names: Vec<&str> = files.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(
        names,
        ["answers.jsonl", "begun.json", "rejected.jsonl", "synth.json", "synthetic.jsonl", "written.jsonl"]
    );
    let report: Value = serde_json::from_slice(&bench.read("straight/synth.json")).unwrap();
    let total: u64 = report["kinds"].as_object().unwrap().values().map(|kind| kind["written"].as_u64().unwrap()).sum();
    assert_eq!(total, 96);
    // A model that was never trained writes nothing that passes.
    bench.fails(1, &["data", "inspect", "straight"], &["no text was found"]);
    let [accepted, rejected] = ["synthetic", "rejected"].map(|name| format!("straight/{name}.jsonl"));
    assert_eq!(bench.read(&accepted), b"");
    let item = "{\"id\": \"a\", \"text\": \"In year 1700 the keeper wrote down boats.\"}\n";
    bench.write("looked/synthetic.jsonl", item);
    for name in ["rejected.jsonl", "synth.json"] {
        bench.write(&format!("looked/{name}"), bench.read(&format!("straight/{name}")));
    }
    let looked = bench.succeeds(&["data", "inspect", "looked", "--html", "synth.html"]).stdout;
    assert!(looked.contains("looked: made by Lore, 1 documents\n  24 passages\n"), "{looked}");
    let first: Value = serde_json::from_slice(bench.read(&rejected).split(|b| *b == b'\n').next().unwrap()).unwrap();
    let page = page(&bench, "synth.html");
    assert!(page.contains(text_of(&first["id"])) && page.contains(text_of(&first["reason"])), "{first}");

    for batches in [1, 9] {
        let mut child = bench.command(&with("killed", &[])).spawn().unwrap();
        let begun =
            || fs::read(bench.path("killed/written.jsonl")).map_or(0, |text| text.split(|b| *b == b'\n').count());
        while begun() <= 2 * batches && child.try_wait().unwrap().is_none() {
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        child.kill().unwrap();
        child.wait().unwrap();
    }
    bench.succeeds(&with("killed", &["--threads", "2"]));
    assert!(written(&bench, "killed") == files, "killed twice, and with another number of threads");
    bench.fails(1, &with("killed", &["--each", "2"]), &["killed was begun with other passages", "`each` differs"]);
}

#[test]
fn synthesis_reads_the_training_documents_of_what_was_built() {
    let bench = refined();
    bench.succeeds(&["data", "build", "recipe.toml", "--topic", "rivers", "--out", "built"]);
    edit_json(&bench.path("teacher/config.json"), |keys| keys["max_position_embeddings"] = json!(2048));
    let synth = |corpus: &'static str, out: &'static str| {
        let options = ["--passages", "3", "--passage-words", "60", "--max-tokens", "8", "--kind", "cloze"];
        bench.run(&[&["data", "synth", corpus, "--model", "teacher", "--out", out][..], &options].concat())
    };
    let (folder, table) = (synth("built/rivers", "a"), synth("built/rivers/documents.parquet", "b"));
    assert_eq!((folder.code, table.code), (0, 0), "{}", folder.stderr);
    assert!(folder.stdout.contains("3 passages\ncloze: "), "{}", folder.stdout);
    assert!(written(&bench, "a") == written(&bench, "b"));
    bench.write("short/a.txt", "Too short to cut a passage from.");
    let arguments = ["data", "synth", "short", "--model", "teacher", "--out", "c"];
    bench.fails(1, &arguments, &["no passage of 40 to 150 words was found"]);
    bench.fails(
        2,
        &["data", "synth", "short", "--model", "teacher", "--out", "c", "--kind", "poem"],
        &["`poem` is none of"],
    );
}
