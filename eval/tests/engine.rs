//! The engine: a sample depends on the model and its item alone, to the last bit, and nothing is computed twice.
#![allow(missing_docs, clippy::unwrap_used)]

use std::path::Path;

use burn::tensor::Device;
use lore_datasets::progress::Silent;
use lore_eval::cache::ScoreCache;
use lore_eval::engine::{Error, Options, Subject, evaluate};
use lore_eval::request::token_request;
use lore_eval::sample::Sample;
use lore_eval::score::score;
use lore_eval::task::{Form, Item};
use lore_model::Decoder;
use lore_model::files::ModelFiles;
use lore_model::sampling::Random;
use lore_modules::{LoadedModule, activate, peft};

struct Model {
    files: ModelFiles,
    decoder: Decoder,
}

impl Model {
    fn new() -> Self {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../model/tests/fixtures/tiny-llama");
        let files = ModelFiles::open(&path).unwrap();
        let decoder = Decoder::load(&files.config, &*files.weights, &Device::flex()).unwrap();
        Self { files, decoder }
    }

    fn with_module(mut self) -> Self {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../modules/tests/fixtures/plain");
        let module = LoadedModule::new(&peft::read(&path).unwrap(), &Device::flex());
        self.decoder = activate(&self.decoder, &[(&module, 0.7)]);
        self
    }

    fn subject(&self) -> Subject<'_> {
        let stop = &self.files.config.eos_token_ids;
        Subject { decoder: &self.decoder, tokenizer: &self.files.tokenizer, start: self.files.document_start(), stop }
    }

    fn ask(&self, items: &[Item], options: &Options) -> Vec<Sample> {
        evaluate(&self.subject(), "test", items, options, &mut ScoreCache::in_memory("m"), &Silent).unwrap()
    }
}

const WORDS: [&str; 12] = ["the", "river", "runs", "down", "a", "hill", "and", "water", "is", "clear", "stone", "42"];

fn sentence(random: &mut Random, most: u64) -> String {
    let count = 1 + random.bits() % most;
    (0..count).map(|_| WORDS[(random.bits() % 12) as usize]).collect::<Vec<_>>().join(" ")
}

/// Items of every kind, some of them with the same requests.
fn items(count: usize) -> Vec<Item> {
    let mut random = Random::new(4, 2);
    let form = |number: usize, random: &mut Random| match number % 5 {
        0 | 1 => Form::Choice {
            context: if number.is_multiple_of(10) { String::new() } else { sentence(random, 8) },
            delimiter: " ".into(),
            choices: (0..2 + number % 3).map(|i| format!("{} {i}", sentence(random, 3))).collect(),
            gold: number % 2,
            pair: number.is_multiple_of(10),
        },
        2 => Form::Cloze { context: sentence(random, 6), target: format!(" {}", sentence(random, 2)) },
        3 => Form::Rolling { text: sentence(random, 60), bytes: 10, words: 3, window: Some(20) },
        _ => Form::Cloze { context: "the river".into(), target: " runs".into() },
    };
    let item = |number: usize| {
        let form = form(number, &mut random);
        Item { id: number.to_string(), subset: String::new(), form, record: serde_json::Value::Null }
    };
    (0..count).map(item).collect()
}

fn same_bits(a: &[Sample], b: &[Sample], what: &str) {
    assert_eq!(a.len(), b.len(), "{what}");
    let bits = |sample: &Sample| -> Vec<u64> {
        sample.scores.iter().chain(&sample.answer_only).map(|score| score.log_likelihood.to_bits()).collect()
    };
    for (a, b) in a.iter().zip(b) {
        assert_eq!(bits(a), bits(b), "{what}: item {}", a.id);
        assert_eq!(a, b, "{what}");
    }
}

#[test]
fn samples_depend_on_the_model_and_the_item_alone() {
    for model in [Model::new(), Model::new().with_module()] {
        let items = items(60);
        let expected = model.ask(&items, &Options::default());
        for batch_rows in [1, 100, 700] {
            let found = model.ask(&items, &Options { batch_rows, ..Options::default() });
            same_bits(&found, &expected, &format!("batches of {batch_rows} rows"));
        }
        let alone: Vec<Sample> =
            items.iter().flat_map(|item| model.ask(std::slice::from_ref(item), &Options::default())).collect();
        same_bits(&alone, &expected, "each alone");
        let reversed: Vec<Item> = items.iter().rev().cloned().collect();
        let mut turned = model.ask(&reversed, &Options::default());
        turned.reverse();
        same_bits(&turned, &expected, "in reverse");
        for threads in [1, 3] {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            let found = pool.install(|| model.ask(&items, &Options::default()));
            same_bits(&found, &expected, &format!("{threads} threads"));
        }
    }
}

#[test]
fn scores_are_those_of_lore_score() {
    let model = Model::new();
    let items = items(30);
    for (item, sample) in items.iter().zip(model.ask(&items, &Options::default())) {
        let Form::Choice { context, delimiter, choices, .. } = &item.form else { continue };
        for (choice, found) in choices.iter().zip(&sample.scores) {
            let continuation = format!("{delimiter}{choice}");
            let start = model.files.document_start();
            let request = token_request(&model.files.tokenizer, start, context, &continuation).unwrap();
            let expected = score(&model.decoder, &[request], |_| {}).unwrap().remove(0);
            assert_eq!(found.log_likelihood.to_bits(), expected.total().to_bits());
            assert_eq!(found.tokens, expected.log_likelihoods.len());
        }
    }
}

#[test]
fn what_was_interrupted_goes_on_and_ends_the_same() {
    let model = Model::new();
    let items = items(50);
    let options = Options { batch_rows: 150, ..Options::default() };
    let expected = model.ask(&items, &options);
    let folder = tempfile::tempdir().unwrap();
    let ask = |items: &[Item], options: &Options| {
        let mut cache = ScoreCache::open(folder.path(), "m").unwrap();
        evaluate(&model.subject(), "test", items, options, &mut cache, &Silent).unwrap()
    };
    ask(&items[..20], &options);
    let file = std::fs::read_dir(folder.path()).unwrap().next().unwrap().unwrap().path();
    // Killed in the middle of a line.
    let half = std::fs::read(&file).unwrap();
    std::fs::write(&file, &half[..half.len() - 17]).unwrap();
    same_bits(&ask(&items, &Options::default()), &expected, "after an interruption");
    let whole = std::fs::metadata(&file).unwrap().len();
    same_bits(&ask(&items, &options), &expected, "from the cache alone");
    assert_eq!(std::fs::metadata(&file).unwrap().len(), whole, "nothing is computed again");
}

#[test]
fn equal_requests_are_computed_once() {
    let model = Model::new();
    let folder = tempfile::tempdir().unwrap();
    let mut cache = ScoreCache::open(folder.path(), "m").unwrap();
    let cloze = |id: usize| Item {
        id: id.to_string(),
        subset: String::new(),
        form: Form::Cloze { context: "the river".into(), target: " runs".into() },
        record: serde_json::Value::Null,
    };
    let items: Vec<Item> = (0..7).map(cloze).collect();
    evaluate(&model.subject(), "test", &items, &Options::default(), &mut cache, &Silent).unwrap();
    let file = std::fs::read_dir(folder.path()).unwrap().next().unwrap().unwrap().path();
    assert_eq!(std::fs::read_to_string(file).unwrap().lines().count(), 1);
}

#[test]
fn a_text_ends_before_its_stop() {
    let model = Model::new();
    let generate = |until: &[&str]| Item {
        id: "1".into(),
        subset: String::new(),
        form: Form::Generate {
            context: "the river".into(),
            answers: vec!["water".into()],
            until: until.iter().map(|stop| (*stop).to_owned()).collect(),
            max_tokens: 12,
        },
        record: serde_json::Value::Null,
    };
    let text = |item: Item| model.ask(&[item], &Options::default()).remove(0).text.unwrap();
    let free = text(generate(&[]));
    assert!(!free.is_empty());
    let stop: String = free.chars().skip(2).take(2).collect();
    let stopped = text(generate(&[&stop]));
    assert_eq!(stopped, free[..free.find(&stop).unwrap()]);
}

#[test]
fn what_does_not_fit_loses_its_beginning_or_is_refused() {
    let model = Model::new();
    let cloze = |context: &str, target: String| Item {
        id: "long".into(),
        subset: String::new(),
        form: Form::Cloze { context: context.into(), target },
        record: serde_json::Value::Null,
    };
    let long = "the river runs down ".repeat(60);
    let sample = model.ask(&[cloze(&long, " water".into())], &Options::default()).remove(0);
    assert_eq!(sample.truncated, 1);
    let items = [cloze("the", format!(" {long}"))];
    let refused =
        evaluate(&model.subject(), "test", &items, &Options::default(), &mut ScoreCache::in_memory("m"), &Silent);
    let message = refused.unwrap_err().to_string();
    assert!(message.contains("item `long`") && message.contains("128 positions"), "{message}");
}

#[test]
fn numbers_that_are_none_are_an_error() {
    let mut model = Model::new();
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../modules/tests/fixtures/plain");
    let module = LoadedModule::new(&peft::read(&path).unwrap(), &Device::flex());
    model.decoder = activate(&model.decoder, &[(&module, 1e38)]);
    let folder = tempfile::tempdir().unwrap();
    let mut cache = ScoreCache::open(folder.path(), "m").unwrap();
    let refused = evaluate(&model.subject(), "test", &items(3), &Options::default(), &mut cache, &Silent);
    assert!(matches!(&refused, Err(Error::Item { problem, .. }) if problem.contains("finite")), "{refused:?}");
}
