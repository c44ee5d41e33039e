//! What a row of logits says of tokens.

use lore_model::cpu::exp::exp;

/// What the model says of a token where it stands.
#[derive(Debug, Clone, PartialEq)]
pub struct TokenScore {
    /// The token.
    pub token: u32,
    /// Its log-probability, nats.
    pub log_probability: f64,
    /// The most likely tokens there with theirs, most likely first.
    pub alternatives: Vec<(u32, f64)>,
}

impl TokenScore {
    /// Of `token` in a row of logits, with so many alternatives; of equal logits the smaller token is first.
    pub fn of(logits: &[f32], token: u32, alternatives: usize) -> Self {
        let normaliser = log_sum_of_exponentials(logits);
        let log_probability = |token: u32| f64::from(logits[token as usize]) - normaliser;
        let mut best: Vec<u32> = Vec::with_capacity(alternatives + 1);
        if alternatives > 0 {
            for (candidate, &logit) in logits.iter().enumerate() {
                if best.len() == alternatives && best.last().is_some_and(|&last| logits[last as usize] >= logit) {
                    continue;
                }
                let place = best.partition_point(|&other| logits[other as usize] >= logit);
                best.insert(place, candidate as u32);
                best.truncate(alternatives);
            }
        }
        let alternatives = best.into_iter().map(|token| (token, log_probability(token))).collect();
        Self { token, log_probability: log_probability(token), alternatives }
    }
}

fn log_sum_of_exponentials(logits: &[f32]) -> f64 {
    let max = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let (chunks, rest) = logits.as_chunks::<16>();
    let mut sums = [0.0f32; 16];
    for chunk in chunks {
        for (sum, &logit) in sums.iter_mut().zip(chunk) {
            *sum += exp(logit - max);
        }
    }
    let sum: f64 = sums.iter().copied().chain(rest.iter().map(|&logit| exp(logit - max))).map(f64::from).sum();
    f64::from(max) + sum.ln()
}

#[cfg(test)]
mod tests {
    use super::TokenScore;

    #[test]
    fn log_probabilities_are_those_of_the_softmax() {
        let logits: Vec<f32> = (0..37).map(|i| ((i * 29) % 37) as f32 * 0.3 - 4.0).chain([7.0, 7.0]).collect();
        let total: f64 = logits.iter().map(|&x| f64::from(x).exp()).sum();
        let expected = |token: u32| f64::from(logits[token as usize]) - total.ln();
        let score = TokenScore::of(&logits, 5, 4);
        assert!((score.log_probability - expected(5)).abs() < 1e-6);
        let mut order: Vec<u32> = (0..39).collect();
        order.sort_by(|&a, &b| logits[b as usize].total_cmp(&logits[a as usize]).then(a.cmp(&b)));
        let found: Vec<u32> = score.alternatives.iter().map(|(token, _)| *token).collect();
        assert_eq!(found, order[..4]);
        assert!(score.alternatives.iter().all(|(token, value)| (value - expected(*token)).abs() < 1e-6));
        assert!(TokenScore::of(&logits, 37, 0).alternatives.is_empty());
        assert_eq!(TokenScore::of(&logits, 38, 1).alternatives[0].1, TokenScore::of(&logits, 38, 1).log_probability);
        assert_eq!(TokenScore::of(&[1.0, 2.0], 0, 5).alternatives.len(), 2);
    }
}
