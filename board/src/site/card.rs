//! A stranger's Markdown as harmless HTML.

use minijinja::Value;
use pulldown_cmark::{Event, HeadingLevel, Options, Parser, Tag, TagEnd, html};

/// What a table stands in, as on the other pages.
const SCROLLED: &str = "<div class=\"scroll\" role=\"region\" tabindex=\"0\" aria-label=\"Table of the card\">";

/// The card without its front matter. HTML in it is shown as text, images are left out, and links lead only to the
/// web.
pub(super) fn card(markdown: &str) -> Value {
    let body = match markdown.strip_prefix("---\n").and_then(|rest| rest.split_once("\n---\n")) {
        Some((_, body)) => body,
        None => markdown,
    };
    let mut links = Vec::new();
    let safe = Parser::new_ext(body, Options::ENABLE_TABLES).filter_map(|event| match event {
        Event::Html(text) | Event::InlineHtml(text) => Some(Event::Text(text)),
        Event::Start(Tag::Heading { level, id, classes, attrs }) => {
            Some(Event::Start(Tag::Heading { level: below(level), id, classes, attrs }))
        }
        Event::End(TagEnd::Heading(level)) => Some(Event::End(TagEnd::Heading(below(level)))),
        Event::Start(Tag::Image { .. }) | Event::End(TagEnd::Image) => None,
        Event::Start(Tag::Link { ref dest_url, .. }) => {
            let good = dest_url.starts_with("https://") || dest_url.starts_with("http://");
            links.push(good);
            good.then_some(event)
        }
        Event::End(TagEnd::Link) => links.pop().unwrap_or(false).then_some(event),
        event => Some(event),
    });
    let events: Vec<Event<'_>> = safe.collect();
    let mut text = String::new();
    html::push_html(&mut text, events.into_iter());
    // Heads of Markdown's tables are always of columns, and a wide table must be scrolled by keyboard too; a `<` of the card's
    // own is escaped by now.
    let text = text.replace("<th>", "<th scope=\"col\">").replace("<th style", "<th scope=\"col\" style");
    let text = text.replace("<table>", &format!("{SCROLLED}<table>")).replace("</table>", "</table></div>");
    Value::from_safe_string(text)
}

/// A card's title stands below the page's and the section's.
fn below(level: HeadingLevel) -> HeadingLevel {
    match level {
        HeadingLevel::H1 => HeadingLevel::H3,
        HeadingLevel::H2 => HeadingLevel::H4,
        HeadingLevel::H3 => HeadingLevel::H5,
        _ => HeadingLevel::H6,
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn heads_of_tables_say_that_they_are_of_columns() {
        let made = super::card("| text `<th>` `<table>` | bytes |\n|---|---:|\n| a | 1 |\n").to_string();
        assert_eq!(made.matches("<th scope=\"col\"").count(), 2, "{made}");
        assert!(made.contains("&lt;th&gt;") && !made.contains("<th>") && made.contains("<thead>"), "{made}");
        assert!(made.matches(super::SCROLLED).count() == 1 && made.matches("</div>").count() == 1, "{made}");
    }

    #[test]
    fn nothing_of_a_card_runs_or_loads() {
        let given = "---\nlicense: mit\n---\n# Rivers\n<script>alert(1)</script>\n\nand <b onclick=x>b</b> \
                     ![pixel](https://spy.example/a.png) [bad](javascript:alert(1)) [good](https://example.org)\n";
        let made = super::card(given).to_string();
        for bad in ["<script", "<b ", "<img", "spy.example", "javascript:", "license: mit"] {
            assert!(!made.contains(bad), "{bad}: {made}");
        }
        assert!(
            made.contains("<h3>Rivers</h3>") && made.contains("<a href=\"https://example.org\">good</a>"),
            "{made}"
        );
    }
}
