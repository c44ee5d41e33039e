//! Products with frozen and trained matrices, in `f32`, in blocks and in bfloat16.

use burn::tensor::Tensor;
use lore_model::ops::host::values;
use lore_model::ops::precision::Precision;
use lore_model::ops::projection::{frozen_linear, frozen_low_rank_linear, linear, low_rank, low_rank_linear};
use lore_model::quantised::{BlockMatrix, Blocks};
use std::sync::Arc;

use crate::oracle::{M, check, matmul_t};

#[test]
fn linear_matches() {
    check(
        &[M::random(5, 7, 5), M::random(3, 7, 6)],
        |x| linear(x[0].clone(), x[1].clone()),
        |x| matmul_t(&x[0], &x[1]),
    );
}

#[test]
fn low_rank_linear_matches() {
    check(
        &[M::random(4, 7, 5), M::random(3, 7, 6), M::random(2, 7, 7), M::random(3, 2, 8)],
        |x| low_rank_linear(x[0].clone(), x[1].clone(), x[2].clone(), x[3].clone(), 0.7),
        |x| {
            let inner = M { rows: 4, columns: 2, v: matmul_t(&x[0], &x[2]) };
            let update = matmul_t(&inner, &x[3]);
            matmul_t(&x[0], &x[1]).iter().zip(update).map(|(a, b)| a + 0.7 * b).collect()
        },
    );
}

#[test]
fn the_update_alone_matches() {
    check(
        &[M::random(4, 7, 5), M::random(2, 7, 7), M::random(3, 2, 8)],
        |x| low_rank(x[0].clone(), x[1].clone(), x[2].clone(), 0.7),
        |x| {
            let inner = M { rows: 4, columns: 2, v: matmul_t(&x[0], &x[1]) };
            matmul_t(&inner, &x[2]).into_iter().map(|b| 0.7 * b).collect()
        },
    );
}

/// Frozen matrices in blocks, against what the blocks hold.
#[test]
fn products_with_blocks_match() {
    for kind in [Blocks::Q8_0, Blocks::Q4_0, Blocks::Q4_1] {
        let blocks = Arc::new(BlockMatrix::new(&M::random(3, 37, 6).tensor(), kind));
        let w = M { rows: 3, columns: 37, v: values(&blocks.dense()).into_iter().map(f64::from).collect() };
        check(&[M::random(4, 37, 5)], |x| frozen_linear(x[0].clone(), blocks.clone()), |x| matmul_t(&x[0], &w));
        check(
            &[M::random(4, 37, 5), M::random(2, 37, 7), M::random(3, 2, 8)],
            |x| frozen_low_rank_linear(x[0].clone(), blocks.clone(), x[1].clone(), x[2].clone(), 0.7),
            |x| {
                let inner = M { rows: 4, columns: 2, v: matmul_t(&x[0], &x[1]) };
                let update = matmul_t(&inner, &x[2]);
                matmul_t(&x[0], &w).iter().zip(update).map(|(a, b)| a + 0.7 * b).collect()
            },
        );
    }
}

#[test]
fn bfloat16_products_are_near_those_of_f32_and_only_where_asked_for() {
    let (x, w) = (M::random(96, 130, 1), M::random(70, 130, 2));
    let mix = M::random(96, 70, 3);
    let run = || {
        let inputs = [&x, &w].map(|m| Tensor::from_inner(m.tensor()).require_grad());
        let out = linear(inputs[0].clone(), inputs[1].clone());
        // The gradient is computed with the precision of the forward pass, wherever it is asked for.
        (values(&out), out, inputs)
    };
    let gradients = |(out, tensor, inputs): (Vec<f32>, Tensor<2>, [Tensor<2>; 2])| {
        let gradients = (tensor * Tensor::from_inner(mix.tensor())).sum().backward();
        let [dx, dw] = inputs.map(|input| values(&input.grad(&gradients).unwrap()));
        [out, dx, dw]
    };
    let exact = gradients(run());
    let rounded = gradients(Precision::Bf16.during(run));
    assert_eq!(gradients(run()), exact, "the choice ends with the work");
    for (exact, rounded) in exact.iter().zip(&rounded) {
        let norm = exact.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>().sqrt();
        let error = exact.iter().zip(rounded).map(|(a, b)| f64::from(a - b).powi(2)).sum::<f64>().sqrt();
        if lore_model::cpu::bf16::is_faster() {
            // Each factor is rounded by at most 2⁻⁹ of itself, in the mean by about 2⁻¹⁰.
            assert!(error < 4e-3 * norm && error > 1e-4 * norm, "{error} of {norm}");
        } else {
            assert_eq!(error, 0.0);
        }
    }
}

#[test]
fn frozen_inputs_get_no_gradient() {
    let (x, w) = (Tensor::from_inner(M::random(4, 6, 1).tensor()), M::random(3, 6, 2).tensor());
    let a = Tensor::from_inner(M::random(2, 6, 3).tensor()).require_grad();
    let b = Tensor::from_inner(M::random(3, 2, 4).tensor()).require_grad();
    let frozen = Tensor::from_inner(w);
    let out = low_rank_linear(x.clone(), frozen.clone(), a.clone(), b.clone(), 1.0);
    let gradients = out.sum().backward();
    assert!(a.grad(&gradients).is_some() && b.grad(&gradients).is_some());
    assert!(x.grad(&gradients).is_none() && frozen.grad(&gradients).is_none());
}
