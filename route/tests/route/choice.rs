//! What is read of a text, and what is chosen for it.

use std::collections::BTreeMap;
use std::sync::Arc;

use lore_model::ops::host::values;
use lore_model::ops::sequences::Sequences;
use lore_model::quantised::Blocks;
use lore_route::arrow::Prototypes;
use lore_route::build::{General, TopicText, entry, evenly};
use lore_route::{ENTRY_FILE, Entry, Error, Reader, Router};

use crate::topics::{START, base, entries, fingerprint, passages, router};

#[test]
fn states_are_the_mean_of_directions_after_a_block() {
    let base = base();
    let texts = [passages(1, 1, 300, 5).remove(0), vec![START, 7, 9], vec![START]];
    let views = Reader::new(&base, 1, 16).read(&texts);
    for (text, view) in texts.iter().zip(&views) {
        let cut = text[..text.len().min(17)].to_vec();
        let mut rows = Vec::new();
        let sequences = Sequences::whole(&[cut.len()]);
        base.hidden_after(Arc::new(cut.clone()), Arc::new(sequences), &mut |layer, state| {
            if layer == 0 {
                rows = values(state);
            }
        });
        let width = base.config.hidden_size;
        let own: Vec<&[f32]> = rows.chunks(width).skip(usize::from(cut.len() > 1)).collect();
        for (channel, &found) in view.state.iter().enumerate() {
            let direction = |row: &&[f32]| {
                f64::from(row[channel]) / row.iter().map(|&x| f64::from(x) * f64::from(x)).sum::<f64>().sqrt()
            };
            let expected = own.iter().map(direction).sum::<f64>() / own.len() as f64;
            assert!((f64::from(found) - expected).abs() < 1e-5, "{found} against {expected}");
        }
        assert_eq!(view.tokens, cut[1..]);
    }
}

#[test]
fn topics_are_found_and_general_text_is_left_to_the_base() {
    let (reader, entries) = entries();
    let router = router(&entries);
    let (mut right, mut left) = (0, 0);
    for (low, name) in [(10, "rivers"), (100, "hills"), (200, "towns")] {
        for view in reader.read(&passages(20, low, low + 60, 77)) {
            let choice = router.choose_for(&view, 1);
            right += usize::from(choice.picks == [(name.to_owned(), 1.0)]);
            assert_eq!(choice.scored.len(), 3);
            assert!(choice.scored.windows(2).all(|pair| pair[0].score >= pair[1].score));
        }
    }
    for view in reader.read(&passages(20, 1, 300, 78)) {
        left += usize::from(router.choose_for(&view, 1).picks.is_empty());
    }
    // A random base of two blocks knows nothing, and 24 tokens are few: 44 and 16 were seen. Guessing finds 20 of 60, and
    // 40 or more by luck less than once in ten million times.
    assert!(right >= 40 && left >= 14, "{right} of 60 right, {left} of 20 left to the base");
}

#[test]
fn several_share_a_weight_of_one() {
    let (reader, mut entries) = entries();
    entries.values_mut().for_each(|entry| entry.threshold = -1e3);
    let router = router(&entries);
    let mixed: Vec<u32> = [START].into_iter().chain(10..20).chain(100..110).collect();
    let view = &reader.read(&[mixed])[0];
    let all = router.choose_for(view, 3);
    let two = router.choose_for(view, 2);
    assert_eq!((all.picks.len(), two.picks.len()), (3, 2));
    for choice in [&all, &two] {
        let sum: f32 = choice.picks.iter().map(|(_, weight)| weight).sum();
        assert!((sum - 1.0).abs() < 1e-5, "{choice:?}");
        assert!(choice.picks.windows(2).all(|pair| pair[0].1 >= pair[1].1));
    }
    // A tenth of the unit that scores are in is a factor of e between weights.
    let ratio = f64::from(two.picks[0].1 / two.picks[1].1);
    let expected = ((two.scored[0].score - two.scored[1].score) / 0.1).exp();
    assert!((ratio / expected - 1.0).abs() < 1e-3, "{ratio} against {expected}");
    assert!(router.choose_for(view, 0).picks.is_empty());
}

#[test]
fn of_a_long_prompt_its_end_counts() {
    let (_, entries) = entries();
    let (router, base) = (router(&entries), base());
    let (hills, rivers) = (passages(1, 100, 160, 5).remove(0), passages(1, 10, 70, 6).remove(0));
    // A conversation that came from the hills to the rivers.
    let prompt = [&hills[..], &rivers[1..]].concat();
    let chosen = |text: &[u32]| router.choose(&base, text, 1).unwrap();
    assert_eq!(chosen(&prompt), chosen(&rivers));
    assert_ne!(chosen(&prompt), chosen(&hills));
}

#[test]
fn a_module_is_added_without_the_others() {
    let (reader, entries) = entries();
    let folder = tempfile::tempdir().unwrap();
    let mut folders = BTreeMap::new();
    for (name, entry) in &entries {
        let own = folder.path().join(name);
        std::fs::create_dir(&own).unwrap();
        entry.write(&own.join(ENTRY_FILE)).unwrap();
        assert_eq!(Entry::read(&own.join(ENTRY_FILE)).unwrap(), *entry);
        folders.insert(name.clone(), own);
    }
    folders.insert("bare".to_owned(), folder.path().to_owned());
    let before: Vec<Vec<u8>> =
        ["hills", "rivers"].map(|name| std::fs::read(folders[name].join(ENTRY_FILE)).unwrap()).into();
    let all = Router::of_folders(&folders, &fingerprint('a')).unwrap();
    assert_eq!(all.entries().keys().collect::<Vec<_>>(), ["hills", "rivers", "towns"]);
    let view = &reader.read(&passages(1, 200, 260, 8))[0];
    // Whatever the order in which they came.
    let mut later = all.only(["hills", "rivers"]).unwrap();
    assert_ne!(later.choose_for(view, 1).picks, [("towns".to_owned(), 1.0)]);
    later.insert("towns", entries["towns"].clone()).unwrap();
    assert_eq!(later.choose_for(view, 3), all.choose_for(view, 3));
    assert_eq!(later.choose_for(view, 1).picks, [("towns".to_owned(), 1.0)]);
    let after: Vec<Vec<u8>> =
        ["hills", "rivers"].map(|name| std::fs::read(folders[name].join(ENTRY_FILE)).unwrap()).into();
    assert_eq!(before, after);
    // One file for all.
    let file = folder.path().join("library.safetensors");
    all.write(&file).unwrap();
    let read = Router::read(&file).unwrap();
    assert_eq!(read.entries(), all.entries());
    assert_eq!(read.choose_for(view, 3), all.choose_for(view, 3));
    assert!(Router::of_folders(&folders, &fingerprint('b')).unwrap().is_empty());
    assert!(matches!(all.only(["seas"]), Err(Error::Unknown { .. })));
}

#[test]
fn what_does_not_belong_together_is_refused() {
    let (_, entries) = entries();
    let rivers = &entries["rivers"];
    let mut router = Router::default();
    router.insert("rivers", rivers.clone()).unwrap();
    let other = Entry { base: fingerprint('b'), ..rivers.clone() };
    assert!(matches!(router.insert("seas", other), Err(Error::OtherBase { .. })));
    let other = Entry { layer: 2, ..rivers.clone() };
    assert!(matches!(router.insert("seas", other), Err(Error::Shape { .. })));
    for name in ["", "a/b", "..", "a b", &"n".repeat(65)] {
        assert!(matches!(router.insert(name, rivers.clone()), Err(Error::Shape { .. })), "{name}");
    }
    assert_eq!(router.entries().len(), 1);
    let deep = Entry { layer: 9, ..rivers.clone() };
    let mut router = Router::default();
    router.insert("rivers", deep).unwrap();
    assert!(matches!(router.choose(&base(), &[START, 3], 1), Err(Error::Shape { .. })));
    assert!(Router::default().choose(&base(), &[START, 3], 1).unwrap().picks.is_empty());
}

#[test]
fn too_little_text_is_said() {
    let base = base();
    let reader = Reader::new(&base, 1, 24);
    assert!(matches!(General::read(&reader, &passages(9, 1, 300, 1)), Err(Error::TooLittle(_))));
    let general = General::read(&reader, &passages(20, 1, 300, 1)).unwrap();
    let (few, enough) = (passages(2, 1, 9, 2), passages(9, 1, 9, 3));
    for (learn, validate) in [(&few, &enough), (&enough, &few)] {
        let topic = TopicText { learn, validate };
        assert!(matches!(
            entry(&reader, fingerprint('a'), &general, &topic, Prototypes::new()),
            Err(Error::TooLittle(_))
        ));
    }
}

/// Passages of one document follow each other: the first of many would be a topic of few documents.
#[test]
fn a_topic_is_all_of_its_text() {
    let reader = Reader::new(&base(), 1, 24);
    let general = General::read(&reader, &passages(40, 1, 300, 1)).unwrap();
    let learn = [passages(64, 10, 70, 3), passages(64, 200, 260, 4)].concat();
    let topic = TopicText { learn: &learn, validate: &learn };
    let found = entry(&reader, fingerprint('a'), &general, &topic, Prototypes::new()).unwrap();
    let views = reader.read(&learn);
    for (channel, &found) in found.centroid.iter().enumerate() {
        let expected = views.iter().step_by(2).map(|view| f64::from(view.state[channel])).sum::<f64>() / 64.0;
        assert!((f64::from(found) - expected).abs() < 1e-6, "channel {channel}: {found} against {expected}");
    }
    assert_eq!(evenly(96, 48), (0..48).map(|index| 2 * index).collect::<Vec<_>>());
    assert_eq!((evenly(3, 48), evenly(5, 2), evenly(0, 4)), (vec![0, 1, 2], vec![0, 2], vec![]));
}

/// Blocks change the states and leave the base its fingerprint, so that nothing else would tell.
#[test]
fn a_base_in_blocks_neither_makes_entries_nor_is_read_for_them() {
    let (_, entries) = entries();
    let blocks = base().quantised(Blocks::Q4_0);
    let reader = Reader::new(&blocks, 1, 24);
    let (text, general) = (passages(20, 10, 70, 3), passages(40, 1, 300, 1));
    assert_ne!(reader.read(&text), Reader::new(&base(), 1, 24).read(&text));
    assert!(matches!(General::read(&reader, &general), Err(Error::InBlocks)));
    let general = General::read(&Reader::new(&base(), 1, 24), &general).unwrap();
    let topic = TopicText { learn: &text, validate: &text };
    let made = entry(&reader, fingerprint('a'), &general, &topic, Prototypes::new());
    assert!(matches!(made, Err(Error::InBlocks)));
    let error = router(&entries).choose(&blocks, &text[0], 1).unwrap_err();
    assert!(matches!(error, Error::InBlocks) && error.to_string().contains("without `quantise`"), "{error}");
}
