//! What a pack says, as lines and rows: written once for the terminal, the model card and the page.

use crate::documents::{Decontamination, EvaluatedModel, Evaluation, TextRole};
use crate::format::ROUTER;
use crate::manifest::{Manifest, Requirement};
use crate::verify::Verified;

/// One fact: what it is called, and how it reads.
pub type Fact = (&'static str, String);

/// Everything a pack says about itself, in the order in which people ask; how it was measured apart.
pub fn facts(pack: &Verified) -> Vec<Fact> {
    let manifest = &pack.manifest;
    let bytes: u64 = manifest.members.iter().map(|member| member.bytes).sum();
    let mut facts = vec![
        ("module", format!("{} {}", manifest.name, manifest.version)),
        ("summary", manifest.summary.clone()),
        ("identity", format!("manifest sha256 {}", pack.manifest_sha256)),
        ("topic", format!("{} ({})", manifest.topic, manifest.languages.join(", "))),
        ("authors", manifest.authors.join(", ")),
        ("licence", manifest.license.clone()),
        ("base", format!("{}, {}", manifest.base.name, manifest.base.fingerprint)),
        ("base from", format!("{} ({})", manifest.base.source, manifest.base.license)),
        (
            "adapter",
            format!(
                "{}, rank {}, {} parameters as {} on {}",
                manifest.method,
                manifest.rank,
                grouped(manifest.parameters),
                manifest.dtype,
                manifest.targets.join(", ")
            ),
        ),
        ("router", if manifest.member(ROUTER).is_some() { "an entry" } else { "none" }.to_owned()),
        ("needs", listed(&manifest.dependencies)),
        ("excludes", listed(&manifest.conflicts)),
        ("made with", format!("{}; content {} bytes", manifest.program, grouped(bytes))),
    ];
    for text in &pack.corpus.texts {
        facts.push((
            "texts",
            format!(
                "{} ({}), {} documents, {} training tokens",
                text.source,
                text.license,
                grouped(text.documents),
                grouped(text.tokens.train)
            ),
        ));
        facts.extend(text.decontamination.as_ref().map(|found| ("kept apart", kept_apart(found))));
    }
    facts
}

/// What was found of evaluation items in texts, and removed.
pub(crate) fn kept_apart(found: &Decontamination) -> String {
    let sets = found
        .sets
        .iter()
        .map(|(name, set)| format!("{} of {} items of {name}", grouped(set.contaminated), grouped(set.items)));
    format!(
        "{} overlap; of {} training documents with such a run of words, {} were dropped and {} paragraphs cut",
        sets.collect::<Vec<_>>().join(", "),
        grouped(found.training_documents),
        grouped(found.dropped),
        grouped(found.paragraphs)
    )
}

fn listed(requirements: &[Requirement]) -> String {
    match requirements {
        [] => "none".to_owned(),
        some => some.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "),
    }
}

/// What a module does to one held-out text.
#[derive(Debug, Clone, PartialEq)]
pub struct Change {
    /// Name of the text.
    pub text: String,
    /// Bits per byte of the base alone.
    pub before: f64,
    /// Bits per byte with the module.
    pub after: f64,
    /// Relative change; negative is better.
    pub change: f64,
    /// 1.96 standard errors of the paired difference, relative to the base.
    pub error: Option<f64>,
    /// Why it was measured: gain, forgetting or interference.
    pub role: &'static str,
}

impl Change {
    /// `-25.0 % ± 1.0`.
    pub fn shown(&self) -> String {
        let change = percent(self.change);
        self.error.map_or(change.clone(), |error| format!("{change} ± {:.1}", 100.0 * error))
    }
}

/// The module alone on every text.
pub fn changes(manifest: &Manifest, evaluation: &Evaluation) -> Vec<Change> {
    let topic = &manifest.topic;
    let (Some(base), Some(module)) = (evaluation.base_model(), evaluation.module(topic)) else { return Vec::new() };
    let change = |column: &crate::documents::EvaluatedText| {
        let (before, after) = (base.scores.get(&column.name)?, module.scores.get(&column.name)?);
        Some(Change {
            text: column.name.clone(),
            before: before.bits_per_byte,
            after: after.bits_per_byte,
            change: after.bits_per_byte / before.bits_per_byte - 1.0,
            error: after.difference_standard_error.map(|error| 1.96 * error / before.bits_per_byte),
            role: match (column.general, column.name == *topic) {
                (true, _) => "general English: forgetting",
                (false, true) => "its own topic: gain",
                (false, false) => "another topic: interference",
            },
        })
    };
    evaluation.texts.iter().filter_map(change).collect()
}

/// The module with others of its run: what was active, and the change of every text against the base alone.
pub fn together(manifest: &Manifest, evaluation: &Evaluation) -> Vec<(String, Vec<String>)> {
    let with_others = |model: &&EvaluatedModel| model.modules.len() > 1 && model.modules.contains(&manifest.topic);
    let row = |model: &EvaluatedModel| {
        let change = |text: &crate::documents::EvaluatedText| {
            evaluation.change(model, &text.name).map(percent).unwrap_or_default()
        };
        let cells = evaluation.texts.iter().map(change).collect();
        (format!("{} of {}", model.name, model.modules.join(", ")), cells)
    };
    evaluation.models.iter().filter(with_others).map(row).collect()
}

/// What it is not good for, a sentence each.
pub fn limits(manifest: &Manifest, evaluation: &Evaluation) -> Vec<String> {
    let mut lines = vec![
        format!(
            "It works on one base only, {} (fingerprint {}). On another it may load and be wrong; Lore refuses that.",
            manifest.base.name, manifest.base.fingerprint
        ),
        "A language model writes likely text, not true text; what it says about its topic must be checked.".to_owned(),
    ];
    let worse: Vec<String> = changes(manifest, evaluation)
        .iter()
        .filter(|change| change.text != manifest.topic && change.change > 0.0)
        .map(|change| format!("{} by {:.1} %", change.text, 100.0 * change.change))
        .collect();
    if !worse.is_empty() {
        lines.push(format!("It makes the base worse on {}.", worse.join(", ")));
    }
    lines
}

/// What texts were for, in words.
pub(crate) fn role(role: TextRole) -> &'static str {
    match role {
        TextRole::Topic => "the topic",
        TextRole::General => "general English",
    }
}

fn percent(change: f64) -> String {
    format!("{:+.1} %", 100.0 * change)
}

/// `1,234,567`.
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped() {
        for (number, text) in [(0, "0"), (999, "999"), (1000, "1,000"), (1_234_567, "1,234,567")] {
            assert_eq!(grouped(number), text);
        }
    }
}
