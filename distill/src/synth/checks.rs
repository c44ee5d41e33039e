//! What an item must be like. Each check has a name, under which its failures are counted.

use std::collections::HashSet;

use super::Kind;
use super::reply::{BLANK, Said};

/// A reply that is not of the form asked for.
pub const FORM: &str = "form";
/// Too few or too many words.
pub const LENGTH: &str = "length";
/// A question that does not end with a question mark.
pub const NO_QUESTION: &str = "no_question";
/// An answer that does not stand in the passage.
pub const ANSWER_NOT_IN_PASSAGE: &str = "answer_not_in_passage";
/// A question that gives its answer away.
pub const ANSWER_GIVEN_AWAY: &str = "answer_given_away";
/// A question about something that the passage does not speak of.
pub const OFF_TOPIC: &str = "off_topic";
/// A text that repeats the passage.
pub const COPY: &str = "copy";
/// A number that does not stand in the passage.
pub const INVENTED_NUMBER: &str = "invented_number";
/// A name that does not stand in the passage.
pub const INVENTED_NAME: &str = "invented_name";
/// A question to which the author finds another answer in the passage.
pub const NOT_ANSWERABLE: &str = "not_answerable";
/// An item like an earlier one.
pub const DUPLICATE: &str = "duplicate";

/// Words in a row that a question, paraphrase or summary may share with the passage.
const SHARED_RUN: usize = 12;
/// Of its runs of four words, the share that a paraphrase or summary may have from the passage.
const SHARED_FOURS: f64 = 0.5;
/// Of its words of content, the share that the passage must have.
const ON_TOPIC: f64 = 0.5;
/// How well the answer to a question that was put back must agree with its own (F1 of words).
const AGREEMENT: f64 = 0.5;

/// Words without which English cannot do; they say nothing about a passage.
const FUNCTION_WORDS: [&str; 85] = [
    "a", "about", "after", "all", "also", "an", "and", "any", "are", "as", "at", "be", "because", "been", "between",
    "but", "by", "can", "could", "did", "do", "does", "during", "for", "from", "had", "has", "have", "he", "her",
    "his", "how", "i", "if", "in", "into", "is", "it", "its", "many", "may", "more", "most", "much", "no", "not", "of",
    "on", "one", "or", "other", "our", "out", "over", "she", "so", "some", "such", "than", "that", "the", "their",
    "them", "then", "there", "these", "they", "this", "those", "to", "was", "we", "were", "what", "when", "where",
    "which", "while", "who", "whom", "why", "will", "with", "would", "you",
];

/// Words in lower case, without punctuation.
pub(super) fn words(text: &str) -> Vec<String> {
    let letters = |word: &str| word.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect();
    text.split_whitespace().map(letters).filter(|word: &String| !word.is_empty()).collect()
}

/// The name of the first check that an item fails; those that need other items or the author come later.
pub(super) fn failed(kind: Kind, said: &Said, passage: &str) -> Option<&'static str> {
    let there = words(passage);
    let text = words(&said.text);
    let (question, answer) = (said.question.as_deref().map(words), said.answer.as_deref().map(words));
    let (question, answer) = (question.unwrap_or_default(), answer.unwrap_or_default());
    let fits = match kind {
        Kind::Question => (4..=40).contains(&question.len()) && (1..=20).contains(&answer.len()),
        Kind::Cloze => (5..=50).contains(&question.len()) && (1..=4).contains(&answer.len()),
        Kind::Paraphrase => (there.len() / 2..=there.len() * 3 / 2).contains(&text.len()),
        Kind::Summary => (6..=there.len() * 3 / 5).contains(&text.len()),
    };
    let asked = said.question.as_deref().unwrap_or_default();
    let copied = || longest_shared(&text, &there) > SHARED_RUN || shared_fours(&text, &there) > SHARED_FOURS;
    let failures: [(&'static str, bool); 8] = [
        (LENGTH, !fits),
        (NO_QUESTION, kind == Kind::Question && !asked.ends_with('?')),
        (ANSWER_NOT_IN_PASSAGE, !contains(&there, &answer)),
        (ANSWER_GIVEN_AWAY, !answer.is_empty() && contains(&question, &answer)),
        (OFF_TOPIC, !on_topic(if question.is_empty() { &text } else { &question }, &there)),
        (
            COPY,
            match kind {
                Kind::Question => longest_shared(&question, &there) > SHARED_RUN,
                Kind::Paraphrase | Kind::Summary => copied(),
                // A fact may be a sentence of the passage: its answer is what is learnt.
                Kind::Cloze => false,
            },
        ),
        (INVENTED_NUMBER, !numbers(&said.text).is_subset(&numbers(passage))),
        (
            INVENTED_NAME,
            names(&said.text).iter().any(|name| !there.iter().any(|word| word == name || stem(word) == name)),
        ),
    ];
    failures.into_iter().find(|(_, failed)| *failed).map(|(name, _)| name)
}

/// Whether the answer to a question that was put back is near enough to its own.
pub(super) fn agrees(own: &str, found: &str) -> bool {
    let (own, found) = (words(own), words(found));
    let mut left = found.clone();
    let mut both = 0.0;
    for word in &own {
        if let Some(at) = left.iter().position(|other| other == word) {
            left.swap_remove(at);
            both += 1.0;
        }
    }
    2.0 * both / (own.len() + found.len()).max(1) as f64 >= AGREEMENT
}

/// Whether `part` stands in `whole`, word by word. Nothing stands everywhere.
fn contains(whole: &[String], part: &[String]) -> bool {
    part.is_empty() || whole.windows(part.len()).any(|window| window == part)
}

fn on_topic(text: &[String], there: &[String]) -> bool {
    let there: HashSet<&str> = there.iter().flat_map(|word| [word.as_str(), stem(word)]).collect();
    let content: Vec<&str> =
        text.iter().map(String::as_str).filter(|word| !FUNCTION_WORDS.contains(word) && *word != BLANK).collect();
    let known = content.iter().filter(|word| there.contains(*word) || there.contains(stem(word))).count();
    !content.is_empty() && known as f64 >= ON_TOPIC * content.len() as f64
}

/// Without the ending of a plural.
fn stem(word: &str) -> &str {
    word.strip_suffix('s').unwrap_or(word)
}

/// Words of the longest run that both have.
fn longest_shared(text: &[String], there: &[String]) -> usize {
    let mut longest = 0;
    let mut above = vec![0; there.len() + 1];
    for word in text {
        let mut row = vec![0; there.len() + 1];
        for (at, other) in there.iter().enumerate() {
            if word == other {
                row[at + 1] = above[at] + 1;
                longest = longest.max(row[at + 1]);
            }
        }
        above = row;
    }
    longest
}

fn shared_fours(text: &[String], there: &[String]) -> f64 {
    let fours: HashSet<&[String]> = there.windows(4).collect();
    let all = text.windows(4).count();
    let shared = text.windows(4).filter(|four| fours.contains(four)).count();
    shared as f64 / all.max(1) as f64
}

/// Numbers, without the separators of thousands.
fn numbers(text: &str) -> HashSet<String> {
    let plain: String = text.chars().filter(|c| *c != ',').collect();
    let part = |c: char| !(c.is_ascii_digit() || c == '.');
    let numbers = plain.split(part).map(|number| number.trim_matches('.').to_owned());
    numbers.filter(|number| !number.is_empty()).collect()
}

/// Words with a capital letter that do not begin a sentence.
fn names(text: &str) -> Vec<String> {
    let mut names = Vec::new();
    let mut begins = true;
    for word in text.split_whitespace() {
        let plain = word.trim_matches(|c: char| !c.is_alphanumeric());
        if !begins && plain.starts_with(char::is_uppercase) && plain.chars().count() > 1 {
            // `Egypt's` is a form of `Egypt`.
            let name = plain.trim_end_matches("'s").trim_end_matches("’s");
            names.extend(words(name).into_iter().filter(|name| !FUNCTION_WORDS.contains(&name.as_str())));
        }
        begins = word.ends_with(['.', '!', '?', ':']);
    }
    names
}

#[cfg(test)]
mod tests {
    use super::super::reply::read;
    use super::*;

    const PASSAGE: &str = "The Nile runs for 6,650 km from the lakes of East Africa to the Mediterranean Sea. Every \
        summer, rain in Ethiopia made it rise over its banks, and the mud that it left behind made the fields of Egypt \
        fertile. Since 1970 a dam near Aswan has held the flood back.";

    fn check(kind: Kind, reply: &str) -> Option<&'static str> {
        read(kind, reply).map_or(Some(FORM), |said| failed(kind, &said, PASSAGE))
    }

    #[test]
    fn good_items_pass() {
        for (kind, reply) in [
            (Kind::Question, "Where does the dam stand that has held back the flood?\nAnswer: near Aswan"),
            (Kind::Cloze, "The mud that it left behind made the fields of ____ fertile.\nWord: Egypt"),
            (Kind::Summary, "Floods of the Nile fertilised Egypt's fields until a dam stopped them in 1970."),
            (
                Kind::Paraphrase,
                "From lakes in East Africa the Nile flows 6650 km and ends in the Mediterranean Sea. Rain in Ethiopia \
                 each summer raised its water above the banks. The mud made Egypt's fields fertile, until the dam \
                 near Aswan put an end to the flood in 1970.",
            ),
        ] {
            assert_eq!(check(kind, reply), None, "{reply}");
        }
    }

    #[test]
    fn each_failing_has_its_name() {
        let copy = PASSAGE.split(" Since").next().unwrap_or_default();
        for (kind, reply, reason) in [
            (Kind::Question, "The Nile is long", FORM),
            (Kind::Question, "Why?\nAnswer: rain", LENGTH),
            (Kind::Question, "Name the sea of the Nile.\nAnswer: Mediterranean", NO_QUESTION),
            (Kind::Question, "Which river runs to the sea?\nAnswer: the Danube", ANSWER_NOT_IN_PASSAGE),
            (Kind::Question, "Does the Nile run to the Mediterranean Sea?\nAnswer: Mediterranean", ANSWER_GIVEN_AWAY),
            (Kind::Question, "Who painted that famous picture of sunflowers?\nAnswer: it", OFF_TOPIC),
            (
                Kind::Question,
                "Why is it that the Nile runs for 6,650 km from the lakes of East Africa to the sea?\nAnswer: rain",
                COPY,
            ),
            (Kind::Cloze, "The Nile runs for ____ km to the sea.\nWord: 7000", ANSWER_NOT_IN_PASSAGE),
            (Kind::Summary, "The Nile.", LENGTH),
            (Kind::Summary, "The Nile made fields of Egypt fertile until the dam of 1971 held it.", INVENTED_NUMBER),
            (Kind::Summary, "Mud of the Nile made Egypt fertile until a dam of President Nasser.", INVENTED_NAME),
            (Kind::Paraphrase, copy, COPY),
        ] {
            assert_eq!(check(kind, reply), Some(reason), "{reply}");
        }
    }

    #[test]
    fn answers_agree_by_their_words() {
        assert!(agrees("near Aswan", "It is near Aswan."));
        assert!(!agrees("near Aswan", "in Ethiopia"));
        assert!(!agrees("Aswan", ""));
    }

    #[test]
    fn the_list_of_words_is_sorted() {
        assert!(FUNCTION_WORDS.is_sorted());
    }
}
