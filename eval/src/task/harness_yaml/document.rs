//! YAML as JSON values, with tags such as `!function` kept apart.

use std::collections::HashMap;

use serde_json::{Map, Value};
use yaml_rust2::parser::{Event, MarkedEventReceiver, Parser, Tag};
use yaml_rust2::scanner::{Marker, TScalarStyle};

/// A key and the code that stands there.
pub(super) type Function = (String, String);

/// Values nested deeper are no task.
const DEEPEST: usize = 64;

/// A container that is not closed yet.
enum Open {
    Sequence(Vec<Value>, usize),
    Mapping(Map<String, Value>, Option<String>, usize),
}

#[derive(Default)]
struct Builder {
    open: Vec<Open>,
    root: Option<Value>,
    anchors: HashMap<usize, Value>,
    functions: Vec<Function>,
    problem: Option<String>,
}

/// The keys of a file that holds one mapping, and the functions in it.
pub(super) fn read(text: &str) -> Result<(Map<String, Value>, Vec<Function>), String> {
    let mut builder = Builder::default();
    Parser::new_from_str(text).load(&mut builder, false).map_err(|error| format!("it is not YAML: {error}"))?;
    match (builder.problem, builder.root) {
        (Some(problem), _) => Err(problem),
        (None, Some(Value::Object(keys))) => Ok((keys, builder.functions)),
        _ => Err("it is not a mapping of keys".into()),
    }
}

impl MarkedEventReceiver for Builder {
    fn on_event(&mut self, event: Event, mark: Marker) {
        if self.problem.is_some() {
            return;
        }
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                let value = self.scalar(text, style, tag);
                self.add(value, anchor);
            }
            Event::SequenceStart(anchor, _) => self.begin(Open::Sequence(Vec::new(), anchor)),
            Event::MappingStart(anchor, _) => self.begin(Open::Mapping(Map::new(), None, anchor)),
            Event::SequenceEnd | Event::MappingEnd => match self.open.pop() {
                Some(Open::Sequence(values, anchor)) => self.add(Value::Array(values), anchor),
                Some(Open::Mapping(values, _, anchor)) => self.add(Value::Object(values), anchor),
                None => {}
            },
            Event::Alias(anchor) => match self.anchors.get(&anchor).cloned() {
                Some(value) => self.add(value, 0),
                None => self.problem = Some(format!("line {}: an alias of nothing", mark.line())),
            },
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentStart | Event::DocumentEnd => {}
        }
    }
}

impl Builder {
    fn begin(&mut self, container: Open) {
        if self.open.len() >= DEEPEST {
            self.problem = Some(format!("it is nested more than {DEEPEST} deep"));
        }
        self.open.push(container);
    }

    fn scalar(&mut self, text: String, style: TScalarStyle, tag: Option<Tag>) -> Value {
        if let Some(Tag { handle, suffix }) = tag
            && handle == "!"
        {
            let key = self.open.iter().find_map(|open| match open {
                Open::Mapping(_, key, _) => key.clone(),
                Open::Sequence(..) => None,
            });
            self.functions.push((key.unwrap_or_default(), format!("!{suffix} {text}")));
            return Value::Null;
        }
        // As a key, everything is a text.
        let is_key = matches!(self.open.last(), Some(Open::Mapping(_, None, _)));
        if style != TScalarStyle::Plain || is_key { Value::String(text) } else { plain(text) }
    }

    fn add(&mut self, value: Value, anchor: usize) {
        if anchor > 0 {
            self.anchors.insert(anchor, value.clone());
        }
        match self.open.last_mut() {
            None => self.root = Some(value),
            Some(Open::Sequence(values, _)) => values.push(value),
            Some(Open::Mapping(values, key, _)) => match key.take() {
                None => match value {
                    Value::String(name) => *key = Some(name),
                    other => self.problem = Some(format!("{other} is no key")),
                },
                // `<<` takes over the keys of another mapping.
                Some(name) if name == "<<" => match value {
                    Value::Object(other) => {
                        for (name, value) in other {
                            values.entry(name).or_insert(value);
                        }
                    }
                    _ => self.problem = Some("`<<` takes a mapping".into()),
                },
                Some(name) => {
                    values.insert(name, value);
                }
            },
        }
    }
}

/// A scalar without quotes, by the rules of PyYAML, with which these files are read.
fn plain(text: String) -> Value {
    match text.as_str() {
        "" | "~" | "null" | "Null" | "NULL" => return Value::Null,
        "true" | "True" | "TRUE" | "yes" | "Yes" | "YES" | "on" | "On" | "ON" => return true.into(),
        "false" | "False" | "FALSE" | "no" | "No" | "NO" | "off" | "Off" | "OFF" => return false.into(),
        _ => {}
    }
    if let Ok(number) = text.parse::<i64>() {
        return number.into();
    }
    let is_number =
        text.starts_with(|c: char| c.is_ascii_digit() || matches!(c, '-' | '+' | '.')) && text.contains('.');
    match text.parse::<f64>() {
        Ok(number) if is_number && number.is_finite() => number.into(),
        _ => Value::String(text),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde_json::json;

    #[test]
    fn values_are_those_of_pyyaml() {
        let text = "a: &x {b: [1, -2, 1.5, 'no', no, ~]}\nc: *x\nd: \"two\\nlines\"\ne: |\n  kept\nf: !function utils.f\n\
                    g:\n  <<: *x\n  h: 1e5\n";
        let (keys, functions) = read(text).unwrap();
        let b = json!([1, -2, 1.5, "no", false, null]);
        assert_eq!(
            Value::Object(keys),
            json!({"a": {"b": b}, "c": {"b": b}, "d": "two\nlines", "e": "kept\n", "f": null, "g": {"b": b, "h": "1e5"}})
        );
        assert_eq!(functions, [("f".to_owned(), "!function utils.f".to_owned())]);
        assert!(read("- a").is_err() && read("a: [").is_err() && read("").is_err());
    }
}
