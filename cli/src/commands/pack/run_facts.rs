//! What a finished `lore run` knows about a module: its base, its texts, how well it does.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use lore_datasets::fetch::{files_of, sha256_of_file};
use lore_datasets::source::SourceUri;
use lore_eval::report::Report;
use lore_model::fingerprint::Fingerprint;
use lore_packs::documents::{
    Corpus, CorpusText, Decontamination, EvaluatedModel, EvaluatedText, Evaluation, Sample, Score, SplitTokens,
    TextRole,
};
use lore_packs::format::ROUTER;
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::error::{Error, Result};
use crate::recipe::{Recipe, Topic};
use crate::stages::Finished;
use crate::stages::evaluate::Evaluation as Measured;
use crate::stages::finished::{behind, finished_in};
use crate::stages::prepared::DOCUMENTS;

/// A finished run.
pub struct RunFacts {
    folder: PathBuf,
    /// The resolved recipe.
    pub recipe: Recipe,
    report: Report,
    stages: BTreeMap<String, Finished>,
}

impl RunFacts {
    /// Reads the folder of a run.
    ///
    /// # Errors
    /// When it holds no report, or one that cannot be read.
    pub fn open(folder: &Path) -> Result<Self> {
        let path = folder.join("report.json");
        let bytes = fs::read(&path).map_err(Error::io(&path))?;
        let damaged = |problem: String| {
            Error::Failed(format!("{}: {problem}; the same `lore run` makes it again", path.display()))
        };
        let report: Report = serde_json::from_slice(&bytes).map_err(|error| damaged(error.to_string()))?;
        let recipe: Recipe = toml::from_str(&report.recipe).map_err(|error| damaged(error.to_string()))?;
        let stages = behind(&finished_in(folder)?, |stage| stage.manifest.stage == "report");
        Ok(Self { folder: folder.to_owned(), recipe, report, stages })
    }

    /// The topic of this name, or the only one.
    ///
    /// # Errors
    /// When there is none of this name, or several to choose from.
    pub fn topic(&self, name: Option<&str>) -> Result<&Topic> {
        let topics = &self.recipe.topics;
        let names = || topics.iter().map(|topic| topic.name.as_str()).collect::<Vec<_>>().join(", ");
        match (name, &topics[..]) {
            (None, [only]) => Ok(only),
            (None, []) => Err(Error::Usage(format!("{} has a base and no module to pack", self.folder.display()))),
            (None, _) => Err(Error::Usage(format!(
                "{} has several modules: give --module, one of {}",
                self.folder.display(),
                names()
            ))),
            (Some(name), _) => topics.iter().find(|topic| topic.name == name).ok_or_else(|| {
                Error::Usage(format!(
                    "--module {name}: {} has no such module; it has {}",
                    self.folder.display(),
                    names()
                ))
            }),
        }
    }

    /// The PEFT adapter of a topic.
    pub fn adapter(&self, topic: &Topic) -> PathBuf {
        match self.stages.get(&format!("module:{}", topic.name)) {
            Some(stage) => stage.folder.join("module"),
            None => self.folder.join("modules").join(&topic.name),
        }
    }

    /// What a router knows of the module of a topic, if a router was built.
    pub fn router(&self, topic: &Topic) -> Option<PathBuf> {
        let folders = [self.adapter(topic), self.folder.join("modules").join(&topic.name)];
        folders.into_iter().map(|folder| folder.join(ROUTER)).find(|path| path.is_file())
    }

    /// Name, fingerprint and licence of the base; nothing if the run did not finish it.
    pub fn base(&self) -> Option<(String, Fingerprint, String)> {
        let base = &self.report.base;
        let fingerprint = base.fingerprint.as_ref()?.parse().ok()?;
        Some((base.name.clone(), fingerprint, base.license.clone()))
    }

    /// The resolved recipe for others: files of the author's own by their last names only, so that it says
    /// nothing about the author's machine and is the same wherever it was run.
    ///
    /// # Errors
    /// When it cannot be written as TOML.
    pub fn recipe_for_others(&self) -> Result<String> {
        let mut recipe = self.recipe.clone();
        let topics = recipe.topics.iter_mut().flat_map(|topic| {
            let against = topic.decontaminate.iter_mut().flat_map(|declared| &mut declared.against);
            against.map(|against| &mut against.source).chain([&mut topic.source])
        });
        let corpus = recipe.general.corpus.iter_mut().map(|corpus| &mut corpus.source);
        let tasks = recipe.evaluate.tasks.iter_mut().flat_map(|tasks| &mut tasks.source);
        for source in topics.chain(corpus).chain(tasks).chain([&mut recipe.teacher.source]) {
            *source = for_others(source);
        }
        for task in recipe.evaluate.tasks.iter_mut().flat_map(|tasks| &mut tasks.ask) {
            if let (true, Some((_, name))) = (Path::new(task).is_absolute(), task.rsplit_once('/')) {
                *task = name.to_owned();
            }
        }
        toml::to_string(&recipe).map_err(Error::while_doing("writing the resolved recipe"))
    }

    /// What the module of a topic was made from; nothing if the run did not finish it.
    ///
    /// # Errors
    /// When texts cannot be read.
    pub fn corpus(&self, topic: &Topic) -> Result<Option<Corpus>> {
        let general = &self.recipe.general;
        let own = self.text(
            TextRole::Topic,
            &topic.name,
            &for_others(&topic.source).to_string(),
            topic.license.as_ref(),
            topic.attribution.as_ref(),
        )?;
        let (source, license, attribution) = match &general.corpus {
            Some(corpus) => {
                (for_others(&corpus.source).to_string(), corpus.license.as_ref(), corpus.attribution.as_ref())
            }
            None => {
                let teacher = &self.recipe.teacher;
                let source = format!("written by {} with seed {}", for_others(&teacher.source), self.recipe.seed);
                (source, teacher.license.as_ref(), None)
            }
        };
        let general = self.text(TextRole::General, "general", &source, license, attribution)?;
        Ok(own.zip(general).map(|(own, general)| Corpus { texts: vec![own, general] }))
    }

    fn text(
        &self,
        role: TextRole,
        name: &str,
        source: &str,
        license: Option<&String>,
        attribution: Option<&String>,
    ) -> Result<Option<CorpusText>> {
        let stage = match role {
            TextRole::Topic => format!("topic:{name}"),
            TextRole::General => name.to_owned(),
        };
        let Some(stage) = self.stages.get(&stage) else { return Ok(None) };
        let facts = &stage.manifest.facts;
        let tokens = |split: &str| facts["tokens"][split].as_u64().unwrap_or_default();
        let sha256 = self.stages.get(&format!("fetch:{name}")).map(content_hash).transpose()?.flatten();
        // Absent where nothing was to be kept apart.
        let found = serde_json::from_value::<Option<Decontamination>>(facts["data"]["decontamination"].clone());
        let unreadable = |error: serde_json::Error| {
            let problem = format!("what was kept apart from evaluation items cannot be read ({error})");
            Error::Failed(format!("{}: {problem}; remove that folder and run again", stage.folder.display()))
        };
        Ok(Some(CorpusText {
            role,
            source: source.to_owned(),
            sha256,
            license: license.cloned().unwrap_or_default(),
            attribution: attribution.cloned().unwrap_or_default(),
            documents: facts["documents"].as_u64().unwrap_or_default(),
            documents_sha256: sha256_of_file(&stage.folder.join(DOCUMENTS))?,
            tokens: SplitTokens { train: tokens("train"), validation: tokens("validation"), test: tokens("test") },
            duplicates_removed: facts["duplicates"].as_u64(),
            decontamination: found.map_err(unreadable)?,
        }))
    }

    /// How well the module of a topic does; nothing if the run did not measure this very module.
    ///
    /// # Errors
    /// When the figures cannot be read.
    pub fn evaluation(&self, topic: &Topic) -> Result<Option<Evaluation>> {
        let module = format!("module:{}", topic.name);
        let (Some(stage), Some(trained), Some((_, base, _))) =
            (self.stages.get("evaluate"), self.stages.get(&module), self.base())
        else {
            return Ok(None);
        };
        if stage.manifest.inputs.get(&module) != Some(&trained.manifest.identity) {
            return Ok(None);
        }
        let measured = Measured::read(&stage.folder)?;
        let settings = &self.recipe.evaluate;
        let texts = measured.matrix.columns.into_iter().map(|column| EvaluatedText {
            name: column.name,
            general: column.general,
            documents: column.documents,
            bytes: column.bytes,
        });
        let models = measured.matrix.rows.into_iter().map(|row| EvaluatedModel {
            name: row.name,
            kind: serde_json::to_value(row.kind)
                .ok()
                .and_then(|kind| kind.as_str().map(String::from))
                .unwrap_or_default(),
            modules: row.modules,
            scores: row
                .cells
                .into_iter()
                .map(|(text, cell)| {
                    let score = Score {
                        bits_per_byte: cell.bits_per_byte,
                        standard_error: cell.standard_error,
                        difference_standard_error: cell.difference_standard_error,
                    };
                    (text, score)
                })
                .collect(),
        });
        let samples = measured.samples.into_iter().filter(|sample| sample.module == topic.name);
        Ok(Some(Evaluation {
            base,
            program: format!("lore {}", stage.manifest.program),
            protocol: format!(
                "Held-out passages of at most {} tokens, at most two of a document and {} tokens of a text, each scored \
                 whole after the token that begins a text; standard errors are over documents. \"chosen per passage\" \
                 looks at the first {} tokens of a passage.",
                settings.passage_tokens, settings.tokens_per_text, settings.probe_tokens
            ),
            texts: texts.collect(),
            models: models.collect(),
            samples: samples
                .map(|sample| Sample { prompt: sample.prompt, base: sample.base_text, module: sample.module_text })
                .collect(),
        }))
    }
}

/// A source as strangers may see it.
fn for_others(source: &SourceUri) -> SourceUri {
    match source {
        SourceUri::File(path) => SourceUri::File(path.file_name().map_or_else(|| path.clone(), PathBuf::from)),
        other => other.clone(),
    }
}

/// sha256 of the fetched file; of several files, that of the list `sha256sum` prints for them in order of name.
fn content_hash(fetch: &Finished) -> Result<Option<String>> {
    if let Value::String(sha256) = &fetch.manifest.facts["sha256"] {
        return Ok(Some(sha256.clone()));
    }
    let path = fetch.external()?;
    if path.is_file() {
        return Ok(Some(sha256_of_file(path)?));
    }
    // The texts may be gone since; the hash of the documents stays.
    let Ok(files) = files_of(path) else { return Ok(None) };
    let mut list = Sha256::new();
    for file in files {
        let name = file.strip_prefix(path).unwrap_or(&file).to_string_lossy().replace('\\', "/");
        list.update(format!("{}  {name}\n", sha256_of_file(&file)?));
    }
    Ok(Some(list.finalize().iter().map(|byte| format!("{byte:02x}")).collect()))
}
