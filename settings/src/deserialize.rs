//! A tree through serde's eyes, with errors that know where they happened.

use std::cell::RefCell;
use std::fmt;

use serde::de::value::StrDeserializer;
use serde::de::{
    DeserializeSeed, Deserializer, EnumAccess, Error as _, Expected, IntoDeserializer, MapAccess, SeqAccess,
    Unexpected, VariantAccess, Visitor,
};

use super::syntax::{Node, Step, Value, dotted};

/// A key that no field of the struct at hand reads.
pub struct UnknownKey {
    /// Where its node stands, in bytes.
    pub start: usize,
    /// Its name.
    pub key: String,
    /// What the struct reads.
    pub known: &'static [&'static str],
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
pub struct Fault {
    /// To the value.
    pub path: Vec<Step>,
    /// What is wrong.
    pub kind: Kind,
}

/// What is wrong with a value.
#[derive(Debug)]
pub enum Kind {
    /// A field that has no default.
    MissingField(&'static str),
    /// A key that the type denies itself.
    UnknownField { field: String, known: &'static [&'static str] },
    /// Text that is none of those an enum knows.
    UnknownVariant { variant: String, known: &'static [&'static str] },
    /// Another type was expected.
    Type { expected: String },
    /// What the type says.
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

/// Reads a node through serde.
#[derive(Clone, Copy)]
pub struct Reader<'t> {
    /// What is read.
    pub node: &'t Node,
    /// Receives the keys that nothing reads.
    pub unknown: &'t RefCell<Vec<UnknownKey>>,
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
            Value::List(items) => visitor.visit_seq(Items { items: items.iter().enumerate(), unknown: self.unknown }),
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
        if self.placeholder() { visitor.visit_map(self.map(Vec::new())) } else { self.deserialize_any(visitor) }
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

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _name: &'static str, visitor: V) -> Result<V::Value, Fault> {
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
    fn struct_variant<V: Visitor<'de>>(self, fields: &'static [&'static str], visitor: V) -> Result<V::Value, Fault> {
        Reader { node: &self.entry.1, unknown: self.unknown }.deserialize_struct("", fields, visitor)
    }
}
