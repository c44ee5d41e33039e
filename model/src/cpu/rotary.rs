//! Rotary position embedding in the rotate-half layout (Su et al. 2021; Hugging Face's Llama).

use super::{rows_per_task, vectorised};
use rayon::prelude::*;

/// Cosines and sines of every position, `[positions, head_dim / 2]` each.
#[derive(Clone, Debug)]
pub struct RotaryTable {
    cos: Vec<f32>,
    sin: Vec<f32>,
    half: usize,
}

/// Which way a vector is turned.
#[derive(Clone, Copy, PartialEq)]
pub enum Direction {
    /// As the model's forward pass does.
    Forward,
    /// Back again: the transpose of the rotation, which its gradient needs.
    Inverse,
}

impl RotaryTable {
    /// A table for `positions` positions from the angular step of each pair of channels.
    pub fn new(frequencies: &[f64], positions: usize) -> Self {
        let half = frequencies.len();
        let mut cos = Vec::with_capacity(positions * half);
        let mut sin = Vec::with_capacity(positions * half);
        for position in 0..positions {
            for frequency in frequencies {
                // transformers multiplies in f32; the angle must be rounded the same way.
                let angle = position as f32 * *frequency as f32;
                cos.push(angle.cos());
                sin.push(angle.sin());
            }
        }
        Self { cos, sin, half }
    }

    /// Positions in the table.
    pub fn positions(&self) -> usize {
        self.cos.len().checked_div(self.half).unwrap_or(0)
    }

    /// All cosines and all sines, `[positions, head_dim / 2]` each.
    pub fn parts(&self) -> [&[f32]; 2] {
        [&self.cos, &self.sin]
    }

    /// Cosines and sines of `position`, `head_dim / 2` each.
    pub fn at(&self, position: usize) -> (&[f32], &[f32]) {
        let range = position * self.half..(position + 1) * self.half;
        (&self.cos[range.clone()], &self.sin[range])
    }
}

vectorised! {
    fn turn(out: &mut [f32], x: &[f32], cos: &[f32], sin: &[f32], sign: f32) {
        let half = cos.len();
        let (low_out, high_out) = out.split_at_mut(half);
        let (low, high) = x.split_at(half);
        for i in 0..half {
            let s = sin[i] * sign;
            low_out[i] = low[i] * cos[i] - high[i] * s;
            high_out[i] = high[i] * cos[i] + low[i] * s;
        }
    }
}

/// Writes the vector `x: [head_dim]`, turned for `position`, to `out`.
fn rotate(out: &mut [f32], x: &[f32], table: &RotaryTable, position: usize, direction: Direction) {
    let (cos, sin) = table.at(position);
    turn(out, x, cos, sin, if direction == Direction::Forward { 1.0 } else { -1.0 });
}

/// Turns every head of every row of `x: [rows, heads · head_dim]`; `positions` has one entry per row.
pub fn rotate_rows(x: &[f32], positions: &[u32], heads: usize, table: &RotaryTable, direction: Direction) -> Vec<f32> {
    let head_dim = 2 * table.half;
    let width = heads * head_dim;
    let mut out = vec![0.0; x.len()];
    let rows = rows_per_task(width);
    out.par_chunks_mut(rows * width).zip(x.par_chunks(rows * width)).zip(positions.par_chunks(rows)).for_each(
        |((out, x), positions)| {
            for ((out, x), &position) in out.chunks_exact_mut(width).zip(x.chunks_exact(width)).zip(positions) {
                for (out, x) in out.chunks_exact_mut(head_dim).zip(x.chunks_exact(head_dim)) {
                    rotate(out, x, table, position as usize, direction);
                }
            }
        },
    );
    out
}
