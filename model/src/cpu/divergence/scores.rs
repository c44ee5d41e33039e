//! Log-probabilities of tokens from the head's product, of which only a part of the vocabulary exists at a time.

use super::arg_max_and_sum;
use rayon::prelude::*;
use std::ops::Range;

/// Rows whose logits exist at the same time: enough for a product to be fast.
const ROWS: usize = 512;

/// Rows of one product at least, where there are as many: products of fewer take other paths and round otherwise.
const FEWEST: usize = 65;

/// Tokens whose logits exist at the same time, at most.
const TOKENS: usize = 4096;

/// What is known of a row after some of the vocabulary.
#[derive(Clone, Copy, Debug)]
struct Seen {
    most_likely: usize,
    max: f32,
    /// Sum of exponentials of the logits less `max`.
    sum: f64,
}

impl Seen {
    const NOTHING: Self = Self { most_likely: 0, max: f32::NEG_INFINITY, sum: 0.0 };

    /// With logits of the tokens from `first` on.
    fn and(self, logits: &[f32], first: usize) -> Self {
        let (place, max, sum) = arg_max_and_sum(logits, 1.0);
        let smaller = |from: f32, to: f32| if from == to { 1.0 } else { f64::from(from - to).exp() };
        if max > self.max {
            let sum = sum + self.sum * smaller(self.max, max);
            return Self { most_likely: first + place, max, sum };
        }
        Self { sum: self.sum + sum * smaller(max, self.max), ..self }
    }
}

/// Log-probability of tokens at some rows, and whether each is the most likely one (the first of equals). `asked` are row
/// and token, in the order of rows; `product(out, rows, tokens)` makes the logits `[rows, tokens]`. With at least 65 rows,
/// what is said of a row does not depend on the others, to the last bit, if that is so of products of as many.
pub fn log_likelihoods(
    [rows, vocabulary]: [usize; 2],
    asked: &[(usize, u32)],
    product: impl Fn(&mut [f32], Range<usize>, Range<usize>),
) -> Vec<(f32, bool)> {
    // All of about one size: a product of a few columns would take other paths too.
    let tokens = vocabulary.div_ceil(vocabulary.div_ceil(TOKENS).max(1));
    let mut logits = vec![0.0; ROWS.min(rows) * tokens];
    let mut out = Vec::with_capacity(asked.len());
    let mut rest = asked;
    for start in (0..rows).step_by(ROWS) {
        let end = (start + ROWS).min(rows);
        let (here, after) = rest.split_at(rest.partition_point(|&(row, _)| row < end));
        rest = after;
        if here.is_empty() {
            continue;
        }
        let first = end.saturating_sub(FEWEST).min(start);
        let mut seen = vec![Seen::NOTHING; end - first];
        let mut said = vec![0.0f32; here.len()];
        for token in (0..vocabulary).step_by(tokens) {
            let count = tokens.min(vocabulary - token);
            let logits = &mut logits[..(end - first) * count];
            product(logits, first..end, token..token + count);
            seen.par_iter_mut()
                .zip(logits.par_chunks(count))
                .for_each(|(seen, logits)| *seen = seen.and(logits, token));
            for (said, &(row, asked)) in said.iter_mut().zip(here) {
                if let Some(place) = (asked as usize).checked_sub(token).filter(|place| *place < count) {
                    *said = logits[(row - first) * count + place];
                }
            }
        }
        out.extend(here.iter().zip(said).map(|(&(row, token), said)| {
            let Seen { most_likely, max, sum } = seen[row - first];
            (said - (max + sum.ln() as f32), most_likely == token as usize)
        }));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cpu::matmul::{Matrix, Output, Threads, matmul};

    const WIDTH: usize = 6;

    fn values(count: usize, seed: usize) -> Vec<f32> {
        (0..count).map(|i| ((i * 7919 + seed * 104_729) % 2003) as f32 / 400.0 - 2.5).collect()
    }

    fn scores(states: &[f32], head: &[f32], asked: &[(usize, u32)]) -> Vec<(f32, bool)> {
        let matrix = |values| Matrix::new(values, values.len() / WIDTH, WIDTH);
        let (states, head) = (matrix(states), matrix(head));
        log_likelihoods([states.rows(), head.rows()], asked, |out, rows, tokens| {
            matmul(out, states.slice(rows), head.slice(tokens).transposed(), 1.0, Output::Replace, Threads::All);
        })
    }

    #[test]
    fn a_vocabulary_in_parts_is_the_same_as_in_one() {
        // One part, two, and three; rows of one block and of several.
        for (vocabulary, rows) in [(900, 80), (TOKENS + 1, 3), (2 * TOKENS + 3, ROWS + 7)] {
            let (states, head) = (values(rows * WIDTH, 1), values(vocabulary * WIDTH, 2));
            let asked: Vec<(usize, u32)> = (0..rows)
                .flat_map(|row| [(row, (row * 31 % vocabulary) as u32), (row, (vocabulary - 1 - row) as u32)])
                .collect();
            let found = scores(&states, &head, &asked);
            assert_eq!(found.len(), asked.len());
            for (&(row, token), (found, most_likely)) in asked.iter().zip(found) {
                let state = &states[row * WIDTH..(row + 1) * WIDTH];
                let logit = |head: &[f32]| state.iter().zip(head).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum();
                let logits: Vec<f64> = head.chunks_exact(WIDTH).map(logit).collect();
                let max = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
                let lse = max + logits.iter().map(|x| (x - max).exp()).sum::<f64>().ln();
                let expected = logits[token as usize] - lse;
                assert!((f64::from(found) - expected).abs() < 2e-5, "{found} against {expected}");
                if (logits[token as usize] - max).abs() > 1e-4 {
                    assert!(!most_likely);
                }
            }
        }
    }

    #[test]
    fn the_first_of_equals_is_the_most_likely() {
        let vocabulary = 2 * TOKENS;
        let mut head = vec![0.0; vocabulary * WIDTH];
        for token in [TOKENS - 2, TOKENS + 5, vocabulary - 1] {
            head[token * WIDTH..(token + 1) * WIDTH].fill(1.0);
        }
        let asked = [(0, (TOKENS - 2) as u32), (0, (TOKENS + 5) as u32), (1, 0)];
        let found = scores(&[1.0; 2 * WIDTH], &head, &asked);
        assert_eq!(found.iter().map(|(_, most_likely)| *most_likely).collect::<Vec<_>>(), [true, false, false]);
        let lse = (3.0 * 6.0f64.exp() + (vocabulary - 3) as f64).ln();
        assert!((f64::from(found[0].0) - (6.0 - lse)).abs() < 1e-5 && found[0].0 == found[1].0);
    }

    #[test]
    fn what_is_no_number_stays_none() {
        let mut head = values((TOKENS + 9) * WIDTH, 3);
        head[(TOKENS + 4) * WIDTH] = f32::NAN;
        assert!(scores(&values(2 * WIDTH, 1), &head, &[(1, 3)])[0].0.is_nan());
    }
}
