//! GGUF files, versions 2 and 3, following the GGUF specification of the ggml project.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};

use memmap2::Mmap;
use rayon::prelude::*;

use super::dequantise::BlockFormat;
use super::gguf_metadata::{Cursor, Metadata};
use super::gguf_names::{hugging_face_name, interleaved_row};
use super::mapping::{map, release};
use super::{TensorInfo, WeightFile, no_such_tensor};
use crate::Error;

/// An open GGUF file.
#[derive(Debug)]
pub struct GgufFile {
    path: PathBuf,
    map: Mmap,
    metadata: Metadata,
    tensors: BTreeMap<String, TensorInfo>,
    places: BTreeMap<String, Place>,
}

/// Where and how one tensor is stored.
#[derive(Debug, Clone)]
struct Place {
    bytes: Range<usize>,
    format: BlockFormat,
    /// Number of heads whose rows are interleaved, for llama's queries and keys.
    interleaved_heads: Option<usize>,
}

impl GgufFile {
    /// Maps the file and validates its metadata and tensor table.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::Malformed`] if anything contradicts the format or lies outside the file;
    /// [`Error::Tensors`] naming every tensor stored in a format this crate does not read.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let map = map(path)?;
        let header = Header::parse(&map).map_err(|problem| match problem {
            Problem::Malformed(reason) => Error::Malformed { path: path.to_owned(), format: "GGUF", reason },
            Problem::Unsupported(problems) => Error::Tensors { path: path.to_owned(), problems },
        })?;
        let Header { metadata, entries } = header;
        let heads = |key: &str| {
            let llama = metadata.string("general.architecture") == Some("llama");
            let count = metadata.integer(key).and_then(|count| usize::try_from(count).ok());
            count.filter(|&count| llama && count > 0)
        };
        let query_heads = heads("llama.attention.head_count");
        let key_heads = heads("llama.attention.head_count_kv").or(query_heads);
        let (mut tensors, mut places) = (BTreeMap::new(), BTreeMap::new());
        for (name, entry) in entries {
            let interleaved_heads = if name.contains(".self_attn.q_proj.") {
                query_heads
            } else if name.contains(".self_attn.k_proj.") {
                key_heads
            } else {
                None
            };
            let dtype = entry.format.name().to_owned();
            places.insert(name.clone(), Place { bytes: entry.bytes, format: entry.format, interleaved_heads });
            tensors.insert(name, TensorInfo { shape: entry.shape, dtype });
        }
        Ok(Self { path: path.to_owned(), map, metadata, tensors, places })
    }

    /// The key–value part of the file.
    pub fn metadata(&self) -> &Metadata {
        &self.metadata
    }
}

impl WeightFile for GgufFile {
    fn path(&self) -> &Path {
        &self.path
    }

    fn tensors(&self) -> &BTreeMap<String, TensorInfo> {
        &self.tensors
    }

    fn read_f32(&self, name: &str) -> Result<Vec<f32>, Error> {
        self.read_rows_f32(name, 0..self.tensors.get(name).map_or(0, TensorInfo::rows))
    }

    fn read_rows_f32(&self, name: &str, rows: Range<usize>) -> Result<Vec<f32>, Error> {
        let (Some(info), Some(place)) = (self.tensors.get(name), self.places.get(name)) else {
            return Err(no_such_tensor(self, name));
        };
        assert!(rows.start <= rows.end && rows.end <= info.rows(), "rows of `{name}`");
        let values = self.decode(name, info, place, rows);
        release(&self.map, place.bytes.clone());
        values
    }
}

impl GgufFile {
    /// Values of some rows of a tensor, those of queries and keys in Hugging Face's order.
    fn decode(&self, name: &str, info: &TensorInfo, place: &Place, rows: Range<usize>) -> Result<Vec<f32>, Error> {
        let bytes = &self.map[place.bytes.clone()];
        let (all, width) = (info.rows(), info.row_values());
        if let Some(heads) = place.interleaved_heads
            && !all.is_multiple_of(2 * heads)
        {
            let problems = vec![format!("`{name}` has {all} rows, which {heads} heads do not share evenly")];
            return Err(Error::Tensors { path: self.path.clone(), problems });
        }
        let stored_row = |row| place.interleaved_heads.map_or(row, |heads| interleaved_row(row, all / heads));
        if width == 1 {
            // A vector, whose blocks are not rows.
            let stored = dequantise(place.format, bytes, all);
            return Ok(rows.map(|row| stored[stored_row(row)]).collect());
        }
        let row_bytes = bytes.len() / all;
        if place.interleaved_heads.is_none() {
            let part = &bytes[rows.start * row_bytes..rows.end * row_bytes];
            return Ok(dequantise(place.format, part, rows.len() * width));
        }
        let mut values = vec![0.0; rows.len() * width];
        values.par_chunks_mut(width).with_min_len(16).zip(rows).for_each(|(values, row)| {
            place.format.dequantise(&bytes[stored_row(row) * row_bytes..][..row_bytes], values);
        });
        Ok(values)
    }
}

/// So many values of whole blocks.
fn dequantise(format: BlockFormat, bytes: &[u8], count: usize) -> Vec<f32> {
    // Every block size divides this.
    const SHARE: usize = 1 << 14;
    let share_bytes = SHARE / format.block_values() * format.block_bytes();
    let mut values = vec![0.0; count];
    values
        .par_chunks_mut(SHARE)
        .zip(bytes.par_chunks(share_bytes))
        .for_each(|(values, bytes)| format.dequantise(bytes, values));
    values
}

/// Why a header is refused.
enum Problem {
    Malformed(String),
    Unsupported(Vec<String>),
}

impl From<String> for Problem {
    fn from(reason: String) -> Self {
        Self::Malformed(reason)
    }
}

/// One row of the tensor table, validated.
struct Entry {
    shape: Vec<usize>,
    format: BlockFormat,
    /// Position in the file.
    bytes: Range<usize>,
}

/// Everything before the tensor data.
struct Header {
    metadata: Metadata,
    /// By Hugging Face name.
    entries: BTreeMap<String, Entry>,
}

impl Header {
    fn parse(file: &[u8]) -> Result<Self, Problem> {
        let mut cursor = Cursor::new(file);
        if &cursor.array::<4>()? != b"GGUF" {
            return Err("it does not begin with `GGUF`".to_owned().into());
        }
        let version = cursor.u32()?;
        match version {
            2 | 3 => {}
            _ if matches!(version.swap_bytes(), 1..=3) => {
                return Err("it is big-endian, which is not supported".to_owned().into());
            }
            _ => return Err(format!("GGUF version {version} is not supported; 2 and 3 are").into()),
        }
        let tensor_count = cursor.u64()?;
        let pair_count = cursor.u64()?;
        let metadata = Metadata::parse(&mut cursor, pair_count)?;
        // Length of name, number of dimensions, one dimension, type, offset.
        cursor.plausible(tensor_count, 32, "tensors")?;
        let mut rows = Vec::new();
        for _ in 0..tensor_count {
            rows.push(Row::parse(&mut cursor)?);
        }
        let alignment = match metadata.integer("general.alignment") {
            None => 32,
            Some(alignment) => usize::try_from(alignment)
                .ok()
                .filter(|alignment| alignment.is_power_of_two() && *alignment <= 1 << 20)
                .ok_or_else(|| format!("`general.alignment` is {alignment}; expected a power of two"))?,
        };
        let data_start = cursor.position().next_multiple_of(alignment);
        let unsupported: Vec<String> = rows
            .iter()
            .filter(|row| BlockFormat::from_id(row.kind).is_none())
            .map(|row| format!("`{}` is stored as ggml type {}, which is not supported", row.name, type_name(row.kind)))
            .collect();
        if !unsupported.is_empty() {
            return Err(Problem::Unsupported(unsupported));
        }
        let mut entries = BTreeMap::new();
        for row in rows {
            let name = hugging_face_name(&row.name);
            let entry = row.place(data_start, alignment, file.len())?;
            if entries.insert(name.clone(), entry).is_some() {
                return Err(format!("tensor `{name}` occurs twice").into());
            }
        }
        let mut ranges: Vec<(&Range<usize>, &str)> =
            entries.iter().map(|(name, entry)| (&entry.bytes, name.as_str())).collect();
        ranges.sort_by_key(|(range, _)| (range.start, range.end));
        for pair in ranges.windows(2) {
            if pair[1].0.start < pair[0].0.end {
                return Err(format!("tensors `{}` and `{}` overlap", pair[0].1, pair[1].1).into());
            }
        }
        Ok(Self { metadata, entries })
    }
}

/// One row of the tensor table, as stored.
struct Row {
    name: String,
    /// Fastest-running dimension first.
    dimensions: Vec<u64>,
    kind: u32,
    offset: u64,
}

impl Row {
    fn parse(cursor: &mut Cursor<'_>) -> Result<Self, String> {
        let name = cursor.string()?;
        let count = cursor.u32()?;
        if !(1..=4).contains(&count) {
            return Err(format!("tensor `{name}` has {count} dimensions; expected 1 to 4"));
        }
        let dimensions = (0..count).map(|_| cursor.u64()).collect::<Result<_, _>>()?;
        Ok(Self { name, dimensions, kind: cursor.u32()?, offset: cursor.u64()? })
    }

    /// Checks that the tensor lies inside a file of `file_length` bytes, in whole blocks.
    fn place(self, data_start: usize, alignment: usize, file_length: usize) -> Result<Entry, String> {
        let Self { name, dimensions, kind, offset } = self;
        let format = BlockFormat::from_id(kind).expect("unsupported types were refused before");
        if dimensions.contains(&0) {
            return Err(format!("tensor `{name}` is empty: {dimensions:?}"));
        }
        let width = dimensions[0];
        if !width.is_multiple_of(format.block_values() as u64) {
            return Err(format!("tensor `{name}` has rows of {width}, not whole {} blocks", format.name()));
        }
        if !offset.is_multiple_of(alignment as u64) {
            return Err(format!("tensor `{name}` begins at {offset}, not a multiple of {alignment}"));
        }
        let fit = || {
            let values = dimensions.iter().try_fold(1_u64, |product, &size| product.checked_mul(size))?;
            let length = (values / format.block_values() as u64).checked_mul(format.block_bytes() as u64)?;
            let start = offset.checked_add(data_start as u64)?;
            let end = start.checked_add(length)?;
            let shape: Option<Vec<usize>> = dimensions.iter().rev().map(|&size| usize::try_from(size).ok()).collect();
            Some((shape?, usize::try_from(start).ok()?, usize::try_from(end).ok()?))
        };
        match fit() {
            Some((shape, start, end)) if end <= file_length => Ok(Entry { shape, format, bytes: start..end }),
            Some((_, _, end)) => Err(format!("tensor `{name}` ends at byte {end} of a file of {file_length} bytes")),
            None => Err(format!("tensor `{name}` has impossible dimensions {dimensions:?}")),
        }
    }
}

/// The name of a ggml type this crate does not read, for messages.
fn type_name(id: u32) -> String {
    let name = match id {
        10 => "Q2_K",
        11 => "Q3_K",
        15 => "Q8_K",
        16 => "IQ2_XXS",
        17 => "IQ2_XS",
        18 => "IQ3_XXS",
        19 => "IQ1_S",
        20 => "IQ4_NL",
        21 => "IQ3_S",
        22 => "IQ2_S",
        23 => "IQ4_XS",
        24 => "I8",
        25 => "I16",
        26 => "I32",
        27 => "I64",
        28 => "F64",
        29 => "IQ1_M",
        34 => "TQ1_0",
        35 => "TQ2_0",
        39 => "MXFP4",
        _ => return id.to_string(),
    };
    name.to_owned()
}
