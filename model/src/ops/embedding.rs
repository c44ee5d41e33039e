//! Token embeddings: rows picked from a table.

use super::host::{HostMatrix, matrix};
use super::{Function, apply};
use burn::tensor::{IndexingUpdateOp, Int, Tensor, TensorData};
use std::sync::Arc;

#[derive(Clone, Debug)]
struct Embedding {
    tokens: Arc<Vec<u32>>,
}

/// Row `tokens[i]` of `table: [vocabulary, width]` for each `i`.
///
/// # Panics
/// When a token is outside the vocabulary.
pub fn embedding(table: Tensor<2>, tokens: Arc<Vec<u32>>) -> Tensor<2> {
    let [vocabulary, _] = table.dims();
    assert!(tokens.iter().all(|&token| (token as usize) < vocabulary), "tokens inside the vocabulary");
    apply(Embedding { tokens }, [table])
}

impl Embedding {
    fn indices(&self, tensor: &Tensor<2>) -> Tensor<1, Int> {
        let indices: Vec<i32> = self.tokens.iter().map(|&token| token as i32).collect();
        Tensor::from_data(TensorData::new(indices, [self.tokens.len()]), &tensor.device())
    }
}

impl Function<1> for Embedding {
    const MOSTLY_ZERO: bool = true;

    fn forward(&self, [table]: [Tensor<2>; 1], wanted: [bool; 1]) -> (Tensor<2>, Vec<Tensor<2>>) {
        let [_, width] = table.dims();
        let out = match HostMatrix::of(&table) {
            Some(host) => {
                let mut out = Vec::with_capacity(self.tokens.len() * width);
                for &token in self.tokens.iter() {
                    out.extend_from_slice(&host.values()[token as usize * width..][..width]);
                }
                matrix(out, self.tokens.len(), width, &table.device())
            }
            None => table.clone().select(0, self.indices(&table)),
        };
        // Only the shape of the table is needed, and keeping the tensor keeps no copy of it.
        (out, if wanted[0] { vec![table] } else { Vec::new() })
    }

    fn backward(&self, saved: Vec<Tensor<2>>, dy: Tensor<2>, _wanted: [bool; 1]) -> [Option<Tensor<2>>; 1] {
        let [vocabulary, width] = saved[0].dims();
        let gradient = match HostMatrix::of(&dy) {
            Some(host) => {
                let mut sum = vec![0.0f32; vocabulary * width];
                for (&token, row) in self.tokens.iter().zip(host.values().chunks_exact(width)) {
                    let target = &mut sum[token as usize * width..][..width];
                    for (target, value) in target.iter_mut().zip(row) {
                        *target += value;
                    }
                }
                matrix(sum, vocabulary, width, &dy.device())
            }
            None => {
                let zeros = Tensor::zeros([vocabulary, width], &dy.device());
                zeros.select_assign(0, self.indices(&dy), dy, IndexingUpdateOp::Add)
            }
        };
        [Some(gradient)]
    }
}
