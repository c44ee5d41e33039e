//! A safetensors file checked while it passes: header within limits, every value finite, never held whole.

use std::collections::BTreeMap;

use lore_model::weights::TensorInfo;
use lore_model::weights::safetensors_header::Header;
use lore_modules::peft::HEADER_LIMIT;

use crate::error::Problem;

/// What a weight file says about its tensors.
#[derive(Debug, Clone, PartialEq)]
pub struct Weights {
    /// All tensors by name.
    pub tensors: BTreeMap<String, TensorInfo>,
    /// Free text by key.
    pub metadata: BTreeMap<String, String>,
    /// The type that all values are stored as: `F32`, `F16` or `BF16`.
    pub dtype: String,
}

/// Takes a weight file piece by piece.
pub(crate) struct WeightsCheck {
    name: &'static str,
    size: u64,
    start: Vec<u8>,
    values: Option<Values>,
}

/// Past the header.
struct Values {
    name: &'static str,
    weights: Weights,
    /// Where each tensor ends in the file, in order, with its name.
    ends: Vec<(usize, String)>,
    width: usize,
    place: usize,
    rest: Vec<u8>,
}

fn refused<T>(name: &str, text: impl std::fmt::Display) -> Result<T, Problem> {
    Problem::refused(format!("`{name}`: {text}"))
}

impl WeightsCheck {
    /// Of a file of `size` bytes, which errors call `name`.
    pub(crate) fn new(name: &'static str, size: u64) -> Self {
        Self { name, size, start: Vec::new(), values: None }
    }

    pub(crate) fn update(&mut self, mut piece: &[u8]) -> Result<(), Problem> {
        while self.values.is_none() && !piece.is_empty() {
            let wanted = self.header_end()?;
            let taken = piece.len().min(wanted - self.start.len());
            self.start.extend_from_slice(&piece[..taken]);
            piece = &piece[taken..];
            if self.start.len() == self.header_end()? && self.start.len() >= 8 {
                self.values = Some(self.read_header()?);
            }
        }
        match &mut self.values {
            Some(values) => values.update(piece),
            None => Ok(()),
        }
    }

    /// Bytes until the values begin, as far as that is known.
    fn header_end(&self) -> Result<usize, Problem> {
        let Some((length, _)) = self.start.split_first_chunk::<8>() else { return Ok(8) };
        let length = u64::from_le_bytes(*length);
        if length > HEADER_LIMIT as u64 {
            return refused(self.name, format!("its header claims {length} bytes; at most {HEADER_LIMIT} are allowed"));
        }
        if length + 8 > self.size {
            return refused(self.name, format!("its header claims {length} bytes of a file of {}", self.size));
        }
        Ok(8 + length as usize)
    }

    fn read_header(&self) -> Result<Values, Problem> {
        let json = &self.start[8..];
        let data = usize::try_from(self.size).unwrap_or(usize::MAX) - self.start.len();
        let header = Header::from_json(json, data).or_else(|problem| refused(self.name, problem))?;
        let mut ends: Vec<(usize, String)> =
            header.tensors.iter().map(|(name, entry)| (entry.bytes.end, name.clone())).collect();
        ends.sort_unstable();
        let mut types: Vec<&str> = header.tensors.values().map(|entry| entry.dtype.as_str()).collect();
        types.sort_unstable();
        types.dedup();
        let (dtype, width) = match types[..] {
            [] => return refused(self.name, "it holds no tensors"),
            ["F32"] => ("F32", 4),
            ["F16"] => ("F16", 2),
            ["BF16"] => ("BF16", 2),
            [one] => return refused(self.name, format!("values of type {one}; only F32, F16 and BF16 are allowed")),
            _ => return refused(self.name, format!("values of several types ({}); one is allowed", types.join(", "))),
        };
        let tensors = header
            .tensors
            .iter()
            .map(|(name, entry)| (name.clone(), TensorInfo { shape: entry.shape.clone(), dtype: entry.dtype.clone() }));
        let weights = Weights { tensors: tensors.collect(), metadata: header.metadata, dtype: dtype.to_owned() };
        Ok(Values { name: self.name, weights, ends, width, place: self.start.len(), rest: Vec::new() })
    }

    /// What the file says, once all of it has passed.
    pub(crate) fn finish(self) -> Result<Weights, Problem> {
        match self.values {
            Some(values) if values.place as u64 == self.size && values.rest.is_empty() => Ok(values.weights),
            Some(_) => refused(self.name, "it ends inside a value"),
            None => refused(self.name, format!("it has only {} bytes", self.size)),
        }
    }
}

impl Values {
    fn update(&mut self, piece: &[u8]) -> Result<(), Problem> {
        let mut piece = piece;
        if !self.rest.is_empty() {
            let taken = piece.len().min(self.width - self.rest.len());
            self.rest.extend_from_slice(&piece[..taken]);
            piece = &piece[taken..];
            if self.rest.len() < self.width {
                return Ok(());
            }
            let whole = std::mem::take(&mut self.rest);
            self.check(&whole)?;
        }
        let whole = piece.len() - piece.len() % self.width;
        self.check(&piece[..whole])?;
        self.rest.extend_from_slice(&piece[whole..]);
        Ok(())
    }

    /// All bits of the exponent set means NaN or infinity, in all three types.
    fn check(&mut self, values: &[u8]) -> Result<(), Problem> {
        let bad = match self.weights.dtype.as_str() {
            "F32" => first_bad::<4>(values, |value| u32::from_le_bytes(value) & 0x7f80_0000 == 0x7f80_0000),
            "F16" => first_bad::<2>(values, |value| u16::from_le_bytes(value) & 0x7c00 == 0x7c00),
            _ => first_bad::<2>(values, |value| u16::from_le_bytes(value) & 0x7f80 == 0x7f80),
        };
        if let Some(index) = bad {
            let place = self.place + index * self.width;
            let tensor = self.ends.iter().find(|(end, _)| place < *end).map_or("?", |(_, name)| name);
            return refused(self.name, format!("a value of `{tensor}` is NaN or infinite"));
        }
        self.place += values.len();
        Ok(())
    }
}

fn first_bad<const N: usize>(values: &[u8], bad: impl Fn([u8; N]) -> bool) -> Option<usize> {
    values.as_chunks::<N>().0.iter().position(|value| bad(*value))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    fn file(dtype: &str, width: usize, data: &[u8]) -> Vec<u8> {
        let half = data.len() / 2 / width * width;
        let header = format!(
            r#"{{"a":{{"dtype":"{dtype}","shape":[{}],"data_offsets":[0,{half}]}},"b":{{"dtype":"{dtype}","shape":[{}],"data_offsets":[{half},{}]}}}}"#,
            half / width,
            (data.len() - half) / width,
            data.len()
        );
        [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), data].concat()
    }

    fn check(bytes: &[u8], piece: usize) -> Result<Weights, Problem> {
        let mut check = WeightsCheck::new("weights", bytes.len() as u64);
        for piece in bytes.chunks(piece) {
            check.update(piece)?;
        }
        check.finish()
    }

    proptest! {
        /// Against the plain definition, however the file is cut into pieces.
        #[test]
        fn finite_values_pass_and_others_do_not(
            values in prop::collection::vec(prop_oneof![9 => any::<u32>(), 1 => Just(f32::NAN.to_bits()), 1 => Just(f32::INFINITY.to_bits())], 2..12),
            piece in 1_usize..40,
        ) {
            let data: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
            let finite = values.iter().all(|&value| f32::from_bits(value).is_finite());
            let outcome = check(&file("F32", 4, &data), piece);
            prop_assert_eq!(outcome.is_ok(), finite);
            if let Err(Problem::Refused(text)) = outcome {
                let first = values.iter().position(|&value| !f32::from_bits(value).is_finite()).unwrap();
                let tensor = if first < values.len() / 2 { "`a`" } else { "`b`" };
                prop_assert!(text.contains(tensor), "{}", text);
            }
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..300), piece in 1_usize..50) {
            let _ = check(&bytes, piece);
            let short = [&8_u64.to_le_bytes()[..], &bytes].concat();
            let _ = check(&short, piece);
        }
    }

    #[test]
    fn sixteen_bit_types() {
        for (dtype, infinite, largest) in [("F16", 0x7c00_u16, 0x7bff_u16), ("BF16", 0x7f80, 0x7f7f)] {
            let data = |value: u16| [1_u16, value].iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<u8>>();
            assert_eq!(check(&file(dtype, 2, &data(largest)), 3).unwrap().dtype, dtype);
            assert!(check(&file(dtype, 2, &data(infinite)), 3).is_err());
        }
    }
}
