//! `general`: general English, written by the teacher or fetched, to token files, split.

use std::path::Path;

use lore_datasets::documents::Origin;
use lore_datasets::extract::{ExtractReport, Extracted, extract_into};
use lore_datasets::prepare::{Preparation, prepare};
use lore_datasets::split::SplitSpec;
use lore_datasets::spool::{Sink, SpoolWriter};
use lore_distill::general::{Writing, write};
use lore_model::sampling::Sampling;
use serde_json::{Value, json};

use super::prepared::write_prepared;
use super::topic::note_left_out;
use super::{Outcome, Stage, StageContext};
use crate::error::{Error, Result};
use crate::models::load_model;
use crate::plan::estimate::{self, Estimate, Facts};
use crate::recipe::{General, Sample};
use crate::session::Session;

/// Makes the general text.
pub struct GeneralStage {
    general: General,
    seed: u64,
}

/// What making general text works with.
pub struct GeneralRequest<'a> {
    /// How it is made.
    pub general: &'a General,
    /// Everything random follows from it.
    pub seed: u64,
    /// The teacher.
    pub teacher: &'a Path,
    /// The fetched text, if it is not the teacher that writes.
    pub source: Option<&'a Path>,
    /// Where to write, and where an interrupted run left what it wrote.
    pub folder: &'a Path,
    /// Device, progress.
    pub session: &'a Session,
}

impl GeneralStage {
    /// Makes the general text of a recipe.
    pub fn new(general: &General, seed: u64) -> Self {
        Self { general: general.clone(), seed }
    }
}

impl Stage for GeneralStage {
    fn name(&self) -> &str {
        "general"
    }

    fn inputs(&self) -> Vec<String> {
        let mut inputs = vec!["teacher".into()];
        if self.general.corpus.is_some() {
            inputs.push("fetch:general".into());
        }
        inputs
    }

    fn config(&self) -> Value {
        let General { tokens, sequence_length, split, sample, corpus } = &self.general;
        let extract = corpus.as_ref().map(|corpus| &corpus.extract);
        json!({
            "tokens": tokens, "sequence_length": sequence_length, "split": split,
            "sample": sample, "extract": extract, "seed": self.seed,
        })
    }

    fn schema(&self) -> u32 {
        2
    }

    fn resumable(&self) -> bool {
        true
    }

    fn estimate(&self, facts: &Facts) -> Estimate {
        estimate::general(&self.general, facts)
    }

    fn run(&self, context: &StageContext<'_>) -> Result<Outcome> {
        let source = match context.inputs.get("fetch:general") {
            Some(fetched) => Some(fetched.external()?),
            None => None,
        };
        make_general(&GeneralRequest {
            general: &self.general,
            seed: self.seed,
            teacher: context.input("teacher")?.external()?,
            source,
            folder: context.folder,
            session: context.session,
        })
    }
}

/// Samples text from the teacher (`general.sample`) or extracts it (`general.corpus`), splits it by
/// document and writes the token files, as [`super::topic`] does. Facts: documents, tokens, bytes of each split.
fn make_general(request: &GeneralRequest<'_>) -> Result<Outcome> {
    let GeneralRequest { general, seed, teacher, source, folder, session } = request;
    let mut documents = SpoolWriter::create(folder)?;
    let (extracted, origin) = match (&general.sample, &general.corpus, source) {
        (Some(sample), _, _) => {
            let texts = write_with_teacher(request, sample)?;
            texts.into_iter().try_for_each(|text| documents.push(text))?;
            let origin = Origin {
                topic: "general".into(),
                source: format!("written by {} with seed {seed}", teacher.file_name().unwrap_or_default().display()),
                license: String::new(),
            };
            (ExtractReport::default(), origin)
        }
        (None, Some(corpus), Some(source)) => {
            let extracted = extract_into("general", source, &corpus.extract, &mut documents, &*session.progress)?;
            note_left_out("general", &extracted, session);
            let origin = Origin {
                topic: "general".into(),
                source: corpus.source.to_string(),
                license: corpus.license.clone().unwrap_or_default(),
            };
            (extracted, origin)
        }
        _ => return Err(Error::Failed("`[general]` has neither `sample` nor a fetched `corpus`".into())),
    };
    let split = SplitSpec { validation: general.split.validation, test: general.split.test };
    let source = origin.source.clone();
    let preparation = Preparation { clean: None, dedup: None, decontaminate: None, split, origin };
    let texts = prepare(documents.finish()?, &extracted, &preparation, &*session.progress)?;
    let prepared = write_prepared(&texts, teacher, folder, session)?;
    Ok(Outcome {
        summary: format!("{} texts, {} training tokens", texts.documents(), prepared.tokens["train"]),
        facts: json!({ "documents": texts.documents(), "tokens": prepared.tokens, "source": source }),
        ..Outcome::default()
    })
}

/// Texts that the teacher writes from the recipe's openings.
fn write_with_teacher(request: &GeneralRequest<'_>, sample: &Sample) -> Result<Vec<Extracted>> {
    let model = load_model(request.teacher, &request.session.device.device()?)?;
    model.check_length("`general.sequence_length`", request.general.sequence_length + 1)?;
    let tokenizer = &model.files.tokenizer;
    let refused = |error| Error::Failed(format!("the teacher's tokenizer: {error}"));
    let openings = sample
        .openings
        .iter()
        .map(|opening| Ok(tokenizer.encode(opening.as_str(), false).map_err(refused)?.get_ids().to_vec()))
        .collect::<Result<Vec<_>>>()?;
    let mut stop = model.files.config.eos_token_ids.clone();
    stop.push(model.start);
    let writing = Writing {
        tokens: request.general.tokens,
        length: request.general.sequence_length,
        batch: sample.batch,
        sampling: Sampling {
            temperature: sample.temperature as f32,
            top_k: sample.top_k,
            top_p: (sample.top_p < 1.0).then_some(sample.top_p as f32),
        },
        seed: request.seed,
        start: model.start,
        stop,
    };
    let file = request.folder.join("written.jsonl");
    let texts = write(&model.decoder, &openings, &writing, &file, &*request.session.progress)?;
    texts
        .iter()
        .map(|text| {
            let id = format!("text-{:06}", text.index);
            let text = tokenizer.decode(&text.tokens, true).map_err(refused)?;
            Ok(Extracted { group: id.clone(), id, title: String::new(), text })
        })
        .collect()
}
