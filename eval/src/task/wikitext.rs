//! WikiText as lm-evaluation-harness scores it: articles, spaces of the tokenised text put right before scoring,
//! bytes and words counted before.

/// The articles of a WikiText file; each begins with a line ` = Title = `.
pub(super) fn articles(text: &str) -> Vec<String> {
    let mut articles = vec![String::new()];
    for line in text.split_inclusive('\n') {
        if is_title(line) && articles.last().is_some_and(|article| !article.trim().is_empty()) {
            articles.push(String::new());
        }
        articles.last_mut().expect("there is always one").push_str(line);
    }
    articles.retain(|article| !article.trim().is_empty());
    articles
}

/// One equals sign on either side; sections have more.
fn is_title(line: &str) -> bool {
    let inner = line.trim().strip_prefix("= ").and_then(|line| line.strip_suffix(" ="));
    inner.is_some_and(|title| !title.starts_with('=') && !title.ends_with('=') && !title.trim().is_empty())
}

/// Pieces that runs of white space separate, as Python's `re.split(r"\s+", text)` counts them.
pub(super) fn words(text: &str) -> usize {
    let mut runs = 0;
    let mut inside = false;
    for c in text.chars() {
        let space = c.is_whitespace() || ('\u{1c}'..='\u{1f}').contains(&c);
        runs += usize::from(space && !inside);
        inside = space;
    }
    runs + 1
}

/// lm-evaluation-harness's `wikitext_detokenizer`.
pub(super) fn detokenize(text: &str) -> String {
    let mut text = text.replace("s '", "s'");
    text = slashed_digit(&text);
    for (from, to) in [
        (" @-@ ", "-"),
        (" @,@ ", ","),
        (" @.@ ", "."),
        (" : ", ": "),
        (" ; ", "; "),
        (" . ", ". "),
        (" ! ", "! "),
        (" ? ", "? "),
        (" , ", ", "),
    ] {
        text = text.replace(from, to);
    }
    for (open, close) in [('(', ')'), ('[', ']'), ('{', '}'), ('"', '"'), ('\'', '\'')] {
        text = tighten(&text, open, close);
    }
    for (from, to) in [
        ("= = = =", "===="),
        ("= = =", "==="),
        ("= =", "=="),
        (" ° ", "°"),
        (" \n", "\n"),
        ("\n ", "\n"),
        (" N ", " 1 "),
        (" 's", "'s"),
    ] {
        text = text.replace(from, to);
    }
    text
}

/// The harness's `re.sub(r"/' [0-9]/", r"/'[0-9]/", ...)`, which writes the brackets out.
fn slashed_digit(text: &str) -> String {
    let mut parts = text.split("/' ");
    let mut made = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let mut characters = part.chars();
        match (characters.next(), characters.next()) {
            (Some('0'..='9'), Some('/')) => {
                made.push_str("/'[0-9]/");
                made.push_str(characters.as_str());
            }
            _ => {
                made.push_str("/' ");
                made.push_str(part);
            }
        }
    }
    made
}

/// No white space inside a pair of marks.
fn tighten(text: &str, open: char, close: char) -> String {
    let mut made = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once(open) {
        let Some((inside, behind)) = after.split_once(close) else { break };
        made.push_str(before);
        made.push(open);
        made.push_str(inside.trim());
        made.push(close);
        rest = behind;
    }
    made.push_str(rest);
    made
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn articles_begin_at_titles() {
        let text = " \n = One = \n \n text \n = = Section = = \n more \n = Two = \n end \n";
        assert_eq!(articles(text), [" \n = One = \n \n text \n = = Section = = \n more \n", " = Two = \n end \n"]);
    }

    #[test]
    fn words_are_counted_as_python_splits() {
        // len(re.split(r"\s+", text))
        assert_eq!([words(""), words("a"), words(" a "), words("a \n b")], [1, 1, 3, 2]);
    }

    /// Made by `wikitext_detokenizer` of lm_eval 0.4.13.
    #[test]
    fn the_detokenizer_is_that_of_the_harness() {
        let cases = [
            ("the dogs ' tails , 5 @-@ 3 @,@ 000 @.@ 5 : yes ; no .  ", "the dogs' tails, 5-3,000.5: yes; no.  "),
            (" = = = Title = = = \n A ( b ) [ c ] { d } \" e \" ' f ' \n", " === Title ===\nA (b) [c] {d} \"e\" 'f'\n"),
            ("x 's N y ° z ( open \" one", "x's 1 y°z ( open \" one"),
            ("a /' 5/ b", "a /'[0-9]/ b"),
        ];
        for (given, expected) in cases {
            assert_eq!(detokenize(given), expected, "{given}");
        }
    }
}
