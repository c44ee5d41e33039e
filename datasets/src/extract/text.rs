//! Records from plain text: the whole file, or its sections.

use minijinja::{Value, context};

use super::record::{Record, Sink, utf8};

/// Gives the file, or with `levels` > 0 each section that starts at a Markdown heading of that level or
/// above. A section has its `heading`, its `text` without the heading, and the `headings` above it.
pub(super) fn read(bytes: &[u8], levels: u8, sink: &mut Sink<'_>) -> Result<(), String> {
    let text = utf8(bytes)?;
    let mut number = 0;
    let mut give = |headings: &[(usize, &str)], text: &str| {
        let titles: Vec<&str> = headings.iter().map(|(_, title)| *title).collect();
        let heading = titles.last().copied().unwrap_or_default();
        if !text.trim().is_empty() {
            let value = context! { text, heading, headings => titles };
            sink(Ok(Record { value, root: Value::UNDEFINED, key: number.to_string() }));
            number += 1;
        }
    };
    let mut headings: Vec<(usize, &str)> = Vec::new();
    let (mut start, mut at, mut fenced) = (0, 0, false);
    for line in text.split_inclusive('\n') {
        if line.trim_start().starts_with("```") {
            fenced = !fenced;
        }
        if let Some((level, title)) = heading(line).filter(|(level, _)| !fenced && *level <= usize::from(levels)) {
            give(&headings, &text[start..at]);
            headings.retain(|(above, _)| *above < level);
            headings.push((level, title));
            start = at + line.len();
        }
        at += line.len();
    }
    give(&headings, &text[start..]);
    Ok(())
}

fn heading(line: &str) -> Option<(usize, &str)> {
    let level = line.bytes().take_while(|&b| b == b'#').count();
    let title = line[level..].strip_prefix([' ', '\t'])?;
    (1..=6).contains(&level).then(|| (level, title.trim().trim_end_matches('#').trim_end()))
}
