//! `--documents`, `--pack`: what modules learnt from, to be searched for the items that they are asked.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use lore_board::contamination::Contamination;
use lore_eval::contamination::{TrainingText, dirty_items};
use lore_eval::task::{Item, Selection, Task};
use lore_packs::verify_file;

use crate::error::{Error, Result};
use crate::session::Session;
use crate::stages::finished::{behind, finished_in};
use crate::stages::prepared::DOCUMENTS;

/// Texts that modules learnt from.
#[derive(Debug, clap::Args)]
pub struct DocumentsArguments {
    /// What the modules learnt from: a table of documents (documents.parquet), or a folder of `lore run` or `lore data
    /// build`, all of whose tables are meant. Figures are then told without the items that stand in it; may be repeated
    #[arg(long = "documents", value_name = "FILE|DIR")]
    documents: Vec<PathBuf>,
    /// A pack whose corpus manifest must name those tables; it says which were not shown
    #[arg(long = "pack", value_name = "FILE", requires = "documents")]
    pack: Option<PathBuf>,
}

/// The tables that were shown, and the dirty items of each task by its name.
pub struct Searched {
    /// sha256 of the tables.
    pub tables: BTreeSet<String>,
    /// The items that stand in them, as `subset/id`.
    pub items: BTreeMap<String, BTreeSet<String>>,
}

impl Searched {
    /// Searches tables for the items of tasks, given with their tasks' names and without examples.
    ///
    /// # Errors
    /// Temporary files that cannot be written.
    pub fn find(asked: &[(String, Vec<Item>)], texts: &[&TrainingText]) -> Result<Self> {
        let items = dirty_items(asked.iter().map(|(name, items)| (name.clone(), items.as_slice())), texts)?;
        Ok(Self { tables: texts.iter().map(|text| text.sha256().to_owned()).collect(), items })
    }

    /// Those of a task.
    pub fn of(&self, task: &str) -> BTreeSet<String> {
        self.items.get(task).cloned().unwrap_or_default()
    }
}

impl DocumentsArguments {
    /// Searches the tables for the items of tasks, each without its examples; nothing if no table is named.
    ///
    /// # Errors
    /// What is no table; a table that the pack does not name; data that cannot be read.
    pub fn search<'a>(
        &self,
        tasks: impl Iterator<Item = (&'a Task, &'a Selection)>,
        data: &Path,
        session: &Session,
    ) -> Result<Option<Searched>> {
        if self.documents.is_empty() {
            return Ok(None);
        }
        let mut paths = Vec::new();
        for path in &self.documents {
            paths.extend(tables_of(path)?);
        }
        let mut texts: Vec<TrainingText> = Vec::new();
        for path in paths {
            let text = TrainingText::open(&path)?;
            // A run and one of its tables may both be named.
            if texts.iter().all(|known| known.sha256() != text.sha256()) {
                texts.push(text);
            }
        }
        let texts: Vec<&TrainingText> = texts.iter().collect();
        if let Some(pack) = &self.pack {
            let corpus = verify_file(pack, None)?.corpus;
            let found = Contamination::find(&corpus, std::iter::empty(), &texts)?;
            if !found.unseen.is_empty() {
                let unseen = found.unseen.into_iter().collect::<Vec<_>>().join(", ");
                session.progress.note(&format!(
                    "{}: not searched are the tables with the sha256 {unseen}; name them with --documents",
                    pack.display()
                ));
            }
        }
        let mut asked: Vec<(String, Vec<Item>)> = Vec::new();
        for (task, selection) in tasks {
            let plain = Selection { shots: 0, ..selection.clone() };
            asked.push((task.name.clone(), task.select(data, &plain)?));
        }
        Ok(Some(Searched::find(&asked, &texts)?))
    }
}

/// The tables that an argument means.
fn tables_of(path: &Path) -> Result<Vec<PathBuf>> {
    if !path.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let folders: Vec<PathBuf> = if path.join("stages").is_dir() {
        let stages = behind(&finished_in(path)?, |stage| stage.manifest.stage == "report");
        let wanted = |name: &str| name == "general" || name.starts_with("topic:");
        stages.into_iter().filter(|(name, _)| wanted(name)).map(|(_, stage)| stage.folder).collect()
    } else {
        let mut folders = vec![path.to_owned()];
        for entry in fs::read_dir(path).map_err(Error::io(path))? {
            folders.push(entry.map_err(Error::io(path))?.path());
        }
        folders
    };
    let mut tables: Vec<PathBuf> =
        folders.into_iter().map(|folder| folder.join(DOCUMENTS)).filter(|table| table.is_file()).collect();
    tables.sort();
    if tables.is_empty() {
        return Err(Error::Usage(format!(
            "--documents {}: holds no {DOCUMENTS}; name one, a folder of `lore data build`, or that of a finished run",
            path.display()
        )));
    }
    Ok(tables)
}
