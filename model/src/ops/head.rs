//! The language-model head and its losses, a chunk of positions at a time.
//!
//! Logits of a whole batch never exist: each chunk's logits, loss and gradient are computed while they
//! are small, and only the gradients of the hidden states and of the head are kept.

use super::host::{host, matrix, values};
use super::precision::Precision;
use super::product::Factor::{Plain, Transposed};
use super::product::sum_of_products;
use super::{Function, apply};
use crate::cpu::divergence;
use crate::cpu::matmul::{Matrix, Output};
use burn::tensor::{Int, Tensor, TensorData, activation};
use std::sync::{Arc, Mutex};

pub use crate::cpu::divergence::{Divergence, SparseTargets, Sums};

/// Positions whose logits exist at the same time.
const CHUNK: usize = 128;

/// What the distribution at each position is held against.
#[derive(Clone, Debug)]
// There is one of these per step: its size is of no matter.
#[allow(clippy::large_enum_variant)]
pub enum Target {
    /// Cross-entropy against one token per row.
    Labels(Arc<Vec<u32>>),
    /// A divergence from a teacher over the same vocabulary, by its final hidden states `[rows, teacher width]` and
    /// its head `[vocabulary, teacher width]`.
    Teacher {
        /// Normalised hidden states, outside any graph.
        hidden: Tensor<2>,
        /// The teacher's head.
        head: Tensor<2>,
        /// Softmax temperature of both; the loss is multiplied by its square.
        temperature: f32,
        /// Which divergence.
        divergence: Divergence,
    },
    /// Forward Kullback–Leibler divergence from a few drawn tokens of each row's distribution.
    Drawn(Arc<SparseTargets>),
}

#[derive(Clone, Debug)]
struct HeadLoss {
    target: Target,
    weights: Arc<Vec<f32>>,
    sums: Arc<Mutex<Sums>>,
    precision: Precision,
}

/// The weighted sum of row losses as a `[1, 1]` tensor, and the figures beside it.
///
/// `hidden: [rows, width]` are normalised final states, `head: [vocabulary, width]`; `weights` has one
/// entry per row, zero where there is nothing to learn. Divide them by their sum for a mean.
pub fn head_loss(hidden: Tensor<2>, head: Tensor<2>, target: Target, weights: Arc<Vec<f32>>) -> (Tensor<2>, Sums) {
    assert_eq!(hidden.dims()[0], weights.len(), "one weight per row");
    let sums = Arc::new(Mutex::new(Sums::default()));
    let loss = apply(HeadLoss { target, weights, sums: sums.clone(), precision: Precision::chosen() }, [hidden, head]);
    let sums = *sums.lock().expect("no panic while the sums were held");
    (loss, sums)
}

/// Logits `[rows, vocabulary]`; for a few rows.
pub fn logits(hidden: Tensor<2>, head: Tensor<2>) -> Tensor<2> {
    sum_of_products(&[(Plain(&hidden), Transposed(&head), 1.0)], Precision::chosen())
}

/// Log-probability of tokens at some rows, and whether each is the most likely one; `asked` is in the order of rows. On
/// the CPU and with at least 65 rows, what is said of a row does not depend on the others, to the last bit.
pub fn log_likelihoods(hidden: &Tensor<2>, head: &Tensor<2>, asked: &[(usize, u32)]) -> Vec<(f32, bool)> {
    let ([rows, width], [vocabulary, _]) = (hidden.dims(), head.dims());
    let precision = Precision::chosen();
    let on_host = host([hidden, head]);
    divergence::scores::log_likelihoods([rows, vocabulary], asked, |out, rows, tokens| match &on_host {
        Some([states, head]) => {
            let [states, head] = [states, head].map(|host| Matrix::new(host.values(), host.rows, host.columns));
            precision.matmul(out, states.slice(rows), head.slice(tokens).transposed(), 1.0, Output::Replace);
        }
        None => {
            let part = |x: &Tensor<2>, rows| x.clone().slice([rows, 0..width]);
            out.copy_from_slice(&values(&logits(part(hidden, rows), part(head, tokens))));
        }
    })
}

impl HeadLoss {
    fn on_host(&self, hidden: &Tensor<2>, head: &Tensor<2>, wanted: [bool; 2]) -> Option<(Sums, Vec<Tensor<2>>)> {
        let [states, matrix_host] = host([hidden, head])?;
        let teacher = match &self.target {
            Target::Labels(_) | Target::Drawn(_) => None,
            Target::Teacher { hidden, head, .. } => Some(host([hidden, head])?),
        };
        let (rows, width, vocabulary) = (states.rows, states.columns, matrix_host.rows);
        let head_view = Matrix::new(matrix_host.values(), vocabulary, width);
        let mut d_hidden = vec![0.0; if wanted[0] { rows * width } else { 0 }];
        let mut d_head = vec![0.0; if wanted[1] { vocabulary * width } else { 0 }];
        let mut student = vec![0.0; CHUNK.min(rows) * vocabulary];
        let mut teacher_logits = vec![0.0; if teacher.is_some() { student.len() } else { 0 }];
        let mut sums = Sums::default();
        for start in (0..rows).step_by(CHUNK) {
            let range = start..(start + CHUNK).min(rows);
            let count = range.len();
            let states = Matrix::new(&states.values()[start * width..range.end * width], count, width);
            let student = &mut student[..count * vocabulary];
            self.precision.matmul(student, states, head_view.transposed(), 1.0, Output::Replace);
            let weights = &self.weights[range.clone()];
            let part = match (&self.target, &teacher) {
                (Target::Labels(labels), _) => divergence::cross_entropy(student, &labels[range.clone()], weights),
                (Target::Drawn(targets), _) => divergence::sparse_cross_entropy(student, targets, start, weights),
                (Target::Teacher { temperature, divergence: kind, .. }, Some([hidden, head])) => {
                    let teacher_logits = &mut teacher_logits[..count * vocabulary];
                    let hidden_chunk = &hidden.values()[start * hidden.columns..range.end * hidden.columns];
                    self.precision.matmul(
                        teacher_logits,
                        Matrix::new(hidden_chunk, count, hidden.columns),
                        Matrix::new(head.values(), head.rows, head.columns).transposed(),
                        1.0,
                        Output::Replace,
                    );
                    divergence::divergence(*kind, teacher_logits, student, weights, *temperature)
                }
                (Target::Teacher { .. }, None) => unreachable!("the teacher was viewed above"),
            };
            sums.add(part);
            let gradient = Matrix::new(student, count, vocabulary);
            if wanted[0] {
                let out = &mut d_hidden[start * width..range.end * width];
                self.precision.matmul(out, gradient, head_view, 1.0, Output::Replace);
            }
            if wanted[1] {
                self.precision.matmul(&mut d_head, gradient.transposed(), states, 1.0, Output::Accumulate);
            }
        }
        let device = hidden.device();
        let mut saved = Vec::new();
        if wanted[0] {
            saved.push(matrix(d_hidden, rows, width, &device));
        }
        if wanted[1] {
            saved.push(matrix(d_head, vocabulary, width, &device));
        }
        Some((sums, saved))
    }

    fn composed(&self, hidden: &Tensor<2>, head: &Tensor<2>, wanted: [bool; 2]) -> (Sums, Vec<Tensor<2>>) {
        let device = hidden.device();
        let ([rows, width], [vocabulary, _]) = (hidden.dims(), head.dims());
        let (mut d_hidden, mut d_head) = (Vec::new(), None::<Tensor<2>>);
        let mut sums = Sums::default();
        for start in (0..rows).step_by(CHUNK) {
            let range = start..(start + CHUNK).min(rows);
            let states = hidden.clone().slice([range.clone(), 0..width]);
            let weights = self.weights[range.clone()].to_vec();
            let weights = Tensor::<2>::from_data(TensorData::new(weights, [range.len(), 1]), &device);
            let student = states.clone().matmul(head.clone().transpose());
            let (part, gradient) = match &self.target {
                Target::Labels(labels) => {
                    let labels: Vec<i32> = labels[range.clone()].iter().map(|&label| label as i32).collect();
                    let labels = Tensor::<2, Int>::from_data(TensorData::new(labels, [range.len(), 1]), &device);
                    let log_q = activation::log_softmax(student.clone(), 1);
                    let loss = log_q.clone().gather(1, labels.clone()).neg() * weights.clone();
                    let hits = student.argmax(1).equal(labels.clone()).float() * weights.clone();
                    let one_hot = Tensor::<2>::zeros([range.len(), vocabulary], &device).scatter(
                        1,
                        labels,
                        Tensor::ones([range.len(), 1], &device),
                        burn::tensor::IndexingUpdateOp::Add,
                    );
                    let part = Sums { loss: total(loss), agreement: total(hits), ..Sums::default() };
                    (part, (log_q.exp() - one_hot) * weights)
                }
                Target::Drawn(targets) => {
                    let mut logits = values(&student);
                    let part =
                        divergence::sparse_cross_entropy(&mut logits, targets, start, &self.weights[range.clone()]);
                    (part, matrix(logits, range.len(), vocabulary, &device))
                }
                Target::Teacher { hidden, head, temperature, divergence: kind } if *kind != Divergence::ForwardKl => {
                    let [_, teacher_width] = hidden.dims();
                    let states = hidden.clone().slice([range.clone(), 0..teacher_width]);
                    let teacher = values(&states.matmul(head.clone().transpose()));
                    let mut logits = values(&student);
                    let weights = &self.weights[range.clone()];
                    let part = divergence::divergence(*kind, &teacher, &mut logits, weights, *temperature);
                    (part, matrix(logits, range.len(), vocabulary, &device))
                }
                Target::Teacher { hidden, head, temperature, .. } => {
                    let t = f64::from(*temperature);
                    let [_, teacher_width] = hidden.dims();
                    let states = hidden.clone().slice([range.clone(), 0..teacher_width]);
                    let teacher = states.matmul(head.clone().transpose());
                    let hits = student.clone().argmax(1).equal(teacher.clone().argmax(1)).float() * weights.clone();
                    let log_p = activation::log_softmax(teacher / t, 1);
                    let log_q = activation::log_softmax(student / t, 1);
                    let (p, q) = (log_p.clone().exp(), log_q.clone().exp());
                    let loss = (p.clone() * (log_p.clone() - log_q)).sum_dim(1) * weights.clone() * (t * t);
                    let entropy = (p.clone() * log_p).sum_dim(1).neg() * weights.clone();
                    let overlap = p.clone().min_pair(q.clone()).sum_dim(1) * weights.clone();
                    let part = Sums {
                        loss: total(loss),
                        target_entropy: total(entropy),
                        agreement: total(hits),
                        overlap: total(overlap),
                    };
                    (part, (q - p) * weights * t)
                }
            };
            sums.add(part);
            if wanted[0] {
                d_hidden.push(gradient.clone().matmul(head.clone()));
            }
            if wanted[1] {
                let term = gradient.transpose().matmul(states);
                d_head = Some(match d_head {
                    Some(sum) => sum + term,
                    None => term,
                });
            }
        }
        let mut saved = Vec::new();
        if wanted[0] {
            saved.push(Tensor::cat(d_hidden, 0));
        }
        saved.extend(d_head);
        (sums, saved)
    }
}

fn total(x: Tensor<2>) -> f64 {
    values(&x.sum().reshape([1, 1])).into_iter().map(f64::from).sum()
}

impl Function<2> for HeadLoss {
    fn forward(&self, [hidden, head]: [Tensor<2>; 2], wanted: [bool; 2]) -> (Tensor<2>, Vec<Tensor<2>>) {
        let (sums, saved) =
            self.on_host(&hidden, &head, wanted).unwrap_or_else(|| self.composed(&hidden, &head, wanted));
        *self.sums.lock().expect("no panic while the sums were held") = sums;
        (matrix(vec![sums.loss as f32], 1, 1, &hidden.device()), saved)
    }

    fn backward(&self, saved: Vec<Tensor<2>>, dy: Tensor<2>, wanted: [bool; 2]) -> [Option<Tensor<2>>; 2] {
        let factor = values(&dy)[0];
        let mut saved = saved.into_iter().map(|x| if factor == 1.0 { x } else { x * factor });
        wanted.map(|wanted| wanted.then(|| saved.next().expect("forward saved what is wanted")))
    }
}
