//! Frozen matrices kept block-quantised in memory (QLoRA, Dettmers et al. 2023, with ggml's blocks): a quarter or an eighth
//! of their size in `f32`, expanded one at a time for the product they take part in.

use crate::cpu::blocks;
use crate::ops::host::{matrix, values};
use crate::weights::dequantise::BlockFormat;
use burn::tensor::{Device, Tensor};
use serde::{Deserialize, Serialize};

/// How frozen matrices are kept. Bytes a value: 4 in `f32`, 1.06 in `Q8_0`, 0.56 in `Q4_0`, 0.63 in `Q4_1`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[allow(non_camel_case_types)] // ggml's own names
pub enum Blocks {
    /// Eight bits a value and a scale for 32 of them.
    Q8_0,
    /// Four bits a value and a scale for 32 of them.
    Q4_0,
    /// Four bits a value, a scale and a smallest value for 32 of them.
    Q4_1,
}

impl Blocks {
    /// The format of the same name.
    pub fn format(self) -> BlockFormat {
        match self {
            Self::Q8_0 => BlockFormat::Q8_0,
            Self::Q4_0 => BlockFormat::Q4_0,
            Self::Q4_1 => BlockFormat::Q4_1,
        }
    }

    /// Bytes that a matrix of this shape takes.
    pub fn bytes(self, rows: usize, columns: usize) -> usize {
        rows * blocks::row_bytes(self.format(), columns)
    }
}

/// A matrix in blocks.
#[derive(Clone, Debug)]
pub struct BlockMatrix {
    kind: Blocks,
    bytes: Vec<u8>,
    rows: usize,
    columns: usize,
    device: Device,
}

impl BlockMatrix {
    /// Rounds a matrix to blocks.
    pub fn new(tensor: &Tensor<2>, kind: Blocks) -> Self {
        let [rows, columns] = tensor.dims();
        let bytes = blocks::quantise(kind.format(), &values(tensor), columns);
        Self { kind, bytes, rows, columns, device: tensor.device() }
    }

    /// Rows and columns.
    pub fn dims(&self) -> [usize; 2] {
        [self.rows, self.columns]
    }

    /// Bytes it takes.
    pub fn size(&self) -> usize {
        self.bytes.len()
    }

    /// Its values as a tensor of its own.
    pub fn dense(&self) -> Tensor<2> {
        let mut values = vec![0.0; self.rows * self.columns];
        blocks::dequantise(self.kind.format(), &self.bytes, &mut values, self.columns);
        matrix(values, self.rows, self.columns, &self.device)
    }
}
