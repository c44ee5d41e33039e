//! Writing a safetensors file tensor by tensor, so that no more than one is in memory.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use half::bf16;
use rayon::prelude::*;
use serde_json::json;

use crate::Error;

/// The type weights are stored as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StoredType {
    /// 32 bits, nothing lost.
    F32,
    /// The upper 16 bits of `F32`, rounded to nearest.
    Bf16,
}

impl StoredType {
    /// Bytes of one value.
    pub fn bytes(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::Bf16 => 2,
        }
    }

    /// The name in a safetensors header.
    pub fn safetensors_name(self) -> &'static str {
        match self {
            Self::F32 => "F32",
            Self::Bf16 => "BF16",
        }
    }

    /// The name in `config.json`.
    pub fn torch_name(self) -> &'static str {
        match self {
            Self::F32 => "float32",
            Self::Bf16 => "bfloat16",
        }
    }

    /// Rounds values in place to those that will be read back.
    pub fn round(self, values: &mut [f32]) {
        if self == Self::Bf16 {
            values.par_iter_mut().with_min_len(1 << 14).for_each(|value| *value = bf16::from_f32(*value).to_f32());
        }
    }
}

/// A safetensors file being written; the tensors follow in the order announced.
#[derive(Debug)]
pub struct SafetensorsWriter {
    path: PathBuf,
    file: BufWriter<File>,
    dtype: StoredType,
    /// Announced tensors not written yet, the next one last.
    pending: Vec<(String, usize)>,
}

impl SafetensorsWriter {
    /// Creates the file and writes its header: `tensors` by name and shape, `metadata` as free text.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn create(
        path: &Path,
        dtype: StoredType,
        tensors: &[(String, Vec<usize>)],
        metadata: &BTreeMap<String, String>,
    ) -> Result<Self, Error> {
        let mut entries = Vec::with_capacity(tensors.len() + 1);
        if !metadata.is_empty() {
            entries.push(format!("\"__metadata__\":{}", json!(metadata)));
        }
        let mut pending = Vec::with_capacity(tensors.len());
        let mut offset = 0;
        for (name, shape) in tensors {
            let count: usize = shape.iter().product();
            let end = offset + count * dtype.bytes();
            let entry = json!({"dtype": dtype.safetensors_name(), "shape": shape, "data_offsets": [offset, end]});
            entries.push(format!("{}:{entry}", json!(name)));
            pending.push((name.clone(), count));
            offset = end;
        }
        pending.reverse();
        let mut header = format!("{{{}}}", entries.join(","));
        // The specification lets spaces follow, so that the values begin at a multiple of eight.
        header.extend(std::iter::repeat_n(' ', header.len().next_multiple_of(8) - header.len()));
        let file = File::create(path).map_err(|error| Error::io("write", path, error))?;
        let mut writer = Self { path: path.to_owned(), file: BufWriter::with_capacity(1 << 20, file), dtype, pending };
        writer.put(&(header.len() as u64).to_le_bytes())?;
        writer.put(header.as_bytes())?;
        Ok(writer)
    }

    /// Writes the next tensor, rounding to the stored type.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::Tensors`] if it is not the one announced next.
    pub fn write(&mut self, name: &str, values: &[f32]) -> Result<(), Error> {
        let expected = self.pending.pop();
        if expected.as_ref().is_none_or(|(next, count)| next != name || *count != values.len()) {
            let problems =
                vec![format!("`{name}` with {} values was to be written; expected {expected:?}", values.len())];
            return Err(Error::Tensors { path: self.path.clone(), problems });
        }
        let mut bytes = Vec::with_capacity(4 << 14);
        for chunk in values.chunks(1 << 14) {
            bytes.clear();
            match self.dtype {
                StoredType::F32 => bytes.extend(chunk.iter().flat_map(|value| value.to_le_bytes())),
                StoredType::Bf16 => bytes.extend(chunk.iter().flat_map(|&value| bf16::from_f32(value).to_le_bytes())),
            }
            self.put(&bytes)?;
        }
        Ok(())
    }

    /// Completes the file and waits until it is on disk.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::Tensors`] naming tensors that were announced and not written.
    pub fn finish(self) -> Result<(), Error> {
        if !self.pending.is_empty() {
            let problems = self.pending.iter().rev().map(|(name, _)| format!("`{name}` was not written")).collect();
            return Err(Error::Tensors { path: self.path, problems });
        }
        let failed = |error| Error::io("write", &self.path, error);
        let file = self.file.into_inner().map_err(|error| failed(error.into_error()))?;
        file.sync_all().map_err(failed)
    }

    fn put(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.file.write_all(bytes).map_err(|error| Error::io("write", &self.path, error))
    }
}
