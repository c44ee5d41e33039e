//! Frozen matrices kept block-quantised in memory (QLoRA, Dettmers et al. 2023, with ggml's blocks): a quarter or an eighth
//! of their size in `f32`, expanded one at a time for the product they take part in.

use crate::config::ModelConfig;
use crate::cpu::blocks;
use crate::ops::host::{matrix, values};
use crate::weights::dequantise::BlockFormat;
use burn::tensor::{Device, Tensor};
use serde::{Deserialize, Serialize};
use std::str::FromStr;

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

    /// Every kind, the largest first.
    pub const ALL: [Self; 3] = [Self::Q8_0, Self::Q4_1, Self::Q4_0];

    /// Its name in recipes and on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Q8_0 => "q8_0",
            Self::Q4_0 => "q4_0",
            Self::Q4_1 => "q4_1",
        }
    }

    /// Bytes that a matrix of this shape takes.
    pub fn bytes(self, rows: usize, columns: usize) -> usize {
        rows * blocks::row_bytes(self.format(), columns)
    }
}

impl FromStr for Blocks {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let named = Self::ALL.into_iter().find(|kind| kind.name() == name);
        named.ok_or_else(|| format!("blocks are {}", Self::ALL.map(Self::name).join(", ")))
    }
}

impl ModelConfig {
    /// Bytes of the weights in memory: in `f32`, or with the matrices of projections in blocks.
    pub fn weight_bytes(&self, blocks: Option<Blocks>) -> u64 {
        let bytes = |(name, shape): &(String, Vec<usize>)| match (blocks, &shape[..]) {
            (Some(kind), &[rows, columns]) if name.ends_with("_proj.weight") => kind.bytes(rows, columns),
            _ => 4 * shape.iter().product::<usize>(),
        };
        self.expected_tensors().iter().map(bytes).sum::<usize>() as u64
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
