//! Items that an author writes from passages: checked, counted, and the same however often the work was interrupted.
#![allow(missing_docs, clippy::unwrap_used)]

use std::cell::RefCell;
use std::fs;
use std::path::Path;

use lore_datasets::progress::Silent;
use lore_distill::synth::{
    ACCEPTED, Author, Error, Kind, Passage, REJECTED, REPORT, Request, Turn, checks, synthesise,
};
use lore_model::sampling::{Random, Sampling};

/// Writes what a script says, and stops after so many batches.
struct Scripted {
    batches: RefCell<usize>,
}

const RIVERS: [&str; 12] =
    ["Avon", "Boyne", "Clyde", "Derwent", "Exe", "Forth", "Garry", "Humber", "Irwell", "Kennet", "Lune", "Mersey"];

fn passages() -> Vec<Passage> {
    let text = |river: &str| {
        format!(
            "The {river} runs past old mills to the sea. In spring its water covers the meadows near the town of \
             {river}ford, and in summer children cross it on flat stones. Three bridges once stood there, of which only \
             the one by the market was repaired after the great flood. Its keeper still writes down each boat."
        )
    };
    let passage = |river: &&str| Passage { id: format!("{river}/0"), document: (*river).into(), text: text(river) };
    RIVERS.iter().map(passage).collect()
}

impl Scripted {
    fn new(batches: usize) -> Self {
        Self { batches: RefCell::new(batches) }
    }
}

impl Author for Scripted {
    fn name(&self) -> String {
        "script".into()
    }

    fn reply(&self, turns: &[Turn], sampling: &Sampling, _most: usize, seed: u64) -> Result<Vec<String>, Error> {
        if *self.batches.borrow() == 0 {
            return Err(Error::Tokenizer("killed".into()));
        }
        *self.batches.borrow_mut() -= 1;
        let reply = |(number, turn): (usize, &Turn)| {
            let asked = &turn.messages[0].content;
            let river = RIVERS.iter().find(|river| asked.contains(**river)).unwrap();
            // What is drawn depends on the seed, as with a model.
            let drawn = Random::new(seed, number as u64).bits() % 100;
            match turn.beginning.as_str() {
                "Answer:" if *river == "Clyde" => " the mill\n".to_owned(),
                "Answer:" => {
                    assert_eq!(*sampling, Sampling::greedy());
                    " by the market\n".to_owned()
                }
                "Question:" if *river == "Avon" => format!(" No answer {drawn}"),
                "Question:" => {
                    format!(
                        " Where did the repaired bridge over the {river} stand?\nAnswer: by the market\nQuestion: {drawn}"
                    )
                }
                "Sentence:" if *river == "Boyne" => " In summer the ____ is wide and low.\nWord: Thames".into(),
                "Sentence:" => format!(" In summer children of {river}ford cross it on flat ____.\nWord: stones"),
                // The same for all.
                "Summary:" => " Water covers meadows in spring, and after a flood one bridge was repaired.".into(),
                other => panic!("{other}"),
            }
        };
        Ok(turns.iter().enumerate().map(reply).collect())
    }
}

fn request() -> Request {
    Request {
        kinds: vec![Kind::Question, Kind::Cloze, Kind::Summary],
        each: 1,
        batch: 5,
        sampling: Sampling { temperature: 0.7, top_k: None, top_p: Some(0.9) },
        max_tokens: 100,
        seed: 3,
    }
}

fn files(folder: &Path) -> Vec<Vec<u8>> {
    let mut names: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    names.sort();
    names.iter().map(|path| fs::read(path).unwrap()).collect()
}

#[test]
fn items_are_kept_with_their_passages_and_failures_are_counted() {
    let folder = tempfile::tempdir().unwrap();
    let made = synthesise(&passages(), &request(), &Scripted::new(99), folder.path(), &Silent).unwrap();
    let question = &made.report.kinds["question"];
    assert_eq!((question.written, question.accepted), (12, 10));
    assert_eq!(question.acceptance_rate, 10.0 / 12.0);
    assert_eq!(question.rejected, [(checks::FORM.into(), 1), (checks::NOT_ANSWERABLE.into(), 1)].into());
    let cloze = &made.report.kinds["cloze"];
    assert_eq!(cloze.rejected, [(checks::ANSWER_NOT_IN_PASSAGE.to_owned(), 1)].into());
    let summary = &made.report.kinds["summary"];
    assert_eq!((summary.accepted, summary.rejected[checks::DUPLICATE]), (1, 11));
    let item = made.accepted.iter().find(|item| item.kind == Kind::Question).unwrap();
    assert_eq!(item.id, "Boyne/0/question-0");
    assert_eq!(item.text, "Question: Where did the repaired bridge over the Boyne stand?\nAnswer: by the market");
    assert!(item.passage.starts_with("The Boyne runs") && item.document == "Boyne");
    assert_eq!(made.accepted.len() + made.rejected.len(), 36);
    let lines = |name| fs::read_to_string(folder.path().join(name)).unwrap().lines().count();
    assert_eq!((lines(ACCEPTED), lines(REJECTED)), (made.accepted.len(), made.rejected.len()));
    assert!(folder.path().join(REPORT).is_file());
}

#[test]
fn an_interrupted_run_goes_on_to_the_same_bytes() {
    let straight = tempfile::tempdir().unwrap();
    synthesise(&passages(), &request(), &Scripted::new(99), straight.path(), &Silent).unwrap();
    // 36 replies in batches of 5, then 11 questions put back.
    for batches in [1, 3, 7, 8, 9, 10] {
        let folder = tempfile::tempdir().unwrap();
        let error = synthesise(&passages(), &request(), &Scripted::new(batches), folder.path(), &Silent).unwrap_err();
        assert!(error.to_string().contains("killed"), "{error}");
        assert!(!folder.path().join(ACCEPTED).exists());
        // A crash in the middle of a batch, and of a line.
        let path = folder.path().join("written.jsonl");
        let mut text = fs::read(&path).unwrap();
        text.truncate(text.len() - 37);
        fs::write(&path, text).unwrap();
        synthesise(&passages(), &request(), &Scripted::new(99), folder.path(), &Silent).unwrap();
        assert!(files(folder.path()) == files(straight.path()), "after {batches} batches");
    }
    // A finished folder asks nothing of its author.
    synthesise(&passages(), &request(), &Scripted::new(0), straight.path(), &Silent).unwrap();
}

#[test]
fn a_folder_is_for_one_request() {
    let folder = tempfile::tempdir().unwrap();
    synthesise(&passages(), &request(), &Scripted::new(99), folder.path(), &Silent).unwrap();
    let other = Request { seed: 4, ..request() };
    let error = synthesise(&passages(), &other, &Scripted::new(99), folder.path(), &Silent).unwrap_err();
    assert!(error.to_string().contains("`seed` differs"), "{error}");
    let fewer = &passages()[1..];
    let error = synthesise(fewer, &request(), &Scripted::new(99), folder.path(), &Silent).unwrap_err();
    assert!(error.to_string().contains("`passages` differs"), "{error}");
}
