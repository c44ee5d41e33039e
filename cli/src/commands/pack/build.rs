//! `lore pack build`: a finished run to a pack.

use std::fs;
use std::path::{Path, PathBuf};

use lore_packs::manifest::{BASE_FROM_RECIPE, BaseReference};
use lore_packs::{Draft, file_name, name_from};

use super::folders::KeysOption;
use super::inspect::summary;
use super::keys::signing_key;
use super::project::{ABOUT, LICENSE_TEXT, PROJECT, Project};
use super::run_facts::RunFacts;
use crate::error::{Error, Result};
use crate::recipe::Recipe;
use crate::session::Session;

/// Build a pack from a module project or a finished run
///
/// Needs a licence, the manifest of the corpus and an evaluation on the base; what is missing is named all
/// at once. The same inputs give the same bytes.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  lore pack build rivers --sign
  lore pack build runs/quickstart --module geography --version 1.0.0 --author 'Ada Lovelace' \\
      --summary 'Countries of the world' --license-file factbook-terms.txt")]
pub struct BuildArguments {
    /// A project that `lore pack new` made, or the folder of a finished run
    #[arg(value_name = "DIR")]
    folder: PathBuf,
    /// Topic of the module, where a run has several
    #[arg(long, value_name = "TOPIC")]
    module: Option<String>,
    /// File or folder to write [default: NAME-VERSION.lorepack here]
    #[arg(long, value_name = "PATH")]
    out: Option<PathBuf>,
    /// Folder where `lore run` put the runs of projects
    #[arg(long, value_name = "DIR", default_value = "runs")]
    runs_dir: PathBuf,
    /// Sign it with the key of `lore pack keygen`
    #[arg(long)]
    sign: bool,
    #[command(flatten)]
    keys: KeysOption,
    #[command(flatten, next_help_heading = "What pack.toml says otherwise")]
    said: Said,
}

/// What the manifest needs from a person.
#[derive(Debug, Clone, clap::Args)]
struct Said {
    /// Name of the module: lower-case letters, digits and `-`
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// Version of the module, such as 1.0.0
    #[arg(long, value_name = "VERSION")]
    version: Option<String>,
    /// One line about it
    #[arg(long, value_name = "TEXT")]
    summary: Option<String>,
    /// Who made it; may be repeated
    #[arg(long = "author", value_name = "NAME")]
    authors: Vec<String>,
    /// Language of its texts [default: en]; may be repeated
    #[arg(long = "language", value_name = "TAG")]
    languages: Vec<String>,
    /// Its licence, an SPDX expression [default: that of the topic's texts]
    #[arg(long, value_name = "SPDX")]
    license: Option<String>,
    /// Text of the licence, where it is not a well-known one
    #[arg(long, value_name = "FILE")]
    license_file: Option<PathBuf>,
    /// Where others get the base: hf:owner/repo or pypi:package==version#path [default: the recipe makes it]
    #[arg(long, value_name = "SOURCE")]
    base_source: Option<String>,
    /// Licence of the base [default: that of the teacher]
    #[arg(long, value_name = "SPDX")]
    base_license: Option<String>,
}

/// Builds; the file's path goes to stdout.
///
/// # Errors
/// Everything that is missing, at once.
pub fn build(arguments: &BuildArguments, session: &Session) -> Result<()> {
    let draft = draft(arguments)?;
    let file = match &draft.version {
        Some(version) => format!("{}-{version}.{}", draft.name, lore_packs::format::EXTENSION),
        None => format!("{}.{}", draft.name, lore_packs::format::EXTENSION),
    };
    let output = match &arguments.out {
        None => PathBuf::from(file),
        Some(folder) if folder.is_dir() => folder.join(file),
        Some(path) => path.clone(),
    };
    // Known before anything is written.
    let key = arguments.sign.then(|| signing_key(&arguments.keys.keyring())).transpose()?;
    let mut built = lore_packs::build(&output, &draft)?;
    debug_assert!(arguments.out.is_some() || output == Path::new(&file_name(&built.manifest)));
    if let Some(key) = key {
        built = lore_packs::sign(&output, &key)?;
    }
    session.progress.note(&summary(&built, &arguments.keys.keyring().judge(&built, &[])?));
    println!("{}", output.display());
    Ok(())
}

fn draft(arguments: &BuildArguments) -> Result<Draft> {
    let BuildArguments { folder, module, runs_dir, said, .. } = arguments;
    let is_project = folder.join(PROJECT).is_file();
    let (project, run_folder) = if is_project {
        let recipe = Recipe::open_with_topics(&folder.join("recipe.toml"))?;
        (Project::open(folder)?, runs_dir.join(&recipe.name))
    } else {
        (Project::default(), folder.clone())
    };
    if !run_folder.join("report.json").is_file() {
        let advice = match is_project {
            true => format!(
                "run `lore run {}` first (and give --runs-dir if it wrote elsewhere)",
                folder.join("recipe.toml").display()
            ),
            false => {
                format!("give a folder with {PROJECT} (`lore pack new` makes one) or the folder of a finished run")
            }
        };
        return Err(Error::Failed(format!("{} holds no finished run; {advice}", run_folder.display())));
    }
    let run = RunFacts::open(&run_folder)?;
    let topic = run.topic(module.as_deref())?;
    let name = said.name.clone().or(project.name).or_else(|| name_from(&topic.name)).unwrap_or_default();
    let version = said.version.clone().or(project.version);
    let version = version.map(|text| {
        text.parse().map_err(|error| Error::Usage(format!("`{text}` is not a version such as 1.0.0: {error}")))
    });
    let license_file =
        said.license_file.clone().or_else(|| Some(folder.join(LICENSE_TEXT)).filter(|file| file.is_file()));
    let license_text = license_file.map(|path| fs::read_to_string(&path).map_err(Error::io(path))).transpose()?;
    let about = folder.join(ABOUT);
    let about = about.is_file().then(|| fs::read_to_string(&about).map_err(Error::io(&about))).transpose()?;
    let languages =
        [said.languages.clone(), project.languages, vec!["en".into()]].into_iter().find(|list| !list.is_empty());
    let base = run.base().map(|(name, fingerprint, license)| BaseReference {
        name,
        fingerprint,
        source: said.base_source.clone().or(project.base_source).unwrap_or_else(|| BASE_FROM_RECIPE.into()),
        license: said.base_license.clone().unwrap_or(license),
    });
    Ok(Draft {
        name,
        version: version.transpose()?,
        topic: topic.name.clone(),
        summary: said.summary.clone().or(project.summary).unwrap_or_default(),
        base,
        languages: languages.unwrap_or_default(),
        license: said.license.clone().or(project.license).or_else(|| topic.license.clone()),
        license_text,
        authors: if said.authors.is_empty() { project.authors } else { said.authors.clone() },
        dependencies: project.dependencies,
        conflicts: project.conflicts,
        program: format!("lore {}", env!("CARGO_PKG_VERSION")),
        adapter: run.adapter(topic),
        router: run.router(topic),
        corpus: run.corpus(topic)?,
        evaluation: run.evaluation(topic)?,
        recipe: Some(run.recipe_for_others()?),
        about,
    })
}
