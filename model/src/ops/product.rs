//! Sums of matrix products, the one way to multiply on every device.

use super::host::{HostMatrix, matrix};
use super::precision::Precision;
use crate::cpu::matmul::{Matrix, Output};
use burn::tensor::Tensor;

/// A matrix as it is or transposed.
#[derive(Clone, Copy)]
pub(super) enum Factor<'a> {
    /// As it is.
    Plain(&'a Tensor<2>),
    /// Rows and columns exchanged.
    Transposed(&'a Tensor<2>),
}

impl Factor<'_> {
    fn tensor(&self) -> &Tensor<2> {
        match self {
            Self::Plain(tensor) | Self::Transposed(tensor) => tensor,
        }
    }

    fn dims(&self) -> [usize; 2] {
        let [rows, columns] = self.tensor().dims();
        match self {
            Self::Plain(_) => [rows, columns],
            Self::Transposed(_) => [columns, rows],
        }
    }

    fn view<'b>(&self, host: &'b HostMatrix) -> Matrix<'b> {
        let view = Matrix::new(host.values(), host.rows, host.columns);
        match self {
            Self::Plain(_) => view,
            Self::Transposed(_) => view.transposed(),
        }
    }

    fn burn(&self) -> Tensor<2> {
        match self {
            Self::Plain(tensor) => (*tensor).clone(),
            Self::Transposed(tensor) => (*tensor).clone().transpose(),
        }
    }
}

/// `Σ scale · left · right` over the terms, all of one shape.
pub(super) fn sum_of_products(terms: &[(Factor<'_>, Factor<'_>, f32)], precision: Precision) -> Tensor<2> {
    let [rows, _] = terms[0].0.dims();
    let [_, columns] = terms[0].1.dims();
    let views: Option<Vec<_>> = terms
        .iter()
        .map(|(left, right, _)| Some((HostMatrix::of(left.tensor())?, HostMatrix::of(right.tensor())?)))
        .collect();
    let Some(views) = views else {
        let products = terms.iter().map(|(left, right, scale)| {
            let product = left.burn().matmul(right.burn());
            if *scale == 1.0 { product } else { product * *scale }
        });
        return products.reduce(|sum, term| sum + term).expect("at least one term");
    };
    let mut out = vec![0.0; rows * columns];
    for (index, ((left, right, scale), (left_host, right_host))) in terms.iter().zip(&views).enumerate() {
        let output = if index == 0 { Output::Replace } else { Output::Accumulate };
        precision.matmul(&mut out, left.view(left_host), right.view(right_host), *scale, output);
    }
    matrix(out, rows, columns, &terms[0].0.tensor().device())
}
