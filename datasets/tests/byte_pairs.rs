//! The fast encoder gives the ids of the `tokenizers` crate.
#![allow(clippy::unwrap_used)]

mod shared;

use std::sync::OnceLock;

use lore_datasets::tokenise::Encoder;
use proptest::prelude::*;
use serde_json::{Value, json};
use tokenizers::Tokenizer;
use tokenizers::models::TrainerWrapper;
use tokenizers::models::bpe::BpeTrainer;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::{AddedToken, models::bpe::BPE};

/// Pieces that are cut in unusual ways, and what an ordinary text is made of.
const PIECES: [&str; 46] = [
    "the",
    " the",
    "The rain",
    "train",
    " in",
    "  ",
    "\t",
    "\n\n",
    " \n ",
    "   x",
    "1234567",
    "3.14",
    "½²Ⅷ٣",
    "日本語",
    "мир",
    "مرحبا",
    "नमस्ते",
    "🙂🚀",
    "👨\u{200d}👩",
    "e\u{301}",
    "café",
    "don't",
    "I'LL we've",
    "<|im_start|>",
    "<|end|>",
    "\u{a0}",
    "\u{2003}",
    "\r\n",
    "()[]{};:",
    "foo_bar",
    "https://a.b/c?d=e",
    "\u{200b}",
    "ﬁ",
    "\0",
    "\u{7f}",
    "𝔘",
    "ß",
    "ＡＢＣ１２",
    "…",
    "$1,000.50",
    "aaaaaaaaaaaaaaaaaaaaaaaa",
    "def f(x):\n    return x",
    "''",
    " 's",
    "'S",
    "\u{85}",
];

/// Bytes that no line has.
const ABSENT: [char; 5] = ['Z', 'Q', '\u{104}', '\u{f1}', '\u{fe}'];

/// A tokenizer trained on such text. It cuts as GPT-2 does, or as SmolLM does; like the latter it may have no token for
/// bytes that do not occur.
fn trained(single_digits: bool, every_byte: bool) -> Tokenizer {
    let mut tokenizer = Tokenizer::new(BPE::default());
    tokenizer.with_pre_tokenizer(Some(ByteLevel::new(false, false, true)));
    let special = ["<|end|>", "<|im_start|>"].map(|token| AddedToken::from(token, true));
    let mut trainer: TrainerWrapper = BpeTrainer::builder()
        .vocab_size(900)
        .show_progress(false)
        .initial_alphabet(ByteLevel::alphabet().into_iter().filter(|c| every_byte || !ABSENT.contains(c)).collect())
        .special_tokens(special.to_vec())
        .build()
        .into();
    let lines: Vec<String> = (0..400).map(line).collect();
    tokenizer.train(&mut trainer, lines.iter()).unwrap();
    let mut json: Value = serde_json::from_str(&tokenizer.to_string(false).unwrap()).unwrap();
    if single_digits {
        let digits = json!({ "type": "Digits", "individual_digits": true });
        json["pre_tokenizer"] = json!({ "type": "Sequence", "pretokenizers": [digits, json["pre_tokenizer"]] });
    }
    let vocabulary = json["model"]["vocab"].as_object().unwrap();
    assert!(ABSENT.iter().all(|c| vocabulary.contains_key(&c.to_string()) == every_byte));
    json.to_string().parse().unwrap()
}

fn line(number: usize) -> String {
    let mut state = number as u64 + 1;
    let mut text = String::new();
    for _ in 0..12 {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        text.push_str(PIECES[(state >> 33) as usize % PIECES.len()]);
    }
    text
}

/// All kinds, each fast and by the crate.
fn pairs() -> &'static [(Encoder, Encoder); 3] {
    static PAIRS: OnceLock<[(Encoder, Encoder); 3]> = OnceLock::new();
    PAIRS.get_or_init(|| {
        [(false, true), (true, true), (true, false)].map(|(single_digits, every_byte)| {
            let tokenizer = trained(single_digits, every_byte);
            let fast = Encoder::new(&tokenizer);
            assert!(fast.is_fast(), "the kind is known");
            (fast, Encoder::reference(&tokenizer))
        })
    })
}

fn check(text: &str) {
    for (fast, reference) in pairs() {
        assert_eq!(fast.encode("", text).unwrap(), reference.encode("", text).unwrap(), "{text:?}");
    }
}

#[test]
fn ordinary_and_odd_lines() {
    check("");
    ["Z", "ZQ", "aZin the", " Z", "\u{4}", "t\u{4}h\u{4}e", "\u{50000}"].into_iter().for_each(check);
    PIECES.iter().for_each(|piece| check(piece));
    (0..2000).map(line).for_each(|line| check(&line));
}

#[test]
fn every_character_alone_doubled_and_beside_others() {
    let mut text = String::new();
    for c in (0..=0x10_ffffu32)
        .filter_map(char::from_u32)
        .filter(|c| (*c as u32) < 0x3_3000 || (*c as u32).is_multiple_of(251))
    {
        for part in ["", "a", " ", " 1", "!", "'", "\n"] {
            text.push_str(part);
            text.push(c);
        }
        text.push(c);
        if text.len() > 4000 {
            check(&text);
            text.clear();
        }
    }
    check(&text);
}

proptest! {
    #[test]
    fn any_text(text in "\\PC{0,80}") {
        check(&text);
    }

    #[test]
    fn any_characters(text in prop::collection::vec(any::<char>(), 0..80)) {
        check(&text.into_iter().collect::<String>());
    }

    #[test]
    fn few_characters_in_any_order(text in "[a-d '\\n019!é]{0,120}") {
        check(&text);
    }
}

#[test]
fn other_kinds_are_left_to_the_crate() {
    let json: Value = serde_json::from_str(&trained(false, true).to_string(false).unwrap()).unwrap();
    let changes: [fn(&mut Value); 6] = [
        |json| json["model"]["unk_token"] = json!("a"),
        |json| json["pre_tokenizer"]["add_prefix_space"] = json!(true),
        |json| json["normalizer"] = json!({ "type": "NFC" }),
        |json| json["model"]["dropout"] = json!(0.1),
        |json| json["added_tokens"][0]["special"] = json!(false),
        |json| json["pre_tokenizer"] = json!({ "type": "Whitespace" }),
    ];
    for (number, change) in changes.iter().enumerate() {
        let mut json = json.clone();
        change(&mut json);
        let encoder = Encoder::new(&json.to_string().parse().unwrap());
        assert!(!encoder.is_fast(), "change {number}");
        assert!(!encoder.encode("", "the rain").unwrap().is_empty());
    }
    let mut whole = json.clone();
    whole["model"]["ignore_merges"] = json!(true);
    let whole: Tokenizer = whole.to_string().parse().unwrap();
    let (fast, reference) = (Encoder::new(&whole), Encoder::reference(&whole));
    assert!(fast.is_fast());
    for text in (0..500).map(line) {
        assert_eq!(fast.encode("", &text).unwrap(), reference.encode("", &text).unwrap(), "{text:?}");
    }
}

#[test]
fn prose_of_books() {
    let Some(path) = shared::shared("openstax/astronomy/text.txt") else { return };
    let text = std::fs::read_to_string(path).unwrap();
    text.split("\n# ").take(200).for_each(check);
}
