//! What cleaning did, by the name of each step.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::quality::{LINE_RULES, RULES};
use super::{Characters, Done, EMPTY_RULE, LANGUAGE_RULE};
use crate::boundary;
use crate::extract::Extracted;

/// Examples kept of each rule.
const EXAMPLES: usize = 3;
/// Names lines that are cut because many documents share them.
const BOILERPLATE: &str = "boilerplate";
/// Characters of an example.
const EXCERPT: usize = 160;

/// What cleaning did.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct CleanReport {
    /// Documents before.
    pub given: u64,
    /// Documents after.
    pub kept: u64,
    /// Documents that were not in normalisation form C.
    pub normalised: u64,
    /// Documents in which mojibake was repaired.
    pub repaired: u64,
    /// Documents from which control characters or odd spaces were removed.
    pub controls: u64,
    /// Lines cut because many documents share them.
    pub boilerplate_lines: u64,
    /// Documents dropped, by the first rule that they break.
    pub dropped: BTreeMap<String, u64>,
    /// Documents that break each rule, whichever came first.
    pub broken: BTreeMap<String, u64>,
    /// Lines cut, by rule.
    pub lines: BTreeMap<String, u64>,
    /// Places replaced, by pattern.
    pub scrubbed: BTreeMap<String, u64>,
    /// A few documents of each rule, and the first repeated lines.
    pub examples: Vec<Example>,
}

/// A document or line that a rule dropped.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Example {
    /// The rule, or `boilerplate`.
    pub rule: String,
    /// The document.
    pub document: String,
    /// The measure that broke the rule.
    pub measure: f64,
    /// The beginning of its text, scrubbed.
    pub excerpt: String,
}

/// What a rule of this name drops or cuts.
pub fn meaning(rule: &str) -> Option<&'static str> {
    let other = [
        (LANGUAGE_RULE, "another language than English"),
        (EMPTY_RULE, "no text left"),
        (BOILERPLATE, "a line of many documents"),
    ];
    let documents = RULES.iter().map(|rule| (rule.name, rule.drops));
    let lines = LINE_RULES.iter().map(|rule| (rule.name, rule.cut));
    other.into_iter().chain(documents).chain(lines).find(|(name, _)| *name == rule).map(|(_, meaning)| meaning)
}

/// The beginning of a text in one line, scrubbed of personal data and secrets.
pub(crate) fn excerpt(text: &str) -> String {
    let end = text.char_indices().nth(EXCERPT).map_or(text.len(), |(at, _)| at);
    // Looked at beyond its end, so that a secret is not cut in two and missed.
    let beyond = boundary::ceil(text, end + 4096);
    let scrubbed = super::private::scrub(&text[..beyond], &super::private::Pattern::ALL);
    let text = scrubbed.as_ref().map_or(text, |(text, _)| text);
    let mut line: String = text.chars().take(EXCERPT).map(|c| if c == '\n' { ' ' } else { c }).collect();
    if line.len() < text.len() {
        line.push('…');
    }
    line
}

impl CleanReport {
    /// Adds what was done to the characters of a document.
    pub(super) fn add_characters(&mut self, changed: &Characters) {
        self.normalised += u64::from(changed.normalised);
        self.repaired += u64::from(changed.repaired);
        self.controls += u64::from(changed.controls);
    }

    /// Adds one document; whether it is kept.
    pub(super) fn add(&mut self, document: &Extracted, done: Done) -> bool {
        self.boilerplate_lines += done.boilerplate.len() as u64;
        for line in &done.boilerplate {
            self.example(BOILERPLATE, document, 0.0, line);
        }
        for (rule, count) in done.lines {
            *self.lines.entry(rule.to_owned()).or_default() += count;
        }
        for (pattern, count) in done.scrubbed {
            *self.scrubbed.entry(pattern.name().to_owned()).or_default() += count;
        }
        for (rule, _) in &done.broken {
            *self.broken.entry((*rule).to_owned()).or_default() += 1;
        }
        let Some((rule, measure)) = done.broken.first() else { return true };
        *self.dropped.entry((*rule).to_owned()).or_default() += 1;
        self.example(rule, document, *measure, &document.text);
        false
    }

    fn example(&mut self, rule: &str, document: &Extracted, measure: f64, text: &str) {
        if self.examples.iter().filter(|example| example.rule == rule).count() < EXAMPLES {
            let (rule, document) = (rule.to_owned(), document.id.clone());
            self.examples.push(Example { rule, document, measure, excerpt: excerpt(text) });
        }
    }
}
