//! Near duplicates: a planted set whose similarities are counted independently, word by word.
#![allow(clippy::unwrap_used)]

use std::collections::HashSet;

use lore_datasets::dedup::near::{NearSpec, pairs};
use lore_datasets::dedup::{DedupSpec, Kind, Leakage, deduplicate, leakage};
use lore_datasets::extract::Extracted;
use lore_datasets::progress::Silent;
use lore_datasets::split::Split;

/// A small generator, so that the set is the same everywhere (Steele, Lea and Flood 2014).
struct Random(u64);

impl Random {
    fn next(&mut self, below: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % below
    }

    fn words(&mut self, count: u64) -> Vec<String> {
        (0..count).map(|_| format!("w{}", self.next(4000))).collect()
    }
}

/// Five words at every place, as text.
fn shingles(text: &str) -> HashSet<String> {
    let words: Vec<&str> = text.split(' ').collect();
    words.windows(5).map(|five| five.join(" ")).collect()
}

fn jaccard(left: &HashSet<String>, right: &HashSet<String>) -> f64 {
    left.intersection(right).count() as f64 / left.union(right).count() as f64
}

/// 200 originals of 60 to 400 words, each with copies in which one in 2 to one in 200 words is another.
fn planted() -> Vec<String> {
    let mut random = Random(11);
    let mut texts = Vec::new();
    for number in 0..200u64 {
        let length = 60 + random.next(340);
        let original = random.words(length);
        texts.push(original.join(" "));
        for copy in 0..4 {
            let one_in = [200, 60, 20, 12, 8, 5, 3, 2][((number + 3 * copy) % 8) as usize];
            let words: Vec<String> = original
                .iter()
                .map(|word| if random.next(one_in) == 0 { format!("x{}", random.next(4000)) } else { word.clone() })
                .collect();
            texts.push(words.join(" "));
        }
    }
    // Originals and copies are not neighbours.
    for at in (1..texts.len()).rev() {
        texts.swap(at, random.next(at as u64 + 1) as usize);
    }
    texts
}

#[test]
fn near_duplicates_are_found_and_others_are_not() {
    let texts = planted();
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    let sets: Vec<HashSet<String>> = texts.iter().map(|text| shingles(text)).collect();
    let spec = DedupSpec::default();
    let spec = NearSpec {
        threshold: spec.threshold,
        shingle_words: spec.shingle_words,
        permutations: spec.permutations,
        seed: spec.seed,
    };
    let found = pairs(&texts, &spec).unwrap();
    let reported: HashSet<(usize, usize)> = found.iter().map(|pair| (pair.left, pair.right)).collect();
    let (mut similar, mut recalled, mut dissimilar) = (0, 0, 0);
    for left in 0..texts.len() {
        for right in left + 1..texts.len() {
            let similarity = jaccard(&sets[left], &sets[right]);
            if similarity >= 0.8 {
                similar += 1;
                recalled += usize::from(reported.contains(&(left, right)));
            } else if similarity < 0.6 {
                dissimilar += usize::from(reported.contains(&(left, right)));
            }
        }
    }
    let recall = recalled as f64 / similar as f64;
    let precision = 1.0 - dissimilar as f64 / found.len() as f64;
    eprintln!(
        "{similar} pairs of at least 0.8: recall {recall:.4}; {} reported: precision {precision:.4}",
        found.len()
    );
    assert!(similar > 150, "the set is of use: {similar}");
    assert!(recall >= 0.95 && precision >= 0.95, "recall {recall}, precision {precision}");
    for pair in &found {
        let expected = jaccard(&sets[pair.left], &sets[pair.right]);
        assert!((pair.similarity - expected).abs() < 1e-12, "{} for {expected}", pair.similarity);
    }
}

fn document(id: &str, text: &str) -> Extracted {
    Extracted { id: id.into(), group: id.into(), title: String::new(), text: text.into() }
}

#[test]
fn one_of_each_set_stays_and_clusters_can_be_read() {
    let mut random = Random(5);
    let (one, two) = (random.words(100), random.words(100));
    let mut near = one.clone();
    near[50] = "other".into();
    let given = vec![
        document("a", &one.join(" ")),
        document("b", &two.join(" ")),
        document("c", &one.join(", ").to_uppercase()),
        document("d", &near.join(" ")),
    ];
    let found = deduplicate(given, &DedupSpec::default(), &Silent).unwrap();
    let ids: Vec<&str> = found.documents.iter().map(|d| d.id.as_str()).collect();
    assert_eq!(ids, ["a", "b"]);
    let clusters: Vec<_> = found.duplicates.iter().map(|d| (d.kind, d.kept.as_str(), d.dropped.as_str())).collect();
    assert_eq!(clusters, [(Kind::Exact, "a", "c"), (Kind::Near, "a", "d")]);
    // 96 shingles each, of which 5 hold the other word.
    assert_eq!(found.duplicates[1].similarity, 91.0 / 101.0);
    assert_eq!((found.report.clusters, found.report.largest_cluster, found.report.kept), (1, 3, 2));
}

#[test]
fn repeated_paragraphs_are_cut_once() {
    let mut random = Random(6);
    let mut part = |count| random.words(count).join(" ");
    let (shared, own, short) = (part(40), part(40), part(5));
    let given = vec![
        document("a", &format!("{shared}\n\n{short}")),
        document("b", &format!("{own}\n\n{shared}\n\n{short}")),
        document("c", &format!("{shared}\n\n{shared}")),
    ];
    let spec = DedupSpec { near: false, ..DedupSpec::default() };
    let found = deduplicate(given, &spec, &Silent).unwrap();
    let texts: Vec<&str> = found.documents.iter().map(|d| d.text.as_str()).collect();
    assert_eq!(texts, [format!("{shared}\n\n{short}"), format!("{own}\n\n{short}")]);
    assert_eq!((found.report.paragraphs, found.report.emptied), (3, 1));
}

#[test]
fn similarity_is_not_passed_along_a_chain() {
    // Each equals its neighbours by 0.77, and those two steps apart by 0.57.
    let words = Random(7).words(160);
    let given: Vec<Extracted> =
        (0..4).map(|i| document(&i.to_string(), &words[13 * i..13 * i + 104].join(" "))).collect();
    let spec = DedupSpec { paragraphs: false, ..DedupSpec::default() };
    let found = deduplicate(given, &spec, &Silent).unwrap();
    let ids: Vec<&str> = found.documents.iter().map(|d| d.id.as_str()).collect();
    assert_eq!(ids, ["0", "2"]);
}

#[test]
fn leaks_are_dropped_or_moved_and_held_out_documents_stay() {
    let mut random = Random(8);
    let (one, two, three) = (random.words(80), random.words(80), random.words(80));
    let near = |words: &[String]| {
        let mut near = words.to_vec();
        near[40] = "other".into();
        near.join(" ")
    };
    let given = || {
        vec![
            (document("a", &near(&one)), Split::Train),
            (document("b", &one.join(" ")), Split::Test),
            (document("c", &two.join(" ")), Split::Validation),
            (document("d", &near(&two)), Split::Train),
            (document("e", &three.join(" ")), Split::Train),
        ]
    };
    let spec = NearSpec { threshold: 0.75, shingle_words: 5, permutations: 128, seed: 0 };
    let run = |leakage| {
        let mut found = Vec::new();
        let (rest, report) = leakage::separate(given(), leakage, &spec, &mut found).unwrap();
        let rest: Vec<(String, Split)> = rest.into_iter().map(|(d, split)| (d.id, split)).collect();
        (rest, report, found)
    };
    let at = |id: &str, split| (id.to_owned(), split);
    let (rest, report, found) = run(Leakage::Drop);
    assert_eq!(rest, [at("b", Split::Test), at("c", Split::Validation), at("e", Split::Train)]);
    assert_eq!((report.dropped, report.moved, found.len(), found[0].kind), (2, 0, 2, Kind::Leak));
    let (rest, report, _) = run(Leakage::Move);
    assert_eq!(rest[0], at("a", Split::Test));
    assert_eq!(rest[3], at("d", Split::Validation));
    assert_eq!((rest.len(), report.moved), (5, 2));
    assert_eq!(run(Leakage::Keep).0.len(), 5);
}

#[test]
fn impossible_numbers_are_refused_together() {
    let spec = DedupSpec { threshold: 0.0, shingle_words: 0, permutations: 1, ..DedupSpec::default() };
    let error = deduplicate(Vec::new(), &spec, &Silent).unwrap_err().to_string();
    for part in ["`threshold` is 0", "`shingle_words` is 0", "`permutations` is 1"] {
        assert!(error.contains(part), "{error}");
    }
}
