//! Validation text, by which learning rates and the end of training are chosen.

use lore_datasets::progress::Silent;
use lore_datasets::split::Split;
use lore_eval::composition::{Text, score_texts};
use lore_eval::statistics::bits_per_byte;
use lore_finetune::LoraTraining;
use lore_train::{HeldOut, Parameters};

use super::ModuleRequest;
use crate::error::{Error, Result};
use crate::models::LoadedModel;
use crate::stages::prepared::passages_of;

/// Bits per byte of a module on validation text, the mean over its topics.
pub struct Validation<'a> {
    texts: Vec<Text>,
    start: u32,
    training: &'a LoraTraining,
}

impl<'a> Validation<'a> {
    /// The validation text of every topic.
    ///
    /// # Errors
    /// A topic without any; documents that cannot be read.
    pub fn new(request: &ModuleRequest<'_>, model: &LoadedModel, training: &'a LoraTraining) -> Result<Self> {
        let ModuleRequest { subject, module, topics, .. } = request;
        let text = |(name, folder): (&String, &std::path::PathBuf)| {
            let tokenizer = &model.files.tokenizer;
            let length = module.train.sequence_length;
            let passages =
                passages_of(folder, Split::Validation, tokenizer, module.validation_tokens, length, Some(2))?;
            if passages.is_empty() {
                return Err(Error::Failed(format!(
                    "`{name}` has no validation text of {length} tokens or less within `validation_tokens`, by which \
                     `stopping` and `sweep` decide: raise `split.validation` or give it more documents"
                )));
            }
            Ok(Text { name: name.clone(), passages })
        };
        let texts = subject.topics.iter().zip(*topics).map(text).collect::<Result<_>>()?;
        Ok(Self { texts, start: model.start, training })
    }
}

impl HeldOut for Validation<'_> {
    fn measure(&self, parameters: &Parameters) -> std::result::Result<f64, Box<dyn std::error::Error + Send + Sync>> {
        let row = score_texts(&self.training.model(parameters), &self.texts, self.start, "validation", &Silent)?;
        let bits = (0..self.texts.len()).map(|text| bits_per_byte(&row.measured(&self.texts, text)).value);
        Ok(bits.sum::<f64>() / self.texts.len() as f64)
    }
}
