//! Cleaning of documents: characters, lines, whole documents, personal data. What each step changed or
//! dropped is counted by its name.
//!
//! ```
//! use lore_datasets::clean::{CleanSpec, clean};
//! use lore_datasets::extract::Extracted;
//! use lore_datasets::progress::Silent;
//!
//! let document = Extracted {
//!     id: "a".into(), group: "a".into(), title: String::new(),
//!     text: "Itâ€™s Jane (jane@example.org).".into(),
//! };
//! let spec = CleanSpec { quality: Vec::new(), ..CleanSpec::default() };
//! let (documents, report) = clean(vec![document], &spec, &Silent)?;
//! assert_eq!(documents[0].text, "It’s Jane ([EMAIL]).");
//! assert_eq!((report.repaired, report.scrubbed["email"]), (1, 1));
//! # Ok::<(), lore_datasets::Error>(())
//! ```

mod boilerplate;
mod language;
mod mojibake;
pub mod private;
pub mod quality;
mod report;

use std::collections::BTreeMap;

use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use unicode_normalization::{UnicodeNormalization, is_nfc};

pub use language::{Language, identify, is_foreign};
pub use mojibake::repair_mojibake;
pub(crate) use report::excerpt;
pub use report::{CleanReport, Example, meaning};

use boilerplate::{Boilerplate, Lines, keys_of};
use private::{Pattern, scrub};
use quality::{LineRule, Measures, Rule, select};

use crate::documents::clean as clean_characters;
use crate::error::{Error, Result};
use crate::extract::Extracted;
use crate::progress::{Progress, Task, Unit};
use crate::spool::{Sink, Spool, SpoolWriter};

/// Name of the rule that drops documents in other languages.
pub const LANGUAGE_RULE: &str = "language.english";
/// Name of the rule that drops documents of which no text is left.
pub const EMPTY_RULE: &str = "empty";

/// `[topic.clean]`: what is cleaned. Every step is on by default.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CleanSpec {
    /// Characters in Unicode normalisation form C.
    pub nfc: bool,
    /// UTF-8 that was read as Windows-1252 or Latin-1 is repaired.
    pub mojibake: bool,
    /// Short lines that many documents share are cut.
    pub boilerplate: bool,
    /// Documents that must have a line before it is cut.
    pub boilerplate_documents: usize,
    /// Fraction of documents that must have it.
    pub boilerplate_share: f64,
    /// Documents in other languages are dropped.
    pub english: bool,
    /// Rules of quality, by name or by set ([`quality`]).
    pub quality: Vec<String>,
    /// Personal data and secrets that are replaced.
    pub scrub: Vec<Pattern>,
}

impl Default for CleanSpec {
    fn default() -> Self {
        Self {
            nfc: true,
            mojibake: true,
            boilerplate: true,
            boilerplate_documents: 5,
            boilerplate_share: 0.05,
            english: true,
            quality: quality::SETS.map(str::to_owned).to_vec(),
            scrub: Pattern::ALL.to_vec(),
        }
    }
}

impl CleanSpec {
    /// Refuses unknown rules and fractions that are none.
    ///
    /// # Errors
    /// [`Error::Declaration`] with everything that is wrong.
    pub fn validate(&self) -> Result<()> {
        let mut problems = select(&self.quality).err().unwrap_or_default();
        if !(0.0..=1.0).contains(&self.boilerplate_share) {
            problems.push(format!("`boilerplate_share` is {}, but a fraction is needed", self.boilerplate_share));
        }
        if problems.is_empty() { Ok(()) } else { Err(Error::Declaration { what: "clean".into(), problems }) }
    }
}

/// Cleans documents. Their order stays, and the result does not depend on the number of threads.
///
/// # Errors
/// A `spec` that is not [valid](CleanSpec::validate).
pub fn clean(
    documents: Vec<Extracted>,
    spec: &CleanSpec,
    progress: &dyn Progress,
) -> Result<(Vec<Extracted>, CleanReport)> {
    spec.validate()?;
    let folder = std::env::temp_dir();
    let (cleaned, report) = clean_corpus(Spool::of(documents, &folder)?, spec, progress)?;
    Ok((cleaned.batches().map(|batch| Ok(batch?.documents)).collect::<Result<Vec<_>>>()?.concat(), report))
}

/// As [`clean`], for documents on disk.
///
/// # Errors
/// As there, and files that cannot be read or written.
pub fn clean_corpus(documents: Spool, spec: &CleanSpec, progress: &dyn Progress) -> Result<(Spool, CleanReport)> {
    spec.validate()?;
    let (rules, line_rules) =
        select(&spec.quality).map_err(|problems| Error::Declaration { what: "clean".into(), problems })?;
    let mut report = CleanReport { given: documents.len(), ..CleanReport::default() };
    let mut task = progress.task("clean", Some(report.given), Unit::Documents);
    let mut steps = Steps { spec, rules, line_rules, boilerplate: None };
    let folder = documents.folder().to_owned();
    let mut cleaned = SpoolWriter::create(&folder)?;
    if spec.boilerplate {
        // Lines are counted in all documents before any is cut.
        let mut lines = Lines::new(&folder);
        let mut between = SpoolWriter::create(&folder)?;
        for batch in documents.batches() {
            let changed: Vec<_> = batch?
                .documents
                .into_par_iter()
                .map(|document| {
                    let (document, changed) = characters(document, spec);
                    let keys = keys_of(&document.text);
                    (document, changed, keys)
                })
                .collect();
            for (document, changed, keys) in changed {
                report.add_characters(&changed);
                lines.add(&keys)?;
                between.push(document)?;
            }
        }
        drop(documents);
        let found = lines.repeated(spec.boilerplate_documents, spec.boilerplate_share)?;
        steps.boilerplate = Some(found).filter(|found| !found.is_empty());
        for batch in between.finish()?.batches() {
            let done: Vec<_> = batch?.documents.into_par_iter().map(|document| steps.apply(document)).collect();
            keep(done, &mut report, &mut cleaned, &mut *task)?;
        }
    } else {
        for batch in documents.batches() {
            let done: Vec<_> = batch?
                .documents
                .into_par_iter()
                .map(|document| {
                    let (document, changed) = characters(document, spec);
                    (steps.apply(document), changed)
                })
                .collect();
            done.iter().for_each(|(_, changed)| report.add_characters(changed));
            keep(done.into_iter().map(|(done, _)| done), &mut report, &mut cleaned, &mut *task)?;
        }
    }
    report.kept = cleaned.taken();
    task.finish(&format!("{} of {} documents kept", report.kept, report.given));
    Ok((cleaned.finish()?, report))
}

fn keep(
    done: impl IntoIterator<Item = (Extracted, Done)>,
    report: &mut CleanReport,
    cleaned: &mut SpoolWriter,
    task: &mut dyn Task,
) -> Result<()> {
    for (document, done) in done {
        task.advance(1);
        if report.add(&document, done) {
            cleaned.push(document)?;
        }
    }
    Ok(())
}

/// What was done to one document.
#[derive(Default)]
struct Done {
    /// Rules that it breaks, the first of which drops it, with their measures.
    broken: Vec<(&'static str, f64)>,
    /// Lines cut by each rule.
    lines: BTreeMap<&'static str, u64>,
    /// Repeated lines that were cut.
    boilerplate: Vec<String>,
    /// What was replaced.
    scrubbed: BTreeMap<Pattern, u64>,
}

/// What was done to the characters of one document.
struct Characters {
    normalised: bool,
    repaired: bool,
    controls: bool,
}

fn characters(mut document: Extracted, spec: &CleanSpec) -> (Extracted, Characters) {
    let mut changed = Characters { normalised: false, repaired: false, controls: false };
    // Before control characters are removed: they may be bytes of broken text.
    if spec.mojibake {
        if let Some(repaired) = repair_mojibake(&document.text) {
            document.text = repaired;
            changed.repaired = true;
        }
        if let Some(repaired) = repair_mojibake(&document.title) {
            document.title = repaired;
        }
    }
    if spec.nfc {
        if !is_nfc(&document.text) {
            document.text = document.text.nfc().collect();
            changed.normalised = true;
        }
        if !is_nfc(&document.title) {
            document.title = document.title.nfc().collect();
        }
    }
    let cleaned = clean_characters(&document.text);
    changed.controls = cleaned != document.text.trim_matches([' ', '\n']);
    document.text = cleaned;
    (document, changed)
}

struct Steps<'a> {
    spec: &'a CleanSpec,
    rules: Vec<&'static Rule>,
    line_rules: Vec<&'static LineRule>,
    boilerplate: Option<Boilerplate>,
}

impl Steps<'_> {
    fn apply(&self, mut document: Extracted) -> (Extracted, Done) {
        let mut done = Done::default();
        if let Some((text, cut)) = self.boilerplate.as_ref().and_then(|found| found.without(&document.text)) {
            done.boilerplate = cut.into_iter().map(|(line, _)| line.to_owned()).collect();
            document.text = text;
        }
        if !self.line_rules.is_empty() {
            self.cut_lines(&mut document.text, &mut done.lines);
        }
        let end = document.text.trim_end().len();
        document.text.truncate(end);
        if document.text.trim().is_empty() {
            done.broken.push((EMPTY_RULE, 0.0));
            return (document, done);
        }
        if self.spec.english && is_foreign(&document.text) {
            done.broken.push((LANGUAGE_RULE, 0.0));
        }
        if !self.rules.is_empty() {
            let measures = Measures::of(&document.text);
            let broken = self.rules.iter().filter_map(|rule| Some((rule.name, rule.broken_by(&measures)?)));
            done.broken.extend(broken);
        }
        // A document that is dropped is not scrubbed, so that what was replaced is in what is kept.
        if done.broken.is_empty() {
            for part in [&mut document.text, &mut document.title] {
                if let Some((scrubbed, counts)) = scrub(part, &self.spec.scrub) {
                    *part = scrubbed;
                    for (pattern, count) in counts {
                        *done.scrubbed.entry(pattern).or_default() += count;
                    }
                }
            }
        }
        (document, done)
    }

    fn cut_lines(&self, text: &mut String, counts: &mut BTreeMap<&'static str, u64>) {
        let rule_of = |line: &str| self.line_rules.iter().find(|rule| !line.trim().is_empty() && rule.cuts(line));
        if text.lines().all(|line| rule_of(line).is_none()) {
            return;
        }
        let mut kept = String::with_capacity(text.len());
        for line in text.split_inclusive('\n') {
            match rule_of(line) {
                Some(rule) => *counts.entry(rule.name).or_default() += 1,
                None => kept.push_str(line),
            }
        }
        *text = kept;
    }
}
