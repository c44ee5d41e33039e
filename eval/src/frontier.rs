//! What is worth its memory: models that no cheaper one equals.

/// Marks the points that no other beats: none costs less and is at least as good, none costs as much and is better.
/// Points of which a number is none are not marked.
///
/// ```
/// // (bytes, quality): the third costs more than the second and is no better.
/// assert_eq!(lore_eval::frontier::frontier(&[(1.0, 0.2), (2.0, 0.5), (3.0, 0.5), (4.0, 0.9)]), [true, true, false, true]);
/// ```
pub fn frontier(points: &[(f64, f64)]) -> Vec<bool> {
    let beats = |(cost, quality): (f64, f64), other: (f64, f64)| {
        cost <= other.0 && quality >= other.1 && (cost < other.0 || quality > other.1)
    };
    let marked = |point: &(f64, f64)| {
        point.0.is_finite() && point.1.is_finite() && !points.iter().any(|other| beats(*other, *point))
    };
    points.iter().map(marked).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equals_stand_together_and_no_number_is_no_point() {
        let points = [(1.0, 0.5), (1.0, 0.5), (1.0, 0.4), (0.5, f64::NAN), (f64::INFINITY, 9.0)];
        assert_eq!(frontier(&points), [true, true, false, false, false]);
        assert!(frontier(&[]).is_empty());
    }
}
