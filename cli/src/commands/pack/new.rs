//! `lore pack new`: a project that an author fills.

use std::fs;
use std::path::{Path, PathBuf};

use lore_model::whole::{folder_beside, folder_of};
use lore_packs::manifest::is_name;

use super::project::{ABOUT, PROJECT};
use crate::error::{Error, Result};
use crate::recipe::Recipe;

/// Base, general English and training of the quickstart.
const TEMPLATE: &str = include_str!("../../../../recipes/quickstart.toml");

/// Start a module project: a recipe, a corpus folder, what the pack will say
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  lore pack new rivers --texts my-texts --license CC-BY-4.0 --author 'Ada Lovelace'
  lore run rivers/recipe.toml
  lore pack build rivers --sign")]
pub struct NewArguments {
    /// Name of the module, and of the folder: lower-case letters, digits and `-`
    #[arg(value_name = "NAME")]
    name: String,
    /// Folder of texts (.txt, .md) to copy into the corpus
    #[arg(long, value_name = "DIR")]
    texts: Option<PathBuf>,
    /// Licence of the texts and of the module, an SPDX expression
    #[arg(long, value_name = "SPDX")]
    license: Option<String>,
    /// Who makes it; may be repeated
    #[arg(long = "author", value_name = "NAME")]
    authors: Vec<String>,
    /// One line about it
    #[arg(long, value_name = "TEXT")]
    summary: Option<String>,
    /// Recipe whose base and training are used [default: the quickstart's]
    #[arg(long, value_name = "RECIPE.toml")]
    recipe: Option<PathBuf>,
}

/// Makes the folder; what to do next goes to stderr, its path to stdout.
///
/// # Errors
/// A name that cannot be a module's, a folder that exists, texts that are none.
pub fn new(arguments: &NewArguments) -> Result<()> {
    let NewArguments { name, texts, license, authors, summary, recipe } = arguments;
    if !is_name(name) {
        return Err(Error::Usage(format!(
            "`{name}` cannot name a module: use lower-case letters, digits and single `-`, beginning with a letter"
        )));
    }
    if let Some(license) = license {
        lore_packs::license::check(license)
            .map_err(|problem| Error::Usage(format!("--license \"{license}\" {problem}")))?;
    }
    let folder = Path::new(name);
    if folder.exists() {
        return Err(Error::Usage(format!("{name} exists already; choose another name or move it away")));
    }
    let scratch = folder_beside(Path::new(".")).map_err(Error::io("."))?;
    let project = scratch.path().join(name);
    let corpus = project.join("corpus");
    fs::create_dir_all(&corpus).map_err(Error::io(&corpus))?;
    let copied = match texts {
        Some(texts) => copy_texts(texts, &corpus)?,
        None => 0,
    };
    let base = match recipe {
        Some(path) => {
            Recipe::open_with_topics(path)?;
            let folder = folder_of(path);
            let folder = std::path::absolute(folder).map_err(Error::io(folder))?;
            with_absolute_files(&fs::read_to_string(path).map_err(Error::io(path))?, &folder)
        }
        None => TEMPLATE.to_owned(),
    };
    let recipe_path = project.join("recipe.toml");
    let put = |path: &Path, text: &str| fs::write(path, text).map_err(Error::io(path));
    put(&recipe_path, &project_recipe(&base, name, license.as_deref(), authors))?;
    // What is wrong with it would be a surprise later.
    Recipe::open_with_topics(&recipe_path)?;
    put(&project.join(PROJECT), &pack_toml(name, summary.as_deref(), license.as_deref(), authors))?;
    put(
        &project.join(ABOUT),
        &format!(
            "<!-- What {name} is for, what it knows and what it does not, in your words. It goes into the card. -->\n"
        ),
    )?;
    fs::rename(&project, folder).map_err(Error::io(folder))?;
    let texts = if copied > 0 {
        format!("{copied} texts are in {name}/corpus")
    } else {
        format!("Put texts (.txt, .md) into {name}/corpus")
    };
    eprintln!(
        "{texts}; then:\n  lore run {name}/recipe.toml\n  lore pack keygen            (once)\n  lore pack build {name} --sign"
    );
    println!("{name}");
    Ok(())
}

/// Copies the texts below a folder, under their own names; returns how many.
fn copy_texts(from: &Path, to: &Path) -> Result<usize> {
    let is_text = |path: &Path| path.extension().is_some_and(|extension| extension == "txt" || extension == "md");
    let files = lore_datasets::fetch::files_of(from)?;
    let root = if from.is_dir() { from } else { from.parent().unwrap_or(from) };
    let mut copied = 0;
    for file in files.into_iter().filter(|file| is_text(file)) {
        let place = to.join(file.strip_prefix(root).unwrap_or(&file));
        let parent = place.parent().unwrap_or(to);
        fs::create_dir_all(parent).map_err(Error::io(parent))?;
        fs::copy(&file, &place).map_err(Error::io(&file))?;
        copied += 1;
    }
    if copied == 0 {
        return Err(Error::Usage(format!("{} holds no texts (.txt, .md)", from.display())));
    }
    Ok(copied)
}

/// A recipe's `file:` sources by absolute path, since the new recipe stands elsewhere.
fn with_absolute_files(recipe: &str, folder: &Path) -> String {
    const SOURCE: &str = "\"file:";
    let mut parts = recipe.split(SOURCE);
    let mut text = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        text.push_str(SOURCE);
        if !part.starts_with('/') {
            text.push_str(&format!("{}/", folder.display()));
        }
        text.push_str(part);
    }
    text
}

/// A recipe without its name and topics, then the project's.
fn project_recipe(recipe: &str, name: &str, license: Option<&str>, authors: &[String]) -> String {
    let mut text = format!(
        "# The module `{name}`: lore run {name}/recipe.toml\n#\n# The texts in `corpus` are split by document: most are learnt from, some are held out and scored at the end.\n\nname = {}\n",
        quoted(name)
    );
    let mut in_topic = false;
    let mut in_head = true;
    for line in recipe.lines() {
        if line.starts_with('[') {
            in_head = false;
            in_topic = line.starts_with("[[topic") || line.starts_with("[topic");
        }
        let is_name = in_head && line.starts_with("name") && line[4..].trim_start().starts_with('=');
        if in_topic || is_name || in_head && (line.starts_with('#') || line.is_empty()) {
            continue;
        }
        text.push_str(line);
        text.push('\n');
    }
    let attribution = match authors {
        [] => String::new(),
        some => format!("attribution = {}\n", quoted(&format!("Texts by {}", some.join(", ")))),
    };
    let license = license.map_or_else(
        || {
            "# license = \"CC-BY-4.0\"    # of the texts: an SPDX expression, without which no pack is built\n"
                .to_owned()
        },
        |license| format!("license = {}\n", quoted(license)),
    );
    text.trim_end().to_owned()
        + &format!(
            "\n\n[[topic]]\nname = {}\nsource = \"file:corpus\"\n{license}{attribution}prompts = []\n\n[topic.split]\nvalidation = 0.05\ntest = 0.1\n\n[[topic.extract]]\nformat = \"text\"\nfiles = [\"**/*.txt\", \"**/*.md\"]\n",
            quoted(name)
        )
}

fn pack_toml(name: &str, summary: Option<&str>, license: Option<&str>, authors: &[String]) -> String {
    let authors: Vec<String> = authors.iter().map(|author| quoted(author)).collect();
    let summary = summary.map_or_else(|| format!("What texts about {name} say"), str::to_owned);
    format!(
        "# What the pack says about the module; `lore pack build {name}` names what is missing.\n\nname = {}\nversion = \"0.1.0\"\nsummary = {}\nauthors = [{}]\nlanguages = [\"en\"]\n\n# An SPDX expression. A licence that is not on the SPDX list is written LicenseRef-NAME, with its text in LICENSE.txt.\nlicense = {}\n\n# Where others get the base, such as hf:owner/repo; empty: the recipe in the pack makes it.\nbase_source = \"\"\n\n# Modules it needs beside it, and modules it must not be installed with.\n# dependencies = [{{ name = \"lakes\", version = \"^1.0\" }}]\n# conflicts = []\n",
        quoted(name),
        quoted(&summary),
        authors.join(", "),
        quoted(license.unwrap_or_default()),
    )
}

fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}
