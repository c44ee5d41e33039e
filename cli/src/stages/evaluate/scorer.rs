//! The models of an evaluation, and their scores.

use std::path::Path;
use std::time::Instant;

use burn::tensor::Device;
use lore_eval::composition::{self, Text, all_at, score_texts};
use lore_eval::result::ModuleIdentity;
use lore_model::Decoder;
use lore_model::fingerprint::Fingerprint;
use lore_modules::compose::compose;
use lore_modules::{Adapter, LoadedModule, activate, peft};

use super::kept::Scored;
use super::tasks::{Answers, Named, made_of};
use super::{EvaluateRequest, JointModule};
use crate::commands::eval::asked::identify;
use crate::error::{Error, Result};
use crate::location::WeightedModule;
use crate::models::LoadedModel;
use crate::recipe::{Combine, Composed};

/// What has a row in the report.
#[derive(Clone, Copy)]
pub enum Model<'a> {
    /// Without modules.
    Base,
    /// With the module of a topic.
    Module(usize),
    /// With all modules.
    Combined(Combine),
    /// With all modules at this weight.
    Weighted(f32),
    /// With all modules made one.
    Composed(&'a Composed),
    /// With a module of several topics.
    Joint(&'a JointModule),
    /// What the base was distilled from.
    Teacher,
}

/// Them all, in the order of the report.
pub fn models<'a>(request: &EvaluateRequest<'a>) -> Vec<Model<'a>> {
    let evaluate = request.evaluate;
    let mut models = vec![Model::Base];
    models.extend((0..request.topics.len()).map(Model::Module));
    models.extend(evaluate.combine.iter().map(|&combine| Model::Combined(combine)));
    models.extend(evaluate.weights.iter().map(|&weight| Model::Weighted(weight)));
    models.extend(evaluate.composed.iter().map(Model::Composed));
    models.extend(request.joint.iter().map(Model::Joint));
    models.push(Model::Teacher);
    models
}

impl Model<'_> {
    /// What its row is called.
    pub fn label(self, request: &EvaluateRequest<'_>) -> String {
        match self {
            Self::Base => "base".into(),
            Self::Module(topic) => request.topics[topic].name.clone(),
            Self::Combined(Combine::Sum) => "sum".into(),
            Self::Combined(Combine::Mean) => "mean".into(),
            Self::Combined(Combine::Routed) => "chosen per passage".into(),
            Self::Weighted(weight) => format!("all at {weight}"),
            Self::Composed(composed) => composed.label(),
            Self::Joint(joint) => joint.name.clone(),
            Self::Teacher => "teacher".into(),
        }
    }
}

/// Base and modules on the device.
pub struct Scorer<'a> {
    request: &'a EvaluateRequest<'a>,
    device: Device,
    fingerprint: Fingerprint,
    /// The base.
    pub model: LoadedModel,
    /// The topics' modules.
    pub modules: Vec<LoadedModule>,
    /// Milliseconds that reading each took.
    pub load_ms: Vec<f64>,
}

impl<'a> Scorer<'a> {
    /// Reads the modules of `model`, which is the base.
    ///
    /// # Errors
    /// Modules that cannot be read, or are of another base.
    pub fn new(request: &'a EvaluateRequest<'a>, model: LoadedModel, device: &Device) -> Result<Self> {
        let fingerprint = model.fingerprint()?;
        let (mut modules, mut load_ms) = (Vec::new(), Vec::new());
        for topic in request.topics {
            let began = Instant::now();
            let adapter = peft::read(&topic.module)?;
            adapter.check_base(&model.files.config, &fingerprint, false)?;
            modules.push(LoadedModule::new(&adapter, device));
            load_ms.push(began.elapsed().as_secs_f64() * 1e3);
        }
        Ok(Self { request, device: device.clone(), fingerprint, model, modules, load_ms })
    }

    /// The base's fingerprint.
    pub fn fingerprint(&self) -> &Fingerprint {
        &self.fingerprint
    }

    /// Bytes that all modules take.
    pub fn all_bytes(&self) -> u64 {
        self.modules.iter().map(|module| module.bytes() as u64).sum()
    }

    /// Scores a model that is base and modules.
    ///
    /// # Errors
    /// Modules that cannot be read, passages longer than the model's positions.
    pub fn score(&self, model: Model<'_>, texts: &[Text]) -> Result<Scored> {
        let base = &self.model.decoder;
        let alone = |module: &LoadedModule| (activate(base, &[(module, 1.0)]), module.bytes() as u64);
        let (decoder, bytes) = match model {
            Model::Base => (base.clone(), 0),
            Model::Module(topic) => alone(&self.modules[topic]),
            Model::Combined(Combine::Sum) => (all_at(base, &self.modules, 1.0), self.all_bytes()),
            Model::Combined(Combine::Mean) => {
                (all_at(base, &self.modules, 1.0 / self.modules.len() as f32), self.all_bytes())
            }
            Model::Weighted(weight) => (all_at(base, &self.modules, weight), self.all_bytes()),
            Model::Composed(composed) => alone(&self.as_one(composed)?),
            Model::Joint(joint) => alone(&self.joint(joint)?),
            Model::Combined(Combine::Routed) | Model::Teacher => unreachable!("not base and modules"),
        };
        let label = model.label(self.request);
        let row = run(self.request, &decoder, texts, self.model.start, &label)?;
        Ok(Scored { label, bytes, row })
    }

    /// Puts the recipe's questions to every model but the teacher, and but what is chosen per passage: which module a
    /// question gets is decided by what is read of a passage, and there is none.
    ///
    /// # Errors
    /// Modules that cannot be read; whatever asking fails with.
    pub fn ask(&self, asking: &mut Answers<'_>, models: &[Model<'_>]) -> Result<()> {
        let base = Named::new(&self.model, self.request.base)?;
        let identities = self.request.topics.iter().map(|topic| identity_of(&topic.name, &topic.module));
        let identities = identities.collect::<Result<Vec<_>>>()?;
        let all_at = |weight: f32| {
            let weighted = identities.iter().map(|identity| ModuleIdentity { weight, ..identity.clone() });
            weighted.zip(&self.modules).collect::<Vec<_>>()
        };
        for &model in models {
            let label = model.label(self.request);
            let mut ask = |modules: Vec<(ModuleIdentity, &LoadedModule)>| asking.row(&label, &base, modules);
            match model {
                Model::Base => ask(Vec::new())?,
                Model::Module(topic) => ask(vec![(identities[topic].clone(), &self.modules[topic])])?,
                Model::Combined(Combine::Sum) => ask(all_at(1.0))?,
                Model::Combined(Combine::Mean) => ask(all_at(1.0 / self.modules.len() as f32))?,
                Model::Weighted(weight) => ask(all_at(weight))?,
                Model::Composed(composed) => {
                    let how = composed.method(self.request.seed).to_string();
                    ask(vec![(made_of(&label, &how, &identities), &self.as_one(composed)?)])?;
                }
                Model::Joint(joint) => {
                    ask(vec![(identity_of(&joint.name, &joint.module)?, &self.joint(joint)?)])?;
                }
                Model::Combined(Combine::Routed) | Model::Teacher => {}
            }
        }
        Ok(())
    }

    fn joint(&self, joint: &JointModule) -> Result<LoadedModule> {
        let adapter = peft::read(&joint.module)?;
        adapter.check_base(&self.model.files.config, &self.fingerprint, false)?;
        Ok(LoadedModule::new(&adapter, &self.device))
    }

    /// All topics' modules as one.
    fn as_one(&self, composed: &Composed) -> Result<LoadedModule> {
        let read = self.request.topics.iter().map(|topic| Ok(peft::read(&topic.module)?));
        let adapters = read.collect::<Result<Vec<Adapter>>>()?;
        let parts: Vec<(&Adapter, f32)> = adapters.iter().map(|adapter| (adapter, 1.0)).collect();
        let composition = compose(&parts, composed.method(self.request.seed), false, &|| {})?;
        Ok(LoadedModule::taking(composition.adapter, &self.device))
    }
}

fn identity_of(name: &str, path: &Path) -> Result<ModuleIdentity> {
    let module = WeightedModule { path: path.to_owned(), weight: 1.0 };
    Ok(ModuleIdentity { name: name.to_owned(), ..identify(&module)? })
}

/// Scores a decoder on all texts.
///
/// # Errors
/// Passages longer than its positions.
pub fn run(
    request: &EvaluateRequest<'_>,
    decoder: &Decoder,
    texts: &[Text],
    start: u32,
    label: &str,
) -> Result<composition::Row> {
    score_texts(decoder, texts, start, &format!("score: {label}"), &*request.session.progress)
        .map_err(Error::while_doing("scoring held-out texts"))
}
