//! `topic:<name>`: a topic's source to token files, split.

use std::path::{Path, PathBuf};

use lore_datasets::decontaminate::EvaluationSet;
use lore_datasets::documents::Origin;
use lore_datasets::extract::{ExtractReport, extract, extract_into};
use lore_datasets::prepare::{DataReport, Preparation, prepare};
use lore_datasets::split::SplitSpec;
use lore_datasets::spool::SpoolWriter;
use serde_json::{Value, json};

use super::prepared::write_prepared;

use super::{Outcome, Stage, StageContext};
use crate::error::{Error, Result};
use crate::plan::estimate::{self, Estimate, Facts};
use crate::plan::items_of;
use crate::recipe::Topic;
use crate::session::Session;

/// Extracts, refines, splits and tokenises the texts of a topic.
pub struct TopicStage {
    name: String,
    topic: Topic,
}

/// What preparing a topic works with.
pub struct TopicRequest<'a> {
    /// The topic.
    pub topic: &'a Topic,
    /// Its fetched source.
    pub source: &'a Path,
    /// The fetched evaluation items, in the order of the recipe.
    pub items: &'a [PathBuf],
    /// The teacher, for its tokenizer.
    pub teacher: &'a Path,
    /// Where to write.
    pub folder: &'a Path,
    /// Whether anything that is left out is a failure.
    pub strict: bool,
    /// Whether reports are written even if nothing but extraction and splits is asked for.
    pub reports: bool,
    /// Device, progress.
    pub session: &'a Session,
}

impl TopicStage {
    /// Prepares `topic`.
    pub fn new(topic: &Topic) -> Self {
        Self { name: format!("topic:{}", topic.name), topic: topic.clone() }
    }

    fn items(&self) -> Vec<String> {
        self.topic.against().iter().map(|against| format!("fetch:{}", items_of(&self.topic, against))).collect()
    }
}

impl Stage for TopicStage {
    fn name(&self) -> &str {
        &self.name
    }

    fn inputs(&self) -> Vec<String> {
        let mut inputs = vec![format!("fetch:{}", self.topic.name), "teacher".into()];
        inputs.extend(self.items());
        inputs
    }

    fn config(&self) -> Value {
        let Topic { extract, split, clean, dedup, decontaminate, .. } = &self.topic;
        let mut config = json!({ "extract": extract, "split": split });
        // Absent keys, so that what was made before these tables existed is still found.
        if let Some(clean) = clean {
            config["clean"] = json!(clean);
        }
        if let Some(dedup) = dedup {
            config["dedup"] = json!(dedup);
        }
        if let Some(declared) = decontaminate {
            let items = |against: &crate::recipe::Against| json!([against.name, against.ngram, against.extract]);
            let against: Vec<Value> = declared.against.iter().map(items).collect();
            config["decontaminate"] = json!({ "remove": declared.remove, "against": against });
        }
        config
    }

    fn estimate(&self, _facts: &Facts) -> Estimate {
        estimate::topic()
    }

    fn run(&self, context: &StageContext<'_>) -> Result<Outcome> {
        let [source, teacher] = [&self.inputs()[0], "teacher"].map(|name| context.input(name));
        let items = self.items();
        let items = items.iter().map(|name| Ok(context.input(name)?.external()?.to_owned()));
        let (report, tokens) = prepare_topic(&TopicRequest {
            topic: &self.topic,
            source: source?.external()?,
            items: &items.collect::<Result<Vec<_>>>()?,
            teacher: teacher?.external()?,
            folder: context.folder,
            strict: false,
            reports: false,
            session: context.session,
        })?;
        let documents: u64 = report.splits.iter().map(|split| split.documents).sum();
        let mut facts = json!({ "documents": documents, "tokens": tokens, "duplicates": report.duplicates });
        if self.topic.refines() {
            facts["data"] = json!(report);
        }
        Ok(Outcome {
            summary: format!("{documents} documents, {} training tokens", tokens["train"]),
            facts,
            ..Outcome::default()
        })
    }
}

/// Tokens by split.
pub type Tokens = std::collections::BTreeMap<String, u64>;

/// Extracts documents, refines them as the topic asks, splits and tokenises them and writes all that.
///
/// # Errors
/// Files that cannot be used, unless the rule skips them; with `strict` anything that is left out.
pub fn prepare_topic(request: &TopicRequest<'_>) -> Result<(DataReport, Tokens)> {
    let TopicRequest { topic, source, items, teacher, folder, strict, reports, session } = request;
    let mut documents = SpoolWriter::create(folder)?;
    let extracted = extract_into(&topic.name, source, &topic.extract, &mut documents, &*session.progress)?;
    refuse_left_out(&topic.name, *strict, &extracted)?;
    note_left_out(&topic.name, &extracted, session);
    let mut sets = Vec::new();
    for (against, path) in topic.against().iter().zip(*items) {
        let extracted = extract(&against.name, path, &against.extract, &*session.progress)?;
        refuse_left_out(&against.name, *strict, &extracted.report)?;
        note_left_out(&against.name, &extracted.report, session);
        sets.push(EvaluationSet { name: against.name.clone(), items: extracted.documents, ngram: against.ngram });
    }
    let preparation = Preparation {
        clean: topic.clean.as_ref(),
        dedup: topic.dedup.as_ref(),
        decontaminate: topic.decontaminate.as_ref().map(|declared| (sets.as_slice(), declared.remove)),
        split: SplitSpec { validation: topic.split.validation, test: topic.split.test },
        origin: Origin {
            topic: topic.name.clone(),
            source: topic.source.to_string(),
            license: topic.license.clone().unwrap_or_default(),
        },
    };
    let prepared = prepare(documents.finish()?, &extracted, &preparation, &*session.progress)?;
    let written = write_prepared(&prepared, teacher, folder, session)?;
    if topic.refines() || *reports {
        prepared.write_reports(folder)?;
    }
    Ok((prepared.report, written.tokens))
}

/// With `strict`, fails if anything was left out, naming it.
///
/// # Errors
/// That.
pub fn refuse_left_out(name: &str, strict: bool, report: &ExtractReport) -> Result<()> {
    // Of broken records only the first are quoted.
    let count = report.left_out.len() + report.broken;
    if !strict || count == 0 {
        return Ok(());
    }
    let quoted: Vec<&str> = report.left_out.iter().chain(&report.problems).take(10).map(String::as_str).collect();
    Err(Error::Failed(format!(
        "{name}: {} left out, and --strict does not allow that: {}",
        if count == 1 { "something is".into() } else { format!("{count} things are") },
        quoted.join("; ")
    )))
}

/// Names what was left out, the first of it if it is much.
pub fn note_left_out(name: &str, report: &ExtractReport, session: &Session) {
    const NAMED: usize = 50;
    let note = |what: &str| session.progress.note(&format!("{name}: {what}"));
    report.left_out.iter().take(NAMED).for_each(|left_out| note(&format!("left out: {left_out}")));
    let more = report.left_out.len().saturating_sub(NAMED);
    if more > 0 {
        note(&format!("left out: {more} more files and links"));
    }
    report.problems.iter().for_each(|problem| note(&format!("left out: {problem}")));
    let more = report.broken.saturating_sub(report.problems.len());
    if more > 0 {
        note(&format!("left out: {more} more broken records"));
    }
}
