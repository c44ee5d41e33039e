//! Filters for the templates, beside minijinja's own.
//!
//! | filter | what it makes |
//! |---|---|
//! | `plain` | one line of plain text: tags removed, character references decoded, white space folded |
//! | `paragraphs` | a list of plain texts, one per block of the markup |
//! | `markdown` | plain paragraphs from Markdown, separated by blank lines; a list is taken as lines |
//! | `sentence` | capital first letter, full stop at the end; empty stays empty |
//! | `sentences` | each item of a list (or block of a text) as a `sentence`, in one line |
//! | `clause` | small first letter unless the word has more capitals, no closing punctuation |
//! | `phrase` | one line without closing punctuation |
//! | `listing` | `a, b and c` |
//! | `before(mark)` | the text before the first `mark`, or all of it |
//! | `without_urls` | without web addresses |
//! | `without_brackets`, `without_brackets(text)` | without `( )` and `[ ]` groups, or only those that contain `text` |
//! | `without_label(name)` | a list of plain texts, each without a leading `name:`, `name -` or `name 2:` |
//! | `unique_texts` | a list of plain texts, each once |
//! | `min_words(n)` | the items of a list that have at least `n` words |
//!
//! All of them take a missing value as empty.

use std::collections::HashSet;

use minijinja::value::ValueKind;
use minijinja::{Environment, Value};

use super::markup::{fold, html_blocks, markdown_blocks};
use super::xml::Elements;

pub(super) fn register(environment: &mut Environment<'_>) {
    environment.add_filter("plain", |value: Value| blocks(&value).join(" "));
    environment.add_filter("paragraphs", |value: Value| blocks(&value));
    environment.add_filter("markdown", |value: Value| markdown(&value));
    environment.add_filter("sentence", |value: Value| sentence(&blocks(&value).join(" ")));
    environment.add_filter("sentences", |value: Value| sentences(&value));
    environment.add_filter("clause", |value: Value| clause(&blocks(&value).join(" ")));
    environment.add_filter("phrase", |value: Value| phrase(&blocks(&value).join(" ")).to_owned());
    environment.add_filter("listing", |value: Value| listing(&blocks(&value)));
    environment.add_filter("before", |value: Value, mark: String| before(&text(&value), &mark));
    environment.add_filter("without_urls", |value: Value| without_urls(&text(&value)));
    environment.add_filter("without_brackets", |value: Value, containing: Option<String>| {
        without_brackets(&text(&value), containing.as_deref().unwrap_or_default())
    });
    environment.add_filter("without_label", |value: Value, label: String| {
        blocks(&value).iter().map(|block| without_label(block, &label).to_owned()).collect::<Vec<_>>()
    });
    environment.add_filter("unique_texts", |value: Value| {
        let mut seen = HashSet::new();
        blocks(&value).into_iter().filter(|block| seen.insert(block.clone())).collect::<Vec<_>>()
    });
    environment.add_filter("min_words", |value: Value, least: usize| {
        let long_enough = |block: &String| block.split_whitespace().count() >= least;
        blocks(&value).into_iter().filter(long_enough).collect::<Vec<_>>()
    });
}

/// The text as it is, nothing for what is missing.
fn text(value: &Value) -> String {
    if value.is_undefined() || value.is_none() { String::new() } else { value.to_string() }
}

/// Plain blocks of a text, of an element, or of every item of a list.
fn blocks(value: &Value) -> Vec<String> {
    if let Some(elements) = value.downcast_object_ref::<Elements>() {
        return elements.blocks();
    }
    match value.kind() {
        ValueKind::Undefined | ValueKind::None => Vec::new(),
        ValueKind::Seq | ValueKind::Iterable => {
            value.try_iter().map(|items| items.flat_map(|item| blocks(&item)).collect()).unwrap_or_default()
        }
        _ => html_blocks(&value.to_string()),
    }
}

fn markdown(value: &Value) -> String {
    let source = match value.kind() {
        ValueKind::Seq | ValueKind::Iterable => value
            .try_iter()
            .map(|items| items.map(|item| text(&item)).collect::<Vec<_>>().join("\n\n"))
            .unwrap_or_default(),
        _ => text(value),
    };
    markdown_blocks(&source).join("\n\n")
}

fn sentence(text: &str) -> String {
    let text = text.trim().trim_end_matches([';', ',', ':']).trim_end();
    let mut characters = text.chars();
    let Some(first) = characters.next() else {
        return String::new();
    };
    let mut made: String = first.to_uppercase().chain(characters).collect();
    let last = made.trim_end_matches(['"', '\'', '”', '’', ')', ']']).chars().last();
    if !matches!(last, Some('.' | '!' | '?' | '…')) {
        made.push('.');
    }
    made
}

fn sentences(value: &Value) -> String {
    blocks(value).iter().map(|block| sentence(block)).filter(|s| !s.is_empty()).collect::<Vec<_>>().join(" ")
}

fn clause(text: &str) -> String {
    let text = phrase(text);
    let first_word = text.split_whitespace().next().unwrap_or_default();
    let mut characters = text.chars();
    match characters.next() {
        Some(first) if first_word.chars().skip(1).all(|c| !c.is_uppercase()) => {
            first.to_lowercase().chain(characters).collect()
        }
        _ => text.to_owned(),
    }
}

fn phrase(text: &str) -> &str {
    text.trim().trim_end_matches(['.', ';', ',', ':'])
}

fn listing(items: &[String]) -> String {
    match items {
        [] => String::new(),
        [one] => one.clone(),
        [most @ .., last] => format!("{} and {last}", most.join(", ")),
    }
}

fn before(text: &str, mark: &str) -> String {
    if mark.is_empty() { text.to_owned() } else { text.split(mark).next().unwrap_or_default().to_owned() }
}

fn without_urls(text: &str) -> String {
    let is_url = |word: &str| {
        let word = word.trim_start_matches(['(', '[', '<', '"']);
        word.starts_with("http://") || word.starts_with("https://") || word.starts_with("www.")
    };
    fold(&text.split_whitespace().filter(|word| !is_url(word)).collect::<Vec<_>>().join(" "))
}

fn without_label<'a>(text: &'a str, label: &str) -> &'a str {
    let Some(head) = text.get(..label.len()).filter(|head| head.eq_ignore_ascii_case(label)) else {
        return text;
    };
    let rest = text[head.len()..].trim_start().trim_start_matches(|c: char| c.is_ascii_digit()).trim_start();
    let unlabelled = rest.strip_prefix([':', ';', '-', '–']).map(str::trim_start);
    unlabelled.filter(|rest| !rest.is_empty()).unwrap_or(text)
}

fn without_brackets(text: &str, containing: &str) -> String {
    let mut kept = String::with_capacity(text.len());
    let mut open = Vec::new();
    for c in text.chars() {
        match c {
            '(' | '[' => open.push(kept.len()),
            ')' | ']' => {
                if let Some(start) = open.pop().filter(|&start| kept[start..].contains(containing)) {
                    kept.truncate(start);
                    continue;
                }
            }
            _ => {}
        }
        kept.push(c);
    }
    fold(&kept)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn render(template: &str, value: impl Into<Value>) -> String {
        let mut environment = Environment::new();
        environment.set_undefined_behavior(minijinja::UndefinedBehavior::Chainable);
        register(&mut environment);
        environment.render_str(template, minijinja::context! { x => value.into() }).expect("the template renders")
    }

    #[test]
    fn filters_make_prose() {
        let cases = [
            ("{{ x | plain }}", "a<br>b &amp; c", "a b & c"),
            ("{{ x | sentence }}", "salt lakes;", "Salt lakes."),
            ("{{ x | sentence }}", "he said \"no.\"", "He said \"no.\""),
            ("{{ x | sentence }}", "", ""),
            ("{{ x | sentences }}", "one<br>two?", "One. Two?"),
            ("{{ x | clause }}", "The end.", "the end"),
            ("{{ x | clause }}", "NATO bases", "NATO bases"),
            ("{{ x | phrase }}", "Lake <b>Assal</b>;", "Lake Assal"),
            ("{{ x | before(' note') }}", "desert note: dry", "desert"),
            ("{{ x | without_urls }}", "see https://a.b/c for more", "see for more"),
            ("{{ x | without_brackets }}", "12% (2020 est. [a]) of all) and (open", "12% of all) and (open"),
            ("{{ x | without_brackets('est.') }}", "12% (2020 est.) of (all)", "12% of (all)"),
            ("{{ x | without_label('note') | join('/') }}", "Note 1: dry<br>note - wet<br>notes", "dry/wet/notes"),
            ("{{ x | markdown }}", "## A\n**b**", "A\n\nb"),
            ("{{ missing.deep | default('-') | plain }}", "", "-"),
            ("{{ nothing | sentence }}{{ nothing | listing }}", "", ""),
        ];
        for (template, given, expected) in cases {
            assert_eq!(render(template, given), expected, "{template} on {given}");
        }
        assert_eq!(render("{{ x | listing }}", vec!["a", "b", "c"]), "a, b and c");
        assert_eq!(render("{{ x | min_words(2) | join('/') }}", vec!["a b", "c"]), "a b");
        assert_eq!(render("{{ x | sentences }}", vec!["a", "b!"]), "A. B!");
    }
}
