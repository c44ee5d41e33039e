//! `topic:<name>`: a topic's source to token files, split.

use std::path::Path;

use lore_datasets::documents::{Documents, Origin};
use lore_datasets::extract::extract;
use lore_datasets::split::SplitSpec;
use serde_json::{Value, json};

use super::prepared::write_prepared;

use super::{Outcome, Stage, StageContext};
use crate::error::Result;
use crate::plan::estimate::{self, Estimate, Facts};
use crate::recipe::Topic;

/// Extracts, splits and tokenises the texts of a topic.
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
    /// The teacher, for its tokenizer.
    pub teacher: &'a Path,
    /// Where to write.
    pub folder: &'a Path,
    /// Device, progress.
    pub session: &'a crate::session::Session,
}

impl TopicStage {
    /// Prepares `topic`.
    pub fn new(topic: &Topic) -> Self {
        Self { name: format!("topic:{}", topic.name), topic: topic.clone() }
    }
}

impl Stage for TopicStage {
    fn name(&self) -> &str {
        &self.name
    }

    fn inputs(&self) -> Vec<String> {
        vec![format!("fetch:{}", self.topic.name), "teacher".into()]
    }

    fn config(&self) -> Value {
        json!({ "extract": self.topic.extract, "split": self.topic.split })
    }

    fn estimate(&self, _facts: &Facts) -> Estimate {
        estimate::topic()
    }

    fn run(&self, context: &StageContext<'_>) -> Result<Outcome> {
        let [source, teacher] = [&self.inputs()[0], "teacher"].map(|name| context.input(name));
        prepare_topic(&TopicRequest {
            topic: &self.topic,
            source: source?.external()?,
            teacher: teacher?.external()?,
            folder: context.folder,
            session: context.session,
        })
    }
}

/// Extracts documents, splits them by document, tokenises each split and writes the token files.
/// Facts: documents, tokens and bytes of each split.
fn prepare_topic(request: &TopicRequest<'_>) -> Result<Outcome> {
    let TopicRequest { topic, source, teacher, folder, session } = request;
    let extraction = extract(&topic.name, source, &topic.extract, &*session.progress)?;
    let origin = Origin {
        topic: topic.name.clone(),
        source: topic.source.to_string(),
        license: topic.license.clone().unwrap_or_default(),
    };
    let split = SplitSpec { validation: topic.split.validation, test: topic.split.test };
    let (documents, cleaning) = Documents::build(extraction.documents, &origin, &split)?;
    let prepared = write_prepared(&documents, teacher, folder, session)?;
    Ok(Outcome {
        summary: format!("{} documents, {} training tokens", documents.len(), prepared.tokens["train"]),
        facts: json!({
            "documents": documents.len(),
            "tokens": prepared.tokens,
            "duplicates": cleaning.duplicates,
        }),
        ..Outcome::default()
    })
}
