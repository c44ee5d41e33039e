//! Reports as lines for people.

use std::collections::BTreeMap;

use lore_datasets::prepare::DataReport;
use lore_distill::synth::Report;

use crate::quantity;
use crate::stages::topic::Tokens;

/// `a 3, b 1`, the most frequent first.
pub fn counts(counts: &BTreeMap<String, u64>) -> String {
    let mut sorted: Vec<_> = counts.iter().collect();
    sorted.sort_by(|a, b| b.1.cmp(a.1).then(a.0.cmp(b.0)));
    sorted.iter().map(|(name, count)| format!("{name} {count}")).collect::<Vec<_>>().join(", ")
}

/// What every step did, one line each. Steps that were not asked for have none.
pub fn report_lines(report: &DataReport, tokens: Option<&Tokens>) -> Vec<String> {
    let mut lines = Vec::new();
    for split in &report.splits {
        let name = split.split.name();
        let tokens = tokens.and_then(|tokens| tokens.get(name)).map(|&n| format!(", {} tokens", quantity::count(n)));
        let size = quantity::bytes(split.bytes);
        lines.push(format!("{name}: {} documents, {size}{}", split.documents, tokens.unwrap_or_default()));
    }
    let unasked = match report.files_unasked {
        0 => String::new(),
        count => format!(" ({count} that no rule asks for)"),
    };
    lines.push(format!(
        "read: {} of {} files{unasked}; {} broken and {} too short records",
        report.files_read, report.files_listed, report.broken_records, report.short_records
    ));
    let left_out = report.left_out.len();
    lines.extend(
        (left_out > 0).then(|| format!("left out: {left_out} files, links and records, with reasons in data.json")),
    );
    if let Some(clean) = &report.clean {
        lines.push(format!("clean: {} of {} documents kept", clean.kept, clean.given));
        let changed = [
            ("normalised", clean.normalised),
            ("mojibake repaired", clean.repaired),
            ("control characters removed", clean.controls),
        ];
        let changed: Vec<String> =
            changed.iter().filter(|(_, n)| *n > 0).map(|(what, n)| format!("{what} in {n}")).collect();
        lines.extend((!changed.is_empty()).then(|| format!("clean, characters: {}", changed.join(", "))));
        lines.extend(
            (clean.boilerplate_lines > 0).then(|| format!("clean, boilerplate lines: {}", clean.boilerplate_lines)),
        );
        for (what, found) in
            [("dropped by rule", &clean.dropped), ("lines cut by rule", &clean.lines), ("replaced", &clean.scrubbed)]
        {
            lines.extend((!found.is_empty()).then(|| format!("clean, {what}: {}", counts(found))));
        }
    }
    if let Some(dedup) = &report.dedup {
        lines.push(format!(
            "duplicates: {} exact, {} near, {} paragraphs ({} clusters, the largest of {})",
            dedup.exact, dedup.near, dedup.paragraphs, dedup.clusters, dedup.largest_cluster
        ));
    }
    if let Some(leakage) = &report.leakage {
        lines.push(format!("leaks between splits: {} dropped, {} moved", leakage.dropped, leakage.moved));
    }
    if let Some(decontamination) = &report.decontamination {
        for (name, set) in &decontamination.sets {
            let short =
                if set.too_short > 0 { format!(", {} too short to look for", set.too_short) } else { String::new() };
            lines.push(format!(
                "evaluation `{name}`: {} of {} items overlap ({} with training text){short}",
                set.contaminated, set.items, set.in_training
            ));
        }
        lines.push(format!(
            "evaluation, removed: {} paragraphs of {} documents, {} documents whole",
            decontamination.paragraphs, decontamination.training_documents, decontamination.dropped
        ));
    }
    lines
}

/// What came of a synthesis, a line for each kind.
pub fn synthesis_lines(report: &Report) -> Vec<String> {
    let mut lines = vec![format!("{} passages", report.passages)];
    for (kind, of_kind) in &report.kinds {
        let share = 100.0 * of_kind.acceptance_rate;
        let mut line = format!("{kind}: {} of {} accepted ({share:.1} %)", of_kind.accepted, of_kind.written);
        if !of_kind.rejected.is_empty() {
            line.push_str(&format!("; rejected: {}", counts(&of_kind.rejected)));
        }
        lines.push(line);
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_frequent_comes_first() {
        let found = [("b".to_owned(), 1), ("a".to_owned(), 1), ("c".to_owned(), 3)].into();
        assert_eq!(counts(&found), "c 3, a 1, b 1");
    }
}
