//! Who is asked: a base with modules, loaded and identified.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use lore_datasets::fetch::sha256_of_file;
use lore_eval::engine::Subject;
use lore_eval::result::{ModelIdentity, ModuleIdentity};
use lore_eval::task::{Item, Selection, Task, subset_of};
use lore_model::Decoder;
use lore_model::quantised::Blocks;
use lore_modules::peft;

use crate::error::{Error, Result};
use crate::location::{Location, ModuleArgument, WeightedModule, resolve_modules};
use crate::models::{LoadedModel, load_model_in};
use crate::session::Session;

/// The model to ask, as the command line names it.
#[derive(Debug, clap::Args)]
pub struct ModelArguments {
    /// The base: a directory, a GGUF file or a source
    #[arg(long, value_name = "DIR", required = true)]
    base: Option<Location>,
    /// Keep the matrices of the base's projections in blocks: q8_0, q4_1 or q4_0. Scores are those of the rounded values
    #[arg(long, value_name = "KIND")]
    blocks: Option<Blocks>,
    /// A module, a directory or source, and what it is multiplied by [weight: 1]; may be repeated
    #[arg(long = "module", value_name = "DIR[=WEIGHT]")]
    modules: Vec<ModuleArgument>,
    /// Use modules trained on another base, or that do not say on which; shapes must fit all the same
    #[arg(long)]
    allow_base_mismatch: bool,
}

/// A model with its modules.
pub struct Asked {
    model: LoadedModel,
    decoder: Decoder,
    /// What it is.
    pub identity: ModelIdentity,
}

impl ModelArguments {
    /// Loads base and modules.
    ///
    /// # Errors
    /// Whatever is wrong with their files.
    pub fn load(&self, session: &Session) -> Result<Asked> {
        let base = self.base.as_ref().ok_or_else(|| Error::Usage("--base is missing".into()))?;
        let path = base.resolve(session)?;
        let (identities, modules) = identified(resolve_modules(&self.modules, session)?)?;
        let model = load_model_in(&path, &session.device.device()?, self.blocks)?;
        let decoder = model.with_modules(&modules, self.allow_base_mismatch)?;
        let fingerprint = model.fingerprint()?.to_string();
        let identity = ModelIdentity { base: name_of(&path), fingerprint, blocks: self.blocks, modules: identities };
        Ok(Asked { model, decoder, identity })
    }
}

impl Asked {
    /// To put questions to.
    pub fn subject(&self) -> Subject<'_> {
        self.model.subject(&self.decoder)
    }
}

/// What a module is called, and the hash of its files.
///
/// # Errors
/// A folder that is no module.
pub fn identify(module: &WeightedModule) -> Result<ModuleIdentity> {
    // Says better than a missing file what is wrong with a folder that is no module.
    peft::read(&module.path)?;
    let hash = |name: &str| sha256_of_file(&module.path.join(name));
    let sha256 = ModuleIdentity::hash_of_files(&hash("adapter_config.json")?, &hash("adapter_model.safetensors")?);
    Ok(ModuleIdentity { name: name_of(&module.path), sha256, weight: module.weight })
}

/// Modules and what they are, in the order of their hashes: the sum of their updates does not depend on how they were
/// listed, to the last bit.
///
/// # Errors
/// A folder that is no module.
pub fn identified(modules: Vec<WeightedModule>) -> Result<(Vec<ModuleIdentity>, Vec<WeightedModule>)> {
    let mut all: Vec<(ModuleIdentity, WeightedModule)> = Vec::with_capacity(modules.len());
    for module in modules {
        all.push((identify(&module)?, module));
    }
    all.sort_by(|(a, _), (b, _)| (&a.sha256, a.weight.to_bits()).cmp(&(&b.sha256, b.weight.to_bits())));
    Ok(all.into_iter().unzip())
}

/// The last part of a path, resolved where it is `.` or a link.
pub fn name_of(path: &Path) -> String {
    let whole = path.file_name().map(|_| path.to_owned()).or_else(|| path.canonicalize().ok());
    whole
        .as_ref()
        .and_then(|path| path.file_name())
        .map_or_else(String::new, |name| name.to_string_lossy().into_owned())
}

/// A task, which of its items are asked, and they themselves.
pub type Question = (Task, Selection, Vec<Item>);

/// What arguments such as `mmlu/anatomy` ask, each after `of_each`, whose subset is theirs; and the folder of their data.
///
/// # Errors
/// Tasks or data that cannot be used; a task that is named twice, whose results would overwrite each other.
pub fn questions(
    arguments: &[String],
    data: &DataArguments,
    of_each: &Selection,
    session: &Session,
) -> Result<(Vec<Question>, PathBuf)> {
    let mut names = BTreeSet::new();
    let mut asked = Vec::new();
    for argument in arguments {
        let (task, subset) = subset_of(argument)?;
        let name = match &subset {
            Some(subset) => format!("{}/{subset}", task.name),
            None => task.name.clone(),
        };
        if !names.insert(name.clone()) {
            return Err(Error::Usage(format!("--task {argument}: `{name}` is named twice")));
        }
        asked.push((task, Selection { subset, ..of_each.clone() }));
    }
    let folder = data.bring(asked.iter_mut().map(|(task, _)| task), session)?;
    let select = |(task, selection): (Task, Selection)| {
        let items = task.select(&folder, &selection)?;
        Ok((task, selection, items))
    };
    Ok((asked.into_iter().map(select).collect::<Result<_>>()?, folder))
}

/// Where tasks find their data.
#[derive(Debug, clap::Args)]
pub struct DataArguments {
    /// Folder that the paths of tasks are relative to [default: $LORE_DATA]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
}

impl DataArguments {
    /// Whether a folder is named at all.
    pub fn is_named(&self) -> bool {
        self.data.is_some() || std::env::var_os("LORE_DATA").is_some()
    }

    /// Fetches what tasks have on a hub. Gives the folder, or nothing's if all is on a hub and none is named.
    ///
    /// # Errors
    /// As [`Self::folder`]; what cannot be fetched.
    pub fn bring<'a>(&self, tasks: impl Iterator<Item = &'a mut Task>, session: &Session) -> Result<PathBuf> {
        let tasks: Vec<&mut Task> = tasks.collect();
        let folder = match self.is_named() || tasks.iter().any(|task| task.needs_folder()) {
            true => self.folder()?,
            false => PathBuf::new(),
        };
        for task in tasks {
            task.fetch(&session.fetcher, session.progress.as_ref())?;
        }
        Ok(folder)
    }

    /// The folder.
    ///
    /// # Errors
    /// When none is named, or it is none.
    pub fn folder(&self) -> Result<PathBuf> {
        let from_environment = || std::env::var_os("LORE_DATA").map(PathBuf::from);
        let Some(folder) = self.data.clone().or_else(from_environment) else {
            let message = "--data DIR (or LORE_DATA) must name the folder that holds the tasks' data";
            return Err(Error::Usage(message.into()));
        };
        if folder.is_dir() {
            return Ok(folder);
        }
        Err(Error::Usage(format!("--data (or LORE_DATA) {}: no such folder", folder.display())))
    }
}
