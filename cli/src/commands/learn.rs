//! `lore compose --learn`: weights of modules from a few texts.

use std::path::PathBuf;

use lore_datasets::progress::Unit;
use lore_eval::composition::{Text, score_texts};
use lore_eval::weights;
use lore_modules::{LoadedModule, activate};

use crate::error::{Error, Result};
use crate::location::{Location, WeightedModule};
use crate::models::{load_model, read_modules};
use crate::passages;
use crate::session::Session;

/// Tokens of a passage, where the model has positions for so many.
const TOKENS: usize = 256;

/// How weights are learnt.
#[derive(Debug, clap::Args)]
pub struct LearnArguments {
    /// Learn the weights from a plain text file: those at which all modules together predict it best, without gradients, at
    /// a small price for each (LoraHub); weights given with --module, divided by their number, are where the search begins
    #[arg(long, value_name = "FILE", requires = "base")]
    learn: Vec<PathBuf>,
    /// With --learn: the base, a directory, GGUF file or source
    #[arg(long, value_name = "BASE", requires = "learn")]
    base: Option<Location>,
    /// With --learn: passages of 256 tokens that are read of each file
    #[arg(long, value_name = "N", default_value_t = 8, requires = "learn", value_parser = clap::value_parser!(u32).range(1..))]
    passages: u32,
    /// With --learn: how often weights are tried
    #[arg(long, value_name = "N", default_value_t = 60, requires = "learn", value_parser = clap::value_parser!(u32).range(1..))]
    evaluations: u32,
}

impl LearnArguments {
    /// Puts the learnt weights into `modules`, if any are to be learnt, and says what they are worth.
    ///
    /// # Errors
    /// Texts or models that cannot be read; modules of another base.
    pub fn apply(&self, modules: &mut [WeightedModule], session: &Session) -> Result<()> {
        let Some(base) = &self.base else { return Ok(()) };
        let model = load_model(&base.resolve(session)?, &session.device.device()?)?;
        let length = TOKENS.min(model.decoder.max_positions().saturating_sub(1));
        let texts = self.learn.iter().map(|path| {
            let passages = passages::of_file(path, "--learn", self.passages as usize, length, &model)?;
            Ok(Text { name: path.display().to_string(), passages })
        });
        let texts = texts.collect::<Result<Vec<_>>>()?;
        let tokens: usize = texts.iter().flat_map(|text| &text.passages).map(|passage| passage.tokens.len()).sum();
        let device = model.decoder.embedding.device();
        let loaded: Vec<LoadedModule> = read_modules(modules, &model.files.config, &model.fingerprint()?, false)?
            .iter()
            .map(|(adapter, _)| LoadedModule::new(adapter, &device))
            .collect();
        let start: Vec<f64> = modules.iter().map(|module| f64::from(module.weight) / modules.len() as f64).collect();
        let mut task = session.progress.task("learn weights", Some(u64::from(self.evaluations)), Unit::Items);
        let found = weights::learn(&start, self.evaluations as usize, |weights| {
            let active: Vec<(&LoadedModule, f32)> =
                loaded.iter().zip(weights).map(|(module, weight)| (module, *weight as f32)).collect();
            let quiet = lore_datasets::progress::Silent;
            let row = score_texts(&activate(&model.decoder, &active), &texts, model.start, "score", &quiet)
                .map_err(Error::while_doing("scoring the texts of --learn"))?;
            task.advance(1);
            let nats: f64 = row.scores.iter().flatten().map(|scores| -scores.total()).sum();
            Ok::<f64, Error>(nats / tokens as f64)
        })?;
        for (module, weight) in modules.iter_mut().zip(&found.weights) {
            module.weight = *weight as f32;
        }
        let shown: Vec<String> = modules
            .iter()
            .map(|module| format!("{}={:.2}", super::compose::name(&module.path), module.weight))
            .collect();
        task.finish(&format!(
            "{}: {:.4} nats per token, {:.4} before, {} tries",
            shown.join(" "),
            found.loss,
            found.before,
            found.evaluations
        ));
        Ok(())
    }
}
