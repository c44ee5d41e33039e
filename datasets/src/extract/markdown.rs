//! The text of Markdown files, by a CommonMark parser.

use minijinja::{Value, context};
use pulldown_cmark::{Event, HeadingLevel, Options, Parser, Tag, TagEnd};

use super::markup::html_blocks;
use super::record::{Record, Sink, utf8};

/// Gives one record, with the `title` (the first heading of the first level) and the `text`: headings,
/// paragraphs, list items and code as paragraphs, without marks; rows of tables with ` | ` between cells.
pub(super) fn read(bytes: &[u8], sink: &mut Sink<'_>) -> Result<(), String> {
    let page = blocks(utf8(bytes)?);
    if !page.blocks.is_empty() {
        let (title, text) = (page.title, page.blocks.join("\n\n"));
        let value = context! { text, heading => title.clone(), title };
        sink(Ok(Record { value, root: Value::UNDEFINED, key: "0".into() }));
    }
    Ok(())
}

#[derive(Default)]
struct Page {
    title: String,
    blocks: Vec<String>,
    block: String,
}

impl Page {
    fn end_block(&mut self) {
        let block = std::mem::take(&mut self.block);
        let block = block.trim();
        if !block.is_empty() {
            self.blocks.push(block.to_owned());
        }
    }
}

fn blocks(markdown: &str) -> Page {
    let options = Options::ENABLE_TABLES
        | Options::ENABLE_FOOTNOTES
        | Options::ENABLE_STRIKETHROUGH
        | Options::ENABLE_YAML_STYLE_METADATA_BLOCKS;
    let mut page = Page::default();
    let mut metadata = false;
    let mut html = String::new();
    for event in Parser::new_ext(markdown, options) {
        match event {
            Event::Start(Tag::MetadataBlock(_)) => metadata = true,
            Event::End(TagEnd::MetadataBlock(_)) => metadata = false,
            _ if metadata => {}
            Event::End(TagEnd::Heading(HeadingLevel::H1)) if page.title.is_empty() => {
                page.title = page.block.trim().to_owned();
                page.end_block();
            }
            Event::Start(tag) if is_block(&tag) => page.end_block(),
            Event::End(TagEnd::TableCell) => page.block.push_str(" | "),
            Event::End(TagEnd::TableRow | TagEnd::TableHead) => {
                let row = page.block.trim_end_matches(" | ").to_owned();
                page.block = row;
                page.end_block();
            }
            Event::End(TagEnd::HtmlBlock) => {
                page.blocks.extend(html_blocks(&std::mem::take(&mut html)));
            }
            Event::End(
                TagEnd::Paragraph | TagEnd::Heading(_) | TagEnd::Item | TagEnd::CodeBlock | TagEnd::FootnoteDefinition,
            ) => page.end_block(),
            Event::Html(text) => html.push_str(&text),
            Event::Text(text) | Event::Code(text) | Event::InlineMath(text) | Event::DisplayMath(text) => {
                page.block.push_str(&text);
            }
            Event::SoftBreak | Event::HardBreak => page.block.push(' '),
            Event::Rule => page.end_block(),
            _ => {}
        }
    }
    page.end_block();
    page
}

fn is_block(tag: &Tag<'_>) -> bool {
    matches!(
        tag,
        Tag::Paragraph
            | Tag::Heading { .. }
            | Tag::Item
            | Tag::CodeBlock(_)
            | Tag::List(_)
            | Tag::Table(_)
            | Tag::HtmlBlock
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_go_and_words_stay() {
        let markdown = "---\ntags: [x]\n---\n# Red *soup*\n\nCut **beets**\ninto [cubes](http://x.y).\n\n- one\n- two\n  - three\n\n\
            | a | b |\n|---|---|\n| 1 | 2 |\n\n```\nlet x = 1;\n```\n\n<div>Serve &amp; eat<br>now</div>\n\nEnd<b>!</b>\n";
        let page = blocks(markdown);
        assert_eq!(page.title, "Red soup");
        assert_eq!(
            page.blocks,
            [
                "Red soup",
                "Cut beets into cubes.",
                "one",
                "two",
                "three",
                "a | b",
                "1 | 2",
                "let x = 1;",
                "Serve & eat",
                "now",
                "End!"
            ]
        );
    }
}
