//! Losses of the head.

use burn::tensor::Tensor;
use lore_model::ops::head::{Divergence, SparseTargets, Target, head_loss};
use lore_model::ops::host::values;
use std::sync::Arc;

use crate::oracle::{M, check, matmul_t};

fn log_softmax(logits: &[f64]) -> Vec<f64> {
    let max = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let lse = max + logits.iter().map(|x| (x - max).exp()).sum::<f64>().ln();
    logits.iter().map(|x| x - lse).collect()
}

#[test]
fn cross_entropy_head_matches() {
    let labels = vec![3, 0, 6, 2];
    let weights = vec![0.5, 0.0, 0.25, 0.25];
    check(
        &[M::random(4, 5, 14), M::random(7, 5, 15)],
        |x| {
            let target = Target::Labels(Arc::new(labels.clone()));
            head_loss(x[0].clone(), x[1].clone(), target, Arc::new(weights.clone())).0
        },
        |x| {
            let logits = matmul_t(&x[0], &x[1]);
            let row = |r: usize| log_softmax(&logits[r * 7..(r + 1) * 7])[labels[r] as usize];
            vec![-(0..4).map(|r| f64::from(weights[r]) * row(r)).sum::<f64>()]
        },
    );
}

#[test]
fn forward_kl_head_matches_at_two_temperatures() {
    for temperature in [1.0f32, 2.5] {
        let (teacher_hidden, teacher_head) = (M::random(3, 4, 16), M::random(20, 4, 17));
        let weights = vec![0.25, 0.5, 0.25];
        let t = f64::from(temperature);
        check(
            &[M::random(3, 5, 18), M::random(20, 5, 19)],
            |x| {
                let target = Target::Teacher {
                    hidden: teacher_hidden.tensor(),
                    head: teacher_head.tensor(),
                    temperature,
                    divergence: Divergence::ForwardKl,
                };
                head_loss(x[0].clone(), x[1].clone(), target, Arc::new(weights.clone())).0
            },
            |x| {
                let (p, q) = (matmul_t(&teacher_hidden, &teacher_head), matmul_t(&x[0], &x[1]));
                let rows = |z: &[f64], r: usize| {
                    log_softmax(&z[r * 20..(r + 1) * 20].iter().map(|x| x / t).collect::<Vec<_>>())
                };
                let row = |r: usize| {
                    let (p, q) = (rows(&p, r), rows(&q, r));
                    p.iter().zip(&q).map(|(p, q)| p.exp() * (p - q)).sum::<f64>() * t * t
                };
                vec![(0..3).map(|r| f64::from(weights[r]) * row(r)).sum()]
            },
        );
    }
}

/// `Σ term` of each divergence between log-probabilities, straight from the definitions.
fn naive_divergence(kind: Divergence, log_p: &[f64], log_q: &[f64]) -> f64 {
    let kl = |a: &dyn Fn(usize) -> f64, b: &dyn Fn(usize) -> f64| -> f64 {
        (0..log_p.len()).map(|i| a(i) * (a(i).ln() - b(i).ln())).sum()
    };
    let (p, q) = (|i: usize| log_p[i].exp(), |i: usize| log_q[i].exp());
    let mix = |share: f32| move |i: usize| f64::from(share) * p(i) + (1.0 - f64::from(share)) * q(i);
    match kind {
        Divergence::ForwardKl => kl(&p, &q),
        Divergence::ReverseKl => kl(&q, &p),
        Divergence::JensenShannon { beta } => {
            let m = mix(beta);
            f64::from(beta) * kl(&p, &m) + (1.0 - f64::from(beta)) * kl(&q, &m)
        }
        Divergence::SkewForwardKl { alpha } => kl(&p, &mix(alpha)),
        Divergence::SkewReverseKl { alpha } => kl(&q, &mix(1.0 - alpha)),
        Divergence::TotalVariation => (0..log_p.len()).map(|i| 0.5 * (p(i) - q(i)).abs()).sum(),
    }
}

#[test]
fn every_divergence_matches_its_definition() {
    let kinds = [
        Divergence::ForwardKl,
        Divergence::ReverseKl,
        Divergence::JensenShannon { beta: 0.5 },
        Divergence::JensenShannon { beta: 0.1 },
        Divergence::SkewForwardKl { alpha: 0.1 },
        Divergence::SkewReverseKl { alpha: 0.1 },
        Divergence::TotalVariation,
    ];
    for (kind, temperature) in kinds.into_iter().flat_map(|kind| [(kind, 1.0f32), (kind, 2.5)]) {
        let (teacher_hidden, teacher_head) = (M::random(3, 4, 16), M::random(20, 4, 17));
        let weights = vec![0.25, 0.5, 0.25];
        let t = f64::from(temperature);
        check(
            &[M::random(3, 5, 18), M::random(20, 5, 19)],
            |x| {
                let (hidden, head) = (teacher_hidden.tensor(), teacher_head.tensor());
                let target = Target::Teacher { hidden, head, temperature, divergence: kind };
                head_loss(x[0].clone(), x[1].clone(), target, Arc::new(weights.clone())).0
            },
            |x| {
                let (p, q) = (matmul_t(&teacher_hidden, &teacher_head), matmul_t(&x[0], &x[1]));
                let rows = |z: &[f64], r: usize| {
                    log_softmax(&z[r * 20..(r + 1) * 20].iter().map(|x| x / t).collect::<Vec<_>>())
                };
                let row = |r: usize| naive_divergence(kind, &rows(&p, r), &rows(&q, r)) * t * t;
                vec![(0..3).map(|r| f64::from(weights[r]) * row(r)).sum()]
            },
        );
    }
}

#[test]
fn a_few_drawn_tokens_match_their_definition() {
    let targets = SparseTargets {
        offsets: vec![0, 2, 3, 6],
        ids: vec![4, 19, 0, 7, 8, 9],
        probabilities: vec![0.75, 0.25, 1.0, 0.5, 0.25, 0.25],
        entropies: vec![0.5, 0.0, 1.0],
    };
    let weights = vec![0.25, 0.5, 0.25];
    check(
        &[M::random(3, 5, 18), M::random(20, 5, 19)],
        |x| {
            let target = Target::Drawn(Arc::new(targets.clone()));
            head_loss(x[0].clone(), x[1].clone(), target, Arc::new(weights.clone())).0
        },
        |x| {
            let logits = matmul_t(&x[0], &x[1]);
            let row = |r: usize| {
                let log_q = log_softmax(&logits[r * 20..(r + 1) * 20]);
                let cross: f64 = targets.row(r).map(|(id, p)| -f64::from(p) * log_q[id as usize]).sum();
                cross - f64::from(targets.entropies[r])
            };
            vec![(0..3).map(|r| f64::from(weights[r]) * row(r)).sum()]
        },
    );
}

#[test]
fn a_student_equal_to_its_teacher_has_no_divergence() {
    let (hidden, head) = (M::random(300, 8, 20), M::random(50, 8, 21));
    let target = Target::Teacher {
        hidden: hidden.tensor(),
        head: head.tensor(),
        temperature: 1.0,
        divergence: Divergence::ForwardKl,
    };
    let tracked = Tensor::from_inner(hidden.tensor()).require_grad();
    let weights = Arc::new(vec![1.0 / 300.0; 300]);
    let (loss, sums) = head_loss(tracked.clone(), Tensor::from_inner(head.tensor()), target, weights);
    assert_eq!(sums.loss, 0.0);
    assert!((sums.agreement - 1.0).abs() < 1e-6 && (sums.overlap - 1.0).abs() < 1e-5);
    let gradient = tracked.grad(&loss.backward()).unwrap();
    assert!(values(&gradient).iter().all(|&x| x == 0.0));
}
