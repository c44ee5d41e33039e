//! Quantities as the pages show them.

use minijinja::{Value, context};

use crate::ranking::Pair;
use crate::scores::{Gain, TaskScores};
use crate::standing::{Flag, Row};

/// What is shown where there is nothing.
pub const NOTHING: &str = "–";
/// Half the width of a 95 % interval, in standard errors.
pub const HALF: f64 = 1.96;

/// `+3.2`, with a true minus sign, of a share.
pub fn points(share: f64) -> String {
    let value = 100.0 * share;
    let value = if value.abs() < 0.05 { 0.0 } else { value };
    format!("{value:+.1}").replace('-', "−")
}

/// `+1.0 … +5.4`
pub fn interval([low, high]: [f64; 2]) -> String {
    format!("{} … {}", points(low), points(high))
}

/// `+3.2 ± 1.1`
pub fn gain(gain: &Gain) -> String {
    if gain.standard_error.is_finite() {
        format!("{} ± {:.1}", points(gain.value), 100.0 * HALF * gain.standard_error)
    } else {
        points(gain.value)
    }
}

/// A figure in its own unit: percent for accuracies.
pub fn figure(task: &TaskScores, value: f64) -> String {
    if is_percent(task) { format!("{:.1} %", 100.0 * value) } else { format!("{value:.3}") }
}

/// Whether a task's figures are shares.
pub fn is_percent(task: &TaskScores) -> bool {
    task.metric.counts_answers() || task.metric.name == "f1"
}

/// `acc` and others in words.
pub fn metric(task: &TaskScores) -> String {
    match task.metric.name {
        "acc" => "accuracy".into(),
        other => other.replace('_', " "),
    }
}

/// The class of a heat map's cell: blue is better, orange worse, in five steps up to `limit`.
pub fn heat(share: f64, limit: f64) -> String {
    // A root makes small changes visible.
    let step = ((share.abs() / limit).min(1.0).powf(0.75) * 5.0).round();
    match (step >= 1.0, share > 0.0) {
        (false, _) => String::new(),
        (true, true) => format!(" b{step}"),
        (true, false) => format!(" w{step}"),
    }
}

/// A round limit that most of the changes stay below.
pub fn heat_limit(shares: impl Iterator<Item = f64>) -> f64 {
    let mut sizes: Vec<f64> = shares.map(f64::abs).filter(|size| size.is_finite()).collect();
    sizes.sort_unstable_by(f64::total_cmp);
    let most = sizes.get(sizes.len().saturating_sub(1) * 95 / 100).copied().unwrap_or(0.0);
    [0.02, 0.05, 0.1, 0.2, 0.4].into_iter().find(|limit| *limit >= most).unwrap_or(0.6)
}

/// `1.4 MB`
pub fn bytes(bytes: u64) -> String {
    let value = bytes as f64;
    match bytes {
        0..1_000 => format!("{bytes} B"),
        1_000..1_000_000 => format!("{:.0} kB", value / 1e3),
        1_000_000..1_000_000_000 => format!("{:.1} MB", value / 1e6),
        _ => format!("{:.1} GB", value / 1e9),
    }
}

/// `12,345`
pub fn count(count: u64) -> String {
    let digits = count.to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// An RFC 3339 time without its seconds.
pub fn date(time: &str) -> String {
    match (time.get(..10), time.get(11..16)) {
        (Some(day), Some(minute)) => format!("{day} {minute} UTC"),
        _ => time.to_owned(),
    }
}

/// A reservation as a label.
pub fn flag(flag: &Flag) -> Value {
    let (text, mild) = match flag {
        Flag::Contaminated { items, of } => (format!("contaminated: {items} of {of} items"), false),
        Flag::NotSearched => ("training text not searched".into(), true),
        Flag::PublicPrivateGap { gap } => (format!("{} points more on public items", points(*gap)), false),
        Flag::ExplainedByControl { task, control } => (format!("{task}: no better than {control}"), false),
        Flag::SameAs { id } => (format!("answers as {id} does"), false),
        Flag::Unsigned => ("unsigned".into(), true),
        Flag::Disputed => ("disputed".into(), false),
    };
    context! { text, mild }
}

/// What a person calls a row.
pub fn name(row: &Row) -> String {
    row.facts.as_ref().map_or_else(|| "the base alone".into(), |facts| facts.manifest.name.clone())
}

/// `+3.2 points (+1.0 … +5.4)`
pub fn pair(pair: &Pair) -> String {
    format!("{} points ({})", points(pair.difference), interval(pair.interval))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities() {
        assert_eq!([points(0.0321), points(-0.5), points(-0.0001)], ["+3.2", "−50.0", "+0.0"]);
        assert_eq!([count(0), count(999), count(1_234_567)], ["0", "999", "1,234,567"]);
        assert_eq!([bytes(12), bytes(1_500), bytes(2_340_000)], ["12 B", "2 kB", "2.3 MB"]);
        assert_eq!([heat(0.0, 0.1), heat(0.1, 0.1), heat(-0.9, 0.1), heat(0.02, 0.1)], ["", " b5", " w5", " b1"]);
        assert_eq!(date("2026-11-28T15:28:00Z"), "2026-11-28 15:28 UTC");
    }
}
