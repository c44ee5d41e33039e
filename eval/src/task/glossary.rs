//! A definition and some terms, of which one is meant.

use std::collections::{BTreeMap, BTreeSet};

use sha2::{Digest, Sha256};

use super::{Form, Glossary, Item};

/// One entry of a glossary.
pub(super) struct Entry {
    pub subset: String,
    pub term: String,
    pub meaning: String,
    pub context: String,
    pub record: serde_json::Value,
}

/// One item for each term that is defined, in the order of the entries. Only the first definition of a term counts;
/// terms with the same definition never stand against each other. A subset with too few terms gives no items.
pub(super) fn items(spec: &Glossary, entries: &[Entry]) -> Vec<Item> {
    let mut subsets: BTreeMap<&str, Vec<&Entry>> = BTreeMap::new();
    let mut seen = BTreeSet::new();
    let kept: Vec<&Entry> = entries
        .iter()
        .filter(|entry| !entry.term.is_empty() && !entry.meaning.is_empty())
        .filter(|entry| seen.insert((entry.subset.as_str(), entry.term.to_lowercase())))
        .collect();
    for entry in &kept {
        subsets.entry(&entry.subset).or_default().push(entry);
    }
    kept.iter().filter_map(|entry| item(spec, entry, &subsets[entry.subset.as_str()])).collect()
}

fn item(spec: &Glossary, entry: &Entry, all: &[&Entry]) -> Option<Item> {
    let draw = |purpose: &str, term: &str| -> [u8; 32] {
        let parts = [&spec.seed.to_string(), purpose, &entry.subset, &entry.term, term];
        Sha256::digest(parts.join("\0")).into()
    };
    let others = all.iter().filter(|other| other.term != entry.term && other.meaning != entry.meaning);
    // The terms that draw the smallest numbers: what is left out or added elsewhere changes little.
    let mut drawn: Vec<([u8; 32], &str)> =
        others.map(|other| (draw("distractor", &other.term), other.term.as_str())).collect();
    if drawn.len() < spec.distractors {
        return None;
    }
    drawn.select_nth_unstable(spec.distractors - 1);
    drawn.truncate(spec.distractors);
    let mut choices: Vec<&str> = drawn.into_iter().map(|(_, term)| term).chain([entry.term.as_str()]).collect();
    choices.sort_by_cached_key(|term| draw("order", term));
    let gold = choices.iter().position(|term| *term == entry.term)?;
    let form = Form::Choice {
        context: entry.context.clone(),
        delimiter: spec.delimiter.clone(),
        choices: choices.into_iter().map(str::to_owned).collect(),
        gold,
        pair: false,
    };
    Some(Item { id: entry.term.clone(), subset: entry.subset.clone(), form, record: entry.record.clone() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn glossary(count: usize) -> (Glossary, Vec<Entry>) {
        let spec = Glossary {
            term: String::new(),
            meaning: String::new(),
            context: String::new(),
            distractors: 3,
            seed: 5,
            delimiter: " ".into(),
        };
        let entry = |i: usize| Entry {
            subset: String::new(),
            term: format!("term {i}"),
            // The first two mean the same.
            meaning: format!("meaning {}", i.max(1)),
            context: format!("context {i}"),
            record: serde_json::Value::Null,
        };
        (spec, (0..count).map(entry).collect())
    }

    #[test]
    fn choices_do_not_depend_on_the_order_of_the_file() {
        let (spec, mut entries) = glossary(30);
        let mut before = items(&spec, &entries);
        entries.reverse();
        let mut after = items(&spec, &entries);
        before.sort_by(|a, b| a.id.cmp(&b.id));
        after.sort_by(|a, b| a.id.cmp(&b.id));
        assert_eq!(before, after);
        assert_eq!(before.len(), 30);
    }

    #[test]
    fn the_right_term_is_among_distinct_ones_and_anywhere() {
        let (spec, entries) = glossary(200);
        let mut places = [0; 4];
        for (item, entry) in items(&spec, &entries).iter().zip(&entries) {
            let Form::Choice { choices, gold, context, .. } = &item.form else { panic!("a choice") };
            assert_eq!((&choices[*gold], context), (&entry.term, &entry.context));
            assert_eq!(choices.iter().collect::<BTreeSet<_>>().len(), 4);
            let same = |a: &str, b: &str| choices.iter().any(|c| c == a) && choices.iter().any(|c| c == b);
            assert!(!same("term 0", "term 1"), "they mean the same: {choices:?}");
            places[*gold] += 1;
        }
        assert!(places.iter().all(|&count| (25..=75).contains(&count)), "{places:?}");
    }

    #[test]
    fn a_glossary_that_is_too_small_gives_nothing() {
        let (spec, entries) = glossary(3);
        assert_eq!(items(&spec, &entries), []);
    }

    #[test]
    fn another_seed_makes_other_items() {
        let (spec, entries) = glossary(50);
        let other = Glossary { seed: 6, ..spec.clone() };
        assert_ne!(items(&spec, &entries), items(&other, &entries));
    }
}
