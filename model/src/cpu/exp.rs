//! The exponential, in a form that compilers vectorise.

/// `e^x` within 2 units in the last place for `x` in [-87, 88]; smaller arguments give 0.
///
/// Range reduction `x = n·ln 2 + r` in two parts (Cody and Waite 1980), then a degree-6 polynomial on
/// `|r| ≤ ln 2 / 2`, then the exponent is set by bits.
#[inline(always)]
pub fn exp(x: f32) -> f32 {
    const LN2_HIGH: f32 = 0.693_359_4;
    const LN2_LOW: f32 = -2.121_944_4e-4;
    // Adding and subtracting 1.5·2²³ rounds to the nearest integer without a library call.
    const ROUND: f32 = 12_582_912.0;
    let clamped = x.clamp(-87.3, 88.0);
    let n = (clamped * std::f32::consts::LOG2_E + ROUND) - ROUND;
    let r = clamped - n * LN2_HIGH - n * LN2_LOW;
    let p =
        1.0 + r * (1.0 + r * (0.5 + r * (0.166_666_65 + r * (0.041_666_57 + r * (0.008_334_52 + r * 0.001_388_73)))));
    let scale = f32::from_bits((((n as i32) + 127) as u32) << 23);
    let value = p * scale;
    if x < -87.3 { 0.0 } else { value }
}

#[cfg(test)]
mod tests {
    use super::exp;

    #[test]
    fn agrees_with_f64_over_the_whole_range() {
        let mut worst = 0.0f64;
        for i in -87_000..88_000 {
            let x = i as f32 * 1e-3;
            let expected = f64::from(x).exp();
            worst = worst.max((f64::from(exp(x)) - expected).abs() / expected);
        }
        assert!(worst < 3e-7, "worst relative error {worst}");
    }

    #[test]
    fn far_negative_is_zero_and_zero_is_one() {
        assert_eq!(exp(-200.0), 0.0);
        assert_eq!(exp(f32::NEG_INFINITY), 0.0);
        assert_eq!(exp(0.0), 1.0);
    }
}
