//! Choosing the next token from logits.

use crate::cpu::exp::exp;
use crate::cpu::vectorised;

/// How tokens are drawn.
#[derive(Clone, Debug, PartialEq)]
pub struct Sampling {
    /// Zero takes the most likely token; otherwise logits are divided by it.
    pub temperature: f32,
    /// Only this many of the most likely tokens are considered.
    pub top_k: Option<usize>,
    /// Only the smallest set of most likely tokens with at least this probability is considered.
    pub top_p: Option<f32>,
}

impl Sampling {
    /// The most likely token, always.
    pub fn greedy() -> Self {
        Self { temperature: 0.0, top_k: None, top_p: None }
    }

    /// Draws a token from one row of logits. Of equal logits the smallest token comes first.
    pub fn draw(&self, logits: &[f32], random: &mut Random) -> u32 {
        // The inverse of anything smaller is infinite.
        if self.temperature < f32::MIN_POSITIVE {
            return arg_max(logits);
        }
        let max = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        if self.top_k.is_none() && self.top_p.is_none_or(|p| p >= 1.0) {
            let mut weights = vec![0.0; logits.len()];
            scaled_exponentials(&mut weights, logits, max, 1.0 / self.temperature);
            let total = weights.iter().map(|&weight| f64::from(weight)).sum();
            return pick(weights.iter().map(|&weight| f64::from(weight)).enumerate(), total, random);
        }
        let weight = |logit: f32| f64::from((logit - max) / self.temperature).exp();
        let mut order: Vec<u32> = (0..logits.len() as u32).collect();
        let by_logit = |a: &u32, b: &u32| logits[*b as usize].total_cmp(&logits[*a as usize]).then(a.cmp(b));
        let kept = self.top_k.unwrap_or(order.len()).clamp(1, order.len());
        if kept < order.len() {
            order.select_nth_unstable_by(kept - 1, by_logit);
            order.truncate(kept);
        }
        order.sort_unstable_by(by_logit);
        let mut weights: Vec<f64> = order.iter().map(|&token| weight(logits[token as usize])).collect();
        if let Some(p) = self.top_p {
            let wanted = weights.iter().sum::<f64>() * f64::from(p);
            let mut sum = 0.0;
            let enough = weights.iter().position(|w| {
                sum += w;
                sum >= wanted
            });
            weights.truncate(enough.map_or(weights.len(), |last| last + 1));
        }
        let total = weights.iter().sum();
        pick(order.iter().map(|&token| token as usize).zip(weights), total, random)
    }
}

vectorised! {
    /// `e^((logit − max) · inverse_temperature)` of every logit.
    fn scaled_exponentials(out: &mut [f32], logits: &[f32], max: f32, inverse_temperature: f32) {
        for (out, logit) in out.iter_mut().zip(logits) {
            *out = exp((logit - max) * inverse_temperature);
        }
    }
}

/// The token with the largest logit.
pub fn arg_max(logits: &[f32]) -> u32 {
    let best =
        logits.iter().enumerate().fold((0, f32::NEG_INFINITY), |best, (i, &x)| if x > best.1 { (i, x) } else { best });
    best.0 as u32
}

fn pick(candidates: impl Iterator<Item = (usize, f64)>, total: f64, random: &mut Random) -> u32 {
    let mut left = random.uniform() * total;
    let mut last = 0;
    for (token, weight) in candidates {
        if weight > 0.0 {
            last = token;
            left -= weight;
            if left < 0.0 {
                break;
            }
        }
    }
    last as u32
}

/// A small reproducible generator (SplitMix64, Steele et al. 2014); its state is one number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Random(u64);

impl Random {
    /// A stream of its own for each (seed, stream) pair.
    pub fn new(seed: u64, stream: u64) -> Self {
        let mut random = Self(seed ^ stream.wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(17));
        random.bits();
        random
    }

    /// 64 random bits.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// Uniform in [0, 1).
    pub fn uniform(&mut self) -> f64 {
        (self.bits() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Standard normal (Box and Muller 1958).
    pub fn normal(&mut self) -> f64 {
        let radius = (-2.0 * (1.0 - self.uniform()).ln()).sqrt();
        radius * (std::f64::consts::TAU * self.uniform()).cos()
    }
}

#[cfg(test)]
mod tests {
    use super::{Random, Sampling};

    #[test]
    fn greedy_takes_the_first_of_equals() {
        for temperature in [0.0, f32::MIN_POSITIVE / 1024.0, f32::MIN_POSITIVE] {
            let sampling = Sampling { temperature, ..Sampling::greedy() };
            assert_eq!(sampling.draw(&[1.0, 3.0, 2.0], &mut Random::new(1, 0)), 1, "{temperature:e}");
        }
        assert_eq!(Sampling::greedy().draw(&[1.0, 3.0, 3.0], &mut Random::new(1, 0)), 1);
    }

    #[test]
    fn frequencies_follow_the_distribution() {
        let logits = [0.0f32, 1.0, 2.0];
        let sampling = Sampling { temperature: 0.5, top_k: None, top_p: None };
        let mut random = Random::new(7, 3);
        let mut counts = [0.0f64; 3];
        for _ in 0..60_000 {
            counts[sampling.draw(&logits, &mut random) as usize] += 1.0 / 60_000.0;
        }
        let total: f64 = [0.0f64, 2.0, 4.0].iter().map(|x| x.exp()).sum();
        for (count, logit) in counts.iter().zip([0.0f64, 2.0, 4.0]) {
            assert!((count - logit.exp() / total).abs() < 0.01);
        }
    }

    #[test]
    fn top_k_and_top_p_leave_out_the_rest() {
        let logits = [3.0f32, 2.0, 1.0, 0.0];
        let mut random = Random::new(9, 0);
        let two = Sampling { temperature: 5.0, top_k: Some(2), top_p: None };
        assert!((0..500).all(|_| two.draw(&logits, &mut random) < 2));
        // Probabilities at T = 1: 0.644, 0.237, 0.087, 0.032.
        let nucleus = Sampling { temperature: 1.0, top_k: None, top_p: Some(0.8) };
        assert!((0..500).all(|_| nucleus.draw(&logits, &mut random) < 2));
        let first = Sampling { temperature: 1.0, top_k: None, top_p: Some(0.6) };
        assert!((0..500).all(|_| first.draw(&logits, &mut random) == 0));
    }
}
