//! The text of whole HTML pages, by a tokenizer after the WHATWG standard.

use html5gum::{DefaultEmitter, Token, Tokenizer};
use minijinja::{Value, context};

use super::markup::{fold, is_block};
use super::record::{Record, Sink, utf8};

/// Elements that hold no text to read.
const SILENT: [&str; 8] = ["script", "style", "template", "noscript", "iframe", "svg", "select", "textarea"];
/// Elements around a page's text.
const AROUND: [&str; 4] = ["nav", "footer", "aside", "form"];

/// Gives one record, with the page's `title` and its `text`: paragraphs separated by blank lines.
pub(super) fn read(bytes: &[u8], sink: &mut Sink<'_>) -> Result<(), String> {
    let html = utf8(bytes)?;
    // A navigation or form that is never closed would hide all that follows.
    let page =
        page(html, true).filter(|page| !page.blocks.is_empty()).or_else(|| page(html, false)).unwrap_or_default();
    if !page.blocks.is_empty() {
        let (title, text) = (fold(&page.title), page.blocks.join("\n\n"));
        let value = context! { text, heading => title.clone(), title };
        sink(Ok(Record { value, root: Value::UNDEFINED, key: "0".into() }));
    }
    Ok(())
}

#[derive(Default)]
struct Page {
    title: String,
    blocks: Vec<String>,
}

/// The page's text, without what stands around it if `inner`; `None` if an element that is left out is
/// never closed.
fn page(html: &str, inner: bool) -> Option<Page> {
    let mut emitter = DefaultEmitter::default();
    emitter.naively_switch_states(true);
    let mut page = Page::default();
    let mut block = String::new();
    // The element that is left out, and how often it is open.
    let mut left_out: Option<(String, usize)> = None;
    let mut in_title = false;
    for Ok(token) in Tokenizer::new_with_emitter(html, emitter) {
        match token {
            Token::StartTag(tag) => {
                let name = String::from_utf8_lossy(&tag.name).into_owned();
                match &mut left_out {
                    Some((outer, depth)) => *depth += usize::from(*outer == name && !tag.self_closing),
                    None if name == "title" => in_title = page.title.is_empty(),
                    None if (SILENT.contains(&name.as_str()) || inner && AROUND.contains(&name.as_str()))
                        && !tag.self_closing =>
                    {
                        end_block(&mut block, &mut page);
                        left_out = Some((name, 1));
                    }
                    None if is_block(&name) => end_block(&mut block, &mut page),
                    None => {}
                }
            }
            Token::EndTag(tag) => {
                let name = String::from_utf8_lossy(&tag.name);
                match &mut left_out {
                    Some((outer, depth)) => {
                        *depth -= usize::from(*outer == name);
                        if *depth == 0 {
                            left_out = None;
                        }
                    }
                    None if name == "title" => in_title = false,
                    None if is_block(&name) => end_block(&mut block, &mut page),
                    None => {}
                }
            }
            Token::String(text) if left_out.is_none() => {
                let text = String::from_utf8_lossy(&text);
                if in_title { page.title.push_str(&text) } else { block.push_str(&text) }
            }
            _ => {}
        }
    }
    end_block(&mut block, &mut page);
    (left_out.is_none() || !inner).then_some(page)
}

fn end_block(block: &mut String, page: &mut Page) {
    let text = fold(block);
    block.clear();
    if !text.is_empty() {
        page.blocks.push(text);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn text(html: &str) -> (String, Vec<String>) {
        let mut found = Vec::new();
        read(html.as_bytes(), &mut |record| found.push(record.unwrap())).unwrap();
        let record = &found[0].value;
        let blocks = record.get_attr("text").unwrap().to_string();
        (record.get_attr("title").unwrap().to_string(), blocks.split("\n\n").map(str::to_owned).collect())
    }

    #[test]
    fn pages_become_their_text() {
        let html = "<!DOCTYPE html><html><head><title>Rivers &amp; seas</title><style>p { color: red }</style>\
            <script>if (a < b) document.write('<p>no</p>')</script></head><body><nav><ul><li>Home<nav>x</nav></ul></nav>\
            <h1>Rivers</h1><p>A river <b>runs</b>&nbsp;down&mdash;always.<p>Second<br>line.</p><!-- no -->\
            <footer>Imprint</footer></body></html>";
        let (title, blocks) = text(html);
        assert_eq!(title, "Rivers & seas");
        assert_eq!(blocks, ["Rivers", "A river runs down—always.", "Second", "line."]);
    }

    #[test]
    fn a_navigation_that_is_never_closed_hides_nothing() {
        assert_eq!(text("<nav>Home<p>All the text.").1, ["Home", "All the text."]);
    }
}
