//! What else an update of a projection does: magnitudes, masks, a start that is taken out.

use burn::tensor::Tensor;
use lore_model::projection::{LowRank, Mask, Projection, Weight};

use crate::oracle::{M, check, matmul_t};

/// DoRA's rows brought to given lengths, with gradients that take the lengths divided by for constants. A row of zeros has no
/// direction to be brought to one: it stays zero, `b` learns as without magnitudes, and the magnitude does not learn.
fn check_magnitudes(w: &M, b: &M) {
    let squares: Vec<f64> = (0..3).map(|r| (0..7).map(|c| w.at(r, c).powi(2)).sum()).collect();
    let a = M::random(2, 7, 7);
    let length = |r: usize| {
        let moved = |c: usize| w.at(r, c) + 0.7 * (0..2).map(|k| b.at(r, k) * a.at(k, c)).sum::<f64>();
        (0..7).map(|c| moved(c).powi(2)).sum::<f64>().sqrt()
    };
    let lengths: Vec<f64> = (0..3).map(length).collect();
    let projection = |x: &[Tensor<2>]| {
        let weight = Weight::Dense(w.tensor());
        let update = LowRank::new(x[1].clone(), x[2].clone(), 0.7).with_magnitude(x[3].clone(), &weight, &squares);
        Projection { weight, bias: None, update: Some(update), beside: Vec::new() }.forward(x[0].clone())
    };
    check(&[M::random(4, 7, 5), a.clone(), b.clone(), M::random(1, 3, 9)], projection, |x| {
        let inner = M { rows: 4, columns: 2, v: matmul_t(&x[0], &x[1]) };
        let (plain, update) = (matmul_t(&x[0], w), matmul_t(&inner, &x[2]));
        let gain = |r: usize| if lengths[r] == 0.0 { 1.0 } else { x[3].at(0, r) / lengths[r] };
        plain.iter().zip(update).enumerate().map(|(i, (a, b))| gain(i % 3) * (a + 0.7 * b)).collect()
    });
}

#[test]
fn an_update_with_magnitudes_matches() {
    let (mut w, mut b) = (M::random(3, 7, 6), M::random(3, 2, 8));
    check_magnitudes(&w, &b);
    w.v[7..14].fill(0.0);
    // What the factors make of a row of zeros has a direction.
    check_magnitudes(&w, &b);
    b.v[2..4].fill(0.0);
    check_magnitudes(&w, &b);
}

/// In training: inputs of the update that are left out, and where it began taken out again.
#[test]
fn an_update_with_a_mask_and_a_start_matches() {
    let (w, first_a, first_b) = (M::random(3, 7, 6), M::random(2, 7, 10), M::random(3, 2, 11));
    let mask = M { rows: 4, columns: 7, v: (0..28).map(|i| if i % 3 == 0 { 0.0 } else { 1.5 }).collect() };
    let projection = |x: &[Tensor<2>]| {
        let factors = mask.tensor();
        let update = LowRank {
            mask: Some(Mask::new(move || factors.clone())),
            start: Some((first_a.tensor(), first_b.tensor())),
            ..LowRank::new(x[1].clone(), x[2].clone(), 0.7)
        };
        let weight = Weight::Dense(w.tensor());
        Projection { weight, bias: None, update: Some(update), beside: Vec::new() }.forward(x[0].clone())
    };
    check(&[M::random(4, 7, 5), M::random(2, 7, 7), M::random(3, 2, 8)], projection, |x| {
        let kept = M { rows: 4, columns: 7, v: x[0].v.iter().zip(&mask.v).map(|(x, m)| x * m).collect() };
        let update = |a: &M, b: &M| matmul_t(&M { rows: 4, columns: 2, v: matmul_t(&kept, a) }, b);
        let (now, first) = (update(&x[1], &x[2]), update(&first_a, &first_b));
        let change = now.iter().zip(&first).map(|(now, first)| 0.7 * (now - first));
        matmul_t(&x[0], &w).into_iter().zip(change).map(|(frozen, change)| frozen + change).collect()
    });
}
