//! TOML as a tree that knows where each key and value stands in the file.

use std::fmt::Write as _;
use std::ops::Range;

use toml::de::{DeTable, DeValue};

use super::problem::Problem;

/// One step into a tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Into a table.
    Key(String),
    /// Into a list.
    Index(usize),
}

/// A value and where it stands, in bytes.
#[derive(Debug, Clone)]
pub struct Node {
    /// Where to point when something is wrong with it: its key where it has one, else the value.
    pub place: Range<usize>,
    /// The value.
    pub value: Value,
}

/// A TOML value.
#[derive(Debug, Clone)]
pub enum Value {
    /// Keys in the order of the file.
    Table(Vec<(String, Node)>),
    /// A list, or the tables of a `[[name]]`.
    List(Vec<Node>),
    /// Text.
    Text(String),
    /// A whole number.
    Integer(i64),
    /// A number with a point or exponent.
    Float(f64),
    /// True or false.
    Boolean(bool),
    /// A date or time, kept as written.
    Datetime(String),
    /// Stands where a problem was already reported; it reads as any type.
    Placeholder,
}

impl Node {
    /// Reads a whole file; every syntax error is reported.
    pub fn parse(text: &str) -> Result<Self, Vec<Problem>> {
        let (table, errors) = DeTable::parse_recoverable(text);
        if errors.is_empty() {
            return Ok(Self { place: 0..0, value: table_value(table.get_ref()) });
        }
        let problem = |error: &toml::de::Error| {
            let (line, column) = line_and_column(text, error.span().map_or(0, |span| span.start));
            Problem { line, column, key: String::new(), message: error.message().into(), hint: None }
        };
        Err(errors.iter().map(problem).collect())
    }

    /// The entry of a table.
    pub fn get(&self, key: &str) -> Option<&Self> {
        match &self.value {
            Value::Table(entries) => entries.iter().find(|(name, _)| name == key).map(|e| &e.1),
            _ => None,
        }
    }

    fn child(&self, step: &Step) -> Option<&Self> {
        match (step, &self.value) {
            (Step::Key(key), _) => self.get(key),
            (Step::Index(index), Value::List(items)) => items.get(*index),
            _ => None,
        }
    }

    /// The node at `path`.
    pub fn at(&self, path: &[Step]) -> Option<&Self> {
        path.iter().try_fold(self, Self::child)
    }

    /// The node at `path`, to change it.
    pub fn at_mut(&mut self, path: &[Step]) -> Option<&mut Self> {
        path.iter().try_fold(self, |node, step| match (step, &mut node.value) {
            (Step::Key(key), Value::Table(entries)) => {
                entries.iter_mut().find(|(name, _)| name == key).map(|e| &mut e.1)
            }
            (Step::Index(index), Value::List(items)) => items.get_mut(*index),
            _ => None,
        })
    }

    /// The deepest node on `path` that the file holds: a key left to its default has none.
    pub fn nearest(&self, path: &[Step]) -> &Self {
        let mut node = self;
        for step in path {
            match node.child(step) {
                Some(child) => node = child,
                None => break,
            }
        }
        node
    }

    /// Lays `over` upon `self`: its values win, tables are merged key by key.
    pub fn overlay(&mut self, over: Self) {
        match (&mut self.value, over) {
            (Value::Table(mine), Self { place, value: Value::Table(theirs) }) => {
                self.place = place;
                for (key, node) in theirs {
                    match mine.iter_mut().find(|(name, _)| *name == key) {
                        Some((_, existing)) => existing.overlay(node),
                        None => mine.push((key, node)),
                    }
                }
            }
            (_, over) => *self = over,
        }
    }
}

/// Line and column of a byte offset, both counted from 1, the column in characters.
pub fn line_and_column(text: &str, offset: usize) -> (usize, usize) {
    let before = text.get(..offset.min(text.len())).unwrap_or(text);
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    (before.matches('\n').count() + 1, before[line_start..].chars().count() + 1)
}

/// `topic[1].split.test`.
pub fn dotted(path: &[Step]) -> String {
    let mut text = String::new();
    for step in path {
        match step {
            Step::Key(key) if text.is_empty() => text.push_str(key),
            Step::Key(key) => {
                text.push('.');
                text.push_str(key);
            }
            Step::Index(index) => write!(text, "[{}]", index + 1).expect("a String takes all text"),
        }
    }
    text
}

/// The reverse of [`dotted`], with list positions counted from 0: `topic.0.split.test`.
pub fn steps(path: &str) -> Vec<Step> {
    path.split('.')
        .filter(|part| !part.is_empty())
        .map(|part| part.parse().map_or_else(|_| Step::Key(part.into()), Step::Index))
        .collect()
}

fn table_value(table: &DeTable<'_>) -> Value {
    let mut entries: Vec<(String, Node)> = table
        .iter()
        .map(|(key, value)| {
            let node = Node { place: key.span(), value: convert(value.get_ref()) };
            (key.get_ref().to_string(), node)
        })
        .collect();
    entries.sort_by_key(|(_, node)| node.place.start);
    Value::Table(entries)
}

fn convert(value: &DeValue<'_>) -> Value {
    match value {
        DeValue::String(text) => Value::Text(text.to_string()),
        DeValue::Integer(number) => match i64::from_str_radix(number.as_str(), number.radix()) {
            Ok(number) => Value::Integer(number),
            Err(_) => Value::Float(number.as_str().parse().unwrap_or(f64::INFINITY)),
        },
        DeValue::Float(number) => Value::Float(number.as_str().parse().unwrap_or(f64::NAN)),
        DeValue::Boolean(value) => Value::Boolean(*value),
        DeValue::Datetime(value) => Value::Datetime(value.to_string()),
        DeValue::Array(items) => {
            Value::List(items.iter().map(|item| Node { place: item.span(), value: convert(item.get_ref()) }).collect())
        }
        DeValue::Table(table) => table_value(table),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn places_are_those_of_the_keys() {
        let text = "name = \"é\"\n[base]\n  depth = { first = 1 }\n[[topic]]\nname = \"a\"\n";
        let tree = Node::parse(text).unwrap();
        let place = |path: &str| line_and_column(text, tree.nearest(&steps(path)).place.start);
        assert_eq!(place("name"), (1, 1));
        assert_eq!(place("base"), (2, 2));
        assert_eq!(place("base.depth.first"), (3, 13));
        assert_eq!(place("base.depth.last"), (3, 3));
        assert_eq!(place("topic.0.name"), (5, 1));
    }

    #[test]
    fn an_overlay_wins_key_by_key() {
        let mut under = Node::parse("a = 1\n[t]\nx = 1\ny = 2").unwrap();
        under.overlay(Node::parse("[t]\ny = 3").unwrap());
        assert!(matches!(under.at(&steps("t.x")).unwrap().value, Value::Integer(1)));
        assert!(matches!(under.at(&steps("t.y")).unwrap().value, Value::Integer(3)));
        assert!(matches!(under.get("a").unwrap().value, Value::Integer(1)));
    }
}
