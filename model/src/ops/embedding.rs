//! Token embeddings: rows picked from a table.

use super::host::{HostMatrix, matrix, update};
use super::{Function, apply};
use burn::tensor::{Device, IndexingUpdateOp, Int, Tensor, TensorData};
use std::sync::{Arc, Mutex, PoisonError};

/// Gradients of the rows that were picked from one table, kept beside the graph until they are added into the table's
/// own gradient: a few rows instead of a matrix of the table's size that is nearly all zeros.
#[derive(Clone, Debug, Default)]
pub struct PickedRows(Arc<Mutex<Vec<Picked>>>);

/// Which rows, and the gradient of each, `[tokens, width]`.
type Picked = (Arc<Vec<u32>>, Tensor<2>);

impl PickedRows {
    /// Adds what was collected into `gradient: [vocabulary, width]`, in place where nothing else holds it, and forgets it.
    pub fn drain_into(&self, mut gradient: Tensor<2>) -> Tensor<2> {
        for (tokens, rows) in self.0.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
            gradient = add_rows(gradient, &tokens, rows);
        }
        gradient
    }

    /// Whether nothing has been collected since [`PickedRows::drain_into`].
    pub fn is_empty(&self) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).is_empty()
    }
}

#[derive(Clone, Debug)]
struct Embedding {
    tokens: Arc<Vec<u32>>,
    beside: Option<PickedRows>,
}

/// Row `tokens[i]` of `table: [vocabulary, width]` for each `i`. With `beside`, the table's gradient is not in the graph
/// but collected there, for the caller to add.
///
/// # Panics
/// When a token is outside the vocabulary.
pub fn embedding(table: Tensor<2>, tokens: Arc<Vec<u32>>, beside: Option<PickedRows>) -> Tensor<2> {
    let [vocabulary, _] = table.dims();
    assert!(tokens.iter().all(|&token| (token as usize) < vocabulary), "tokens inside the vocabulary");
    apply(Embedding { tokens, beside }, [table])
}

fn indices(tokens: &[u32], device: &Device) -> Tensor<1, Int> {
    let indices: Vec<i32> = tokens.iter().map(|&token| token as i32).collect();
    Tensor::from_data(TensorData::new(indices, [tokens.len()]), device)
}

/// `sum` with `rows[i]` added into its row `tokens[i]`.
fn add_rows(sum: Tensor<2>, tokens: &[u32], rows: Tensor<2>) -> Tensor<2> {
    let [_, width] = sum.dims();
    match HostMatrix::of(&rows) {
        Some(rows) => update(sum, |sum| {
            for (&token, row) in tokens.iter().zip(rows.values().chunks_exact(width)) {
                let target = &mut sum[token as usize * width..][..width];
                for (target, value) in target.iter_mut().zip(row) {
                    *target += value;
                }
            }
        }),
        None => {
            let indices = indices(tokens, &sum.device());
            sum.select_assign(0, indices, rows, IndexingUpdateOp::Add)
        }
    }
}

impl Function<1> for Embedding {
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
            None => table.clone().select(0, indices(&self.tokens, &table.device())),
        };
        // Only the shape of the table is needed, and keeping the tensor keeps no copy of it.
        (out, if wanted[0] { vec![table] } else { Vec::new() })
    }

    fn backward(&self, saved: Vec<Tensor<2>>, dy: Tensor<2>, _wanted: [bool; 1]) -> [Option<Tensor<2>>; 1] {
        if let Some(PickedRows(beside)) = &self.beside {
            beside.lock().unwrap_or_else(PoisonError::into_inner).push((self.tokens.clone(), dy));
            return [None];
        }
        let zeros = Tensor::zeros(saved[0].dims(), &dy.device());
        [Some(add_rows(zeros, &self.tokens, dy))]
    }
}
