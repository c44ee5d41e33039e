//! The header of a safetensors file: its length, then JSON naming every tensor and its bytes.
//!
//! Validated as the format's specification asks, before anything in it is used: tensors fill the data
//! part exactly, without gaps or overlaps, and each has the bytes its type and shape call for.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};

/// The specification's limit on the header's length.
pub const LENGTH_LIMIT: usize = 100_000_000;

/// A validated header.
#[derive(Debug)]
pub struct Header {
    /// Free text by key, `__metadata__` in the file.
    pub metadata: BTreeMap<String, String>,
    /// Tensors by name.
    pub tensors: BTreeMap<String, Entry>,
}

/// One tensor of a header.
#[derive(Debug)]
pub struct Entry {
    /// Type name as stored: `F32`, `BF16`.
    pub dtype: String,
    /// Sizes, outermost first.
    pub shape: Vec<usize>,
    /// Position of the values in the file.
    pub bytes: Range<usize>,
}

/// A tensor's JSON.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    dtype: String,
    shape: Vec<u64>,
    data_offsets: (u64, u64),
}

impl Header {
    /// Validates the header of a whole file, refusing one longer than `limit` bytes.
    ///
    /// # Errors
    /// A sentence saying what is wrong; "the header lies" where it contradicts the file.
    pub fn parse(file: &[u8], limit: usize) -> Result<Self, String> {
        let Some((length, rest)) = file.split_first_chunk::<8>() else {
            return Err(format!("it has only {} bytes", file.len()));
        };
        let announced = u64::from_le_bytes(*length);
        let length = usize::try_from(announced).ok().filter(|&length| length <= rest.len()).ok_or_else(|| {
            format!("the header lies: it announces {announced} bytes of itself where {} follow", rest.len())
        })?;
        if length > limit {
            return Err(format!("its header of {length} bytes is longer than the {limit} allowed"));
        }
        let (json, data) = rest.split_at(length);
        Self::from_json(json, data.len())
    }

    /// Validates a header's JSON, for `data_length` bytes of values that follow it: for readers that see a
    /// file pass and never hold it. Positions count from the start of the file, its eight bytes of length
    /// included.
    ///
    /// # Errors
    /// As [`Self::parse`].
    pub fn from_json(json: &[u8], data_length: usize) -> Result<Self, String> {
        let length = json.len();
        let pairs: Pairs = serde_json::from_slice(json).map_err(|error| format!("its header is not valid: {error}"))?;
        let mut tensors = BTreeMap::new();
        for (name, stored) in pairs.tensors {
            let entry = stored
                .place(8 + length, data_length)
                .map_err(|reason| format!("the header lies: tensor `{name}` {reason}"))?;
            tensors.insert(name, entry);
        }
        let mut ranges: Vec<(&Range<usize>, &str)> =
            tensors.iter().map(|(name, entry)| (&entry.bytes, name.as_str())).collect();
        ranges.sort_by_key(|(range, _)| (range.start, range.end));
        let mut filled = 8 + length;
        for (range, name) in ranges {
            if range.start != filled {
                let what = if range.start < filled { "overlaps another" } else { "leaves a gap before it" };
                return Err(format!("the header lies: tensor `{name}` {what}"));
            }
            filled = range.end;
        }
        let file_length = 8 + length + data_length;
        if filled != file_length {
            return Err(format!("the header lies: tensors end at byte {filled} of {file_length}"));
        }
        Ok(Self { metadata: pairs.metadata, tensors })
    }
}

impl Stored {
    fn place(self, data_start: usize, data_length: usize) -> Result<Entry, String> {
        let bits = bits(&self.dtype).ok_or_else(|| format!("has the unknown type `{}`", self.dtype))?;
        let (start, end) = self.data_offsets;
        if start > end || end > data_length as u64 {
            return Err(format!("lies at {start}..{end} of {data_length} bytes"));
        }
        let length = self.shape.iter().try_fold(bits, |product, &size| product.checked_mul(size));
        if length != Some((end - start) * 8) {
            return Err(format!("of type {} and shape {:?} has {} bytes", self.dtype, self.shape, end - start));
        }
        let size = |size: u64| usize::try_from(size).map_err(|_| format!("has the impossible size {size}"));
        let shape: Vec<usize> = self.shape.into_iter().map(size).collect::<Result<_, _>>()?;
        // A zero hides the others from the check above; their product must still be a number.
        if shape.iter().try_fold(1_usize, |product, &size| product.checked_mul(size.max(1))).is_none() {
            return Err(format!("has the impossible shape {shape:?}"));
        }
        Ok(Entry { dtype: self.dtype, shape, bytes: data_start + start as usize..data_start + end as usize })
    }
}

/// Bits of one value of a type of the specification.
fn bits(dtype: &str) -> Option<u64> {
    Some(match dtype {
        "F4" => 4,
        "F6_E2M3" | "F6_E3M2" => 6,
        "BOOL" | "U8" | "I8" | "F8_E5M2" | "F8_E4M3" | "F8_E8M0" | "F8_E4M3FNUZ" | "F8_E5M2FNUZ" => 8,
        "I16" | "U16" | "F16" | "BF16" => 16,
        "I32" | "U32" | "F32" => 32,
        "I64" | "U64" | "F64" | "C64" => 64,
        _ => return None,
    })
}

/// The header's JSON, where a name that occurs twice is an error instead of the last one winning.
#[derive(Default)]
struct Pairs {
    metadata: BTreeMap<String, String>,
    tensors: BTreeMap<String, Stored>,
}

impl<'de> Deserialize<'de> for Pairs {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct PairsVisitor;
        impl<'de> Visitor<'de> for PairsVisitor {
            type Value = Pairs;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of tensors")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Pairs, A::Error> {
                let mut pairs = Pairs::default();
                let mut seen_metadata = false;
                while let Some(name) = map.next_key::<String>()? {
                    let twice = if name == "__metadata__" {
                        pairs.metadata = map.next_value()?;
                        std::mem::replace(&mut seen_metadata, true)
                    } else {
                        pairs.tensors.insert(name.clone(), map.next_value()?).is_some()
                    };
                    if twice {
                        return Err(serde::de::Error::custom(format!("`{name}` occurs twice")));
                    }
                }
                Ok(pairs)
            }
        }
        deserializer.deserialize_map(PairsVisitor)
    }
}
