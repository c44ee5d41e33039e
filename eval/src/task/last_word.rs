//! Passages whose last word a reader of the whole passage can guess, as in LAMBADA (Paperno et al. 2016): the word
//! stands in the passage before, and the last sentence alone is seldom enough.

/// Words before the last one.
const FEWEST_WORDS: usize = 50;
/// Letters of the last word, so that it is seldom one of the words that any sentence may end with.
const FEWEST_LETTERS: usize = 4;

/// Passages of whole sentences of one paragraph, none overlapping, each without what ends its last sentence.
pub(super) fn passages(text: &str) -> Vec<String> {
    text.lines().flat_map(of_paragraph).collect()
}

fn of_paragraph(paragraph: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut begin = 0;
    for end in sentence_ends(paragraph) {
        let passage = paragraph[begin..end].trim();
        let Some((before, last)) = passage.rsplit_once(' ') else { continue };
        if before.split_whitespace().count() < FEWEST_WORDS {
            continue;
        }
        let plain = last.chars().all(|c| c.is_ascii_lowercase()) && last.len() >= FEWEST_LETTERS;
        if plain && before.split(|c: char| !c.is_alphanumeric()).any(|word| word == last) {
            found.push(passage.to_owned());
            begin = end + 1;
        }
    }
    found
}

/// Where a full stop, question or exclamation mark is followed by a capital, or by nothing.
fn sentence_ends(text: &str) -> Vec<usize> {
    let marks = text.char_indices().filter(|(_, c)| matches!(c, '.' | '?' | '!'));
    marks
        .filter(|(place, _)| {
            let rest = &text[place + 1..];
            let next = rest.trim_start();
            next.is_empty() || (next.len() < rest.len() && next.starts_with(char::is_uppercase))
        })
        .map(|(place, _)| place)
        .collect()
}

/// What stands before the last space.
pub(super) fn before(passage: &str) -> String {
    passage.rsplit_once(' ').map_or("", |(before, _)| before).to_owned()
}

/// What stands after the last space.
pub(super) fn last(passage: &str) -> String {
    passage.rsplit_once(' ').map_or(passage, |(_, last)| last).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_word_stood_there_before() {
        let filler = "Mist lay over all of the low meadow in that hour until noon. Three boys had to carry dry wood \
                      up to a house on the hill. Their mother baked a loaf of bread for each and softly sang. An old dog \
                      had lain down in the warm ash behind the stove. ";
        let text = format!("The brook ran by. {filler}At night one heard the brook. {filler}Nobody saw a heron. Yes.");
        let found = passages(&text);
        assert_eq!(found, [format!("The brook ran by. {filler}At night one heard the brook")]);
        assert_eq!((last(&found[0]).as_str(), before(&found[0]).ends_with("heard the")), ("brook", true));
        assert!(passages("A brook. The brook.").is_empty(), "too short");
    }

    #[test]
    fn sentences_end_before_capitals() {
        assert_eq!(sentence_ends("Mr. Fox e.g. ran. Then? No"), [2, 16, 22]);
        assert_eq!(sentence_ends("a.b. c."), [6]);
    }
}
