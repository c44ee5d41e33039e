//! The templates of a rule, compiled, and what they are rendered with.

use std::io;

use minijinja::value::ValueKind;
use minijinja::{AutoEscape, Environment, UndefinedBehavior, Value, context};

use super::Extracted;
use super::filters;
use super::record::Record;
use super::spec::{ExtractSpec, Format, Layout};
use crate::error::{Error, Result};

/// Instructions one rendering may take.
const FUEL: u64 = 20_000_000;
/// Nested calls one rendering may make.
const MAX_RECURSION: usize = 64;

pub(super) struct Templates<'a> {
    environment: Environment<'a>,
    layout: Layout,
    columns: &'a [String],
    /// Bytes one rendering may write.
    most: u64,
}

const NAMES: [&str; 4] = ["id", "group", "title", "text"];

impl<'a> Templates<'a> {
    /// Compiles the templates of a rule; all that do not compile are reported.
    pub(super) fn new(spec: &'a ExtractSpec) -> Result<Self> {
        let mut environment = Environment::new();
        environment.set_undefined_behavior(UndefinedBehavior::Chainable);
        environment.set_auto_escape_callback(|_| AutoEscape::None);
        environment.set_trim_blocks(true);
        environment.set_lstrip_blocks(true);
        environment.set_fuel(Some(FUEL));
        environment.set_recursion_limit(MAX_RECURSION);
        filters::register(&mut environment);

        let is_text = matches!(spec.format, Format::Text { .. } | Format::Html | Format::Markdown);
        let title = match spec.format {
            Format::Text { .. } => "{{ record.headings | join(' > ') }}",
            Format::Html | Format::Markdown => "{{ record.title }}",
            _ => "",
        };
        let text = match (spec.columns.is_empty(), is_text) {
            (false, _) => "{{ column }}",
            (true, true) => "{{ record.text }}",
            (true, false) => "{{ record }}",
        };
        let sources = [
            spec.id.as_deref().unwrap_or("{{ file }}#{{ number }}"),
            spec.group.as_deref().unwrap_or(""),
            spec.title.as_deref().unwrap_or(title),
            spec.text.as_deref().unwrap_or(text),
        ];
        let mut problems = Vec::new();
        for (name, source) in NAMES.into_iter().zip(sources) {
            if let Err(e) = environment.add_template(name, source) {
                problems.push(format!("`{name}` does not compile: {}", one_line(&e)));
            }
        }
        if !problems.is_empty() {
            return Err(Error::Declaration { what: "templates of an extraction rule".into(), problems });
        }
        let layout = spec.layout.unwrap_or(if is_text { Layout::Lines } else { Layout::Paragraphs });
        Ok(Self { environment, layout, columns: &spec.columns, most: spec.max_document_bytes() })
    }

    /// The field of `columns` that a record has; `Err` names those it has instead.
    pub(super) fn column(&self, record: &Record) -> std::result::Result<Value, String> {
        let found = self.columns.iter().filter_map(|name| record.value.get_attr(name).ok());
        if let Some(value) = found.into_iter().find(|value| !value.is_undefined() && !value.is_none()) {
            return Ok(value);
        }
        if self.columns.is_empty() {
            return Ok(Value::UNDEFINED);
        }
        let has: Vec<String> =
            record.value.try_iter().into_iter().flatten().take(12).map(|key| key.to_string()).collect();
        let has = match record.value.kind() {
            ValueKind::Map if has.is_empty() => "it has no field".into(),
            ValueKind::Map => format!("it has `{}`", has.join("`, `")),
            kind => format!("its records are no objects with fields (one is a {kind})"),
        };
        Err(format!("no column `{}`; {has}", self.columns.join("` or `")))
    }

    /// Makes a document of a record; `Err` says why it cannot be made.
    pub(super) fn document(&self, file: &str, number: u64, record: Record) -> std::result::Result<Extracted, String> {
        let (folders, last) = file.rsplit_once('/').unwrap_or(("", file));
        let column = self.column(&record)?;
        let context = context! {
            record => record.value,
            root => record.root,
            key => record.key,
            number,
            column,
            file,
            stem => last.rsplit_once('.').map_or(last, |(stem, _)| stem),
            folder => folders.rsplit('/').next().unwrap_or_default(),
        };
        let mut rendered = NAMES.map(|_| String::new());
        for (name, text) in NAMES.into_iter().zip(&mut rendered) {
            let template = self.environment.get_template(name).map_err(|e| one_line(&e))?;
            let mut output = Capped { bytes: Vec::new(), most: self.most };
            template
                .render_captured_to(&context, &mut output)
                .map_err(|e| format!("template `{name}`: {}", one_line(&e)))?;
            *text = String::from_utf8(output.bytes).map_err(|e| e.to_string())?;
        }
        let [id, group, title, text] = rendered;
        let id = one_space(&id);
        let group = if group.trim().is_empty() { id.clone() } else { one_space(&group) };
        let text = match self.layout {
            Layout::Paragraphs => paragraphs(&text),
            Layout::Lines => lines(&text),
        };
        Ok(Extracted { id, group, title: one_space(&title), text })
    }
}

struct Capped {
    bytes: Vec<u8>,
    most: u64,
}

impl io::Write for Capped {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if (self.bytes.len() + bytes.len()) as u64 > self.most {
            let problem =
                format!("a document of more than {} bytes; `max_document_bytes` allows longer ones", self.most);
            return Err(io::Error::other(problem));
        }
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn one_line(error: &minijinja::Error) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        text.push_str(&format!(": {cause}"));
        source = cause.source();
    }
    text
}

fn one_space(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn paragraphs(text: &str) -> String {
    let mut made: Vec<String> = vec![String::new()];
    for line in text.lines() {
        let line = one_space(line);
        let last = made.last_mut().expect("there is always one paragraph");
        if line.is_empty() {
            if !last.is_empty() {
                made.push(String::new());
            }
        } else {
            if !last.is_empty() {
                last.push(' ');
            }
            last.push_str(&line);
        }
    }
    made.retain(|paragraph| !paragraph.is_empty());
    made.join("\n\n")
}

fn lines(text: &str) -> String {
    let mut made = String::with_capacity(text.len());
    let mut blank = false;
    for line in text.lines() {
        let line = one_space(line);
        if line.is_empty() {
            blank = !made.is_empty();
            continue;
        }
        if !made.is_empty() {
            made.push_str(if blank { "\n\n" } else { "\n" });
        }
        blank = false;
        made.push_str(&line);
    }
    made
}
