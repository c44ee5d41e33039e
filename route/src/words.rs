//! Which tokens a topic uses more than general English does: log odds, as naive Bayes weighs them.
//!
//! It costs no forward pass and does not tire with short texts, for which averaged states are noisy.

/// Most tokens that are told apart; of a larger vocabulary several share a place.
pub const PLACES: usize = 1 << 16;
/// Tokens of general English that a topic's counts are mixed with, so that a rare token does not decide alone.
const PRIOR: f64 = 2000.0;
/// Log odds are cut to this range, nats.
const RANGE: (f64, f64) = (-3.0, 5.0);

/// Counts of tokens.
#[derive(Clone, Debug, PartialEq)]
pub struct Counts {
    places: Vec<f64>,
    total: f64,
}

impl Counts {
    /// No tokens yet, of a vocabulary of so many.
    pub fn new(vocabulary: usize) -> Self {
        Self { places: vec![0.0; vocabulary.clamp(1, PLACES)], total: 0.0 }
    }

    /// Counts `tokens` in.
    pub fn add(&mut self, tokens: &[u32]) {
        let places = self.places.len();
        for &token in tokens {
            self.places[token as usize % places] += 1.0;
        }
        self.total += tokens.len() as f64;
    }

    /// Tokens counted.
    pub fn total(&self) -> u64 {
        self.total as u64
    }

    /// For each place `log(p / q)`, nats: `p` of these counts, mixed with a little of `general`; `q` of `general`, to
    /// each place of which half a token is added.
    ///
    /// # Panics
    /// When the two are of different vocabularies.
    pub fn log_odds(&self, general: &Self) -> Vec<f32> {
        assert_eq!(self.places.len(), general.places.len(), "counts of one vocabulary");
        let all = general.total + 0.5 * general.places.len() as f64;
        let odds = self.places.iter().zip(&general.places).map(|(count, general)| {
            let q = (general + 0.5) / all;
            let p = (count + PRIOR * q) / (self.total + PRIOR);
            (p / q).ln().clamp(RANGE.0, RANGE.1) as f32
        });
        odds.collect()
    }
}

/// Mean log odds of a text's tokens, nats; 0 for none.
pub(crate) fn mean(odds: &[f32], tokens: &[u32]) -> f64 {
    let sum: f64 = tokens.iter().map(|&token| f64::from(odds[token as usize % odds.len()])).sum();
    sum / tokens.len().max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn odds_are_those_of_the_definition() {
        let (mut topic, mut general) = (Counts::new(4), Counts::new(4));
        topic.add(&[0, 0, 0, 1]);
        general.add(&[1, 1, 2, 2, 2, 2]);
        let odds = topic.log_odds(&general);
        // q of token 0: 0.5 / 8; p: (3 + 2000 · 0.0625) / 2004.
        let expected = ((3.0 + 125.0) / 2004.0_f64 / 0.0625).ln();
        assert!((f64::from(odds[0]) - expected).abs() < 1e-6, "{odds:?}");
        // q of token 2: 4.5 / 8; p: 1125 / 2004.
        assert!((f64::from(odds[2]) - (2000.0 / 2004.0_f64).ln()).abs() < 1e-6, "{odds:?}");
        assert!((mean(&odds, &[0, 2]) - (f64::from(odds[0]) + f64::from(odds[2])) / 2.0).abs() < 1e-12);
        assert_eq!(mean(&odds, &[]), 0.0);
        // Token 5 of a larger vocabulary shares the place of token 1.
        assert_eq!(mean(&odds, &[5]), mean(&odds, &[1]));
    }

    #[test]
    fn one_token_decides_no_more_than_the_range_allows() {
        let (mut topic, general) = (Counts::new(1 << 15), Counts::new(1 << 15));
        topic.add(&vec![7; 1_000_000]);
        let odds = topic.log_odds(&general);
        assert_eq!((odds[7], odds[8]), (5.0, -3.0));
    }
}
