//! How much more likely averaged states are under a topic than under general English.
//!
//! Linear discriminant analysis (Fisher 1936) with one covariance for all: that of passages about their own topic's mean,
//! plus that of the noise which averaging leaves, shrunk a tenth of the way to a multiple of the identity (after Ledoit and
//! Wolf 2004; how far was chosen on validation sections of six textbooks).
//! The covariance is put together from what each entry says of its own topic, so that an entry needs none of the others
//! when it is made, and all of them serve each other when they are used.

use nalgebra::{Cholesky, DMatrix, DVector};

use crate::entry::Entry;

/// How far the covariance is shrunk.
const SHRINKAGE: f64 = 0.1;

/// A direction and an offset for each entry.
#[derive(Clone, Debug)]
pub(crate) struct Discriminant {
    /// `[entries][hidden]`.
    directions: Vec<Vec<f64>>,
    offsets: Vec<f64>,
    /// What a topic's own mean scores, on average over the entries.
    scale: f64,
}

impl Discriminant {
    /// Of entries of one width; at least one.
    pub(crate) fn new(entries: &[&Entry]) -> Self {
        let width = entries[0].centroid.len();
        let share = 1.0 / entries.len() as f64;
        let mut covariance = DMatrix::<f64>::zeros(width, width);
        let mut general = DVector::<f64>::zeros(width);
        for entry in entries {
            for rows in [&entry.spread, &entry.noise] {
                let count = rows.len() / width;
                let part = DMatrix::from_row_iterator(count, width, rows.iter().map(|&x| f64::from(x)));
                covariance.gemm_tr(share / count.max(1) as f64, &part, &part, 1.0);
            }
            general += vector(&entry.general) * share;
        }
        let level = (covariance.trace() / width as f64).max(f64::from(f32::MIN_POSITIVE));
        covariance *= 1.0 - SHRINKAGE;
        for i in 0..width {
            covariance[(i, i)] += SHRINKAGE * level;
        }
        let factor = Cholesky::new(covariance).expect("a shrunk covariance is positive definite");
        let (mut directions, mut offsets, mut scale) = (Vec::new(), Vec::new(), 0.0);
        for entry in entries {
            let mean = vector(&entry.centroid);
            let difference = &mean - &general;
            let direction = factor.solve(&difference);
            scale += share * 0.5 * direction.dot(&difference);
            offsets.push(-0.5 * direction.dot(&(&mean + &general)));
            directions.push(direction.iter().copied().collect());
        }
        Self { directions, offsets, scale: scale.max(f64::MIN_POSITIVE) }
    }

    /// For each entry the log of the likelihood ratio, in units of what a topic's own mean has.
    pub(crate) fn scores(&self, state: &[f32]) -> Vec<f64> {
        let score = |(direction, offset): (&Vec<f64>, &f64)| {
            let sum: f64 = direction.iter().zip(state).map(|(w, &x)| w * f64::from(x)).sum();
            (sum + offset) / self.scale
        };
        self.directions.iter().zip(&self.offsets).map(score).collect()
    }
}

fn vector(values: &[f32]) -> DVector<f64> {
    DVector::from_iterator(values.len(), values.iter().map(|&x| f64::from(x)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arrow::Prototypes;

    fn entry(centroid: f32, spread: &[f32]) -> Entry {
        let base = format!("{}{}", lore_model::fingerprint::PREFIX, "0".repeat(64));
        Entry {
            base: base.parse().expect("a fingerprint"),
            layer: 1,
            tokens: 4,
            centroid: vec![centroid],
            spread: spread.to_vec(),
            general: vec![0.0],
            noise: vec![0.0, 0.0],
            words: vec![0.0],
            own_words: 1.0,
            arrow: Prototypes::new(),
            threshold: 0.0,
        }
    }

    #[test]
    fn a_hand_worked_case() {
        // Variance 1 from the spread, 0 from the noise: direction 2, offset −2, and 2 at the topic's own mean.
        let found = Discriminant::new(&[&entry(2.0, &[1.0, -1.0])]);
        for (state, expected) in [(2.0, 1.0), (1.0, 0.0), (0.0, -1.0)] {
            assert!((found.scores(&[state])[0] - expected).abs() < 1e-12, "{state}");
        }
        // Variances 1 and 9 make 5: directions 2/5 and −4/5, offsets −2/5 and −8/5, scale (2/5 + 8/5) / 2.
        let both = Discriminant::new(&[&entry(2.0, &[1.0, -1.0]), &entry(-4.0, &[3.0, -3.0])]);
        let scores = both.scores(&[1.0]);
        assert!((scores[0] - (0.4 - 0.4)).abs() < 1e-12 && (scores[1] - (-0.8 - 1.6)).abs() < 1e-12, "{scores:?}");
    }

    #[test]
    fn nothing_known_scores_nothing() {
        let found = Discriminant::new(&[&entry(0.0, &[0.0])]);
        assert_eq!(found.scores(&[0.5]), [0.0]);
    }
}
