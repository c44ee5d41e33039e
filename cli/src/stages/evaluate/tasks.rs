//! `[evaluate.tasks]`: questions put to everything that is measured.

use std::path::{Path, PathBuf};

use lore_datasets::fetch::files_of;
use lore_datasets::source::SourceUri;
use lore_eval::comparison::Evaluated;
use lore_eval::contamination::TrainingText;
use lore_eval::engine::Options;
use lore_eval::report::{TaskColumn, task_columns};
use lore_eval::result::{ModelIdentity, ModuleIdentity};
use lore_eval::task::{Selection, Task, subset_of};
use lore_modules::{LoadedModule, activate};
use serde_json::{Value, json};

use crate::commands::eval::asked::{Question, name_of};
use crate::commands::eval::asking::Asking;
use crate::commands::eval::documents::Searched;
use crate::error::Result;
use crate::models::LoadedModel;
use crate::recipe::Tasks;
use crate::session::Session;
use crate::stages::prepared::DOCUMENTS;
use crate::stages::sha256_of;

/// Where results and samples are, in the stage's folder.
const FOLDER: &str = "tasks";

/// What the answers depend on, without where the files lie: the tasks, which items are asked, and what their data looks
/// like from outside.
pub fn config(tasks: &Tasks) -> Value {
    let stamp = |path: &PathBuf| {
        let metadata = path.metadata().ok()?;
        let modified = metadata.modified().ok()?.duration_since(std::time::UNIX_EPOCH).ok()?;
        Some(json!([path.file_name()?.to_string_lossy(), metadata.len(), modified.as_nanos().to_string()]))
    };
    let one = |argument: &String| {
        let Ok((task, subset)) = subset_of(argument) else { return Value::Null };
        let of = |data: &lore_eval::task::Data| match task.needs_folder() {
            true => files_of(&folder(tasks).join(&data.path))
                .map_or(Value::Null, |files| files.iter().filter_map(stamp).collect()),
            false => Value::Null,
        };
        json!([task.name, task.sha256, subset, of(&task.data), task.shots.data.as_ref().map(of)])
    };
    json!({ "ask": tasks.ask.iter().map(one).collect::<Vec<_>>(), "items": tasks.items, "shots": tasks.shots })
}

/// The folder that data is relative to.
fn folder(tasks: &Tasks) -> PathBuf {
    match &tasks.source {
        Some(SourceUri::File(path)) => path.clone(),
        _ => PathBuf::new(),
    }
}

/// A model that is asked, by name and fingerprint.
pub struct Named<'a> {
    model: &'a LoadedModel,
    name: String,
    fingerprint: String,
}

impl<'a> Named<'a> {
    /// The model that was loaded from `path`.
    ///
    /// # Errors
    /// Weights that cannot be read.
    pub fn new(model: &'a LoadedModel, path: &Path) -> Result<Self> {
        Ok(Self { model, name: name_of(path), fingerprint: model.fingerprint()?.to_string() })
    }
}

/// The questions, and what was answered so far.
pub struct Answers<'a> {
    questions: Vec<Question>,
    searched: Searched,
    rows: Vec<(String, Vec<Evaluated>)>,
    folder: &'a Path,
    session: &'a Session,
}

impl<'a> Answers<'a> {
    /// Makes the questions, and searches the tables of documents in `texts`, folders of prepared corpora, for them.
    ///
    /// # Errors
    /// Tasks or data that cannot be used.
    pub fn new(
        tasks: &Tasks,
        texts: impl Iterator<Item = &'a Path>,
        folder_of_stage: &'a Path,
        session: &'a Session,
    ) -> Result<Self> {
        let (mut questions, mut plain) = (Vec::new(), Vec::new());
        let data = folder(tasks);
        for argument in &tasks.ask {
            let (mut task, subset): (Task, _) = subset_of(argument)?;
            task.fetch(&session.fetcher, session.progress.as_ref())?;
            let selection = Selection { subset, limit: tasks.items, seed: None, shots: tasks.shots };
            plain.push((task.name.clone(), task.select(&data, &Selection { shots: 0, ..selection.clone() })?));
            let items = task.select(&data, &selection)?;
            questions.push((task, selection, items));
        }
        let texts = texts.map(|folder| Ok(TrainingText::open(&folder.join(DOCUMENTS))?)).collect::<Result<Vec<_>>>()?;
        let texts: Vec<&TrainingText> = texts.iter().collect();
        let searched = Searched::find(&plain, &texts)?;
        Ok(Self { questions, searched, rows: Vec::new(), folder: folder_of_stage, session })
    }

    /// Asks a model with modules, whose weights are in their identities.
    ///
    /// # Errors
    /// Whatever asking fails with.
    pub fn row(
        &mut self,
        name: &str,
        base: &Named<'_>,
        mut modules: Vec<(ModuleIdentity, &LoadedModule)>,
    ) -> Result<()> {
        let Named { model, name: base, fingerprint } = base;
        // In the order of their hashes, as for `lore eval`: the sum of updates is the same to the last bit.
        modules.sort_by(|(a, _), (b, _)| (&a.sha256, a.weight.to_bits()).cmp(&(&b.sha256, b.weight.to_bits())));
        let weighted: Vec<(&LoadedModule, f32)> = modules.iter().map(|(one, module)| (*module, one.weight)).collect();
        let decoder = if weighted.is_empty() { model.decoder.clone() } else { activate(&model.decoder, &weighted) };
        let identity = ModelIdentity {
            base: base.clone(),
            fingerprint: fingerprint.clone(),
            blocks: None,
            modules: modules.into_iter().map(|(one, _)| one).collect(),
        };
        let plain = |c: char| if c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_') { c } else { '-' };
        let out = self.folder.join(FOLDER).join(name.chars().map(plain).collect::<String>());
        let how = Asking { options: Options::default(), searched: Some(&self.searched), session: self.session };
        let label = format!("ask {name}");
        let answered = how.ask_all(&self.questions, &label, &model.subject(&decoder), &identity, &out)?;
        self.rows.push((name.to_owned(), answered));
        Ok(())
    }

    /// What was answered, by task.
    ///
    /// # Errors
    /// Never: all were asked the same.
    pub fn columns(&self) -> Result<Vec<TaskColumn>> {
        Ok(task_columns(&self.rows)?)
    }
}

/// The identity of a module that is in memory only: of how it was made, and of the modules it was made of.
pub fn made_of(name: &str, how: &str, parts: &[ModuleIdentity]) -> ModuleIdentity {
    let parts: Vec<&str> = parts.iter().map(|part| part.sha256.as_str()).collect();
    ModuleIdentity { name: name.to_owned(), sha256: sha256_of(&json!([how, parts])), weight: 1.0 }
}
