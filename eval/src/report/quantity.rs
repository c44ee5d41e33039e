//! Numbers as people read them. What is not finite is shown as a dash.

pub(super) const MISSING: &str = "–";

pub(super) fn fixed(value: f64, decimals: usize) -> String {
    if !value.is_finite() {
        return MISSING.into();
    }
    let text = format!("{value:.decimals$}");
    match text.strip_prefix('-') {
        Some(digits) if digits.chars().all(|c| c == '0' || c == '.') => digits.into(),
        Some(digits) => format!("−{digits}"),
        None => text,
    }
}

pub(super) fn bits(value: Option<f64>) -> String {
    value.map_or_else(|| MISSING.into(), |value| fixed(value, 3))
}

/// A signed change such as `−14.4 %`.
pub(super) fn change(percent: Option<f64>) -> String {
    let Some(percent) = percent.filter(|p| p.is_finite()) else {
        return MISSING.into();
    };
    let text = fixed(percent, 1);
    let positive = percent > 0.0 && text.chars().any(|c| ('1'..='9').contains(&c));
    format!("{}{text} %", if positive { "+" } else { "" })
}

/// A share from 0 to 1 as a whole percentage.
pub(super) fn share(share: Option<f64>) -> String {
    match share.filter(|s| s.is_finite()) {
        Some(share) => format!("{} %", fixed(share * 100.0, 0)),
        None => MISSING.into(),
    }
}

pub(super) fn bytes(bytes: u64) -> String {
    scaled(bytes as f64, &["B", "kB", "MB", "GB", "TB"])
}

/// A count such as `81.4 M`.
pub(super) fn count(count: u64) -> String {
    if count < 10_000 {
        return grouped(count);
    }
    scaled(count as f64, &["", "k", "M", "G", "T"])
}

/// All digits, in groups of three.
pub(super) fn grouped(count: u64) -> String {
    let digits = count.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

pub(super) fn duration(seconds: f64) -> String {
    if !seconds.is_finite() || seconds < 0.0 {
        return MISSING.into();
    }
    if seconds < 9.95 {
        return format!("{seconds:.1} s");
    }
    let whole = seconds.round() as u64;
    match whole {
        0..=59 => format!("{whole} s"),
        60..=3599 => format!("{} min {:02} s", whole / 60, whole % 60),
        _ => format!("{} h {:02} min", whole / 3600, whole % 3600 / 60),
    }
}

fn scaled(mut value: f64, units: &[&str]) -> String {
    let mut unit = 0;
    // 999.5 would be shown as 1000 of the smaller unit.
    while value >= 999.5 && unit + 1 < units.len() {
        value /= 1000.0;
        unit += 1;
    }
    let decimals = if unit == 0 || value >= 99.95 { 0 } else { 1 };
    format!("{value:.decimals$} {}", units[unit]).trim_end().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_well() {
        assert_eq!(fixed(-0.0001, 2), "0.00");
        assert_eq!(fixed(-1.25, 1), "−1.2");
        assert_eq!(fixed(f64::NAN, 1), "–");
        assert_eq!(change(Some(4.04)), "+4.0 %");
        assert_eq!(change(Some(0.04)), "0.0 %");
        assert_eq!(change(Some(-14.36)), "−14.4 %");
        assert_eq!(change(Some(f64::INFINITY)), "–");
        assert_eq!(bytes(999), "999 B");
        assert_eq!(bytes(999_600), "1.0 MB");
        assert_eq!(bytes(325_600_000), "326 MB");
        assert_eq!(count(9_999), "9,999");
        assert_eq!(count(81_400_000), "81.4 M");
        assert_eq!(grouped(1_234_567), "1,234,567");
        assert_eq!(duration(9.96), "10 s");
        assert_eq!(duration(725.0), "12 min 05 s");
        assert_eq!(duration(7_260.0), "2 h 01 min");
    }
}
