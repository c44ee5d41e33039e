//! From a tree to a typed value, reporting every problem instead of the first.
//!
//! The types' own `Deserialize` is the only schema: the names a table may hold are those its struct
//! asks for. When a value does not fit, the problem is recorded, the value is replaced by a
//! placeholder that fits any type, and reading starts again, until nothing more is found.

use std::cell::RefCell;
use std::fmt;

use serde::de::value::StrDeserializer;
use serde::de::{
    DeserializeOwned, DeserializeSeed, Deserializer, EnumAccess, Error as _, Expected,
    IntoDeserializer, MapAccess, SeqAccess, Unexpected, VariantAccess, Visitor,
};

use super::problem::{MISSING, Problem};
use super::suggest::nearest;
use super::syntax::{Node, Step, Value, dotted, line_and_column};

/// Far more repairs than a file has problems; reached only if a type refuses its placeholder.
const MOST_REPAIRS: usize = 500;

/// Reads `T`. Nothing is returned when a type could not be read even with placeholders; then
/// `problems` says why.
pub fn read<T: DeserializeOwned>(
    tree: &mut Node,
    text: &str,
    problems: &mut Vec<Problem>,
) -> Option<T> {
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

/// A key that no field of the struct at hand reads.
struct UnknownKey {
    /// The key's own node.
    start: usize,
    key: String,
    known: &'static [&'static str],
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
        let result =
            if found { Some(path.clone()) } else { find_key(child, start, key, path) };
        path.pop();
        result
    };
    match &node.value {
        Value::Table(entries) => {
            entries.iter().find_map(|(name, child)| inside(Step::Key(name.clone()), child))
        }
        Value::List(items) => {
            items.iter().enumerate().find_map(|(i, child)| inside(Step::Index(i), child))
        }
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

/// What a type expects, in words for someone who does not know Rust.
fn expectation(expected: &dyn Expected) -> String {
    let text = expected.to_string();
    match text.as_str() {
        "u8" | "u16" | "u32" | "u64" | "usize" => "a whole number, not negative".into(),
        "i8" | "i16" | "i32" | "i64" | "isize" => "a whole number".into(),
        "f32" | "f64" => "a number".into(),
        "a boolean" => "true or false".into(),
        "a string" => "text in quotes".into(),
        "a sequence" => "a list".into(),
        "a map" => "a table".into(),
        _ if text.starts_with("struct ") => "a table".into(),
        _ => text,
    }
}

/// Why a value does not fit. The path grows from the inside out.
#[derive(Debug)]
struct Fault {
    path: Vec<Step>,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    MissingField(&'static str),
    UnknownField { field: String, known: &'static [&'static str] },
    UnknownVariant { variant: String, known: &'static [&'static str] },
    Type { expected: String },
    Message(String),
}

impl From<Kind> for Fault {
    fn from(kind: Kind) -> Self {
        Self { path: Vec::new(), kind }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}: {:?}", dotted(&self.path), self.kind)
    }
}

impl std::error::Error for Fault {}

impl serde::de::Error for Fault {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Kind::Message(message.to_string()).into()
    }
    fn invalid_type(_: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Kind::Type { expected: expectation(expected) }.into()
    }
    fn invalid_value(_: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Kind::Type { expected: expectation(expected) }.into()
    }
    fn missing_field(field: &'static str) -> Self {
        Kind::MissingField(field).into()
    }
    fn unknown_field(field: &str, known: &'static [&'static str]) -> Self {
        Kind::UnknownField { field: field.into(), known }.into()
    }
    fn unknown_variant(variant: &str, known: &'static [&'static str]) -> Self {
        Kind::UnknownVariant { variant: variant.into(), known }.into()
    }
}

#[derive(Clone, Copy)]
struct Reader<'t> {
    node: &'t Node,
    unknown: &'t RefCell<Vec<UnknownKey>>,
}

impl<'t> Reader<'t> {
    fn entries(self) -> &'t [(String, Node)] {
        match &self.node.value {
            Value::Table(entries) => entries,
            _ => &[],
        }
    }
    fn placeholder(self) -> bool {
        matches!(self.node.value, Value::Placeholder)
    }
    fn map(self, entries: Vec<&'t (String, Node)>) -> Entries<'t> {
        Entries { entries: entries.into_iter(), value: None, unknown: self.unknown }
    }
}

macro_rules! scalar {
    ($($method:ident => $visit:ident($placeholder:expr)),* $(,)?) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
            if self.placeholder() { visitor.$visit($placeholder) } else { self.deserialize_any(visitor) }
        }
    )*};
}

impl<'de> Deserializer<'de> for Reader<'_> {
    type Error = Fault;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match &self.node.value {
            Value::Table(_) => visitor.visit_map(self.map(self.entries().iter().collect())),
            Value::List(items) => visitor.visit_seq(Items {
                items: items.iter().enumerate(),
                unknown: self.unknown,
            }),
            Value::Text(text) | Value::Datetime(text) => visitor.visit_str(text),
            Value::Integer(number) => visitor.visit_i64(*number),
            Value::Float(number) => visitor.visit_f64(*number),
            Value::Boolean(value) => visitor.visit_bool(*value),
            Value::Placeholder => visitor.visit_unit(),
        }
    }

    scalar! {
        deserialize_bool => visit_bool(false),
        deserialize_i8 => visit_i64(1), deserialize_i16 => visit_i64(1),
        deserialize_i32 => visit_i64(1), deserialize_i64 => visit_i64(1),
        deserialize_u8 => visit_u64(1), deserialize_u16 => visit_u64(1),
        deserialize_u32 => visit_u64(1), deserialize_u64 => visit_u64(1),
        deserialize_f32 => visit_f64(0.5), deserialize_f64 => visit_f64(0.5),
        deserialize_char => visit_char('x'),
        // Text that also reads as a source.
        deserialize_str => visit_str("file:placeholder"),
        deserialize_string => visit_str("file:placeholder"),
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        if self.placeholder() { visitor.visit_none() } else { visitor.visit_some(self) }
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        if self.placeholder() {
            visitor.visit_seq(Items { items: [].iter().enumerate(), unknown: self.unknown })
        } else {
            self.deserialize_any(visitor)
        }
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        if self.placeholder() {
            visitor.visit_map(self.map(Vec::new()))
        } else {
            self.deserialize_any(visitor)
        }
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        if !self.placeholder() && !matches!(self.node.value, Value::Table(_)) {
            return self.deserialize_any(visitor);
        }
        let (known, unknown): (Vec<_>, Vec<_>) =
            self.entries().iter().partition(|(key, _)| fields.contains(&key.as_str()));
        self.unknown.borrow_mut().extend(unknown.into_iter().map(|(key, node)| UnknownKey {
            start: node.place.start,
            key: key.clone(),
            known: fields,
        }));
        visitor.visit_map(self.map(known))
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        match &self.node.value {
            Value::Text(text) => visitor.visit_enum(text.as_str().into_deserializer()),
            Value::Placeholder => {
                let first = variants.first().copied().unwrap_or_default();
                let deserializer: StrDeserializer<'_, Fault> = first.into_deserializer();
                visitor.visit_enum(deserializer)
            }
            Value::Table(entries) if entries.len() == 1 => {
                visitor.visit_enum(Variant { entry: &entries[0], unknown: self.unknown })
            }
            _ => Err(Kind::Type { expected: format!("one of {}", variants.join(", ")) }.into()),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Fault> {
        visitor.visit_newtype_struct(self)
    }

    serde::forward_to_deserialize_any! {
        i128 u128 bytes byte_buf unit unit_struct tuple tuple_struct identifier ignored_any
    }
}

fn inside<'de, S: DeserializeSeed<'de>>(
    seed: S,
    step: impl FnOnce() -> Step,
    node: &Node,
    unknown: &RefCell<Vec<UnknownKey>>,
) -> Result<S::Value, Fault> {
    seed.deserialize(Reader { node, unknown }).map_err(|mut fault| {
        fault.path.push(step());
        fault
    })
}

struct Entries<'t> {
    entries: std::vec::IntoIter<&'t (String, Node)>,
    value: Option<&'t (String, Node)>,
    unknown: &'t RefCell<Vec<UnknownKey>>,
}

impl<'de> MapAccess<'de> for Entries<'_> {
    type Error = Fault;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Fault> {
        self.value = self.entries.next();
        self.value.map(|(key, _)| seed.deserialize(key.as_str().into_deserializer())).transpose()
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, Fault> {
        let (key, node) = self.value.ok_or_else(|| Fault::custom("value before its key"))?;
        inside(seed, || Step::Key(key.clone()), node, self.unknown)
    }
}

struct Items<'t> {
    items: std::iter::Enumerate<std::slice::Iter<'t, Node>>,
    unknown: &'t RefCell<Vec<UnknownKey>>,
}

impl<'de> SeqAccess<'de> for Items<'_> {
    type Error = Fault;

    fn next_element_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, Fault> {
        let Some((index, node)) = self.items.next() else { return Ok(None) };
        inside(seed, || Step::Index(index), node, self.unknown).map(Some)
    }
}

/// `{ variant = value }`.
struct Variant<'t> {
    entry: &'t (String, Node),
    unknown: &'t RefCell<Vec<UnknownKey>>,
}

impl<'de, 't> EnumAccess<'de> for Variant<'t> {
    type Error = Fault;
    type Variant = Self;

    fn variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<(S::Value, Self), Fault> {
        let name: StrDeserializer<'_, Fault> = self.entry.0.as_str().into_deserializer();
        Ok((seed.deserialize(name)?, self))
    }
}

impl<'de> VariantAccess<'de> for Variant<'_> {
    type Error = Fault;

    fn unit_variant(self) -> Result<(), Fault> {
        Err(Kind::Type { expected: "text in quotes".into() }.into())
    }
    fn newtype_variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<S::Value, Fault> {
        inside(seed, || Step::Key(self.entry.0.clone()), &self.entry.1, self.unknown)
    }
    fn tuple_variant<V: Visitor<'de>>(self, _len: usize, visitor: V) -> Result<V::Value, Fault> {
        Reader { node: &self.entry.1, unknown: self.unknown }.deserialize_seq(visitor)
    }
    fn struct_variant<V: Visitor<'de>>(
        self,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        Reader { node: &self.entry.1, unknown: self.unknown }.deserialize_struct("", fields, visitor)
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
