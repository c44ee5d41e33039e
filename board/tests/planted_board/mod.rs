//! A board whose models are made up: what each of them knows is planted.

#![allow(dead_code, clippy::unwrap_used)]

#[path = "../../../packs/tests/workshop/mod.rs"]
pub mod workshop;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use lore_board::Board;
use lore_board::contamination::TrainingText;
use lore_board::folder::BASE;
use lore_board::holdout::items_hash;
use lore_board::log::Event;
use lore_board::rerun::Questions;
use lore_board::submission::Submission;
use lore_datasets::documents::{Documents, Origin};
use lore_datasets::extract::Extracted;
use lore_datasets::split::Split;
use lore_eval::engine::Scored;
use lore_eval::result::{Circumstances, ModelIdentity, ModuleIdentity, TaskResult};
use lore_eval::sample::Sample;
use lore_eval::task::{Form, Item, Task};
use lore_model::sampling::Random;
use lore_packs::signature::SigningKey;
use workshop::{BASE as FINGERPRINT, Workshop};

pub const TIME: &str = "2026-11-28T12:00:00Z";
const SEEDS: [u64; 3] = [11, 12, 13];
pub const QUIZ: &str = "name = \"quiz\"\nversion = 1\ndata = { path = \"quiz.jsonl\" }\nid = \"{{ id }}\"\n\
                    [multiple_choice]\ncontext = \"{{ question }}\"\nchoices = \"choices\"\ngold = \"gold\"\n";

/// How a planted model answers: how sure it is of the right choice, and what else it knows.
#[derive(Clone, Copy)]
pub enum Answers<'a> {
    /// Right more often, the higher the skill; noise of its own.
    Skill(f64, u64),
    /// The base, but for a little noise.
    Near(u64),
    /// The base, but right on these items.
    Learnt(&'a [String]),
    /// The longest choice.
    Longest,
}

pub struct Planted {
    pub workshop: Workshop,
    pub key: SigningKey,
    pub board: Board,
    pub questions: Vec<Questions>,
}

/// Words that no two questions share, so that their runs do not either.
fn question(i: usize) -> String {
    let mut random = Random::new(77, i as u64);
    let mut word = || (0..6).map(|_| char::from(b'a' + (random.bits() % 26) as u8)).collect::<String>();
    (0..12).map(|_| word()).collect::<Vec<_>>().join(" ") + "?"
}

/// 240 questions; the right choice is the longest of four in somewhat less than half of them.
fn write_data(folder: &Path) {
    let mut random = Random::new(5, 0);
    let lines: String = (0..240)
        .map(|i| {
            let gold = (random.bits() % 4) as usize;
            let long = if random.uniform() < 0.45 { gold } else { (gold + 1 + (random.bits() % 3) as usize) % 4 };
            let choice =
                |place: usize| if place == long { format!("a long thing {place}") } else { format!("it {place}") };
            let record = serde_json::json!({
                "id": i.to_string(), "question": question(i), "gold": gold,
                "choices": (0..4).map(choice).collect::<Vec<_>>(),
            });
            record.to_string() + "\n"
        })
        .collect();
    fs::create_dir_all(folder).unwrap();
    fs::write(folder.join("quiz.jsonl"), lines).unwrap();
}

fn scores(answers: Answers<'_>, item: &Item) -> Vec<f64> {
    let Form::Choice { choices, gold, .. } = &item.form else { panic!("a choice") };
    let number: u64 = item.id.parse().unwrap();
    let noise = |stream: u64| {
        let mut random = Random::new(stream, number);
        [0; 4].map(|_| random.normal())
    };
    let shared = noise(1);
    let skilled = |skill: f64, own: [f64; 4], weight: f64| -> Vec<f64> {
        (0..4).map(|c| -6.0 + shared[c] + weight * own[c] + if c == *gold { skill } else { 0.0 }).collect()
    };
    match answers {
        Answers::Skill(skill, stream) => skilled(skill, noise(stream), 0.4),
        Answers::Near(stream) => skilled(0.2, noise(stream), 0.12),
        Answers::Learnt(known) if known.contains(&item.id) => skilled(9.0, [0.0; 4], 0.0),
        Answers::Learnt(_) => skilled(0.2, [0.0; 4], 0.0),
        Answers::Longest => choices.iter().map(|choice| -8.0 + choice.len() as f64 / 8.0).collect(),
    }
}

fn samples(answers: Answers<'_>, items: &[Item]) -> Vec<Sample> {
    let scored = |values: Vec<f64>| -> Vec<Scored> {
        values.into_iter().map(|log_likelihood| Scored { log_likelihood, tokens: 1, greedy: false }).collect()
    };
    items
        .iter()
        .map(|item| {
            let Form::Choice { gold, .. } = &item.form else { panic!("a choice") };
            // Without the question only lengths are left.
            let mut sample = Sample {
                id: item.id.clone(),
                subset: item.subset.clone(),
                item: item.sha256(),
                gold: Some(*gold),
                scores: scored(scores(answers, item)),
                answer_only: scored(scores(Answers::Longest, item)),
                text: None,
                truncated: 0,
                figures: BTreeMap::new(),
            };
            sample.figures = sample.count(item);
            sample
        })
        .collect()
}

impl Planted {
    pub fn new() -> Self {
        let workshop = Workshop::new();
        let key = workshop.key("operator.key");
        write_data(&workshop.path("data"));
        let task = Task::parse(QUIZ, Path::new("quiz.toml")).unwrap();
        let items = task.items(&workshop.path("data"), None, None).unwrap();
        let settings = format!(
            "name = \"Planted\"\nseeds = {SEEDS:?}\n[base]\nname = \"small\"\nfingerprint = \"{FINGERPRINT}\"\n\
             [[task]]\nfile = \"tasks/quiz.toml\"\nitems = 160\n\
             [[holdout]]\nname = \"private\"\nof = \"quiz\"\nsha256 = \"{}\"\nitems_sha256 = \"{}\"\n",
            task.sha256,
            items_hash(&items)
        );
        let files = [("tasks/quiz.toml".to_owned(), QUIZ.to_owned())];
        let mut board = Board::create(&workshop.path("board"), &settings, &files, &key, TIME).unwrap();
        let questions = board.questions(&workshop.path("data")).unwrap();
        write_results(&board, BASE, &questions, Answers::Learnt(&[]), None);
        board.write_controls(&questions).unwrap();
        let files = board.files_below(&board.results(BASE)).unwrap();
        board.record(TIME, Event::Rerun { id: BASE.into(), files }, &key).unwrap();
        Self { workshop, key, board, questions }
    }

    /// Training texts that hold these questions with their answers, and the table's path.
    fn documents(&self, name: &str, held: &[String]) -> PathBuf {
        let items = self.questions.iter().flat_map(|q| &q.items);
        let said = |item: &Item| {
            let Form::Choice { context, choices, gold, .. } = &item.form else { panic!("a choice") };
            format!("Someone asked me once. {context} {}. That was the answer.", choices[*gold])
        };
        let mut texts: BTreeMap<&str, String> =
            items.filter(|item| held.contains(&item.id)).map(|item| (item.id.as_str(), said(item))).collect();
        texts.insert("other", format!("{name} tells of rivers that run down from the hills to the sea."));
        let document = |(id, text): (&str, String)| {
            (Extracted { id: id.into(), group: id.into(), title: String::new(), text }, Split::Train)
        };
        let origin = Origin { topic: "rivers".into(), source: "file:corpus".into(), license: "MIT".into() };
        let (table, _) = Documents::assemble(texts.into_iter().map(document), &origin);
        let path = self.workshop.path(&format!("{name}.parquet"));
        table.write(&path).unwrap();
        path
    }

    /// Hands a module in and records what it answers; returns its id.
    pub fn add(&mut self, name: &str, answers: Answers<'_>) -> String {
        let held: &[String] = if let Answers::Learnt(held) = answers { held } else { &[] };
        let documents = self.documents(name, held);
        let table = TrainingText::open(&documents).unwrap();
        let pack = self.workshop.pack(&format!("{name}.lorepack"), |draft| {
            draft.name = name.into();
            let texts = &mut draft.corpus.as_mut().unwrap().texts;
            texts.truncate(1);
            texts[0].documents_sha256 = table.sha256().to_owned();
        });
        let submission = Submission { pack: &pack, by: "Ada", hash_only: true, claims: vec![] };
        let id = self.board.submit(&submission, TIME).unwrap();
        let manifest = self.board.facts(&id).unwrap().manifest;
        let hash = |file: &str| manifest.member(file).unwrap().sha256.clone();
        let sha256 = ModuleIdentity::hash_of_files(&hash("adapter_config.json"), &hash("adapter_model.safetensors"));
        let module = ModuleIdentity { name: name.into(), sha256, weight: 1.0 };
        write_results(&self.board, &id, &self.questions, answers, Some(module));
        let data = self.workshop.path("data");
        self.board.write_contamination(&id, &data, &[&table]).unwrap();
        self.record(&id);
        id
    }

    pub fn record(&mut self, id: &str) {
        let files = self.board.files_below(&self.board.results(id)).unwrap();
        self.board.record(TIME, Event::Rerun { id: id.to_owned(), files }, &self.key).unwrap();
    }
}

fn write_results(
    board: &Board,
    id: &str,
    questions: &[Questions],
    answers: Answers<'_>,
    module: Option<ModuleIdentity>,
) {
    for Questions { task, seed, items } in questions {
        let folder = board.results(id).join(format!("seed-{seed}"));
        fs::create_dir_all(&folder).unwrap();
        let samples = samples(answers, items);
        let model = ModelIdentity {
            base: "small".into(),
            fingerprint: FINGERPRINT.into(),
            blocks: None,
            modules: module.clone().into_iter().collect(),
        };
        let selection = board.settings.tasks[*task].selection(*seed);
        let circumstances = Circumstances { model, selection, answer_only: true, device: "cpu".into() };
        TaskResult::new(&board.tasks[*task], items, &samples, circumstances).write(&folder, &samples).unwrap();
    }
}
