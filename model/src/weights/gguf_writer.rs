//! Writing a GGUF file (version 3, little-endian) tensor by tensor, so that no more than one is in memory.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use half::{bf16, f16};
use tempfile::TempPath;

use super::dequantise::BlockFormat;
use super::gguf_metadata::Value;
use super::quantise::q8_0;
use crate::Error;
use crate::whole::{file_beside, folder_of};

/// Where tensors begin, unless `general.alignment` says otherwise.
const ALIGNMENT: u64 = 32;

/// A tensor to be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GgufTensor {
    /// The name in the file: `blk.0.attn_q.weight`.
    pub name: String,
    /// Sizes, outermost first; 1 to 4 of them, none 0.
    pub shape: Vec<usize>,
    /// How its values are stored.
    pub format: BlockFormat,
}

/// A GGUF file being written; the tensors follow in the order announced. It appears under its name when it is
/// complete, and not at all otherwise.
#[derive(Debug)]
pub struct GgufWriter {
    path: PathBuf,
    temporary: TempPath,
    file: BufWriter<File>,
    /// Announced tensors not written yet, the next one last.
    pending: Vec<GgufTensor>,
}

impl GgufWriter {
    /// Begins a file: `metadata` by key, in that order, and `tensors` by name, shape and format.
    ///
    /// Integers are stored as `u32`, or as `i32`, `u64` or `i64` where that does not hold them; floats as `f32`;
    /// arrays of integers as `i32` or `i64`.
    ///
    /// # Errors
    /// [`Error::Tensors`] naming everything the format cannot hold or this writer does not write: formats other
    /// than `F32`, `F16`, `BF16` and `Q8_0`, impossible shapes, names that occur twice, nested arrays, integers beyond 64
    /// bits; [`Error::Io`].
    pub fn create(path: &Path, metadata: &[(&str, Value)], tensors: &[GgufTensor]) -> Result<Self, Error> {
        let problems = problems(metadata, tensors);
        if !problems.is_empty() {
            return Err(Error::Tensors { path: path.to_owned(), problems });
        }
        let mut header = b"GGUF".to_vec();
        header.extend(3_u32.to_le_bytes());
        header.extend((tensors.len() as u64).to_le_bytes());
        header.extend((metadata.len() as u64).to_le_bytes());
        for (key, value) in metadata {
            put_text(&mut header, key);
            put_value(&mut header, value);
        }
        let mut offset = 0_u64;
        for tensor in tensors {
            put_text(&mut header, &tensor.name);
            header.extend((tensor.shape.len() as u32).to_le_bytes());
            header.extend(tensor.shape.iter().rev().flat_map(|&size| (size as u64).to_le_bytes()));
            header.extend(tensor.format.id().to_le_bytes());
            header.extend(offset.to_le_bytes());
            offset += bytes(tensor).next_multiple_of(ALIGNMENT);
        }
        header.resize(header.len().next_multiple_of(ALIGNMENT as usize), 0);

        let io = |error| Error::io("write", path, error);
        let folder = folder_of(path);
        std::fs::create_dir_all(folder).map_err(|error| Error::io("create", folder, error))?;
        let (file, temporary) = file_beside(folder).map_err(io)?.into_parts();
        let pending = tensors.iter().rev().cloned().collect();
        let mut writer =
            Self { path: path.to_owned(), temporary, file: BufWriter::with_capacity(1 << 20, file), pending };
        writer.put(&header)?;
        Ok(writer)
    }

    /// Writes the next tensor, row-major, rounding to its format.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::Tensors`] if it is not the one announced next.
    pub fn write(&mut self, name: &str, values: &[f32]) -> Result<(), Error> {
        let next = self.pending.pop();
        let Some(tensor) = next.filter(|next| next.name == name && count(next) == values.len() as u64) else {
            let problems = vec![format!("`{name}` with {} values is not the tensor announced next", values.len())];
            return Err(Error::Tensors { path: self.path.clone(), problems });
        };
        let mut bytes = Vec::with_capacity(4 << 14);
        for chunk in values.chunks(1 << 14) {
            bytes.clear();
            match tensor.format {
                BlockFormat::F16 => bytes.extend(chunk.iter().flat_map(|&value| f16::from_f32(value).to_le_bytes())),
                BlockFormat::Q8_0 => bytes.extend(chunk.as_chunks::<32>().0.iter().flat_map(q8_0)),
                BlockFormat::BF16 => bytes.extend(chunk.iter().flat_map(|&value| bf16::from_f32(value).to_le_bytes())),
                // `create` has refused the others.
                _ => bytes.extend(chunk.iter().flat_map(|value| value.to_le_bytes())),
            }
            self.put(&bytes)?;
        }
        let written = self::bytes(&tensor);
        let padding = written.next_multiple_of(ALIGNMENT) - written;
        self.put(&vec![0; padding as usize])
    }

    /// Completes the file, waits until it is on disk and gives it its name, replacing a file of that name.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::Tensors`] naming tensors that were announced and not written.
    pub fn finish(self) -> Result<(), Error> {
        let Self { path, temporary, file, pending } = self;
        if !pending.is_empty() {
            let problems = pending.iter().rev().map(|tensor| format!("`{}` was not written", tensor.name)).collect();
            return Err(Error::Tensors { path, problems });
        }
        let io = |error| Error::io("write", &path, error);
        let file = file.into_inner().map_err(|error| io(error.into_error()))?;
        file.sync_all().map_err(io)?;
        temporary.persist(&path).map_err(|error| Error::io("rename to", &path, error.error))
    }

    fn put(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.file.write_all(bytes).map_err(|error| Error::io("write", &self.path, error))
    }
}

fn count(tensor: &GgufTensor) -> u64 {
    tensor.shape.iter().map(|&size| size as u64).product()
}

fn bytes(tensor: &GgufTensor) -> u64 {
    count(tensor) / tensor.format.block_values() as u64 * tensor.format.block_bytes() as u64
}

fn problems(metadata: &[(&str, Value)], tensors: &[GgufTensor]) -> Vec<String> {
    let mut problems = Vec::new();
    for (place, (key, value)) in metadata.iter().enumerate() {
        if metadata[..place].iter().any(|(other, _)| other == key) {
            problems.push(format!("metadata `{key}` is given twice"));
        }
        if matches!(value, Value::Arrays(_)) {
            problems.push(format!("metadata `{key}`: arrays of arrays are not written"));
        }
        if let Value::Integer(number) = value
            && i64::try_from(*number).is_err()
            && u64::try_from(*number).is_err()
        {
            problems.push(format!("metadata `{key}`: {number} has more than 64 bits"));
        }
    }
    let mut names = std::collections::BTreeSet::new();
    for GgufTensor { name, shape, format } in tensors {
        if !names.insert(name) {
            problems.push(format!("tensor `{name}` is given twice"));
        }
        if !(1..=4).contains(&shape.len()) || shape.contains(&0) {
            problems.push(format!("tensor `{name}` has shape {shape:?}; expected 1 to 4 sizes, none 0"));
        }
        if !matches!(format, BlockFormat::F32 | BlockFormat::F16 | BlockFormat::BF16 | BlockFormat::Q8_0) {
            problems.push(format!("tensor `{name}`: {} is not written; F32, F16, BF16 and Q8_0 are", format.name()));
        }
        if shape.last().is_some_and(|width| !width.is_multiple_of(format.block_values())) {
            problems
                .push(format!("tensor `{name}`: rows of {shape:?} are no whole number of {} blocks", format.name()));
        }
    }
    problems
}

fn put_text(out: &mut Vec<u8>, text: &str) {
    out.extend((text.len() as u64).to_le_bytes());
    out.extend(text.as_bytes());
}

fn put_array<T>(out: &mut Vec<u8>, kind: u32, items: &[T], mut put: impl FnMut(&mut Vec<u8>, &T)) {
    out.extend(9_u32.to_le_bytes());
    out.extend(kind.to_le_bytes());
    out.extend((items.len() as u64).to_le_bytes());
    items.iter().for_each(|item| put(out, item));
}

/// The type's number, then the value. Numbers of types are the specification's.
fn put_value(out: &mut Vec<u8>, value: &Value) {
    let put = |out: &mut Vec<u8>, kind: u32, bytes: &[u8]| {
        out.extend(kind.to_le_bytes());
        out.extend(bytes);
    };
    match value {
        Value::Integer(number) => {
            let number = *number;
            if let Ok(number) = u32::try_from(number) {
                put(out, 4, &number.to_le_bytes());
            } else if let Ok(number) = i32::try_from(number) {
                put(out, 5, &number.to_le_bytes());
            } else if let Ok(number) = u64::try_from(number) {
                put(out, 10, &number.to_le_bytes());
            } else {
                put(out, 11, &(number as i64).to_le_bytes());
            }
        }
        Value::Float(number) => put(out, 6, &(*number as f32).to_le_bytes()),
        Value::Bool(flag) => put(out, 7, &[u8::from(*flag)]),
        Value::String(text) => {
            out.extend(8_u32.to_le_bytes());
            put_text(out, text);
        }
        Value::Integers(numbers) if numbers.iter().all(|&number| i32::try_from(number).is_ok()) => {
            put_array(out, 5, numbers, |out, number| out.extend((*number as i32).to_le_bytes()));
        }
        Value::Integers(numbers) => put_array(out, 11, numbers, |out, number| out.extend(number.to_le_bytes())),
        Value::Floats(numbers) => {
            put_array(out, 6, numbers, |out, number| out.extend((*number as f32).to_le_bytes()));
        }
        Value::Bools(flags) => put_array(out, 7, flags, |out, flag| out.push(u8::from(*flag))),
        Value::Strings(texts) => put_array(out, 8, texts, |out, text| put_text(out, text)),
        Value::Arrays(_) => unreachable!("refused by `create`"),
    }
}
