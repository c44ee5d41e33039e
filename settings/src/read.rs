//! From a tree to a typed value, reporting every problem instead of the first.
//!
//! The types' own `Deserialize` is the only schema: the names a table may hold are those its struct
//! asks for. When a value does not fit, the problem is recorded, the value is replaced by a
//! placeholder that fits any type, and reading starts again, until nothing more is found.

use std::cell::RefCell;

use serde::de::DeserializeOwned;

use super::deserialize::{Fault, Kind, Reader, UnknownKey};
use super::problem::{MISSING, Problem};
use super::suggest::nearest;
use super::syntax::{Node, Step, Value, dotted, line_and_column};

/// Far more repairs than a file has problems; reached only if a type refuses its placeholder.
const MOST_REPAIRS: usize = 500;

/// Reads `T`. Nothing is returned when a type could not be read even with placeholders; then
/// `problems` says why.
pub fn read<T: DeserializeOwned>(tree: &mut Node, text: &str, problems: &mut Vec<Problem>) -> Option<T> {
    for _ in 0..MOST_REPAIRS {
        let unknown = RefCell::new(Vec::new());
        let result = T::deserialize(Reader { node: tree, unknown: &unknown });
        let mut new = 0;
        for problem in unknown.into_inner() {
            new += usize::from(record(problem, tree, text, problems));
        }
        match result {
            Ok(value) if new == 0 => return Some(value),
            Ok(_) => {}
            Err(mut fault) => {
                fault.path.reverse();
                if !repair(fault, tree, text, problems) {
                    return None;
                }
            }
        }
    }
    None
}

/// Whether the tree changed.
fn record(unknown: UnknownKey, tree: &mut Node, text: &str, problems: &mut Vec<Problem>) -> bool {
    let Some(path) = find_key(tree, unknown.start, &unknown.key, &mut Vec::new()) else {
        return false;
    };
    problems.push(unknown_key(&path, unknown.start, unknown.known, text));
    remove(tree, &path);
    true
}

fn find_key(node: &Node, start: usize, key: &str, path: &mut Vec<Step>) -> Option<Vec<Step>> {
    let mut inside = |step: Step, child: &Node| {
        let found = matches!(&step, Step::Key(name) if name == key) && child.place.start == start;
        path.push(step);
        let result = if found { Some(path.clone()) } else { find_key(child, start, key, path) };
        path.pop();
        result
    };
    match &node.value {
        Value::Table(entries) => entries.iter().find_map(|(name, child)| inside(Step::Key(name.clone()), child)),
        Value::List(items) => items.iter().enumerate().find_map(|(i, child)| inside(Step::Index(i), child)),
        _ => None,
    }
}

fn unknown_key(path: &[Step], start: usize, known: &[&'static str], text: &str) -> Problem {
    let (line, column) = line_and_column(text, start);
    let name = match path.last() {
        Some(Step::Key(name)) => name.as_str(),
        _ => "",
    };
    let hint = match nearest(name, known.iter().copied()) {
        Some(near) => format!("did you mean `{near}`?"),
        None if known.is_empty() => "nothing can be set here".into(),
        None => format!("known here: {}", known.join(", ")),
    };
    let message = "is not a known key".into();
    Problem { line, column, key: dotted(path), message, hint: Some(hint) }
}

fn remove(tree: &mut Node, path: &[Step]) {
    let Some((Step::Key(key), parent)) = path.split_last() else { return };
    if let Some(Node { value: Value::Table(entries), .. }) = tree.at_mut(parent) {
        entries.retain(|(name, _)| name != key);
    }
}

/// Records the fault and makes the tree fit; false when that is not possible.
fn repair(fault: Fault, tree: &mut Node, text: &str, problems: &mut Vec<Problem>) -> bool {
    let Fault { mut path, kind } = fault;
    let shape = matches!(kind, Kind::UnknownVariant { .. } | Kind::Type { .. } | Kind::Message(_));
    if shape && reported_inside(tree, &path, problems) {
        while matches!(tree.at(&path), Some(Node { value: Value::Placeholder, .. })) && !path.is_empty() {
            path.pop();
        }
        return !path.is_empty() && blank(tree, &path);
    }
    let mut place = tree.nearest(&path).place.clone();
    let mut push = |place: usize, path: &[Step], message: String, hint: Option<String>| {
        let (line, column) = line_and_column(text, place);
        problems.push(Problem { line, column, key: dotted(path), message, hint });
    };
    match kind {
        Kind::MissingField(field) => {
            let Some(node) = tree.at_mut(&path) else { return false };
            let silent = problems.iter().any(|problem| problem.covers(&dotted(&path)));
            if matches!(node.value, Value::Placeholder) {
                node.value = Value::Table(Vec::new());
            }
            let Value::Table(entries) = &mut node.value else { return false };
            entries.push((field.into(), Node { place: place.clone(), value: Value::Placeholder }));
            path.push(Step::Key(field.into()));
            let key = dotted(&path);
            // A mistyped key was already reported with the name that is missing now.
            let hint = format!("did you mean `{field}`?");
            let parent = dotted(&path[..path.len() - 1]);
            let mistyped = problems.iter().any(|problem| {
                problem.hint.as_deref() == Some(hint.as_str())
                    && problem.key.rsplit_once('.').map_or("", |(parent, _)| parent) == parent
            });
            if !silent && !mistyped {
                let (line, column) = line_and_column(text, place.start);
                let message = MISSING.into();
                problems.push(Problem { line, column, key, message, hint: None });
            }
            true
        }
        Kind::UnknownField { field, known } => {
            let Some(table) = tree.at(&path) else { return false };
            let Some(found) = find_name(table, &field, &mut path.clone()) else {
                return false;
            };
            let start = tree.nearest(&found).place.start;
            problems.push(unknown_key(&found, start, known, text));
            remove(tree, &found);
            true
        }
        Kind::UnknownVariant { variant, known } => {
            let hint = match nearest(&variant, known.iter().copied()) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("known: {}", known.join(", ")),
            };
            // A tag is read before the rest of its table, so the fault stands at the table.
            if let Some(found) = tree.at(&path).and_then(|node| find_text(node, &variant)) {
                path.push(Step::Key(found));
                place = tree.nearest(&path).place.clone();
            }
            push(place.start, &path, format!("cannot be `{variant}`"), Some(hint));
            blank(tree, &path)
        }
        Kind::Type { expected } => {
            let found = tree.at(&path).map_or("nothing", |node| describe(&node.value));
            push(place.start, &path, format!("must be {expected}, not {found}"), None);
            blank(tree, &path)
        }
        Kind::Message(message) => {
            push(place.start, &path, format!("is wrong: {message}"), None);
            blank(tree, &path)
        }
    }
}

/// Whether the fault at `path` only follows from a problem that was reported at or below it.
fn reported_inside(tree: &Node, path: &[Step], problems: &[Problem]) -> bool {
    if matches!(tree.at(path), Some(Node { value: Value::Placeholder, .. })) {
        return true;
    }
    let path = dotted(path);
    let below = |rest: &str| rest.starts_with(['.', '[']);
    problems.iter().any(|problem| problem.key.strip_prefix(path.as_str()).is_some_and(below))
}

fn blank(tree: &mut Node, path: &[Step]) -> bool {
    match tree.at_mut(path) {
        Some(node) if !matches!(node.value, Value::Placeholder) => {
            node.value = Value::Placeholder;
            true
        }
        _ => false,
    }
}

fn find_name(node: &Node, name: &str, path: &mut Vec<Step>) -> Option<Vec<Step>> {
    if node.get(name).is_some() {
        path.push(Step::Key(name.into()));
        return Some(path.clone());
    }
    let children: Vec<(Step, &Node)> = match &node.value {
        Value::Table(entries) => entries.iter().map(|(k, n)| (Step::Key(k.clone()), n)).collect(),
        Value::List(items) => items.iter().enumerate().map(|(i, n)| (Step::Index(i), n)).collect(),
        _ => return None,
    };
    children.into_iter().find_map(|(step, child)| {
        path.push(step);
        let found = find_name(child, name, path);
        path.pop();
        found
    })
}

fn find_text(node: &Node, text: &str) -> Option<String> {
    let Value::Table(entries) = &node.value else { return None };
    entries
        .iter()
        .find(|(_, node)| matches!(&node.value, Value::Text(value) if value == text))
        .map(|(key, _)| key.clone())
}

fn describe(value: &Value) -> &'static str {
    match value {
        Value::Table(_) => "a table",
        Value::List(_) => "a list",
        Value::Text(_) => "text",
        Value::Integer(..0) => "a negative number",
        Value::Integer(_) => "a whole number",
        Value::Float(_) => "a number with a fraction",
        Value::Boolean(_) => "true or false",
        Value::Datetime(_) => "a date or time",
        Value::Placeholder => "nothing",
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Deserialize, PartialEq)]
    struct Outer {
        count: u64,
        #[serde(default)]
        rate: f64,
        inner: Vec<Inner>,
        kind: Option<Tagged>,
    }

    #[derive(Debug, Deserialize, PartialEq)]
    struct Inner {
        name: String,
        #[serde(default)]
        mode: Mode,
    }

    #[derive(Debug, Default, Deserialize, PartialEq)]
    #[serde(rename_all = "lowercase")]
    enum Mode {
        #[default]
        Sum,
        Mean,
    }

    #[derive(Debug, Deserialize, PartialEq)]
    #[serde(tag = "format", rename_all = "lowercase", deny_unknown_fields)]
    enum Tagged {
        Csv { column: String },
        Json { pointer: String },
    }

    fn problems(text: &str) -> Vec<String> {
        let mut problems = Vec::new();
        read::<Outer>(&mut Node::parse(text).unwrap(), text, &mut problems);
        problems
            .iter()
            .map(|p| format!("{}:{} {} {} {}", p.line, p.column, p.key, p.message, p.hint.as_deref().unwrap_or("-")))
            .collect()
    }

    #[test]
    fn a_good_file_is_read() {
        let text = "count = 3\nrate = 1\n[[inner]]\nname = \"a\"\nmode = \"mean\"\n[kind]\nformat = \"csv\"\ncolumn = \"text\"";
        let mut found = Vec::new();
        let outer: Outer = read(&mut Node::parse(text).unwrap(), text, &mut found).unwrap();
        assert_eq!(found, []);
        let inner = vec![Inner { name: "a".into(), mode: Mode::Mean }];
        let kind = Some(Tagged::Csv { column: "text".into() });
        assert_eq!(outer, Outer { count: 3, rate: 1.0, inner, kind });
    }

    #[test]
    fn all_problems_are_found_at_once() {
        let text = "count = \"three\"\nrat = 1\n[[inner]]\nnme = \"a\"\nmode = \"man\"\n[[inner]]\nmode = 3\n[kind]\nformat = \"csv\"\ncolum = \"text\"";
        assert_eq!(
            problems(text),
            [
                "2:1 rat is not a known key did you mean `rate`?",
                "1:1 count must be a whole number, not negative, not text -",
                "4:1 inner[1].nme is not a known key did you mean `name`?",
                "5:1 inner[1].mode cannot be `man` did you mean `mean`?",
                "7:1 inner[2].mode must be one of sum, mean, not a whole number -",
                "6:1 inner[2].name is missing -",
                "10:1 kind.colum is not a known key did you mean `column`?",
            ]
        );
    }

    #[test]
    fn an_unknown_tag_names_the_known_ones() {
        assert_eq!(
            problems("count = 1\ninner = []\n[kind]\nformat = \"cvs\"\ncolumn = \"t\""),
            ["4:1 kind.format cannot be `cvs` did you mean `csv`?"]
        );
    }

    proptest::proptest! {
        #[test]
        fn reading_ends_on_any_file(text in "([a-z]{1,5} = (1|-2|\"a\"|\\[1\\]|\\{count=2\\})\n){0,4}(\\[\\[inner\\]\\]\n)?((name|mode|kind) = [0-9]\n){0,2}") {
            if let Ok(mut tree) = Node::parse(&text) {
                let mut found = Vec::new();
                let value = read::<Outer>(&mut tree, &text, &mut found);
                proptest::prop_assert!(value.is_some() || !found.is_empty());
            }
        }
    }
}
