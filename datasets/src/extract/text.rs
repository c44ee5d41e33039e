//! Records from plain text: the whole file, or its sections.

use std::io::BufRead;

use minijinja::{Value, context};

use super::lines::Lines;
use super::record::{Record, Sink};

/// Gives the file, or with `levels` > 0 each section that starts at a Markdown heading of that level or
/// above. A section has its `heading`, its `text` without the heading, and the `headings` above it. Of a section of
/// more than `most` bytes nothing is given.
pub(super) fn read(reader: impl BufRead, levels: u8, most: u64, sink: &mut Sink<'_>) -> Result<(), String> {
    let mut number = 0;
    let mut give = |headings: &[(usize, String)], section: &mut Section| {
        let titles: Vec<&str> = headings.iter().map(|(_, title)| title.as_str()).collect();
        let heading = titles.last().copied().unwrap_or_default();
        let text = std::mem::take(&mut section.text);
        if std::mem::take(&mut section.too_long) {
            let place = if heading.is_empty() { String::new() } else { format!("`{heading}`: ") };
            sink(Err(format!("{place}a document of more than {most} bytes; `max_document_bytes` allows longer ones")));
            number += 1;
        } else if !text.trim().is_empty() {
            let value = context! { text, heading, headings => titles };
            sink(Ok(Record { value, root: Value::UNDEFINED, key: number.to_string() }));
            number += 1;
        }
    };
    let mut headings: Vec<(usize, String)> = Vec::new();
    let mut section = Section::default();
    let mut fenced = false;
    let mut lines = Lines::new(reader, most);
    while let Some(line) = lines.next()? {
        let Some(line) = line.text else {
            section.too_long = true;
            continue;
        };
        if line.trim_start().starts_with("```") {
            fenced = !fenced;
        }
        if let Some((level, title)) = heading(line).filter(|(level, _)| !fenced && *level <= usize::from(levels)) {
            give(&headings, &mut section);
            headings.retain(|(above, _)| *above < level);
            headings.push((level, title.to_owned()));
        } else if (section.text.len() + line.len()) as u64 > most {
            section.too_long = true;
        } else if !section.too_long {
            section.text.push_str(line);
        }
    }
    give(&headings, &mut section);
    Ok(())
}

#[derive(Default)]
struct Section {
    text: String,
    too_long: bool,
}

fn heading(line: &str) -> Option<(usize, &str)> {
    let level = line.bytes().take_while(|&b| b == b'#').count();
    let title = line[level..].strip_prefix([' ', '\t'])?;
    (1..=6).contains(&level).then(|| (level, title.trim().trim_end_matches('#').trim_end()))
}
