//! The teacher of an evaluation: read when it is first needed, when the base is no longer.

use std::cell::OnceCell;

use burn::tensor::Device;
use lore_eval::composition::Text;

use super::EvaluateRequest;
use super::kept::Scored;
use super::samples::{encoded, written};
use super::scorer::{Model, run};
use super::tasks::{Answers, Named};
use crate::error::{Error, Result};
use crate::models::{LoadedModel, load_model};

/// The teacher.
pub struct Teacher<'a> {
    request: &'a EvaluateRequest<'a>,
    device: Device,
    /// Tokens that the base knows.
    vocabulary: usize,
    model: OnceCell<LoadedModel>,
}

impl<'a> Teacher<'a> {
    /// That of a run whose base knows `vocabulary` tokens.
    pub fn new(request: &'a EvaluateRequest<'a>, vocabulary: usize, device: Device) -> Self {
        Self { request, device, vocabulary, model: OnceCell::new() }
    }

    fn model(&self) -> Result<&LoadedModel> {
        if let Some(model) = self.model.get() {
            return Ok(model);
        }
        let model = load_model(self.request.teacher, &self.device)?;
        if model.files.tokenizer.get_vocab_size(true) != self.vocabulary {
            return Err(Error::Failed(
                "base and teacher have different vocabularies; their rows cannot be compared".into(),
            ));
        }
        Ok(self.model.get_or_init(|| model))
    }

    /// Scores it on all texts.
    ///
    /// # Errors
    /// A teacher that cannot be read, or has another vocabulary.
    pub fn score(&self, texts: &[Text]) -> Result<Scored> {
        let teacher = self.model()?;
        let label = Model::Teacher.label(self.request);
        let row = run(self.request, &teacher.decoder, texts, teacher.start, &label)?;
        Ok(Scored { label, bytes: 4 * teacher.decoder.parameter_count() as u64, row })
    }

    /// Puts the recipe's questions to it.
    ///
    /// # Errors
    /// As [`Self::score`]; whatever asking fails with.
    pub fn ask(&self, asking: &mut Answers<'_>) -> Result<()> {
        let named = Named::new(self.model()?, self.request.teacher)?;
        asking.row(&Model::Teacher.label(self.request), &named, Vec::new())
    }

    /// How it continues the recipe's prompts.
    ///
    /// # Errors
    /// As [`Self::score`]; prompts that the tokenizer refuses.
    pub fn texts(&self) -> Result<Vec<String>> {
        let prompts = &self.request.evaluate.prompts;
        if prompts.is_empty() {
            return Ok(Vec::new());
        }
        let teacher = self.model()?;
        written(self.request, teacher, &teacher.decoder, &encoded(self.request, teacher, prompts)?)
    }
}
