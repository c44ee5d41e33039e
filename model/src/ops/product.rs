//! Sums of matrix products, the one way to multiply on every device.

use super::host::{HostMatrix, matrix};
use super::precision::Precision;
use crate::cpu::matmul::{Matrix, Output};
use burn::backend::Flex;
use burn::tensor::{DType, Tensor};

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
            let product = on_device(left, right, precision);
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

/// One product by Burn. Where the device has bfloat16 wide products are rounded to it if that was chosen, the product
/// itself too; what comes out is `f32`.
fn on_device(left: &Factor<'_>, right: &Factor<'_>, precision: Precision) -> Tensor<2> {
    let ([rows, inner], [_, columns]) = (left.dims(), right.dims());
    let rounded = precision == Precision::Bf16
        && rows.min(inner).min(columns) >= Precision::NARROW
        // The CPU backend has the type, but multiplies it by turning it into `f32` and back.
        && left.tensor().clone().try_into_primitive::<Flex>().is_err()
        && left.tensor().device().supports_dtype(DType::BF16);
    if rounded {
        return left.burn().cast(DType::BF16).matmul(right.burn().cast(DType::BF16)).cast(DType::F32);
    }
    left.burn().matmul(right.burn())
}
