//! What a pack is built from, and what is missing of it.

use std::path::PathBuf;

use semver::Version;

use crate::documents::{Corpus, Evaluation};
use crate::license;
use crate::manifest::{BaseReference, Manifest, Requirement, is_name};

/// What a pack is built from. What is absent is named by [`build`], all at once.
#[derive(Debug, Clone, Default)]
pub struct Draft {
    /// Name of the module.
    pub name: String,
    /// Its version.
    pub version: Option<Version>,
    /// What it knows about.
    pub topic: String,
    /// One line for people.
    pub summary: String,
    /// The base it was trained on.
    pub base: Option<BaseReference>,
    /// Languages of its texts.
    pub languages: Vec<String>,
    /// Its licence, an SPDX expression.
    pub license: Option<String>,
    /// The licence's text, where it is not the one known for `license`.
    pub license_text: Option<String>,
    /// Who made it.
    pub authors: Vec<String>,
    /// Modules it needs beside it.
    pub dependencies: Vec<Requirement>,
    /// Modules it must not be installed with.
    pub conflicts: Vec<Requirement>,
    /// The program that packs it, with its version.
    pub program: String,
    /// A PEFT adapter as Lore writes it.
    pub adapter: PathBuf,
    /// What a router knows of it, if a router was built.
    pub router: Option<PathBuf>,
    /// What it was made from.
    pub corpus: Option<Corpus>,
    /// How well it does.
    pub evaluation: Option<Evaluation>,
    /// The resolved recipe.
    pub recipe: Option<String>,
    /// What the author says about it, in Markdown, for the card.
    pub about: Option<String>,
}

/// What a person has to add, in words that say how.
pub(crate) fn missing(draft: &Draft) -> Vec<String> {
    let mut problems = Vec::new();
    let mut need = |present: bool, problem: &str| {
        if !present {
            problems.push(problem.to_owned());
        }
    };
    need(
        is_name(&draft.name),
        "the name must be lower-case letters, digits and `-`: give --name, or `name` in pack.toml",
    );
    need(draft.version.is_some(), "it has no version: give --version, or `version` in pack.toml, such as 0.1.0");
    need(
        draft.license.is_some(),
        "it has no licence: give --license, or `license` in pack.toml, an SPDX expression such as CC-BY-4.0",
    );
    need(!draft.authors.is_empty(), "it has no author: give --author, or `authors` in pack.toml");
    need(!draft.languages.is_empty(), "it has no language: give --language, or `languages` in pack.toml, such as en");
    need(!draft.summary.is_empty(), "it has no summary: give --summary, or `summary` in pack.toml, one line");
    need(draft.base.is_some(), "the base is not known: a finished `lore run` says it");
    let base_license = draft.base.as_ref().is_none_or(|base| !base.license.is_empty());
    need(base_license, "its base has no licence: set `teacher.license` in the recipe, or give --base-license");
    need(draft.corpus.is_some(), "it has no corpus manifest: a finished `lore run` makes it");
    need(draft.evaluation.is_some(), "it has no evaluation on its base: a finished `lore run` makes it");
    need(draft.recipe.is_some(), "it has no recipe: a finished `lore run` resolves it");
    problems
}

/// The given text, or the known ones.
pub(crate) fn license_text(draft: &Draft) -> Result<String, String> {
    match (&draft.license_text, &draft.license) {
        (Some(text), _) if !text.trim().is_empty() => Ok(text.trim_end().to_owned() + "\n"),
        (_, None) => Ok(String::new()),
        (_, Some(expression)) => {
            license::check(expression)
                .map_err(|problem| format!("the licence \"{}\" {problem}", expression.escape_debug()))?;
            license::texts(expression).map_err(|unknown| {
                format!(
                    "the text of {} is not known: give --license-file, or put LICENSE.txt beside pack.toml",
                    unknown.join(", ")
                )
            })
        }
    }
}

/// Who must be named.
pub(crate) fn notice(manifest: &Manifest, corpus: &Corpus) -> String {
    let Manifest { name, version, authors, license, base, .. } = manifest;
    let mut text = format!("{name} {version}\nby {}\nunder {license}\n", authors.join(", "));
    text += &format!("\nThe base: {}, under {}.\n", base.name, base.license);
    for source in &corpus.texts {
        text += &format!("\nMade with texts from {}, under {}.\n", source.source, source.license);
        if !source.attribution.is_empty() {
            text += source.attribution.trim();
            text.push('\n');
        }
    }
    text
}

/// The usual name of a pack's file.
pub fn file_name(manifest: &Manifest) -> String {
    format!("{}-{}.{}", manifest.name, manifest.version, crate::format::EXTENSION)
}

/// A name for a module of a topic, as packs allow it; nothing if nothing of the topic's name is left.
pub fn name_from(topic: &str) -> Option<String> {
    let mut name = String::new();
    for c in topic.chars().flat_map(char::to_lowercase) {
        if c.is_ascii_lowercase() || c.is_ascii_digit() {
            name.push(c);
        } else if !name.is_empty() && !name.ends_with('-') {
            name.push('-');
        }
    }
    let name = name.trim_matches('-').trim_start_matches(|c: char| c.is_ascii_digit() || c == '-').to_owned();
    is_name(&name).then_some(name)
}
