//! A board as a folder: where things are, and how it begins.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use lore_eval::task::Task;
use lore_packs::signature::{PublicKey, SigningKey};
use sha2::{Digest, Sha256};

use crate::error::{Error, Result};
use crate::log::{Event, Files, LOG, Log, OPERATOR};
use crate::settings::Settings;
use crate::state::State;

/// The settings' file.
pub const SETTINGS: &str = "board.toml";
/// Results of the base alone.
pub const BASE: &str = "base";

/// An open board whose log was followed.
#[derive(Debug, Clone)]
pub struct Board {
    root: PathBuf,
    /// `board.toml`.
    pub settings: Settings,
    /// The public tasks, in the order of the settings.
    pub tasks: Vec<Task>,
    /// What happened.
    pub log: Log,
    /// Who may sign.
    pub operator: PublicKey,
}

impl Board {
    /// Begins a board in a folder that holds none.
    ///
    /// # Errors
    /// A folder with a board; settings that are not valid; a folder that cannot be written.
    pub fn create(
        root: &Path,
        settings: &str,
        tasks: &[(String, String)],
        key: &SigningKey,
        time: &str,
    ) -> Result<Self> {
        if root.join(LOG).exists() {
            return Error::request(format!("{} holds a board already", root.display()));
        }
        for folder in [root.join("tasks"), root.join("submissions"), root.join("results")] {
            fs::create_dir_all(&folder).map_err(Error::io(folder))?;
        }
        let mut files = Files::new();
        for (name, text) in [(SETTINGS.to_owned(), settings.to_owned())].iter().chain(tasks) {
            write_whole(&root.join(name), text.as_bytes())?;
            files.insert(name.clone(), hex_sha256(text.as_bytes()));
        }
        Settings::open(&root.join(SETTINGS))?;
        // The site is made of what is here; what is private must not be taken along by accident.
        write_whole(&root.join(".gitignore"), b"/site/\n/holdout/\n*.partial\n")?;
        // No program may change line ends of what is hashed.
        write_whole(&root.join(".gitattributes"), b"* -text\n")?;
        write_whole(&root.join(OPERATOR), key.public().to_file().as_bytes())?;
        let mut log = Log::new(root);
        log.append(time, Event::Opened { files, operator: key.public().to_string() })?;
        log.sign(key)?;
        Self::open(root)
    }

    /// Opens a board: settings and tasks must be those it began with.
    ///
    /// # Errors
    /// A file that is missing or altered.
    pub fn open(root: &Path) -> Result<Self> {
        if !root.join(LOG).is_file() {
            return Error::request(format!(
                "{} holds no board ({LOG} is missing); `lore leaderboard init` makes one",
                root.display()
            ));
        }
        let log = Log::read(root)?;
        let Some(Event::Opened { files, operator }) = log.entries.first().map(|entry| &entry.what) else {
            return Error::altered(root.join(LOG), "it does not begin with the opening of the board");
        };
        for (name, sha256) in files {
            check_file(root, name, sha256)?;
        }
        let path = root.join(OPERATOR);
        let text = fs::read_to_string(&path).map_err(Error::io(&path))?;
        let key = PublicKey::parse(OPERATOR, &text)?;
        if key.to_string() != *operator {
            return Error::altered(path, format!("the board was opened with the key {operator}"));
        }
        let settings = Settings::open(&root.join(SETTINGS))?;
        let mut tasks = Vec::new();
        for task in &settings.tasks {
            if !files.contains_key(&task.file) {
                return Error::altered(root.join(&task.file), "the opening of the board does not name it");
            }
            tasks.push(Task::open(&root.join(&task.file))?);
        }
        Ok(Self { root: root.to_owned(), settings, tasks, log, operator: key })
    }

    /// Its folder.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// What follows from the log.
    pub fn state(&self) -> State {
        State::of(&self.log)
    }

    /// The folder of what was submitted.
    pub fn submission(&self, id: &str) -> PathBuf {
        self.root.join("submissions").join(id)
    }

    /// The folder of what the operator found; `base` for the base alone.
    pub fn results(&self, id: &str) -> PathBuf {
        self.root.join("results").join(id)
    }

    /// The name of a task on this board: with its subset, if only that is asked.
    pub fn task_name(&self, index: usize) -> String {
        match &self.settings.tasks[index].subset {
            Some(subset) => format!("{}/{subset}", self.tasks[index].name),
            None => self.tasks[index].name.clone(),
        }
    }

    /// Appends what happened and signs the end.
    ///
    /// # Errors
    /// Another key than the board's; files that cannot be written.
    pub fn record(&mut self, time: &str, what: Event, key: &SigningKey) -> Result<u64> {
        if *key.public() != self.operator {
            return Error::request(format!(
                "the board belongs to the key {}, and this is {}; --keys names the operator's",
                self.operator,
                key.public()
            ));
        }
        let index = self.log.append(time, what)?;
        self.log.sign(key)?;
        Ok(index)
    }

    /// Appends what anyone may say; the operator's signature follows later.
    ///
    /// # Errors
    /// Files that cannot be written.
    pub fn note(&mut self, time: &str, what: Event) -> Result<u64> {
        self.log.append(time, what)
    }

    /// Every file below `folder`, by its path inside the board, with its sha256.
    ///
    /// # Errors
    /// A file that cannot be read.
    pub fn files_below(&self, folder: &Path) -> Result<Files> {
        let mut files = Files::new();
        let mut folders = vec![folder.to_owned()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(&folder).map_err(Error::io(&folder))? {
                let path = entry.map_err(Error::io(&folder))?.path();
                if path.is_dir() {
                    folders.push(path);
                    continue;
                }
                let bytes = fs::read(&path).map_err(Error::io(&path))?;
                let inside = path.strip_prefix(&self.root).expect("found below the board");
                let name = inside.iter().map(|part| part.to_string_lossy()).collect::<Vec<_>>().join("/");
                files.insert(name, hex_sha256(&bytes));
            }
        }
        Ok(files)
    }
}

/// Whether a file of the board is what the log says.
pub(crate) fn check_file(root: &Path, name: &str, sha256: &str) -> Result<()> {
    let path = root.join(name);
    if name.starts_with('/') || name.split(['/', '\\']).any(|part| part == "..") {
        return Error::altered(root.join(LOG), format!("it names `{name}`, which is not inside the board"));
    }
    let bytes = fs::read(&path).map_err(Error::io(&path))?;
    if hex_sha256(&bytes) == sha256 {
        return Ok(());
    }
    Error::altered(path, "it does not have the sha256 that the log names")
}

/// sha256 in lower-case hexadecimal digits.
pub(crate) fn hex_sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Writes through a temporary file beside `path`, making its folder if need be.
pub(crate) fn write_whole(path: &Path, bytes: &[u8]) -> Result<()> {
    let folder = path.parent().expect("a file in a folder");
    fs::create_dir_all(folder).map_err(Error::io(folder))?;
    let partial = path.with_extension("partial");
    let write = || {
        let mut file = fs::File::create(&partial)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&partial, path)
    };
    write().map_err(Error::io(path))
}
