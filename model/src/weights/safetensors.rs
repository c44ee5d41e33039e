//! Safetensors files, one or several behind a `model.safetensors.index.json`.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Component, Path, PathBuf};

use half::{bf16, f16};
use memmap2::Mmap;
use rayon::prelude::*;
use serde::Deserialize;

use super::mapping::{map, release};
use super::safetensors_header::{Header, LENGTH_LIMIT};
use super::{TensorInfo, WeightFile, no_such_tensor};
use crate::Error;

/// One or several open safetensors files.
#[derive(Debug)]
pub struct SafetensorsFiles {
    path: PathBuf,
    maps: Vec<Mmap>,
    metadata: BTreeMap<String, String>,
    tensors: BTreeMap<String, TensorInfo>,
    places: BTreeMap<String, (usize, Range<usize>)>,
}

impl SafetensorsFiles {
    /// Maps one file and validates its header.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::Malformed`] if the header does not describe the file.
    pub fn open(path: &Path) -> Result<Self, Error> {
        Self::open_with_limit(path, LENGTH_LIMIT)
    }

    /// As [`Self::open`], refusing a header longer than `limit` bytes: for files that have no business
    /// being large.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn open_with_limit(path: &Path, limit: usize) -> Result<Self, Error> {
        let mut files = Self::empty(path);
        files.add(path, limit)?;
        Ok(files)
    }

    /// Maps every file named by a `.safetensors.index.json`, which lie beside it.
    ///
    /// # Errors
    /// As [`Self::open`], and [`Error::Tensors`] naming all tensors that are not where the index says.
    pub fn open_index(path: &Path) -> Result<Self, Error> {
        #[derive(Deserialize)]
        struct Index {
            weight_map: BTreeMap<String, String>,
        }
        let malformed =
            |reason: String| Error::Malformed { path: path.to_owned(), format: "safetensors index", reason };
        let text = std::fs::read(path).map_err(|error| Error::io("read", path, error))?;
        let index: Index = serde_json::from_slice(&text).map_err(|error| malformed(error.to_string()))?;
        let folder = path.parent().unwrap_or(Path::new(""));
        let mut shards: Vec<&String> = index.weight_map.values().collect();
        shards.sort_unstable();
        shards.dedup();
        let mut files = Self::empty(path);
        let mut holders = BTreeMap::new();
        for shard in shards {
            // A repository must not make us read elsewhere.
            let mut parts = Path::new(shard).components();
            if !matches!((parts.next(), parts.next()), (Some(Component::Normal(_)), None)) {
                return Err(malformed(format!("`{shard}` is not the name of a file beside it")));
            }
            for name in files.add(&folder.join(shard), LENGTH_LIMIT)? {
                holders.insert(name, shard.as_str());
            }
        }
        let mut problems = Vec::new();
        for (name, shard) in &index.weight_map {
            match holders.get(name) {
                None => problems.push(format!("`{name}` is in none of the files; the index says {shard}")),
                Some(holder) if holder != shard => {
                    problems.push(format!("`{name}` is in {holder}; the index says {shard}"))
                }
                Some(_) => {}
            }
        }
        let unlisted = holders.keys().filter(|name| !index.weight_map.contains_key(*name));
        problems.extend(unlisted.map(|name| format!("`{name}` is not in the index")));
        if problems.is_empty() { Ok(files) } else { Err(Error::Tensors { path: path.to_owned(), problems }) }
    }

    /// The free text of the files' headers, by key.
    pub fn metadata(&self) -> &BTreeMap<String, String> {
        &self.metadata
    }

    fn empty(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
            maps: Vec::new(),
            metadata: BTreeMap::new(),
            tensors: BTreeMap::new(),
            places: BTreeMap::new(),
        }
    }

    /// Adds the tensors of one file and returns their names.
    fn add(&mut self, path: &Path, limit: usize) -> Result<Vec<String>, Error> {
        let map = map(path)?;
        let malformed = |reason| Error::Malformed { path: path.to_owned(), format: "safetensors", reason };
        let header = Header::parse(&map, limit).map_err(malformed)?;
        let mut names = Vec::new();
        for (name, entry) in header.tensors {
            if self.tensors.contains_key(&name) {
                return Err(malformed(format!("tensor `{name}` is also in another file")));
            }
            self.places.insert(name.clone(), (self.maps.len(), entry.bytes));
            self.tensors.insert(name.clone(), TensorInfo { shape: entry.shape, dtype: entry.dtype });
            names.push(name);
        }
        self.metadata.extend(header.metadata);
        self.maps.push(map);
        Ok(names)
    }
}

impl WeightFile for SafetensorsFiles {
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
        let (Some(info), Some((file, place))) = (self.tensors.get(name), self.places.get(name)) else {
            return Err(no_such_tensor(self, name));
        };
        let row_bytes = place.len() / info.rows().max(1);
        let range = place.start + rows.start * row_bytes..place.start + rows.end * row_bytes;
        assert!(rows.start <= rows.end && rows.end <= info.rows(), "rows of `{name}`");
        let bytes = &self.maps[*file][range.clone()];
        let values = match info.dtype.as_str() {
            "F32" => Ok(convert::<4>(bytes, f32::from_le_bytes)),
            "F16" => Ok(convert::<2>(bytes, |value| f16::from_le_bytes(value).to_f32())),
            "BF16" => Ok(convert::<2>(bytes, |value| bf16::from_le_bytes(value).to_f32())),
            "F64" => Ok(convert::<8>(bytes, |value| f64::from_le_bytes(value) as f32)),
            other => Err(Error::Tensors {
                path: self.path.clone(),
                problems: vec![format!("`{name}` is stored as {other}; weights are read from F32, F16, BF16 and F64")],
            }),
        };
        release(&self.maps[*file], range);
        values
    }
}

/// Converts values of `N` bytes each, in parallel.
fn convert<const N: usize>(bytes: &[u8], value: impl Fn([u8; N]) -> f32 + Sync) -> Vec<f32> {
    const SHARE: usize = 1 << 14;
    let mut values = vec![0.0; bytes.len() / N];
    values.par_chunks_mut(SHARE).zip(bytes.par_chunks(SHARE * N)).for_each(|(values, bytes)| {
        for (output, stored) in values.iter_mut().zip(bytes.as_chunks::<N>().0) {
            *output = value(*stored);
        }
    });
    values
}
