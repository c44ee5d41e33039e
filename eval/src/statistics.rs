//! Ratios over passages and how sure they are.

/// One passage's log-likelihood and size.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Measured {
    /// Negative log-likelihood, nats.
    pub nats: f64,
    /// Bytes of text.
    pub bytes: f64,
}

/// A figure with its standard error.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Estimate {
    /// The figure.
    pub value: f64,
    /// Standard error over passages; `None` with fewer than two.
    pub standard_error: Option<f64>,
}

/// Bits per byte of a text cut into passages: `Σ nats / (ln 2 · Σ bytes)`, with the standard error of
/// a ratio of sums (Cochran 1977, section 2.11).
pub fn bits_per_byte(passages: &[Measured]) -> Estimate {
    ratio(passages.iter().map(|p| (p.nats, p.bytes)))
}

/// Change in bits per byte against another model on the same passages, with the standard error of the
/// paired differences.
///
/// # Panics
/// When the passages are not as many.
pub fn paired_difference(passages: &[Measured], reference: &[Measured]) -> Estimate {
    assert_eq!(passages.len(), reference.len(), "the same passages");
    ratio(passages.iter().zip(reference).map(|(a, b)| (a.nats - b.nats, a.bytes)))
}

fn ratio(pairs: impl Iterator<Item = (f64, f64)> + Clone) -> Estimate {
    let ln2 = std::f64::consts::LN_2;
    let (count, top, bottom) = pairs.clone().fold((0.0, 0.0, 0.0), |(n, t, b), (x, y)| (n + 1.0, t + x, b + y));
    let value = top / bottom;
    let squares: f64 = pairs.map(|(x, y)| (x - value * y).powi(2)).sum();
    let standard_error = (count > 1.0).then(|| (squares * count / (count - 1.0)).sqrt() / bottom / ln2);
    Estimate { value: value / ln2, standard_error }
}

#[cfg(test)]
mod tests {
    use super::{Measured, bits_per_byte, paired_difference};

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
