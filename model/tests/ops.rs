//! Every operation against a naive `f64` computation: values and gradients, over odd shapes.
#![allow(missing_docs, clippy::unwrap_used)]

use burn::tensor::{Device, Tensor};
use lore_model::cpu::attention::Heads;
use lore_model::cpu::rotary::RotaryTable;
use lore_model::ops::attention::attention;
use lore_model::ops::embedding::embedding;
use lore_model::ops::head::{Divergence, SparseTargets, Target, head_loss};
use lore_model::ops::host::{matrix, values};
use lore_model::ops::precision::Precision;
use lore_model::ops::projection::{frozen_linear, frozen_low_rank_linear, linear, low_rank, low_rank_linear};
use lore_model::ops::rms_norm::rms_norm;
use lore_model::ops::rotary::rotary;
use lore_model::ops::sequences::Sequences;
use lore_model::ops::swiglu::swiglu;
use lore_model::projection::{LowRank, Mask, Projection, Weight};
use lore_model::quantised::{BlockMatrix, Blocks};
use lore_model::sampling::Random;
use std::sync::Arc;

/// A small matrix in `f64`, the oracle's number type.
#[derive(Clone)]
struct M {
    rows: usize,
    columns: usize,
    v: Vec<f64>,
}

impl M {
    fn random(rows: usize, columns: usize, seed: u64) -> Self {
        let mut random = Random::new(seed, 1);
        // Rounded to f32, so that both sides start from the same numbers.
        let v = (0..rows * columns).map(|_| f64::from(random.normal() as f32)).collect();
        Self { rows, columns, v }
    }
    fn at(&self, r: usize, c: usize) -> f64 {
        self.v[r * self.columns + c]
    }
    fn tensor(&self) -> Tensor<2> {
        matrix(self.v.iter().map(|&x| x as f32).collect(), self.rows, self.columns, &Device::flex())
    }
}

/// Checks the value and the gradients of `Σ op(inputs) · weights` against `oracle` by central differences.
fn check(inputs: &[M], op: impl Fn(&[Tensor<2>]) -> Tensor<2>, oracle: impl Fn(&[M]) -> Vec<f64>) {
    let expected = oracle(inputs);
    let tracked: Vec<Tensor<2>> = inputs.iter().map(|x| Tensor::from_inner(x.tensor()).require_grad()).collect();
    let out = op(&tracked);
    let [rows, columns] = out.dims();
    let found = values(&out);
    assert_eq!(found.len(), expected.len());
    for (i, (a, b)) in found.iter().zip(&expected).enumerate() {
        assert!((f64::from(*a) - b).abs() <= 2e-5 * (1.0 + b.abs()), "value {i}: {a} against {b}");
    }
    let mix = M::random(rows, columns, 99);
    let gradients = (out * Tensor::from_inner(mix.tensor())).sum().backward();
    let objective = |inputs: &[M]| oracle(inputs).iter().zip(&mix.v).map(|(a, b)| a * b).sum::<f64>();
    for (which, input) in inputs.iter().enumerate() {
        let found = values(&tracked[which].grad(&gradients).expect("a tracked input has a gradient"));
        assert_eq!(found.len(), input.v.len());
        for (i, found) in found.into_iter().enumerate() {
            let step = 1e-5;
            let mut moved = inputs.to_vec();
            moved[which].v[i] += step;
            let up = objective(&moved);
            moved[which].v[i] -= 2.0 * step;
            let slope = (up - objective(&moved)) / (2.0 * step);
            let error = (f64::from(found) - slope).abs();
            assert!(error <= 2e-4 * (1.0 + slope.abs()), "input {which}, value {i}: {found} against {slope}");
        }
    }
    // With nothing tracked the same numbers come out.
    let plain: Vec<Tensor<2>> = inputs.iter().map(M::tensor).collect();
    assert_eq!(values(&op(&plain)), values(&op(&tracked)));
}

fn matmul_t(x: &M, w: &M) -> Vec<f64> {
    let mut out = Vec::new();
    for r in 0..x.rows {
        for c in 0..w.rows {
            out.push((0..x.columns).map(|k| x.at(r, k) * w.at(c, k)).sum());
        }
    }
    out
}

#[test]
fn rms_norm_matches() {
    for (rows, width) in [(1, 3), (5, 16), (3, 37)] {
        check(
            &[M::random(rows, width, 1), M::random(1, width, 2)],
            |x| rms_norm(x[0].clone(), x[1].clone(), 1e-5),
            |x| {
                let mut out = Vec::new();
                for r in 0..rows {
                    let mean = (0..width).map(|c| x[0].at(r, c).powi(2)).sum::<f64>() / width as f64;
                    out.extend((0..width).map(|c| x[0].at(r, c) / (mean + 1e-5).sqrt() * x[1].at(0, c)));
                }
                out
            },
        );
    }
}

#[test]
fn swiglu_matches() {
    check(
        &[M::random(3, 21, 3), M::random(3, 21, 4)],
        |x| swiglu(x[0].clone(), x[1].clone()),
        |x| x[0].v.iter().zip(&x[1].v).map(|(g, u)| g / (1.0 + (-g).exp()) * u).collect(),
    );
}

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

/// DoRA's rows brought to given lengths, with gradients that take the lengths divided by for constants.
#[test]
fn an_update_with_magnitudes_matches() {
    let w = M::random(3, 7, 6);
    let squares: Vec<f64> = (0..3).map(|r| (0..7).map(|c| w.at(r, c).powi(2)).sum()).collect();
    let (a, b) = (M::random(2, 7, 7), M::random(3, 2, 8));
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
        let (plain, update) = (matmul_t(&x[0], &w), matmul_t(&inner, &x[2]));
        let gain = |i: usize| x[3].at(0, i % 3) / lengths[i % 3];
        plain.iter().zip(update).enumerate().map(|(i, (a, b))| gain(i) * (a + 0.7 * b)).collect()
    });
}

/// Without a direction nothing is brought to a length: the row stays zero, `B` learns as without magnitudes, and the
/// magnitude does not learn.
#[test]
fn a_row_of_zeros_with_a_magnitude_stays_zero_and_learns() {
    let (mut w, a, mut b) = (M::random(3, 7, 6), M::random(2, 7, 7), M::random(3, 2, 8));
    w.v[7..14].fill(0.0);
    b.v[2..4].fill(0.0);
    let squares: Vec<f64> = (0..3).map(|r| (0..7).map(|c| w.at(r, c).powi(2)).sum()).collect();
    let length = |r: usize| {
        let moved = |c: usize| w.at(r, c) + 0.7 * (0..2).map(|k| b.at(r, k) * a.at(k, c)).sum::<f64>();
        (0..7).map(|c| moved(c).powi(2)).sum::<f64>().sqrt()
    };
    let lengths: Vec<f64> = (0..3).map(length).collect();
    assert_eq!(lengths[1], 0.0);
    let projection = |x: &[Tensor<2>]| {
        let weight = Weight::Dense(w.tensor());
        let update = LowRank::new(x[1].clone(), x[2].clone(), 0.7).with_magnitude(x[3].clone(), &weight, &squares);
        Projection { weight, bias: None, update: Some(update), beside: Vec::new() }.forward(x[0].clone())
    };
    check(&[M::random(4, 7, 5), a.clone(), b.clone(), M::random(1, 3, 9)], projection, |x| {
        let inner = M { rows: 4, columns: 2, v: matmul_t(&x[0], &x[1]) };
        let (plain, update) = (matmul_t(&x[0], &w), matmul_t(&inner, &x[2]));
        let gain = |r: usize| if r == 1 { 1.0 } else { x[3].at(0, r) / lengths[r] };
        plain.iter().zip(update).enumerate().map(|(i, (a, b))| gain(i % 3) * (a + 0.7 * b)).collect()
    });
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

#[test]
fn embedding_matches_with_repeated_tokens() {
    check(
        &[M::random(6, 3, 9)],
        |x| embedding(x[0].clone(), Arc::new(vec![2, 5, 2, 0])),
        |x| [2, 5, 2, 0].iter().flat_map(|&t| (0..3).map(move |c| (t, c))).map(|(t, c)| x[0].at(t, c)).collect(),
    );
}

#[test]
fn rotary_matches_rotate_half() {
    let (heads, dim) = (2, 6);
    let frequencies = [1.0, 0.3, 0.05];
    let table = Arc::new(RotaryTable::new(&frequencies, 16));
    let positions = vec![0, 3, 11];
    check(
        &[M::random(3, heads * dim, 10)],
        |x| rotary(x[0].clone(), Arc::new(positions.clone()), heads, table.clone()),
        |x| {
            let mut out = vec![0.0; 3 * heads * dim];
            for r in 0..3 {
                for h in 0..heads {
                    for i in 0..dim / 2 {
                        let angle = f64::from(positions[r]) * frequencies[i];
                        let (low, high) = (x[0].at(r, h * dim + i), x[0].at(r, h * dim + i + dim / 2));
                        out[r * heads * dim + h * dim + i] = low * angle.cos() - high * angle.sin();
                        out[r * heads * dim + h * dim + i + dim / 2] = high * angle.cos() + low * angle.sin();
                    }
                }
            }
            out
        },
    );
}

fn naive_attention(x: &[M], lengths: &[usize], heads: Heads) -> Vec<f64> {
    let mut out = vec![0.0; x[0].rows * heads.query * heads.dim];
    let mut first = 0;
    for &length in lengths {
        for h in 0..heads.query {
            let g = h / (heads.query / heads.key_value);
            for i in first..first + length {
                let score = |j: usize| {
                    (0..heads.dim).map(|c| x[0].at(i, h * heads.dim + c) * x[1].at(j, g * heads.dim + c)).sum::<f64>()
                        / (heads.dim as f64).sqrt()
                };
                let total: f64 = (first..=i).map(|j| score(j).exp()).sum();
                for j in first..=i {
                    let p = score(j).exp() / total;
                    for c in 0..heads.dim {
                        out[i * heads.query * heads.dim + h * heads.dim + c] += p * x[2].at(j, g * heads.dim + c);
                    }
                }
            }
        }
        first += length;
    }
    out
}

#[test]
fn attention_matches_over_ragged_sequences() {
    for (lengths, heads) in [
        (vec![5], Heads { query: 1, key_value: 1, dim: 4 }),
        (vec![3, 1, 6], Heads { query: 4, key_value: 2, dim: 2 }),
        (vec![2, 7], Heads { query: 3, key_value: 1, dim: 6 }),
    ] {
        let rows = lengths.iter().sum();
        let sequences = Arc::new(Sequences::whole(&lengths));
        check(
            &[
                M::random(rows, heads.query * heads.dim, 11),
                M::random(rows, heads.key_value * heads.dim, 12),
                M::random(rows, heads.key_value * heads.dim, 13),
            ],
            |x| attention(x[0].clone(), x[1].clone(), x[2].clone(), sequences.clone(), heads),
            |x| naive_attention(x, &lengths, heads),
        );
    }
}

#[test]
fn attention_over_several_blocks_matches() {
    let heads = Heads { query: 2, key_value: 1, dim: 8 };
    let lengths = [150, 65];
    let inputs = [M::random(215, 16, 1), M::random(215, 8, 2), M::random(215, 8, 3)];
    let expected = naive_attention(&inputs, &lengths, heads);
    let [q, k, v] = [0, 1, 2].map(|i| inputs[i].tensor());
    let found = values(&attention(q, k, v, Arc::new(Sequences::whole(&lengths)), heads));
    let worst = found.iter().zip(&expected).map(|(a, b)| (f64::from(*a) - b).abs()).fold(0.0, f64::max);
    assert!(worst < 1e-5, "{worst}");
}

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
        if lore_model::cpu::bf16::available() {
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

#[test]
fn a_shared_prefix_is_the_same_as_repeating_it() {
    let heads = Heads { query: 4, key_value: 2, dim: 4 };
    let (prefix, ends) = (70, [1, 5, 66]);
    let rows = prefix + ends.iter().sum::<usize>();
    let [q, k, v] = [(16, 1), (8, 2), (8, 3)].map(|(width, seed)| M::random(rows, width, seed));
    let parts: Vec<(usize, Option<usize>)> =
        std::iter::once((prefix, None)).chain(ends.map(|length| (length, Some(0)))).collect();
    let branching = Arc::new(Sequences::branching(&parts));
    let shared = values(&attention(q.tensor(), k.tensor(), v.tensor(), branching, heads));
    let mut first = prefix;
    for length in ends {
        let own: Vec<usize> = (0..prefix).chain(first..first + length).collect();
        let pick = |m: &M| M {
            rows: own.len(),
            columns: m.columns,
            v: own.iter().flat_map(|&r| m.v[r * m.columns..(r + 1) * m.columns].to_vec()).collect(),
        };
        let alone = naive_attention(&[pick(&q), pick(&k), pick(&v)], &[prefix + length], heads);
        for i in 0..length * 16 {
            let (found, expected) = (shared[first * 16 + i], alone[prefix * 16 + i]);
            assert!((f64::from(found) - expected).abs() < 1e-5, "{found} against {expected}");
        }
        first += length;
    }
}
