//! The key–value part of a GGUF file.

use std::collections::BTreeMap;

/// One metadata value. Integers of every width are one kind, and so are floats.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// An integer of any stored width.
    Integer(i128),
    /// A float of either stored width, as the shortest decimal that reads back to it.
    Float(f64),
    /// A boolean.
    Bool(bool),
    /// Text.
    String(String),
    /// An array of integers.
    Integers(Vec<i64>),
    /// An array of floats.
    Floats(Vec<f64>),
    /// An array of booleans.
    Bools(Vec<bool>),
    /// An array of texts.
    Strings(Vec<String>),
    /// An array of arrays.
    Arrays(Vec<Value>),
}

/// Metadata by key.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Metadata(BTreeMap<String, Value>);

impl Metadata {
    /// Whether the key is there, of whatever type.
    pub fn contains(&self, key: &str) -> bool {
        self.0.contains_key(key)
    }

    /// The value under a key.
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.0.get(key)
    }

    /// The text under a key.
    pub fn string(&self, key: &str) -> Option<&str> {
        match self.get(key)? {
            Value::String(text) => Some(text),
            _ => None,
        }
    }

    /// The integer under a key.
    pub fn integer(&self, key: &str) -> Option<i128> {
        match self.get(key)? {
            Value::Integer(number) => Some(*number),
            _ => None,
        }
    }

    /// The number under a key, integer or float.
    pub fn float(&self, key: &str) -> Option<f64> {
        match self.get(key)? {
            Value::Float(number) => Some(*number),
            Value::Integer(number) => Some(*number as f64),
            _ => None,
        }
    }

    /// The boolean under a key.
    pub fn bool(&self, key: &str) -> Option<bool> {
        match self.get(key)? {
            Value::Bool(flag) => Some(*flag),
            _ => None,
        }
    }

    /// The array of texts under a key.
    pub fn strings(&self, key: &str) -> Option<&[String]> {
        match self.get(key)? {
            Value::Strings(texts) => Some(texts),
            _ => None,
        }
    }

    /// The array of integers under a key.
    pub fn integers(&self, key: &str) -> Option<&[i64]> {
        match self.get(key)? {
            Value::Integers(numbers) => Some(numbers),
            _ => None,
        }
    }

    /// Reads `count` pairs.
    pub(super) fn parse(cursor: &mut Cursor<'_>, count: u64) -> Result<Self, String> {
        // A key's length, one byte of key at least, a type and one byte of value at least.
        cursor.plausible(count, 14, "metadata pairs")?;
        let mut pairs = BTreeMap::new();
        for _ in 0..count {
            let key = cursor.string()?;
            let kind = cursor.u32()?;
            let value = cursor.value(kind, 0).map_err(|reason| format!("metadata `{key}`: {reason}"))?;
            if let Some(twice) = pairs.insert(key.clone(), value).map(|_| key) {
                return Err(format!("metadata `{twice}` occurs twice"));
            }
        }
        Ok(Self(pairs))
    }
}

/// A position in the bytes of a file that never reads outside them.
pub(super) struct Cursor<'a> {
    bytes: &'a [u8],
    position: usize,
}

impl<'a> Cursor<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, position: 0 }
    }

    pub(super) fn position(&self) -> usize {
        self.position
    }

    fn remaining(&self) -> usize {
        self.bytes.len() - self.position
    }

    /// Fails if `count` things of at least `size` bytes each cannot fit in what is left, so that a count is
    /// believed, and memory set aside for it, only in proportion to the file.
    pub(super) fn plausible(&self, count: u64, size: usize, what: &str) -> Result<usize, String> {
        let most = self.remaining() / size;
        match usize::try_from(count) {
            Ok(count) if count <= most => Ok(count),
            _ => Err(format!(
                "{count} {what} are announced at byte {}, where only {} bytes follow",
                self.position,
                self.remaining()
            )),
        }
    }

    fn take(&mut self, count: usize) -> Result<&'a [u8], String> {
        if count > self.remaining() {
            return Err(format!(
                "it ends at byte {} where {count} bytes should follow byte {}",
                self.bytes.len(),
                self.position
            ));
        }
        let taken = &self.bytes[self.position..self.position + count];
        self.position += count;
        Ok(taken)
    }

    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], String> {
        Ok(self.take(N)?.try_into().expect("take returns as many bytes as asked for"))
    }

    pub(super) fn u32(&mut self) -> Result<u32, String> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    pub(super) fn u64(&mut self) -> Result<u64, String> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    pub(super) fn string(&mut self) -> Result<String, String> {
        let length = self.u64()?;
        let length = self.plausible(length, 1, "bytes of text")?;
        let start = self.position;
        let bytes = self.take(length)?;
        let text = std::str::from_utf8(bytes).map_err(|_| format!("the text at byte {start} is not UTF-8"))?;
        Ok(text.to_owned())
    }

    fn value(&mut self, kind: u32, depth: usize) -> Result<Value, String> {
        Ok(match kind {
            0..=5 | 10 | 11 => Value::Integer(self.integer(kind)?),
            6 | 12 => Value::Float(self.float(kind)?),
            7 => Value::Bool(self.bool()?),
            8 => Value::String(self.string()?),
            9 => self.array_value(depth)?,
            other => return Err(format!("value type {other} does not exist")),
        })
    }

    fn integer(&mut self, kind: u32) -> Result<i128, String> {
        Ok(match kind {
            0 => u8::from_le_bytes(self.array()?).into(),
            1 => i8::from_le_bytes(self.array()?).into(),
            2 => u16::from_le_bytes(self.array()?).into(),
            3 => i16::from_le_bytes(self.array()?).into(),
            4 => u32::from_le_bytes(self.array()?).into(),
            5 => i32::from_le_bytes(self.array()?).into(),
            10 => u64::from_le_bytes(self.array()?).into(),
            _ => i64::from_le_bytes(self.array()?).into(),
        })
    }

    fn float(&mut self, kind: u32) -> Result<f64, String> {
        if kind == 12 {
            return Ok(f64::from_le_bytes(self.array()?));
        }
        let single = f32::from_le_bytes(self.array()?);
        // 1e-5 stored in single precision means 1e-5, not 9.999999747378752e-6.
        Ok(single.to_string().parse().unwrap_or_else(|_| f64::from(single)))
    }

    fn bool(&mut self) -> Result<bool, String> {
        match self.array::<1>()? {
            [0] => Ok(false),
            [1] => Ok(true),
            [other] => Err(format!("boolean {other}")),
        }
    }

    fn array_value(&mut self, depth: usize) -> Result<Value, String> {
        // Nothing in use nests at all; the limit keeps a hostile file from exhausting the stack.
        if depth > 3 {
            return Err("arrays nested too deeply".to_owned());
        }
        let kind = self.u32()?;
        let size = match kind {
            0 | 1 | 7 => 1,
            2 | 3 => 2,
            4..=6 => 4,
            8 | 10 | 11 | 12 => 8,
            9 => 12,
            other => return Err(format!("array element type {other} does not exist")),
        };
        let count = self.u64()?;
        let count = self.plausible(count, size, "array elements")?;
        Ok(match kind {
            6 | 12 => Value::Floats((0..count).map(|_| self.float(kind)).collect::<Result<_, _>>()?),
            7 => Value::Bools((0..count).map(|_| self.bool()).collect::<Result<_, _>>()?),
            8 => Value::Strings((0..count).map(|_| self.string()).collect::<Result<_, _>>()?),
            9 => Value::Arrays((0..count).map(|_| self.array_value(depth + 1)).collect::<Result<_, _>>()?),
            _ => {
                let one = |_| {
                    let number = self.integer(kind)?;
                    i64::try_from(number).map_err(|_| format!("array element {number} is out of range"))
                };
                Value::Integers((0..count).map(one).collect::<Result<_, _>>()?)
            }
        })
    }
}
