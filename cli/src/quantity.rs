//! Amounts as people read them.

use std::time::Duration;

/// `1.2 MB`, in powers of 1000.
pub fn bytes(count: u64) -> String {
    scaled(count, &[" B", " kB", " MB", " GB", " TB"])
}

/// Reads `512MB`, `1.5GB`, `64MiB` or a number of bytes.
///
/// # Errors
/// Anything else, and nothing.
pub fn parse_bytes(text: &str) -> Result<u64, String> {
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let factor = match unit.trim().to_ascii_lowercase().as_str() {
        "" | "b" => Some(1.0),
        "k" | "kb" => Some(1e3),
        "m" | "mb" => Some(1e6),
        "g" | "gb" => Some(1e9),
        "kib" => Some(1024.0),
        "mib" => Some(1_048_576.0),
        "gib" => Some(1_073_741_824.0),
        _ => None,
    };
    let bytes = number.parse::<f64>().ok().zip(factor).map(|(number, factor)| number * factor);
    match bytes.filter(|bytes| (1.0..1e18).contains(bytes)) {
        Some(bytes) => Ok(bytes as u64),
        None => Err("expected a size such as 512MB, 1.5GB or 64MiB".to_owned()),
    }
}

/// `1.2M`, in powers of 1000.
pub fn count(count: u64) -> String {
    scaled(count, &["", "k", "M", "G", "T"])
}

/// `4s`, `3m 20s`, `2h 5m`.
pub fn duration(time: Duration) -> String {
    let seconds = time.as_secs_f64().round() as u64;
    match seconds {
        0 => format!("{:.1}s", time.as_secs_f64()),
        1..60 => format!("{seconds}s"),
        60..3600 => format!("{}m {:02}s", seconds / 60, seconds % 60),
        _ => format!("{}h {:02}m", seconds / 3600, seconds % 3600 / 60),
    }
}

fn scaled(count: u64, units: &[&str]) -> String {
    let mut value = count as f64;
    let mut unit = 0;
    // 999.95 would round up to 1000.0.
    while value >= 999.95 && unit + 1 < units.len() {
        value /= 1000.0;
        unit += 1;
    }
    if unit == 0 { format!("{count}{}", units[0]) } else { format!("{value:.1}{}", units[unit]) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read() {
        for (text, expected) in [("512MB", 512_000_000), ("1.5gb", 1_500_000_000), ("2MiB", 2 << 20), ("77", 77)] {
            assert_eq!(parse_bytes(text), Ok(expected), "{text}");
        }
        for text in ["", "MB", "-1MB", "0", "1XB", "1.2.3", "inf", "1e9"] {
            assert!(parse_bytes(text).is_err(), "{text}");
        }
    }

    #[test]
    fn amounts_are_short() {
        assert_eq!(bytes(999), "999 B");
        assert_eq!(bytes(93_300_000), "93.3 MB");
        assert_eq!(bytes(999_960), "1.0 MB");
        assert_eq!(count(61_440), "61.4k");
        assert_eq!(duration(Duration::from_millis(240)), "0.2s");
        assert_eq!(duration(Duration::from_secs(200)), "3m 20s");
        assert_eq!(duration(Duration::from_secs(7_500)), "2h 05m");
    }
}
