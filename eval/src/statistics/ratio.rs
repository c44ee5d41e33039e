//! Ratios over passages and how sure they are.

use serde::{Deserialize, Serialize};

/// One passage's log-likelihood and size.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Measured {
    /// Negative log-likelihood, nats.
    pub nats: f64,
    /// Bytes of text.
    pub bytes: f64,
}

/// A figure with its standard error.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Estimate {
    /// The figure.
    pub value: f64,
    /// Standard error over passages or items; `None` with fewer than two.
    pub standard_error: Option<f64>,
}

/// Bits per byte of a text cut into passages: `Σ nats / (ln 2 · Σ bytes)`, with the standard error of
/// a ratio of sums (Cochran 1977, section 2.11).
pub fn bits_per_byte(passages: &[Measured]) -> Estimate {
    in_bits(ratio(passages.iter().map(|p| (p.nats, p.bytes))))
}

/// Change in bits per byte against another model on the same passages, with the standard error of the
/// paired differences.
///
/// # Panics
/// When the passages are not as many.
pub fn paired_difference(passages: &[Measured], reference: &[Measured]) -> Estimate {
    assert_eq!(passages.len(), reference.len(), "the same passages");
    in_bits(ratio(passages.iter().zip(reference).map(|(a, b)| (a.nats - b.nats, a.bytes))))
}

/// `Σ x / Σ y` with the standard error of a ratio of sums; with `y = 1` everywhere, a mean.
pub fn ratio(pairs: impl Iterator<Item = (f64, f64)> + Clone) -> Estimate {
    let (count, top, bottom) = pairs.clone().fold((0.0, 0.0, 0.0), |(n, t, b), (x, y)| (n + 1.0, t + x, b + y));
    let value = top / bottom;
    let squares: f64 = pairs.map(|(x, y)| (x - value * y).powi(2)).sum();
    let standard_error = (count > 1.0).then(|| (squares * count / (count - 1.0)).sqrt() / bottom);
    Estimate { value, standard_error }
}

/// The mean with its standard error.
pub fn mean(values: impl Iterator<Item = f64> + Clone) -> Estimate {
    ratio(values.map(|value| (value, 1.0)))
}

fn in_bits(nats: Estimate) -> Estimate {
    let ln2 = std::f64::consts::LN_2;
    Estimate { value: nats.value / ln2, standard_error: nats.standard_error.map(|error| error / ln2) }
}

#[cfg(test)]
mod tests {
    use super::{Measured, bits_per_byte, mean, paired_difference};

    #[test]
    fn a_mean_has_the_usual_standard_error() {
        // Deviations −2, −1, 0, 3 give a variance of 14/3, over 4 items.
        let found = mean([1.0, 2.0, 3.0, 6.0].into_iter());
        assert_eq!(found.value, 3.0);
        assert!((found.standard_error.expect("four items") - (14.0f64 / 3.0 / 4.0).sqrt()).abs() < 1e-15);
        assert_eq!(mean([1.0].into_iter()).standard_error, None);
    }

    #[test]
    fn a_hand_worked_case() {
        let nats = |bits: f64, bytes: f64| Measured { nats: bits * std::f64::consts::LN_2, bytes };
        let passages = [nats(10.0, 10.0), nats(30.0, 20.0)];
        let found = bits_per_byte(&passages);
        // 40 bits over 30 bytes; residuals 10 − 13⅓ and 30 − 26⅔, so √(2·(100/9)·2)/30.
        assert!((found.value - 40.0 / 30.0).abs() < 1e-12);
        assert!((found.standard_error.expect("two passages") - (400.0f64 / 9.0).sqrt() / 30.0).abs() < 1e-12);
        let same = paired_difference(&passages, &passages);
        assert_eq!((same.value, same.standard_error), (0.0, Some(0.0)));
    }
}
