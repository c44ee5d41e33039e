//! Weight files, read as `f32` under Hugging Face's names and shapes whatever the format.
//!
//! [`open`] takes a `.safetensors` file, a `model.safetensors.index.json`, or a `.gguf` file. Files are
//! memory-mapped and their headers validated in full before anything in them is believed.

pub mod check;
pub mod dequantise;
pub mod gguf;
pub mod gguf_metadata;
pub mod gguf_names;
pub mod gguf_writer;
pub mod mapping;
pub mod memory;
pub mod quantise;
pub mod safetensors;
pub mod safetensors_header;
pub mod safetensors_writer;

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;

use crate::Error;

/// What a file says about one tensor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorInfo {
    /// Sizes, outermost first: `[out, in]` for matrices.
    pub shape: Vec<usize>,
    /// The stored type, as its format names it: `F32`, `BF16`, `Q4_1`.
    pub dtype: String,
}

impl TensorInfo {
    /// Rows of a matrix, values of a vector.
    fn rows(&self) -> usize {
        self.shape.first().copied().unwrap_or(1)
    }

    /// Values of each.
    fn row_values(&self) -> usize {
        self.shape.iter().skip(1).product()
    }
}

/// A readable set of named tensors.
///
/// Names and shapes are Hugging Face's (`model.layers.0.self_attn.q_proj.weight`, `[out, in]`, row-major,
/// rows in the order of rotate-half rotary embedding), for GGUF too.
pub trait WeightFile: Send + Sync {
    /// The file or folder the tensors come from, for messages.
    fn path(&self) -> &Path;

    /// All tensors by name.
    fn tensors(&self) -> &BTreeMap<String, TensorInfo>;

    /// The values of one tensor in row-major order, converted or dequantised to `f32`.
    ///
    /// # Errors
    /// [`Error::Tensors`] if there is no such tensor or its type holds no weights.
    fn read_f32(&self, name: &str) -> Result<Vec<f32>, Error>;

    /// As [`Self::read_f32`], of some rows of a matrix; of a vector, some values. Where the format allows it the rest is left unread.
    ///
    /// # Errors
    /// As [`Self::read_f32`].
    ///
    /// # Panics
    /// When there are not so many rows.
    fn read_rows_f32(&self, name: &str, rows: Range<usize>) -> Result<Vec<f32>, Error> {
        let width = self.tensors().get(name).map_or(1, |info| info.row_values());
        let mut values = self.read_f32(name)?;
        values.truncate(rows.end * width);
        Ok(values.split_off(rows.start * width))
    }
}

/// Opens a `.gguf` file, a `.safetensors` file or a `.safetensors.index.json`.
///
/// # Errors
/// [`Error::NotAModel`] for another kind of file, [`Error::Malformed`] for a damaged one.
pub fn open(path: &Path) -> Result<Box<dyn WeightFile>, Error> {
    let name = path.file_name().map(|name| name.to_string_lossy().to_lowercase()).unwrap_or_default();
    if name.ends_with(".gguf") {
        Ok(Box::new(gguf::GgufFile::open(path)?))
    } else if name.ends_with(".safetensors") {
        Ok(Box::new(safetensors::SafetensorsFiles::open(path)?))
    } else if name.ends_with(".safetensors.index.json") {
        Ok(Box::new(safetensors::SafetensorsFiles::open_index(path)?))
    } else {
        Err(Error::NotAModel {
            path: path.to_owned(),
            reason: "expected a file named *.gguf, *.safetensors or *.safetensors.index.json".to_owned(),
        })
    }
}

/// The error for a name that is not in `file`.
fn no_such_tensor(file: &dyn WeightFile, name: &str) -> Error {
    Error::Tensors { path: file.path().to_owned(), problems: vec![format!("`{name}` is missing")] }
}
