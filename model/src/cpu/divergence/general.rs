//! Every divergence between two rows of logits by one mechanism: a loss and a slope at each token.

use super::{Sums, arg_max_and_lse, forward_kl};
use crate::cpu::exp::exp;
use rayon::prelude::*;

/// How far a student's distribution `q` is from a teacher's `p`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Divergence {
    /// `KL(p ‖ q)`: the student covers everything the teacher may say.
    ForwardKl,
    /// `KL(q ‖ p)`: the student says only what the teacher may say (Gu et al. 2024, MiniLLM).
    ReverseKl,
    /// `β·KL(p ‖ m) + (1−β)·KL(q ‖ m)` with `m = β·p + (1−β)·q` (Agarwal et al. 2024, GKD); β in (0, 1).
    JensenShannon {
        /// The teacher's share of the mixture.
        beta: f32,
    },
    /// `KL(p ‖ α·p + (1−α)·q)` (Ko et al. 2024, DistiLLM); α in [0, 1).
    SkewForwardKl {
        /// The teacher's share of the mixture.
        alpha: f32,
    },
    /// `KL(q ‖ (1−α)·p + α·q)` (Ko et al. 2024, DistiLLM); α in [0, 1).
    SkewReverseKl {
        /// The student's share of the mixture.
        alpha: f32,
    },
    /// `½·Σ|p − q|` (Wen et al. 2023, f-distill).
    TotalVariation,
}

/// Both distributions at one token.
#[derive(Clone, Copy)]
struct Point {
    p: f32,
    q: f32,
    log_p: f32,
    log_q: f32,
}

/// `x·ln(y)`, which is 0 where `x` is.
#[inline(always)]
fn x_ln(x: f32, y: f32) -> f32 {
    if x > 0.0 { x * y.ln() } else { 0.0 }
}

impl Divergence {
    /// The term of the sum at one token, and its derivative by `q`.
    #[inline(always)]
    fn at(self, Point { p, q, log_p, log_q }: Point) -> (f32, f32) {
        match self {
            Self::ForwardKl => (p * (log_p - log_q), if p > 0.0 { -(log_p - log_q).exp() } else { 0.0 }),
            Self::ReverseKl => (q * (log_q - log_p), log_q - log_p + 1.0),
            Self::JensenShannon { beta } => {
                let m = beta * p + (1.0 - beta) * q;
                if m <= 0.0 {
                    return (0.0, 0.0);
                }
                let loss = beta * x_ln(p, p / m) + (1.0 - beta) * x_ln(q, q / m);
                (loss, (1.0 - beta) * (log_q - m.ln()))
            }
            Self::SkewForwardKl { alpha } => {
                let m = alpha * p + (1.0 - alpha) * q;
                if p <= 0.0 { (0.0, 0.0) } else { (p * (log_p - m.ln()), -p * (1.0 - alpha) / m) }
            }
            Self::SkewReverseKl { alpha } => {
                let m = (1.0 - alpha) * p + alpha * q;
                if m <= 0.0 {
                    return (0.0, 0.0);
                }
                (q * (log_q - m.ln()), log_q - m.ln() + 1.0 - alpha * q / m)
            }
            Self::TotalVariation => {
                let slope = if q > p {
                    0.5
                } else if q < p {
                    -0.5
                } else {
                    0.0
                };
                (0.5 * (p - q).abs(), slope)
            }
        }
    }
}

/// The divergence of each row of `student` from `teacher` (both `[rows, vocabulary]`, logits) at temperature T and
/// multiplied by T² (Hinton et al. 2015), so that gradients keep their size. The student's logits become
/// `d loss / d logits` of the weighted sum.
pub fn divergence(kind: Divergence, teacher: &[f32], student: &mut [f32], weights: &[f32], temperature: f32) -> Sums {
    if kind == Divergence::ForwardKl {
        return forward_kl(teacher, student, weights, temperature);
    }
    let vocabulary = (student.len() / weights.len().max(1)).max(1);
    let rows = student.par_chunks_mut(vocabulary).zip(teacher.par_chunks(vocabulary)).zip(weights);
    let parts: Vec<Sums> = rows
        .map(|((student, teacher), &weight)| {
            if weight == 0.0 {
                student.fill(0.0);
                return Sums::default();
            }
            row(kind, teacher, student, weight, temperature)
        })
        .collect();
    Sums::of(parts)
}

fn row(kind: Divergence, teacher: &[f32], student: &mut [f32], weight: f32, temperature: f32) -> Sums {
    let inverse = 1.0 / temperature;
    let (p_max, p_lse) = arg_max_and_lse(teacher, inverse);
    let (q_max, q_lse) = arg_max_and_lse(student, inverse);
    let point = |p: f32, q: f32| {
        let (log_p, log_q) = (p * inverse - p_lse, q * inverse - q_lse);
        Point { p: exp(log_p), q: exp(log_q), log_p, log_q }
    };
    let (mut loss, mut mean_slope, mut entropy, mut overlap) = (0.0f64, 0.0f64, 0.0f64, 0.0f64);
    for (&p, &q) in teacher.iter().zip(&*student) {
        let here = point(p, q);
        let (term, slope) = kind.at(here);
        loss += f64::from(term);
        mean_slope += f64::from(here.q * slope);
        entropy -= f64::from(here.p * here.log_p);
        overlap += f64::from(here.p.min(here.q));
    }
    // Through the softmax: d loss / d z = q · (slope − Σ q · slope) / T.
    let (mean_slope, scale) = (mean_slope as f32, weight * temperature);
    for (&p, q) in teacher.iter().zip(student) {
        let here = point(p, *q);
        let (_, slope) = kind.at(here);
        *q = here.q * (slope - mean_slope) * scale;
    }
    let weight = f64::from(weight);
    Sums {
        loss: loss * weight * f64::from(temperature).powi(2),
        target_entropy: entropy * weight,
        agreement: if p_max == q_max { weight } else { 0.0 },
        overlap: overlap * weight,
    }
}
