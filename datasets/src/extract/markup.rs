//! Markup to plain text: HTML fragments, Markdown, and white space.

use std::borrow::Cow;

use quick_xml::escape::resolve_html5_entity;

/// Elements that start a new line of text.
const BLOCKS: [&str; 22] = [
    "p",
    "div",
    "br",
    "li",
    "ul",
    "ol",
    "dl",
    "dt",
    "dd",
    "tr",
    "table",
    "h1",
    "h2",
    "h3",
    "h4",
    "h5",
    "h6",
    "hr",
    "blockquote",
    "section",
    "article",
    "pre",
];

/// Whether an element of this name, in lower case and without prefix, starts a new line of text.
pub(super) fn is_block(name: &str) -> bool {
    BLOCKS.contains(&name)
}

/// The text of an HTML fragment, one entry per block: tags and comments removed, `script` and `style`
/// left out, character references decoded, white space folded. A `<` that opens no tag is text.
pub fn html_blocks(html: &str) -> Vec<String> {
    let mut blocks = Vec::new();
    let mut block = String::new();
    let mut rest = html;
    while let Some(open) = rest.find('<') {
        block.push_str(&decode_entities(&rest[..open]));
        rest = &rest[open..];
        if let Some(comment) = rest.strip_prefix("<!--") {
            rest = comment.find("-->").map_or("", |end| &comment[end + 3..]);
            continue;
        }
        let Some(length) = tag_length(rest) else {
            block.push('<');
            rest = &rest[1..];
            continue;
        };
        let tag = &rest[1..length - 1];
        rest = &rest[length..];
        let name = tag_name(tag);
        if is_block(&name) {
            blocks.push(std::mem::take(&mut block));
        } else if (name == "script" || name == "style") && !tag.starts_with('/') {
            let close = format!("</{name}");
            rest = find_ignoring_case(rest, &close).map_or("", |at| &rest[at..]);
        }
    }
    block.push_str(&decode_entities(rest));
    blocks.push(block);
    blocks.iter().map(|block| fold(block)).filter(|block| !block.is_empty()).collect()
}

/// The length of the tag that `text` starts with, or `None` where the `<` is text.
fn tag_length(text: &str) -> Option<usize> {
    let first = text[1..].chars().next()?;
    if !(first.is_ascii_alphabetic() || matches!(first, '/' | '!' | '?')) {
        return None;
    }
    let end = text.find('>')?;
    (!text[1..end].contains('<')).then_some(end + 1)
}

fn tag_name(tag: &str) -> String {
    let name = tag.trim_start_matches('/');
    let end = name.find(|c: char| !c.is_ascii_alphanumeric() && c != ':').unwrap_or(name.len());
    name[..end].rsplit(':').next().unwrap_or_default().to_ascii_lowercase()
}

fn find_ignoring_case(text: &str, needle: &str) -> Option<usize> {
    text.as_bytes().windows(needle.len()).position(|window| window.eq_ignore_ascii_case(needle.as_bytes()))
}

/// Decodes character references as HTML names them; what is none stays as it is.
pub fn decode_entities(text: &str) -> Cow<'_, str> {
    if !text.contains('&') {
        return Cow::Borrowed(text);
    }
    let mut decoded = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('&') {
        decoded.push_str(&rest[..at]);
        rest = &rest[at..];
        let name = rest[1..].find(';').filter(|&end| end <= 32).map(|end| &rest[1..=end]);
        match name.and_then(resolve_reference) {
            Some(value) => {
                decoded.push_str(&value);
                rest = &rest[name.map_or(0, str::len) + 2..];
            }
            None => {
                decoded.push('&');
                rest = &rest[1..];
            }
        }
    }
    decoded.push_str(rest);
    Cow::Owned(decoded)
}

/// What stands for `&name;`, or `None` for an unknown name.
pub(super) fn resolve_reference(name: &str) -> Option<Cow<'static, str>> {
    let Some(number) = name.strip_prefix('#') else {
        return resolve_html5_entity(name).map(Cow::Borrowed);
    };
    let code = match number.strip_prefix(['x', 'X']) {
        Some(hex) => u32::from_str_radix(hex, 16).ok()?,
        None => number.parse().ok()?,
    };
    char::from_u32(code).filter(|&c| c != '\0').map(|c| Cow::Owned(c.to_string()))
}

/// White space folded to single spaces, none at the ends, none before closing punctuation.
pub fn fold(text: &str) -> String {
    let mut folded = String::with_capacity(text.len());
    for word in text.split_whitespace() {
        let closing = matches!(word, "," | "." | ";" | ":" | ")" | "!" | "?");
        if !folded.is_empty() && !closing {
            folded.push(' ');
        }
        folded.push_str(word);
    }
    folded
}

/// Markdown to plain paragraphs: headings and list items become paragraphs of their own, emphasis and
/// links keep their words, tables, code blocks and rules are left out.
pub fn markdown_blocks(markdown: &str) -> Vec<String> {
    let mut blocks = vec![String::new()];
    let mut fenced = false;
    for line in markdown.lines() {
        let line = line.trim();
        if line.starts_with("```") {
            fenced = !fenced;
            continue;
        }
        if fenced || line.starts_with('|') {
            continue;
        }
        let heading = line.starts_with('#');
        let item = list_item(line);
        let rule = line.len() >= 3 && line.chars().all(|c| matches!(c, '-' | '*' | '_' | '='));
        if line.is_empty() || heading || item.is_some() || rule {
            blocks.push(String::new());
        }
        if rule {
            continue;
        }
        let text = item.unwrap_or_else(|| line.trim_start_matches('#').trim_end_matches('#'));
        let block = blocks.last_mut().expect("there is always one block");
        block.push(' ');
        block.push_str(&inline_markdown(text.trim_start_matches('>')));
        if heading {
            blocks.push(String::new());
        }
    }
    blocks.iter().flat_map(|block| html_blocks(block)).collect()
}

fn list_item(line: &str) -> Option<&str> {
    if let Some(item) = line.strip_prefix("- ").or_else(|| line.strip_prefix("* ")).or_else(|| line.strip_prefix("+ "))
    {
        return Some(item);
    }
    let digits = line.bytes().take_while(u8::is_ascii_digit).count();
    (1..=3).contains(&digits).then(|| line[digits..].strip_prefix(". ")).flatten()
}

/// Emphasis marks, code marks and link targets removed.
fn inline_markdown(text: &str) -> String {
    let characters: Vec<char> = text.chars().collect();
    let mut plain = String::with_capacity(text.len());
    let mut at = 0;
    while at < characters.len() {
        let c = characters[at];
        let before = at.checked_sub(1).map_or(' ', |i| characters[i]);
        let after = characters.get(at + 1).copied().unwrap_or(' ');
        match c {
            '`' => {}
            '*' if !(before.is_whitespace() && after.is_whitespace()) => {}
            '_' if !before.is_alphanumeric() || !after.is_alphanumeric() => {}
            ']' if after == '(' => {
                if let Some(close) = characters[at..].iter().position(|&c| c == ')') {
                    at += close;
                }
            }
            '[' if characters[at..].windows(2).any(|pair| pair == [']', '(']) => {}
            '!' if after == '[' => {}
            _ => plain.push(c),
        }
        at += 1;
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn html_becomes_blocks_of_text() {
        let html = "<p>Salt &amp; sand,<br/>1&nbsp;&lt; 2 &#233;t&#xE9;</p><!-- no --><script>x<y</SCRIPT>a < b > c &bogus; <b>bold</b>.";
        assert_eq!(html_blocks(html), ["Salt & sand,", "1 < 2 été", "a < b > c &bogus; bold."]);
        assert_eq!(html_blocks("an open <tag"), ["an open <tag"]);
        assert!(html_blocks("<br><br>").is_empty());
    }

    #[test]
    fn markdown_becomes_paragraphs() {
        let markdown = "## What *is* it?\n\nA **spell** of\none [kind](https://x.y/z), snake_case.\n\n- First\n- Second\n\n| a | b |\n|---|---|\n\n```\ncode\n```\n1. Third";
        assert_eq!(
            markdown_blocks(markdown),
            ["What is it?", "A spell of one kind, snake_case.", "First", "Second", "Third"]
        );
    }

    #[test]
    fn folding_closes_gaps() {
        assert_eq!(fold("  a \u{a0} b ,\n c . "), "a b, c.");
    }
}
