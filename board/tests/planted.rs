//! A board with planted truths: what is better comes first, what is equal ties, and what cheats is found.
#![allow(missing_docs, clippy::unwrap_used)]

mod planted_board;

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use lore_board::folder::BASE;
use lore_board::holdout::HeldOut;
use lore_board::log::{Claim, Event, Outcome};
use lore_board::rerun::HOLDOUT;
use lore_board::standing::{Flag, Standing};
use lore_board::submission::{CARD, FACTS, Submission};
use lore_board::{Board, Error};
use planted_board::{Answers, Planted, QUIZ, TIME};

#[test]
fn the_right_one_is_first_copies_tie_and_cheats_are_found() {
    let mut planted = Planted::new();
    let asked: Vec<String> = (0..240).filter(|i| i % 3 == 0).map(|i| i.to_string()).collect();
    let noisy = planted.add("noisy", Answers::Near(41));
    let better = planted.add("better", Answers::Skill(2.2, 42));
    let copy = planted.add("copy", Answers::Skill(2.2, 42));
    let middling = planted.add("middling", Answers::Skill(1.1, 43));
    let learnt = planted.add("contaminated", Answers::Learnt(&asked));
    let lengths = planted.add("lengths", Answers::Longest);
    let standing = Standing::of(&planted.board).unwrap();
    let group = |id: &str| standing.row(id).unwrap().group;
    let flags = |id: &str| &standing.row(id).unwrap().flags;

    // The better one and its copy are first, together; the middling one follows; noise ties with the base.
    assert_eq!((group(&better), group(&copy)), (Some(0), Some(0)));
    assert_eq!(group(&middling), Some(1));
    assert_eq!((group(&noisy), group(BASE)), (Some(2), Some(2)));
    let identical = |flag: &Flag| matches!(flag, Flag::SameAs { .. });
    assert_eq!([&better, &copy].iter().filter(|id| flags(id).iter().any(identical)).count(), 1);

    // What was learnt by heart counts nothing: flagged, and no better than the base.
    let contaminated = flags(&learnt).iter().find_map(|flag| match flag {
        Flag::Contaminated { items, of } => Some((*items, *of)),
        _ => None,
    });
    let (dirty, of) = contaminated.expect("it is flagged");
    assert!(dirty > 40 && dirty <= 80 && of > 200, "{dirty} of {of}");
    assert_eq!(group(&learnt), group(BASE), "{:?}", standing.row(&learnt).unwrap().unranked);
    let row = standing.row(&learnt).unwrap();
    assert!(row.tasks[0].gain.value > 0.1, "what it would have gained: {:?}", row.tasks[0].gain);
    assert!(row.tasks[0].dirty.unwrap().value > 0.4 && row.tasks[0].clean.unwrap().value == 0.0);

    // Lengths beat the base, but not the control, and count nothing.
    let row = standing.row(&lengths).unwrap();
    assert!(row.tasks[0].gain.value > 2.0 * row.tasks[0].gain.standard_error, "{:?}", row.tasks[0].gain);
    assert_eq!(group(&lengths), group(BASE));
    let control = "choosing the longest answer".to_owned();
    assert!(row.flags.contains(&Flag::ExplainedByControl { task: "quiz".into(), control }), "{:?}", row.flags);
    for honest in [&better, &middling, &noisy] {
        let explained = |flag: &Flag| matches!(flag, Flag::ExplainedByControl { .. } | Flag::Contaminated { .. });
        assert!(!flags(honest).iter().any(explained), "{honest}: {:?}", flags(honest));
    }

    // The log, the files and the figures agree; the site can be made.
    let checked = planted.board.verify(Some(&planted.workshop.path("data"))).unwrap();
    assert_eq!((checked.results, checked.unsigned), (7 * 3, 0));
    let site = planted.workshop.path("site");
    let made = lore_board::site::build(&planted.board, &standing, &site, "lore test").unwrap();
    assert!(made.files > 20);
    let main = fs::read_to_string(site.join("index.html")).unwrap();
    for part in ["2 share the first place", "contaminated: ", "quiz: no better than choosing the longest answer"] {
        assert!(main.contains(part), "`{part}` is not on the main page");
    }
    assert!(!main.contains("http://") && !main.contains("https://"), "it loads nothing from elsewhere");
    // Made anew in its place, but never in that of something else.
    assert_eq!(lore_board::site::build(&planted.board, &standing, &site, "lore test").unwrap(), made);
    let elsewhere = planted.workshop.path("elsewhere");
    fs::create_dir_all(elsewhere.join("data")).unwrap();
    fs::write(elsewhere.join("data/mine"), "mine").unwrap();
    let error = lore_board::site::build(&planted.board, &standing, &elsewhere, "lore test").unwrap_err();
    assert!(error.to_string().contains("holds no site"), "{error}");
    assert!(elsewhere.join("data/mine").is_file());
}

#[test]
fn what_strangers_write_stays_text() {
    let mut planted = Planted::new();
    let hostile = "\"'><script>alert(1)</script><img src=x onerror=alert(2)>";
    let pack = planted.workshop.pack("hostile.lorepack", |draft| {
        draft.name = "hostile".into();
        draft.summary = hostile.into();
        draft.about = Some(hostile.into());
        draft.evaluation.as_mut().unwrap().samples[0].module = hostile.into();
    });
    let claim = Claim { task: hostile.into(), metric: hostile.into(), value: 1.0 };
    let submission = Submission { pack: &pack, by: hostile, hash_only: true, claims: vec![claim] };
    planted.board.submit(&submission, TIME).unwrap();
    let id = planted.add("better", Answers::Skill(2.2, 42));
    planted.board.note(TIME, Event::Disputed { id, by: hostile.into(), reason: hostile.into() }).unwrap();
    let standing = Standing::of(&planted.board).unwrap();
    let site = planted.workshop.path("site");
    lore_board::site::build(&planted.board, &standing, &site, "lore test").unwrap();
    let (mut pages, mut shown) = (0, 0);
    for folder in [site.clone(), site.join("modules"), site.join("compare")] {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|extension| extension == "html") {
                let text = fs::read_to_string(&path).unwrap();
                assert!(!text.contains("<script>") && !text.contains("<img"), "{}", path.display());
                pages += 1;
                shown += usize::from(text.contains("&lt;script&gt;"));
            }
        }
    }
    assert!(pages >= 7 && shown >= 3, "{shown} of {pages} pages show it");
}

#[test]
fn alterations_are_refused() {
    let mut planted = Planted::new();
    let id = planted.add("better", Answers::Skill(1.1, 42));
    let root = planted.board.root().to_owned();
    let reopened = || Board::open(&root).and_then(|board| board.verify(None));
    reopened().unwrap();
    let refused = |path: PathBuf, change: &dyn Fn(String) -> String, part: &str| {
        let before = fs::read_to_string(&path).unwrap();
        let after = change(before.clone());
        assert_ne!(before, after, "{part}");
        fs::write(&path, after).unwrap();
        let error = reopened().unwrap_err();
        assert!(matches!(error, Error::Altered { .. } | Error::Result(_) | Error::Pack(_)), "{error}");
        assert!(error.to_string().contains(part), "`{part}` is not in: {error}");
        fs::write(&path, before).unwrap();
    };
    let result = planted.board.result_path(&id, 0, 12);
    let raise = |text: String| text.replacen("\"value\": 0.", "\"value\": 0.9", 1);
    refused(result.clone(), &raise, "quiz.json is altered: it does not have the sha256 that the log names");
    let better = |text: String| text.replacen("\"acc\":0.0", "\"acc\":1.0", 1);
    refused(result.with_file_name("quiz.samples.jsonl"), &better, "quiz.samples.jsonl is altered");
    refused(root.join("board.toml"), &|text| text.replace("13", "14"), "board.toml is altered");
    refused(root.join("tasks/quiz.toml"), &|text| text.replace("version = 1", "version = 2"), "quiz.toml is altered");
    refused(root.join("log.jsonl"), &|text| text.replacen("\"Ada\"", "\"Eve\"", 1), "log.jsonl is altered: entry 2");
    refused(root.join("head.json"), &|text| text.replacen('4', "3", 1), "head.json is altered");
    // An end that is cut off, although what is left is a chain.
    let cut = |text: String| text.lines().take(3).map(|line| format!("{line}\n")).collect();
    refused(root.join("log.jsonl"), &cut, "the operator signed 4 entries");
    // A file that was put beside the results would be read like them.
    let planted_file = planted.board.results(&id).join("holdout.json");
    fs::write(&planted_file, "[]").unwrap();
    let error = reopened().unwrap_err();
    assert!(error.to_string().contains("holdout.json is altered: the log does not name it"), "{error}");
    fs::remove_file(&planted_file).unwrap();
    reopened().unwrap();

    // Made up from end to end, with hashes to match, but signed by someone else.
    let stranger = planted.workshop.key("stranger.key");
    let mut board = Board::open(&root).unwrap();
    let files = board.files_below(&board.results(&id)).unwrap();
    let event = Event::Rerun { id: id.clone(), files };
    let error = board.record(TIME, event.clone(), &stranger).unwrap_err();
    assert!(error.to_string().contains("the board belongs to the key"), "{error}");
    board.note(TIME, event).unwrap();
    let error = reopened().unwrap_err();
    assert!(error.to_string().contains("entry 4 is the operator's, who did not sign it"), "{error}");
}

#[test]
fn what_is_kept_of_a_pack_is_held_against_it() {
    let mut planted = Planted::new();
    let id = planted.add("better", Answers::Skill(1.1, 42));
    let packs = [planted.workshop.path("better.lorepack")];
    planted.board.pack_of(&id, &packs).unwrap();
    let folder = planted.board.submission(&id);
    for (file, from, to) in [
        (FACTS, "\"signer\": null", "\"signer\": \"someone famous\""),
        (FACTS, "\"documents\": 40", "\"documents\": 41"),
        (CARD, "Made with care.", "Made with more care."),
    ] {
        let before = fs::read_to_string(folder.join(file)).unwrap();
        assert!(before.contains(from), "{file}: {before}");
        fs::write(folder.join(file), before.replacen(from, to, 1)).unwrap();
        let error = planted.board.pack_of(&id, &packs).unwrap_err();
        assert!(error.to_string().contains(&format!("{file} is altered")), "{error}");
        fs::write(folder.join(file), before).unwrap();
    }
}

#[test]
fn what_anyone_appends_neither_leaves_the_folder_nor_ends_the_board() {
    let mut planted = Planted::new();
    let root = planted.board.root().to_owned();
    // A change of bits per byte that is no finite number.
    let pack = planted.workshop.pack("rivers.lorepack", |draft| {
        for model in &mut draft.evaluation.as_mut().unwrap().models {
            for score in model.scores.values_mut() {
                score.bits_per_byte = if model.kind == "base" { 1e-300 } else { 1e300 };
            }
        }
    });
    let submission = Submission { pack: &pack, by: "Eve", hash_only: true, claims: vec![] };
    planted.board.submit(&submission, TIME).unwrap();
    Board::open(&root).unwrap();
    let event = Event::Submitted {
        id: "../../elsewhere".into(),
        by: "Eve".into(),
        manifest: "00".repeat(32),
        files: BTreeMap::new(),
        claims: vec![],
    };
    planted.board.note(TIME, event).unwrap();
    let error = Board::open(&root).unwrap_err();
    assert!(error.to_string().contains("entry 3 calls a submission `../../elsewhere`"), "{error}");
}

#[test]
fn disputes_are_recorded_and_take_modules_out() {
    let mut planted = Planted::new();
    let id = planted.add("better", Answers::Skill(1.1, 42));
    let reason = "its items are known".to_owned();
    let event = Event::Disputed { id: id.clone(), by: "Babbage".into(), reason };
    let entry = planted.board.note(TIME, event).unwrap();
    let standing = Standing::of(&planted.board).unwrap();
    assert!(standing.row(&id).unwrap().flags.contains(&Flag::Disputed));
    assert_eq!(planted.board.verify(None).unwrap().unsigned, 1);
    let event = Event::Settled { dispute: entry, outcome: Outcome::Withdrawn, reason: "so they are".into() };
    planted.board.record(TIME, event, &planted.key).unwrap();
    let standing = Standing::of(&planted.board).unwrap();
    let row = standing.row(&id).unwrap();
    assert_eq!((row.group, row.unranked.as_deref()), (None, Some("withdrawn: so they are")));
    assert_eq!(planted.board.verify(None).unwrap().unsigned, 0);
    // The same pack again is no new one.
    let pack = planted.workshop.path("better.lorepack");
    let submission = Submission { pack: &pack, by: "Ada", hash_only: true, claims: vec![] };
    let error = planted.board.submit(&submission, TIME).unwrap_err();
    assert!(error.to_string().contains("handed in before"), "{error}");
}

#[test]
fn gains_that_stay_in_public_are_told() {
    let mut planted = Planted::new();
    let held_out =
        |gain: f64| vec![HeldOut { name: "private".into(), of: "quiz".into(), items: 240, gain, standard_error: 0.04 }];
    let mut gap = |name: &str, gain: f64| {
        let id = planted.add(name, Answers::Skill(1.6, 7));
        let path = planted.board.results(&id).join(HOLDOUT);
        fs::write(path, serde_json::to_vec(&held_out(gain)).unwrap()).unwrap();
        planted.record(&id);
        let standing = Standing::of(&planted.board).unwrap();
        let row = standing.row(&id).unwrap();
        (row.tasks[0].gain.value, row.flags.iter().any(|flag| matches!(flag, Flag::PublicPrivateGap { .. })))
    };
    let (public, found) = gap("tuned", 0.0);
    assert!(public > 0.2 && found, "{public}");
    assert!(!gap("honest", public).1);
    // The promise of the board binds its operator.
    let folder = planted.workshop.path("data");
    fs::write(folder.join("private.toml"), QUIZ).unwrap();
    assert_eq!(planted.board.holdout_tasks(&folder).unwrap().len(), 1);
    let text = fs::read_to_string(folder.join("quiz.jsonl")).unwrap();
    fs::write(folder.join("quiz.jsonl"), text.replacen("it 1", "it 7", 1)).unwrap();
    assert!(planted.board.holdout_tasks(&folder).unwrap_err().to_string().contains("other items"));
}
